"""Replay a compiled trace on an allocator: trace x allocator x settings -> :class:`RawRun`.

Two ways. *Process*: the program ``alloclab-replay`` with the allocator preloaded; any library and the system's own
malloc under the same loop, with no Python heap in the figures. *In process*: a laboratory's allocator in a window of
this process; quick. In one thread (*serial*), in order, or each recorded thread in one of its own (*concurrent*). Each
pass runs by itself, so that none disturbs another:

    verify   fill and check contents, overlap, alignment, calloc zero; a trace that fails it gets no figures
    calls    system calls and mapped bytes, exact after every operation; the ledger of glass boxes
    memory   what is resident, sampled; page faults
    time     nothing watched; CPU time
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alloclab.errors import ReplayError, UsageError
from alloclab.replay import inprocess, process
from alloclab.replay.run import (
    CONCURRENT,
    IN_PROCESS,
    PROCESS,
    RECORDED_THREADS,
    SERIAL,
    Lines,
    Pass,
    RawRun,
    Settings,
    Timeline,
    UnmeasuredError,
    group_of,
    timeline_of,
)
from alloclab.result import Value
from alloclab.trace.compile import CompiledTrace, compile_trace
from alloclab.trace.strands import Strands, take_apart

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.trace.parquet import Trace
    from alloclab.trace.strands import Replayable

__all__ = [
    "CONCURRENT",
    "RECORDED_THREADS",
    "SERIAL",
    "RawRun",
    "Settings",
    "Timeline",
    "UnmeasuredError",
    "check",
    "count_instructions",
    "examine",
    "examine_unverified",
    "prepare",
    "time_once",
]

_DEFAULT = Settings()


def prepare(trace: Trace, settings: Settings = _DEFAULT) -> Replayable:
    """The trace compiled for the mode of its replays. Raises TraceError as :func:`compile_trace` does."""
    compiled = compile_trace(trace, threads=settings.mode != SERIAL)
    return take_apart(compiled) if settings.mode == CONCURRENT else compiled


def examine(compiled: Replayable, allocator: Allocator, settings: Settings = _DEFAULT) -> RawRun:
    """Verify, then measure memory and calls; times nothing (:func:`time_once`).

    An allocator that fails or crashes yields a run with a ``failure`` and no figures; one that is no malloc at all, or
    cannot be run, raises ReplayError.
    """
    check(allocator, settings)
    if allocator.kind == "null":
        return _examine_null(compiled, allocator, settings)
    try:
        verdict = _runner(settings)("verify", compiled, allocator, settings).words.get("failure")
        if verdict is not None:
            return _run(compiled, allocator, settings, failure=verdict)
        return replace(examine_unverified(compiled, allocator, settings), verified=True)
    except process.CrashError as crash:
        return _run(compiled, allocator, settings, failure=str(crash))


def examine_unverified(compiled: Replayable, allocator: Allocator, settings: Settings = _DEFAULT) -> RawRun:
    """The figures of :func:`examine`, quicker: for a search that verifies no more than what it ends with."""
    run_pass = _runner(settings)
    memory = run_pass("memory", compiled, allocator, settings)
    calls = memory if settings.in_process else run_pass("calls", compiled, allocator, settings)
    figures, missing = _gather(memory, calls, glass=allocator.kind == "lab")
    _add_threads(compiled, figures, missing)
    _add_instructions(compiled, allocator, settings, figures, missing)
    timeline = timeline_of([memory, calls])
    return _run(compiled, allocator, settings, figures=figures, missing=missing, timeline=timeline)


def time_once(compiled: Replayable, allocator: Allocator, settings: Settings = _DEFAULT) -> dict[str, float]:
    """``ns_per_op``, CPU time: the first pass of a fresh process (or heap, in process), or the best of
    ``settings.warm`` passes after it. Of a concurrent replay ``ops_per_second``, ``waits`` and ``waited_ns_per_op``,
    too. One measurement, for interleaving with its rivals. Raises ReplayError."""
    check(allocator, settings)
    if compiled.operations == 0:
        raise ReplayError(f"{compiled.name}: no operations to time")
    try:
        lines = _runner(settings)("time", compiled, allocator, settings)
    except process.CrashError as crash:
        raise ReplayError(f"{allocator.spec}: on {compiled.name} it {crash}") from crash
    first, *warm = lines.passes_ns
    timed = {"ns_per_op": min(warm, default=first) / compiled.operations}
    if settings.mode == CONCURRENT:
        timed["ops_per_second"] = compiled.operations * 1e9 / lines.numbers["wall_ns"]
        timed["waits"] = lines.numbers["waits"]
        timed["waited_ns_per_op"] = lines.numbers["waited_ns"] / compiled.operations
    return timed


def count_instructions(compiled: CompiledTrace, allocator: Allocator, settings: Settings = _DEFAULT) -> Value:
    """Instructions per operation of one pass, the loop's own included, out of process. They repeat, unlike times.

    Counted by callgrind; a virtual machine has no hardware counters to speak of.
    """
    if compiled.operations == 0:
        return Value(None, "instructions", reason="no operations")
    try:
        counted = process.count_instructions(compiled, allocator, settings)
    except UnmeasuredError as why:
        return Value(None, "instructions", reason=str(why))
    return Value(counted / compiled.operations, "instructions")


def _examine_null(compiled: Replayable, allocator: Allocator, settings: Settings) -> RawRun:
    figures: dict[str, float] = {"at_peak_live": compiled.peak_live_bytes, "at_end_live": compiled.end_live_bytes}
    missing = {"all": "the null allocator only counts", "time": "not timed", "instructions": "not asked for"}
    _add_threads(compiled, figures, missing)
    _add_instructions(compiled, allocator, settings, figures, missing)
    return _run(compiled, allocator, settings, figures=figures, missing=missing)


def _add_threads(compiled: Replayable, figures: dict[str, float], missing: dict[str, str]) -> None:
    if not isinstance(compiled, Strands):
        missing |= dict.fromkeys(("threads", "waits"), "one thread did it all: not a concurrent replay")
        return
    figures |= {"edges": compiled.edges, "threads": len(compiled), "threads_alive": compiled.alive}
    missing["waits"] = "not timed"
    missing["realloc_bytes_copied"] = "threads ran side by side: whose an mremap was is not known"


def _add_instructions(
    compiled: Replayable,
    allocator: Allocator,
    settings: Settings,
    figures: dict[str, float],
    missing: dict[str, str],
) -> None:
    if not settings.instructions or isinstance(compiled, Strands):
        return
    counted = count_instructions(compiled, allocator, settings)
    if counted.value is None:
        missing["instructions"] = counted.reason or "not counted"
    else:
        figures["instructions_per_op"] = counted.value


def check(allocator: Allocator, settings: Settings) -> None:
    """UsageError where the allocator cannot be replayed so."""
    if settings.in_process and allocator.kind != "lab":
        how = "with recorded threads" if settings.mode == RECORDED_THREADS else "in process"
        raise UsageError(f"{allocator.spec}: only lab allocators can be replayed {how}")
    if settings.in_process and allocator.env:
        raise UsageError(f"{allocator.spec}: variables do not reach a replay in process; its tunables do")


def _runner(settings: Settings) -> Callable[[Pass, Replayable, Allocator, Settings], Lines]:
    return inprocess.run_pass if settings.in_process else process.run_pass


def _run(
    compiled: Replayable, allocator: Allocator, settings: Settings, *, verified: bool = False, **what: Any
) -> RawRun:
    return RawRun(
        trace=compiled.name,
        allocator=allocator.spec,
        ops=compiled.operations,
        mode=settings.mode,
        way=IN_PROCESS if settings.in_process else PROCESS,
        touch=settings.touch,
        thp=settings.thp,
        verified=verified,
        **what,
    )


def _gather(memory: Lines, calls: Lines, *, glass: bool) -> tuple[dict[str, float], dict[str, str]]:
    """Figures of both passes, and why some are missing.

    Where both know one, calls repeats exactly and has the say, but its signals cause page faults. The kernel's
    high-water mark can lag behind what a sample saw.
    """
    figures = memory.numbers | calls.numbers | {"minor_faults": memory.numbers["minor_faults"]}
    sampled = figures["peak_sampled_resident"]
    figures["peak_resident"] = max(figures.get("peak_resident", 0), sampled)
    missing = {"time": "not timed", "instructions": "not asked for", "ledger": "not a glass box: it keeps no ledger"}
    if glass:  # out of process its heap is made by the first block asked for
        missing["calls"] = missing["ledger"] = "it made no heap: the trace asks for no block"
    if figures["at_peak_live"] == 0:
        missing |= dict.fromkeys(("mean_mapped_per_live", "mean_resident_per_live"), "the trace has no live bytes")
    uncounted = calls.words.get("uncounted")
    if uncounted is not None:
        missing["calls"] = uncounted
        figures = {name: value for name, value in figures.items() if group_of(name) != "calls"}
    return figures, missing
