"""How much memory: peaks, and what is left."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("bytes")
def peak_live_bytes(run: RawRun) -> float:
    """Largest sum of the bytes that the program asked for and had not freed: a property of the trace.

    In concurrent replays that of the order which came about, and the largest of the samples.
    """
    return run.figure("at_peak_live")


@metric("bytes")
def peak_mapped_bytes(run: RawRun) -> float:
    """Most bytes, readable and writable, that the allocator held from the system at any moment."""
    return run.figure("peak_mapped")


@metric("bytes")
def peak_resident_bytes(run: RawRun) -> float:
    """Most bytes of the allocator with a physical page behind them.

    By the kernel's high-water mark; in process, the largest of the samples.
    """
    return run.figure("peak_resident")


@metric("bytes")
def end_resident_bytes(run: RawRun) -> float:
    """Resident bytes after the last operation."""
    return run.figure("at_end_resident")


@metric("bytes")
def drained_resident_bytes(run: RawRun) -> float:
    """Resident bytes after every surviving block is freed, too."""
    return run.figure("drained_resident")
