"""The verify pass: passes what is a malloc, and says what is wrong with what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import faulty
from replays import churn, compiled
from rows import Row

from alloclab.allocators import Allocator, lab_allocators, resolve
from alloclab.errors import ReplayError, TraceError, UsageError
from alloclab.measure import measure
from alloclab.replay import Settings, examine, time_once
from alloclab.trace import load
from alloclab.trace.compile import CompiledTrace, compile_trace
from alloclab.trace.model import Op

FAULTS = {
    "OVERLAPS": "overlaps a live one",
    "DIRTY_CALLOC": "not zero",
    "MISALIGNED": "misaligned",
    "IGNORES_ALIGNMENT": "misaligned",
    "REALLOC_FORGETS": "has changed",
    "REALLOC_OVERRUNS": "has changed",
    "USABLE_TOO_SMALL": "usable size is less",
    "CRASHES": "crashed (SIGSEGV) in operation 49",
    "CRASHES_TWICE": "crashed (SIGSEGV) in operation 49",
    "GIVES_UP": "the heap is on fire",
    "EXITS": "ended the process (exit status 7)",
    "EXITS_WELL": "ended the process (exit status 0)",
    "GARBAGE": "not an address of user space",
    "UNMAPPED": "crashed (SIGSEGV) in operation",
    "REFUSES": "it failed, but succeeded when recorded",
    "SAME_ZERO": "overlaps a live one",
    "FREE_SCRIBBLES": "has changed",
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> CompiledTrace:
    """Every kind of operation; nothing but mallocs in the first fifty; blocks of no bytes."""
    rows = [Row(Op.MALLOC, i, 8 * (i % 9)) for i in range(60)]
    shift = 60
    for row in churn(3000, seed=7, most=2000):
        row.object = None if row.object is None else row.object + shift
        rows.append(row)
    return compiled(tmp_path_factory.mktemp("trace"), rows)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(trace: CompiledTrace, fault: str, tmp_path: Path) -> None:
    run = examine(trace, faulty(tmp_path, fault))
    assert not run.verified
    assert run.failure is not None and FAULTS[fault] in run.failure
    assert "\n" not in run.failure
    assert all(value.value is None and value.reason == "not verified" for value in measure(run).values())


@pytest.mark.needs("gcc")
def test_the_same_malloc_without_a_fault_passes(trace: CompiledTrace, tmp_path: Path) -> None:
    run = examine(trace, faulty(tmp_path, "NONE"))
    assert run.verified, run.failure


@pytest.mark.needs("gcc")
def test_a_malloc_without_usable_size_is_not_asked_for_it(trace: CompiledTrace, tmp_path: Path) -> None:
    run = examine(trace, faulty(tmp_path, "NONE", "-Dmalloc_usable_size=other"))
    assert run.verified, run.failure


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("fault", "why"), [("FORKS", "started a thread or process"), ("RUNS_A_THREAD", "runs threads of its own")]
)
def test_calls_that_nobody_saw_are_not_counted(trace: CompiledTrace, fault: str, why: str, tmp_path: Path) -> None:
    run = examine(trace, faulty(tmp_path, fault))
    assert run.verified, run.failure
    found = measure(run)
    for name in ("calls_mmap", "bytes_brk", "peak_mapped_bytes", "fragmentation_1", "realloc_bytes_copied"):
        assert found[name].value is None and why in (found[name].reason or "")
    assert found["peak_resident_bytes"].value and found["realloc_in_place_share"].value is not None


@pytest.mark.needs("gcc")
def test_half_a_malloc_is_refused(trace: CompiledTrace, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="defines malloc but not realloc"):
        examine(trace, faulty(tmp_path, "NONE", "-Drealloc=other"))


@pytest.mark.parametrize("name", ["libm.so.6", "no-such-library.so"])
def test_a_library_that_is_no_malloc_is_refused(trace: CompiledTrace, name: str) -> None:
    with pytest.raises(ReplayError, match=f"{name}: not a malloc"):
        examine(trace, Allocator(name, "library", name, Path(name)))


FOREIGN = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("libjemalloc", "libtcmalloc_minimal")]


@pytest.mark.parametrize("spec", ["system", *FOREIGN, *(lab.name for lab in lab_allocators())])
def test_real_mallocs_pass(trace: CompiledTrace, spec: str) -> None:
    run = examine(trace, resolve(spec))
    assert run.verified, run.failure


def test_failed_calls_are_replayed_and_succeed_or_not(tmp_path: Path) -> None:
    huge = (1 << 63) - 1
    rows = [
        Row(Op.MALLOC, 0, 100),
        Row(Op.MALLOC, None, huge, failed=True),
        Row(Op.CALLOC, None, 1 << 40, count=1 << 40, failed=True),
        Row(Op.ALIGNED, None, 100, align=3, failed=True),
        Row(Op.MALLOC, None, 5000, failed=True),
        Row(Op.REALLOC, 0, huge, failed=True),
        Row(Op.REALLOC, 0, 4000, failed=True),
        Row(Op.REALLOC, 0, 50),
        Row(Op.FREE, None),
        Row(Op.FREE, 0),
    ]
    trace = compiled(tmp_path, rows)
    for spec, in_process in [("system", False), ("fit", False), ("fit", True)]:
        run = examine(trace, resolve(spec), Settings(in_process=in_process))
        assert run.verified, run.failure
        assert run.figure("at_peak_live") == 100 and run.figure("at_end_live") == 0
        assert time_once(trace, resolve(spec), Settings(in_process=in_process))["ns_per_op"] > 0


def test_only_the_laboratorys_own_are_replayed_in_process(trace: CompiledTrace) -> None:
    with pytest.raises(UsageError, match="only lab allocators"):
        examine(trace, resolve("system"), Settings(in_process=True))
    with pytest.raises(UsageError, match="variables do not reach"):
        examine(
            trace, resolve("ptmalloc", {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}), Settings(in_process=True)
        )


def test_a_trace_without_operations_is_measured_but_not_timed(tmp_path: Path) -> None:
    trace = compiled(tmp_path, [])
    run = examine(trace, resolve("system"))
    assert run.verified
    found = measure(run)
    assert found["calls_mmap"].value == 0 and found["fragmentation_1"].value is None
    with pytest.raises(ReplayError, match="no operations"):
        time_once(trace, resolve("system"))


@pytest.mark.slow  # as much memory is faulted in beforehand as would be for any trace
def test_the_null_allocator_bears_blocks_larger_than_memory(tmp_path: Path) -> None:
    trace = compiled(tmp_path, [Row(Op.MALLOC, 0, 1 << 60), Row(Op.REALLOC, 0, 1 << 61), Row(Op.FREE, 0)])
    assert time_once(trace, resolve("null"))["ns_per_op"] > 0
    assert "it failed, but succeeded when recorded" in (examine(trace, resolve("system")).failure or "")


def test_the_null_allocator_is_timed_and_not_verified(trace: CompiledTrace) -> None:
    run = examine(trace, resolve("null"))
    assert not run.verified and run.failure is None
    assert time_once(trace, resolve("null"), Settings(warm=3))["ns_per_op"] > 0


def test_extra_traces_verify_on_the_system_malloc(extra_traces: list[Path]) -> None:
    for path in extra_traces:
        try:
            trace = compile_trace(load(path))
        except TraceError:
            continue  # collections hold malformed ones on purpose; importers have tests of their own
        run = examine(trace, resolve("system"))
        assert run.verified, f"{path}: {run.failure}"
