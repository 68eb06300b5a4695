"""Speed and size of the trace room, on synthetic traces of one machine in one run.

    python tests/benchmarks/bench_trace.py [EVENTS] [TRACE...]

Prints millions of events a second, best of three, and bytes an event at rest. The yardstick beside each is a plain
pyarrow read of the same file, and what pyarrow's default encoding makes of the same table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from alloclab.machine import describe, one_line
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
from alloclab.trace.parquet import Trace
from alloclab.trace.stats import summarize
from alloclab.trace.synth import SIZES, Recipe, synthesize
from alloclab.trace.validate import validate

REPEATS = 3


def seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def read(trace: Trace) -> int:
    return sum(len(block) for block in trace.blocks())


def default_bytes(trace: Trace, folder: Path) -> int:
    pq.write_table(pq.read_table(trace.path), folder / "default.parquet", compression="zstd")
    return (folder / "default.parquet").stat().st_size


def report(trace: Trace, folder: Path) -> None:
    works: dict[str, Callable[[], object]] = {
        "load": lambda: read(trace),
        "pyarrow": lambda: pq.read_table(trace.path),
        "compile": lambda: compile_trace(trace),
        "validate": lambda: validate(trace),
        "info": lambda: summarize(trace),
    }
    rates = "".join(f"{len(trace) / seconds(work) / 1e6:10.1f}" for work in works.values())
    at_rest, default = trace.path.stat().st_size / len(trace), default_bytes(trace, folder) / len(trace)
    print(f"{trace.name:12}{len(trace):12,}{rates}{at_rest:10.2f}{default:10.2f}", flush=True)


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    print(f"{one_line(describe())}\nM events/s, B/event")
    print("trace             events      load   pyarrow   compile  validate      info   B/event   default")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for sizes in SIZES:
            report(synthesize(folder / f"{sizes}.parquet", Recipe(events, sizes=sizes, threads=4)), folder)
        for path in sys.argv[2:]:
            report(load(path), folder)


if __name__ == "__main__":
    main()
