"""Concurrent replay: what its figures must be whatever order comes about, and that ours need what the real ones do."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from orders import in_one_order
from programs import compile_c, faulty
from replays import churn, threaded
from rows import Row, write
from support import ROOT, slow

from alloclab.allocators import Allocator, lab_allocators, resolve
from alloclab.errors import ReplayError
from alloclab.measure import measure
from alloclab.native import built_file
from alloclab.replay import CONCURRENT, Settings, examine, prepare, process, time_once
from alloclab.replay.run import group_of
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Op
from alloclab.trace.strands import ACT_DTYPE, Strands

SETTINGS = Settings(mode=CONCURRENT)
QUICK = ("ptmalloc", "tcmalloc-hpaa")
LABS = [*QUICK, *slow(*(lab.name for lab in lab_allocators() if lab.name not in QUICK))]
LIBRARIES = [
    pytest.param(name, marks=[pytest.mark.needs(name), pytest.mark.slow])
    for name in ("libjemalloc", "libtcmalloc_minimal")
]
RECORDINGS = ["containers", "redis", "node"]
PAIRS = [
    ("system", "ptmalloc"),
    pytest.param("libjemalloc", "jemalloc", marks=pytest.mark.needs("libjemalloc")),
    pytest.param("libtcmalloc_minimal", "tcmalloc", marks=pytest.mark.needs("libtcmalloc_minimal")),
]
ORDERS = 10


@cache
def strands(trace: Path) -> Strands:
    found = prepare(load(trace), SETTINGS)
    assert isinstance(found, Strands)
    return found


def made_up(folder: Path) -> list[Row]:
    """Four threads that free and resize each other's blocks, come and go."""
    rows = threaded(churn(8000, seed=11, most=1 << 14), seed=12)
    write(folder / "t.parquet", rows)
    return rows


@pytest.mark.parametrize("spec", [*LABS, "system", *LIBRARIES])
def test_what_does_not_hang_on_the_order_is_as_in_a_serial_replay(spec: str, tmp_path: Path) -> None:
    made_up(tmp_path)
    trace = strands(tmp_path / "t.parquet")
    run = examine(trace, resolve(spec), SETTINGS)
    assert run.verified and run.mode == "concurrent", run.failure
    serial = examine(compile_trace(load(tmp_path / "t.parquet")), resolve(spec))
    for name in ("at_end_live", "drained_live", "reallocs", "grows", "shrinks"):
        assert run.figure(name) == serial.figure(name), name


@pytest.mark.parametrize("spec", LABS)
def test_the_ledger_adds_up_at_the_peak_at_the_end_and_drained(spec: str, tmp_path: Path) -> None:
    made_up(tmp_path)
    figures = examine(strands(tmp_path / "t.parquet"), resolve(spec), SETTINGS).figures
    for moment in ("at_end", "drained"):
        parts = [figures[f"{moment}_ledger_{part}"] for part in ("usable", "metadata", "cached", "free")]
        assert sum(parts) == figures[f"{moment}_mapped"], moment


@pytest.mark.parametrize("spec", [*LABS, "system"])
def test_of_one_thread_it_is_a_serial_replay(spec: str, tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", churn(3000, seed=13, most=1 << 17))
    trace = strands(tmp_path / "t.parquet")
    assert (len(trace), trace.alive, trace.edges) == (1, 1, 0)
    concurrent, serial = (
        examine(trace, resolve(spec), SETTINGS),
        examine(compile_trace(load(tmp_path / "t.parquet")), resolve(spec)),
    )
    for name in serial.figures:
        sampled = name.startswith("at_peak") or group_of(name) == "memory"
        if not sampled and name not in ("reallocs_by_mremap", "realloc_bytes_copied"):
            assert concurrent.figure(name) == serial.figure(name), name


def test_what_threads_are_and_wait_for_is_measured(tmp_path: Path) -> None:
    """A block that goes from hand to hand: each thread's operation waits for the one before."""
    hands = 50
    rows = [Row(Op.MALLOC, 0, 8), *(Row(Op.REALLOC, 0, 8 * n, thread=n) for n in range(1, hands))]
    write(tmp_path / "t.parquet", [*rows, *(Row(Op.THREAD_EXIT, thread=n) for n in range(1, hands))])
    trace = strands(tmp_path / "t.parquet")
    run = examine(trace, resolve("ptmalloc"), SETTINGS)
    found = measure(run)
    assert [found[name].value for name in ("threads", "threads_alive", "edges")] == [hands, hands, hands - 1]
    assert found["realloc_bytes_copied"].reason == "threads ran side by side: whose an mremap was is not known"
    assert found["ops_per_second"].reason == found["waits"].reason == "not timed"
    timed = time_once(trace, resolve("ptmalloc"), SETTINGS)
    assert set(timed) == {"ns_per_op", "ops_per_second", "waits", "waited_ns_per_op"}
    assert timed["ops_per_second"] > 0 and 0 <= timed["waits"] < hands
    assert (timed["waits"] == 0) == (timed["waited_ns_per_op"] == 0)


def test_the_timeline_ends_with_what_lives_to_the_end(tmp_path: Path) -> None:
    made_up(tmp_path)
    trace = strands(tmp_path / "t.parquet")
    line = examine(trace, resolve("fit"), SETTINGS).timeline
    assert line is not None and line.mapped is not None and line.resident is not None
    assert line.operation[-1] == trace.operations and line.live[-1] == trace.end_live_bytes
    assert len(line.operation) >= 200


def side_by_side(folder: Path, threads: int, size: int = 8) -> Strands:
    """Each has a block, and none ends before the last has come."""
    rows = [Row(Op.MALLOC, n, size, thread=n) for n in range(threads)]
    write(folder / "t.parquet", [*rows, *(Row(Op.THREAD_EXIT, thread=n) for n in range(threads))])
    return strands(folder / "t.parquet")


def test_no_more_threads_at_once_than_libc_keeps_stacks_of(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"ptmalloc: cannot be replayed on: more than 640 threads at once"):
        examine(side_by_side(tmp_path, 641), resolve("ptmalloc"), SETTINGS)


# The first two calls that are refused are made before the pass, the other two by its keeper and for a strand.
@pytest.mark.needs("gcc")
@pytest.mark.parametrize("refused", [1, 4, 9, 12])
@pytest.mark.parametrize("name", ["verify", "time"])
def test_a_thread_that_cannot_be_started_is_told(name: str, refused: int, tmp_path: Path) -> None:
    library = tmp_path / "no_thread.so"
    compile_c(ROOT / "tests/no_thread.c", library, "-shared", "-fPIC", f"-DREFUSED={refused}")
    side_by_side(tmp_path, 8).write(tmp_path / "strands")
    done = subprocess.run(
        [built_file("alloclab-replay"), "--pass", name, tmp_path / "strands"],
        env={"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "trouble the system starts no more threads" in done.stdout.splitlines()


@pytest.mark.needs("gcc")
def test_a_crash_of_many_threads_at_once_is_told_once(tmp_path: Path) -> None:
    trace, crashes = side_by_side(tmp_path, 8, size=77), faulty(tmp_path, "CRASHES_TOGETHER")
    for _ in range(10):
        assert examine(trace, crashes, SETTINGS).failure == "crashed (SIGSEGV) in operation 0"


@pytest.mark.parametrize(
    ("word", "value"),
    [("strands", 1 << 60), ("acts", 3), ("events", 1 << 62), ("alive", 0), ("alive", 9), ("slots", 1 << 61)],
)
def test_what_is_damaged_is_refused(word: str, value: int, tmp_path: Path) -> None:
    """Words of its head (csrc/trace/strands.h)."""
    found = side_by_side(tmp_path, 8)
    head = found.head.copy()
    head[{"slots": 4, "strands": 10, "acts": 11, "events": 12, "alive": 13}[word]] = value
    replace(found, head=head).write(tmp_path / "strands")
    done = subprocess.run([built_file("alloclab-replay"), "--pass", "time", tmp_path / "strands"], capture_output=True)
    assert done.returncode == 3, done


@pytest.mark.parametrize("acts", [[(1, 0), (1, 0)], [(1, 1), (1, 0)], [(1, 0), (1, 1), (1, 1)], [(0, 0), (1, 0)], []])
def test_strands_that_do_not_start_once_and_end_at_most_once_are_refused(
    acts: list[tuple[int, int]], tmp_path: Path
) -> None:
    found = side_by_side(tmp_path, 2)
    head = found.head.copy()
    head[11] = len(acts)
    replace(found, head=head, acts=np.array(acts, ACT_DTYPE)).write(tmp_path / "strands")
    done = subprocess.run([built_file("alloclab-replay"), "--pass", "time", tmp_path / "strands"], capture_output=True)
    assert done.returncode == 3, done


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("spec", [*LABS, "system", *LIBRARIES])
def test_every_recording_of_threads_verifies(spec: str, name: str) -> None:
    run = examine(strands(ROOT / f"traces/{name}.parquet"), resolve(spec), SETTINGS)
    assert run.verified, run.failure


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*LABS, "system", *LIBRARIES])
def test_hundreds_of_threads_verify(spec: str, extra_traces: list[Path]) -> None:
    run = examine(strands(systemui(extra_traces)), resolve(spec), SETTINGS)
    assert run.verified, run.failure
    assert (run.figure("threads"), run.figure("threads_alive")) == (393, 37)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RECORDINGS, "systemui"])
@pytest.mark.parametrize(("real", "ours"), PAIRS)
def test_ours_need_as_much_as_the_real_ones(real: str, ours: str, name: str, extra_traces: list[Path]) -> None:
    """Within 10 %, by medians of ten orders and in most of them: what is mapped grows in steps of up to a fifth, which
    little may decide. Left to themselves, runs of one allocator differ by a third and more, for threads that free lag
    behind as it comes: what else the machine does decides how often how far, so medians of such runs say more of it
    than of allocators. In one order both are asked for the same."""
    trace = strands(systemui(extra_traces) if name == "systemui" else ROOT / f"traces/{name}.parquet")
    runs = []
    for seed in range(ORDERS):
        order = in_one_order(trace, seed)
        (live, *theirs), (own_live, *own) = need(order, resolve(real)), need(order, resolve(ours))
        assert own_live == live, "both were asked for the same"
        runs.append((theirs, own))
    theirs, own = (np.median(found, axis=0).tolist() for found in zip(*runs, strict=True))
    assert own == pytest.approx(theirs, rel=0.1), "mapped and resident"
    assert sum(own == pytest.approx(theirs, rel=0.1) for theirs, own in runs) >= ORDERS - 2, runs


@pytest.mark.slow
@pytest.mark.parametrize("other", ["ptmalloc:top_pad=4MiB", "jemalloc", "tcmalloc"])
def test_who_needs_more_or_less_in_the_same_order_is_told_apart(other: str) -> None:
    order = in_one_order(strands(ROOT / "traces/node.parquet"), 0)
    figures, others = (need(order, resolve(spec))[1:] for spec in ("ptmalloc", other))
    assert others != pytest.approx(figures, rel=0.1)


def need(trace: Strands, allocator: Allocator) -> tuple[float, float, float]:
    """Live bytes at their peak, as sampled; peak mapped and peak resident, of a run each."""
    calls, memory = (process.run_pass(name, trace, allocator, SETTINGS).numbers for name in ("calls", "memory"))
    return calls["at_peak_live"], calls["peak_mapped"], max(memory["peak_resident"], memory["peak_sampled_resident"])


def systemui(extra_traces: list[Path]) -> Path:
    found = next((path for path in extra_traces if path.name == "systemui.zip"), None)
    if found is None:
        pytest.skip("no systemui.zip in ALLOCLAB_EXTRA_TRACES")
    return found
