"""The four measures of Johnstone and Wilson ("The memory fragmentation problem: solved?", 1998), also over resident."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("ratio")
def fragmentation_1(run: RawRun) -> float:
    """Mean, over the operations after which something is live, of mapped / live."""
    return run.figure("mean_mapped_per_live")


@metric("ratio")
def fragmentation_2(run: RawRun) -> float:
    """Mapped / live at the first peak of live."""
    return run.figure("at_peak_mapped") / run.figure("at_peak_live")


@metric("ratio")
def fragmentation_3(run: RawRun) -> float:
    """Peak mapped / live after the operation in which that peak is first reached."""
    return run.figure("peak_mapped") / run.figure("live_at_peak_mapped")


@metric("ratio")
def fragmentation_4(run: RawRun) -> float:
    """Peak mapped / peak live."""
    return run.figure("peak_mapped") / run.figure("at_peak_live")


@metric("ratio")
def fragmentation_resident_1(run: RawRun) -> float:
    """Mean, over the samples at which something is live, of resident / live."""
    return run.figure("mean_resident_per_live")


@metric("ratio")
def fragmentation_resident_2(run: RawRun) -> float:
    """Resident / live at the first peak of live."""
    return run.figure("at_peak_resident") / run.figure("at_peak_live")


@metric("ratio")
def fragmentation_resident_3(run: RawRun) -> float:
    """Largest resident of the samples / live at that sample."""
    return run.figure("peak_sampled_resident") / run.figure("live_at_peak_resident")


@metric("ratio")
def fragmentation_resident_4(run: RawRun) -> float:
    """Peak resident / peak live."""
    return run.figure("peak_resident") / run.figure("at_peak_live")


@metric("ratio", better="higher")
def utilization(run: RawRun) -> float:
    """Peak live / peak mapped, the inverse of fragmentation_4 (the malloc lab's space utilization)."""
    return run.figure("at_peak_live") / run.figure("peak_mapped")
