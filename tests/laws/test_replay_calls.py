"""The system's malloc: counts of calls equal strace's, and mapped bytes what strace's log adds up to."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replays import CALLS, PAGE, churn, compiled
from rows import Row
from support import ROOT

from alloclab.allocators import Allocator, resolve
from alloclab.native import built_file
from alloclab.replay import Settings, examine
from alloclab.trace import load
from alloclab.trace.compile import OPS_PAD, CompiledTrace, compile_trace
from alloclab.trace.model import Op

LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+)")


def large_blocks() -> list[Row]:
    """Across the mmap threshold and back: mmap, munmap, mremap, and a threshold that adapts."""
    rows = []
    for i in range(40):
        rows += [Row(Op.MALLOC, i, 100_000 + 20_000 * i), Row(Op.REALLOC, i, 300_000 + 50_000 * i)]
    rows += [Row(Op.REALLOC, i, 1000) for i in range(0, 40, 3)]
    rows += [Row(Op.FREE, i) for i in range(0, 40, 2)]
    return rows


def queue() -> list[Row]:
    """A break that goes up and down."""
    rows = [Row(Op.MALLOC, i, 5000) for i in range(200)]
    rows += [Row(Op.FREE, i) for i in reversed(range(200))]
    return rows + [Row(Op.MALLOC, 200 + i, 3000, align=0) for i in range(100)]


STEADY: dict[str, dict[str, str]] = {"libtcmalloc_minimal": {}, "libmimalloc": {"MIMALLOC_DECOMMIT_DELAY": "0"}}
"""Libraries whose calls repeat, and what makes them: mimalloc and jemalloc give memory back by the clock."""

RECORDINGS = ("git", "perl", "sqlite", "node")

TRACES = {"churn": churn(8000, 3, most=1 << 18), "large blocks": large_blocks(), "queue": queue()}


def strace(trace: CompiledTrace, folder: Path, allocator: Allocator) -> list[tuple[str, list[str], int]]:
    """Calls with arguments and result of a replay that only runs the loop.

    The replayer starts itself again for fixed addresses; what it did before is dropped, for it varies.
    """
    ops, log = folder / "t.ops", folder / "strace.log"
    trace.write(ops)
    replayer = [str(built_file("alloclab-replay")), "--pass", "time", "--no-aslr", str(ops)]
    variables = [word for name, value in allocator.environment().items() for word in ("-E", f"{name}={value}")]
    command = ["strace", "-f", "-e", f"trace=execve,{','.join(CALLS)}", "-o", str(log), *variables, *replayer]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL)
    matches = (LINE.match(line) for line in log.read_text().splitlines())
    found = [(m[1], m[2].split(", "), int(m[3], 0)) for m in matches if m]
    starts = [i for i, (name, _, _) in enumerate(found) if name == "execve"]
    assert len(starts) == 2
    return found[starts[-1] + 1 :]


def without_operations(trace: CompiledTrace) -> CompiledTrace:
    """The same head, so that the replayer prepares alike."""
    return replace(trace, entries=np.ascontiguousarray(trace.entries[-OPS_PAD:]), entry_count=0, operations=0)


def mapped_after(calls: list[tuple[str, list[str], int]], first_break: int) -> list[int]:
    """Pages readable and writable after each call, as a plain set. glibc protects nothing here."""
    held: set[int] = set()
    program_break = first_break
    after = []

    def pages(address: int, length: int) -> range:
        return range(address // PAGE, (address + length + PAGE - 1) // PAGE)

    for name, arguments, result in calls:
        if name == "brk":
            held -= set(pages(result, program_break - result)) if result < program_break else set()
            held |= set(pages(program_break, result - program_break)) if result > program_break else set()
            program_break = result
        elif name == "mmap":
            held |= set(pages(result, int(arguments[1])))
        elif name == "munmap":
            held -= set(pages(int(arguments[0], 0), int(arguments[1])))
        elif name == "mremap":
            held -= set(pages(int(arguments[0], 0), int(arguments[1])))
            held |= set(pages(result, int(arguments[2])))
        after.append(len(held) * PAGE)
    return after


@pytest.mark.needs("strace")
@pytest.mark.parametrize("name", [*TRACES, *RECORDINGS])
@pytest.mark.needs("fixed addresses")
def test_calls_and_mapped_bytes_equal_strace(name: str, tmp_path: Path) -> None:
    recorded = name in RECORDINGS
    trace = compile_trace(load(ROOT / "traces" / f"{name}.parquet")) if recorded else compiled(tmp_path, TRACES[name])
    system = resolve("system")
    before = strace(without_operations(trace), tmp_path, system)
    calls = strace(trace, tmp_path, system)
    assert [c[0] for c in calls[: len(before)]] == [c[0] for c in before]
    first_break = [result for call, _, result in before if call == "brk"][-1]
    calls = calls[len(before) :]

    run = examine(trace, system, Settings())
    assert {c: run.figure(f"calls_{c}") for c in CALLS} == {c: Counter(c for c, _, _ in calls)[c] for c in CALLS}
    mapped = mapped_after(calls, first_break)
    assert run.figure("peak_mapped") == max(mapped)
    assert run.figure("at_end_mapped") == mapped[-1]


@pytest.mark.needs("strace")
@pytest.mark.parametrize("library", [pytest.param(n, marks=pytest.mark.needs(n)) for n in STEADY])
@pytest.mark.needs("fixed addresses")
def test_calls_of_libraries_equal_strace(library: str, tmp_path: Path) -> None:
    trace, allocator = compiled(tmp_path, TRACES["churn"]), resolve(library, STEADY[library])
    before, calls = (strace(t, tmp_path, allocator) for t in (without_operations(trace), trace))
    counts = Counter(name for name, _, _ in calls[len(before) :])
    run = examine(trace, allocator)
    assert {c: run.figure(f"calls_{c}") for c in CALLS} == {c: counts[c] for c in CALLS}


@pytest.mark.parametrize("in_process", [False, True])
def test_what_an_allocator_asks_for_as_it_starts_is_not_counted(in_process: bool, tmp_path: Path) -> None:
    """Of a library it is past when the first operation begins. jemalloc maps its metadata and tries out madvise."""
    trace = compiled(tmp_path, [Row(Op.MALLOC, 0, 100)])
    run = examine(trace, resolve("jemalloc"), Settings(in_process=in_process))
    assert {c: run.figure(f"calls_{c}") for c in CALLS} == {c: 2 if c == "mmap" else 0 for c in CALLS}


@pytest.mark.needs("libjemalloc")
@pytest.mark.needs("libtcmalloc_minimal")
@pytest.mark.needs("libmimalloc")
@pytest.mark.parametrize("library", ["libjemalloc", "libtcmalloc_minimal", "libmimalloc"])
def test_a_foreign_library_holds_at_least_what_is_live(library: str, tmp_path: Path) -> None:
    """What it mapped before the first operation is in its account, or a small trace would fit in less than nothing."""
    run = examine(compiled(tmp_path, churn(2000, 8, alignments=False)), resolve(library))
    assert run.verified, run.failure
    line = run.timeline
    assert line is not None and line.mapped is not None
    assert (line.mapped >= line.live).all()
    assert run.figure("peak_vmas") >= 1
