"""Workloads run on allocators with one thread, two, and more, in interleaved rounds; what is to be told of them."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alloclab import machine
from alloclab.allocators import resolve
from alloclab.comparison.statistics import Ratio, paired_ratio
from alloclab.errors import ReplayError
from alloclab.result import FLOOR

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ROOT / "tests" / "benchmarks" / "programs" / "scaling"
WORKLOADS = ("larson", "mstress", "xmalloc", "sh8bench", "cache-scratch", "cache-thrash")
"""As main.c has them; the head of each file says what it models."""

TIME_LIMIT = 300

Key = tuple[str, str, int]
"""Workload, allocator, threads."""


@dataclass(frozen=True)
class Run:
    """What one process said."""

    operations: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def throughput(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


@dataclass(frozen=True)
class Plan:
    """What is to be run. ``percent``: of the usual work of a thread."""

    workloads: tuple[str, ...]
    specs: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    percent: int = 100


@dataclass
class Measured:
    """``runs`` has one for each round; a failed one is named in ``failures``, and has none."""

    plan: Plan
    machine: dict[str, Any]
    runs: dict[Key, list[Run]] = field(default_factory=dict)
    failures: dict[Key, str] = field(default_factory=dict)

    def throughput(self, workload: str, spec: str, threads: int) -> list[float]:
        """Of every round; empty where it failed."""
        return [run.throughput for run in self.runs.get((workload, spec, threads), ())]

    def ratio(self, workload: str, spec: str, threads: int) -> Ratio | None:
        """Its throughput to that of the first allocator with as many threads."""
        first = self.throughput(workload, self.plan.specs[0], threads)
        return paired_ratio(self.throughput(workload, spec, threads), first)

    def gain(self, workload: str, spec: str, threads: int) -> Ratio | None:
        """Its throughput to its own with one thread."""
        return paired_ratio(self.throughput(workload, spec, threads), self.throughput(workload, spec, 1))

    def efficiency(self, workload: str, spec: str, threads: int) -> float | None:
        """The gain as part of what so many threads could gain at most here."""
        gain = self.gain(workload, spec, threads)
        return None if gain is None else gain.value / min(threads, self.machine["cores"])

    def peak(self, workload: str, spec: str, threads: int) -> float | None:
        """Bytes resident at most, the median."""
        runs = self.runs.get((workload, spec, threads))
        return statistics.median(run.peak_bytes for run in runs) if runs else None


def build(folder: Path) -> dict[bool, Path]:
    """The program, and (True) the one whose malloc is the floor."""
    sources = sorted(path for path in PROGRAMS.glob("*.c") if path.name != "null.c")
    floor = [PROGRAMS / "null.c", "-Wl,--wrap=malloc,--wrap=realloc,--wrap=free"]
    built = {}
    for is_floor, more in ((False, []), (True, floor)):
        built[is_floor] = folder / ("scaling-floor" if is_floor else "scaling")
        flags = ["-std=gnu17", "-O2", "-falign-loops=64", "-fno-builtin", "-pthread", "-I", ROOT / "csrc"]
        subprocess.run(["gcc", *flags, *sources, *more, "-o", built[is_floor]], check=True)
    return built


def run_once(programs: dict[bool, Path], key: Key, percent: int) -> Run:
    """ReplayError where the program fails, or finds blocks that are not as it left them."""
    workload, spec, threads = key
    command = [programs[spec == FLOOR], workload, str(threads), str(percent)]
    environment = os.environ | resolve(spec).environment()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise ReplayError(f"no end after {TIME_LIMIT} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ReplayError(f"exit {done.returncode}" + (f": {said[-1]}" if said else ""))
    operations, seconds, cpu, kib, faults = done.stdout.split()
    if int(faults) and spec != FLOOR:
        raise ReplayError(f"{faults} blocks are not as they were left")
    return Run(int(operations), float(seconds), float(cpu), int(kib) * 1024)


def measure(plan: Plan, programs: dict[bool, Path], tell: Callable[[str], None]) -> Measured:
    """Every round runs all there is, allocators that are to be compared right after each other."""
    measured = Measured(plan, machine.describe({spec: resolve(spec).preload for spec in plan.specs}))
    for number in range(plan.rounds):
        tell(f"round {number + 1} of {plan.rounds}")
        for workload in plan.workloads:
            for threads in plan.threads:
                for spec in (*plan.specs, FLOOR):
                    _add(measured, programs, (workload, spec, threads))
    return measured


def _add(measured: Measured, programs: dict[bool, Path], key: Key) -> None:
    if key in measured.failures:
        return
    try:
        measured.runs.setdefault(key, []).append(run_once(programs, key, measured.plan.percent))
    except ReplayError as error:
        measured.failures[key] = str(error)
        measured.runs.pop(key, None)


def usual_threads(cores: int) -> tuple[int, ...]:
    """Up to twice the cores: all up to four, then by doubling."""
    most = 2 * cores
    doubled = [2**power for power in range(3, most.bit_length())]
    return tuple(sorted({*range(1, min(most, 4) + 1), *(n for n in doubled if n < most), cores, most}))


def as_json(measured: Measured) -> dict[str, Any]:
    """All figures, and every round."""
    plan = measured.plan
    rows = []
    for key, runs in measured.runs.items():
        workload, spec, threads = key
        ratio, gain = measured.ratio(*key), measured.gain(*key)
        rows.append(
            {
                "workload": workload,
                "allocator": spec,
                "threads": threads,
                "operations": runs[0].operations,
                "operations_per_second": statistics.median(run.throughput for run in runs),
                "ratio": _ratio(ratio),
                "gain": _ratio(gain),
                "efficiency": measured.efficiency(*key),
                "peak_resident_bytes": measured.peak(*key),
                "rounds": {
                    "seconds": [run.seconds for run in runs],
                    "cpu_seconds": [run.cpu_seconds for run in runs],
                    "peak_resident_bytes": [run.peak_bytes for run in runs],
                },
            }
        )
    failures = [
        {"workload": workload, "allocator": spec, "threads": threads, "failure": why}
        for (workload, spec, threads), why in measured.failures.items()
    ]
    plain = {"rounds": plan.rounds, "percent": plan.percent, "baseline": plan.specs[0]}
    return {"machine": measured.machine, **plain, "results": rows, "failures": failures}


def _ratio(ratio: Ratio | None) -> dict[str, float | None] | None:
    return None if ratio is None else {"value": ratio.value, "low": ratio.low, "high": ratio.high}
