"""How reallocs went."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("share", better="higher")
def realloc_in_place_share(run: RawRun) -> float:
    """Share of the reallocs of a live block, growing or shrinking, whose result is the same address."""
    return run.figure("reallocs_in_place") / run.figure("reallocs")


@metric("moves")
def realloc_moves(run: RawRun) -> float:
    """How many reallocs of a live block gave another address."""
    return run.figure("reallocs") - run.figure("reallocs_in_place")


@metric("bytes")
def realloc_bytes_copied(run: RawRun) -> float:
    """Bytes that reallocs had to copy: the smaller of old and new size, where the block moved, but not by mremap."""
    return run.figure("realloc_bytes_copied")
