"""Parts of traces: a prefix, or rows from A up to B with the heap as it was at A.

A part begins with one birth for each block that is live at A, in order of their births and with the sizes they have
then: a malloc, or an aligned call where the block was born of one, by the thread of its birth, timed as row A. So its
peak, its survivors and its contradictions are those of the same rows in the whole trace. Blocks that live on at B stay
live. Objects are numbered anew, densely; threads and times keep their numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.errors import TraceError, UsageError
from alloclab.native import ffi, lib
from alloclab.trace.columns import borrowed, check_fault
from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import Trace, TraceWriter
from alloclab.trace.stats import survivors_of


@dataclass(frozen=True)
class CutReport:
    """``born_before``: births put first for what was live at ``start``; ``rows``: of the new trace, with these."""

    start: int
    stop: int
    born_before: int
    rows: int


def cut(trace: Trace, out: str | os.PathLike[str], start: int, stop: int) -> CutReport:
    """Writes rows ``start <= row < stop`` of the trace as a trace of its own; ``stop`` may lie beyond the end.

    Streams the trace up to ``stop``. Raises UsageError for an empty range and TraceError where the rows before
    ``start`` contradict each other.
    """
    stop = min(stop, len(trace))
    if not 0 <= start < stop:
        raise UsageError(f"{trace.path}: no rows from {start} to {stop}: the trace has {len(trace)}")
    history = ffi.new("al_history *")
    if not lib.al_history_init(history):
        raise MemoryError("no memory to cut a trace")
    history = ffi.gc(history, lib.al_history_destroy)
    part = _rows(trace, start, stop, history)
    first = next(part)
    births, renumber = _births(trace, history, first)
    with TraceWriter(out, trace.metadata, address="address" in trace.columns, stack="stack" in trace.columns) as writer:
        writer.write(births)
        writer.write(renumber(first))
        for events in part:
            writer.write(renumber(events))
        writer.metadata = _metadata(trace, start, stop, len(births))
    return CutReport(start, stop, len(births), writer.rows)


def _rows(trace: Trace, start: int, stop: int, history: Any) -> Iterator[Events]:
    """The rows of the part; those before it go into the history."""
    row = ffi.new("size_t *")
    first = 0
    for events in trace.blocks():
        before = min(max(start - first, 0), len(events))
        if before:
            head = slice_events(events, 0, before)
            with borrowed(head) as block:
                fault = lib.al_history_add_rows(history, block, row)
            check_fault(fault, trace.path, head, row[0], first)
        wanted = slice_events(events, before, min(stop - first, len(events)))
        if len(wanted):
            yield wanted
        first += len(events)
        if first >= stop:
            return


def slice_events(events: Events, start: int, stop: int) -> Events:
    """Rows ``start`` up to ``stop`` of a block, as views of it."""
    columns: dict[str, Any] = {}
    for field in fields(events):
        column = getattr(events, field.name)
        columns[field.name] = None if column is None else column[start:stop]
    return Events(**columns)


class _Renumber:
    """New numbers for objects: those live at the start come first, then those born in the part, in order."""

    def __init__(self, trace: Trace, live: npt.NDArray[np.int64], born: int) -> None:
        self._trace = trace
        self._live = np.sort(live)
        self._born = born  # objects from here on are born in the part

    def __call__(self, events: Events) -> Events:
        old = events.object
        before = np.flatnonzero((old >= 0) & (old < self._born))
        new = np.where(old < 0, old, old - self._born + len(self._live))
        new[before] = np.searchsorted(self._live, old[before])
        dead = before[~np.isin(old[before], self._live)]
        if len(dead):
            raise TraceError(f"{self._trace.path}: object {old[dead[0]]} is used after its death; see `alloclab info`")
        return replace(events, object=new)


def _births(trace: Trace, history: Any, first: Events) -> tuple[Events, _Renumber]:
    records, sizes = survivors_of(history)
    live = records["object"]
    renumber = _Renumber(trace, live[live >= 0], history.live.next)
    count = len(records)
    aligned = records["align"] != 0
    events = Events(
        op=np.where(aligned, Op.ALIGNED, Op.MALLOC).astype(np.uint8),
        thread=records["thread"],
        object=live,
        size=sizes,
        count=np.ones(count, np.uint64),
        align=records["align"],
        time_ns=np.full(count, first.time_ns[0], np.int64),
        failed=np.zeros(count, np.bool_),
        address=np.zeros(count, np.uint64),
    )
    return renumber(events), renumber


def _metadata(trace: Trace, start: int, stop: int, born_before: int) -> Metadata:
    """The recording's, with what was done to it; how the program ended belongs to the last row only.

    What else the source knew, its peak for example, holds for the whole and is kept as such.
    """
    whole = trace.metadata
    origin = {"of": trace.name, "from": start, "to": stop, "rows": len(trace), "born_before": born_before}
    ended = whole.ended if stop == len(trace) else f"cut before row {stop}"
    return replace(whole, ended=ended, extra={"cut": origin, "whole": whole.extra})
