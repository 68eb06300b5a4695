"""Where every mapped byte of a glass-box heap is, at the first peak of live. The five add up to mapped."""

from __future__ import annotations

from alloclab.measure import metric
from alloclab.replay import RawRun


@metric("bytes")
def ledger_live(run: RawRun) -> float:
    """Bytes that the program asked for and holds, at the first peak of live."""
    run.figure("at_peak_ledger_usable")
    return run.figure("at_peak_live")


@metric("bytes")
def ledger_rounding(run: RawRun) -> float:
    """Usable bytes of live blocks beyond what was asked for, at the first peak of live."""
    return run.figure("at_peak_ledger_usable") - run.figure("at_peak_live")


@metric("bytes")
def ledger_metadata(run: RawRun) -> float:
    """Headers and tables, at the first peak of live."""
    return run.figure("at_peak_ledger_metadata")


@metric("bytes")
def ledger_cached(run: RawRun) -> float:
    """Free bytes held in thread caches, at the first peak of live."""
    return run.figure("at_peak_ledger_cached")


@metric("bytes")
def ledger_free(run: RawRun) -> float:
    """Other free bytes inside mapped regions, at the first peak of live."""
    return run.figure("at_peak_ledger_free")
