"""What comes of threads that run side by side, in concurrent replays alone."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("threads")
def threads(run: RawRun) -> float:
    """Threads of the trace, each replayed by a thread of the system: one that ended and one that came later are two."""
    return run.figure("threads")


@metric("threads")
def threads_alive(run: RawRun) -> float:
    """Most of these threads alive at once, as recorded."""
    return run.figure("threads_alive")


@metric("edges")
def edges(run: RawRun) -> float:
    """Operations that may not be done before one of another thread, which touched their block last."""
    return run.figure("edges")


@metric("ops/s", better="higher")
def ops_per_second(run: RawRun) -> float:
    """Operations per second by the clock on the wall, of all threads together.

    From the first thread's start to the last one's end; median over interleaved repeats.
    """
    return run.figure("ops_per_second")


@metric("waits")
def waits(run: RawRun) -> float:
    """How often a thread came to an edge before the other one was there; median over interleaved repeats."""
    return run.figure("waits")


@metric("ns")
def waited_ns_per_op(run: RawRun) -> float:
    """Time that threads waited at edges, by the clock on the wall, added up over all of them, per operation.

    Threads spin briefly, then sleep. Median over interleaved repeats.
    """
    return run.figure("waited_ns_per_op")
