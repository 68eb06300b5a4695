"""What an operation costs."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("ns")
def ns_per_op(run: RawRun) -> float:
    """CPU time per operation, the replay loop's own included (the null allocator's row says how much that is).

    The first pass of a fresh process, with the page faults and system calls it causes; median over interleaved repeats.
    In concurrent replays that of all threads together, with what they spin while they wait.
    """
    return run.figure("ns_per_op")


@metric("instructions")
def instructions_per_op(run: RawRun) -> float:
    """Instructions per operation of one pass, the replay loop's own included, counted by callgrind."""
    return run.figure("instructions_per_op")
