"""Rows as a foreign file has them, names not yet resolved, and their way to events.

The C core fills a :class:`RowBuffer`; :func:`resolve` gives threads and blocks their dense numbers and says which rows
contradict what came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.native import ffi, lib
from alloclab.trace.importers.base import Session
from alloclab.trace.model import OP_LABELS, Events, Op

ROWS = 1 << 16
"""Rows of a buffer and so, at most, of a block of events: 4.5 MB."""
NO_TIME = np.uint64(2**64 - 1)
IMPOSSIBLE_SIZE = 1 << 47
"""The address space of a process on x86-64: a request for as much must have failed, also where a file does not say."""

RENAME = lib.AL_ROW_RENAME
"""As a row's op: the block ``old`` goes by ``name`` from here on. No event."""
INVENTED_NAME = 1 << 62
"""Plus a line: a name that an importer makes up. No address is as great; lines that say so are not understood."""
UNNAMEABLE = np.uint64(1 << 63)
"""Plus a line: the name of a block whose name the file does not say."""

U64 = npt.NDArray[np.uint64]
_COLUMNS = ("thread", "name", "old", "size", "count", "align", "time")  # as in csrc/trace/rows.h


@dataclass
class Rows:
    """Columns of equal length. ``op``: values of Op, or pattern numbers on the way there. ``where``: the line, counted
    from 1, or the byte offset. ``name``, ``old``: blocks by address or by id plus one, 0 is NULL. ``time``: NO_TIME
    where unknown."""

    op: npt.NDArray[np.uint8]
    where: U64
    thread: U64
    name: U64
    old: U64
    size: U64
    count: U64
    align: U64
    time: U64

    def __len__(self) -> int:
        return len(self.op)

    def take(self, index: Any) -> Rows:
        """The rows that a mask, a slice or an array of row numbers chooses."""
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    def then(self, other: Rows) -> Rows:
        """These rows and the others after them."""
        return Rows(*(np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))


class RowBuffer:
    """An ``al_import_rows`` for the core to fill, at ``pointer``."""

    def __init__(self) -> None:
        self._op = np.empty(ROWS, np.uint8)
        self._where = np.empty(ROWS, np.uint64)
        self._columns = np.empty((len(_COLUMNS), ROWS), np.uint64)
        self.pointer = ffi.new("al_import_rows *")
        self.pointer.capacity = ROWS
        self.pointer.kind = _at(self._op)
        self.pointer.where = _at(self._where)
        self.pointer.columns = _at(self._columns)

    def rows(self) -> Rows:
        """Views of what was filled."""
        n = self.pointer.count
        return Rows(self._op[:n], self._where[:n], *(column[:n] for column in self._columns))


def _at(array: npt.NDArray[Any]) -> Any:
    """The C pointer to a contiguous array; the caller keeps the array."""
    letter = {"u1": "uint8_t", "u4": "uint32_t", "u8": "uint64_t", "i8": "int64_t", "b1": "bool"}[array.dtype.str[1:]]
    return ffi.cast(f"{letter} *", array.ctypes.data)


_WORDS = {
    1: ("{op} gives {name}, which is already live", "a block that is not live", "births at a live block's name"),
    2: ("free of {name}, which is not live", "a live block", "frees of unknown blocks"),
    3: ("realloc of {old}, which is not live", "a live block", "reallocs of unknown blocks"),
    4: ("{op} gives {name} for {bytes} bytes", "at most PTRDIFF_MAX bytes, or NULL", "impossible calls"),
}


class _Tracker:
    """The core's ``al_identity``: names to objects, thread ids to dense numbers."""

    def __init__(self, unknown_realloc_is_malloc: bool) -> None:
        self.state = ffi.gc(ffi.new("al_identity *"), lib.al_identity_destroy)
        if not lib.al_identity_init(self.state, unknown_realloc_is_malloc):
            raise MemoryError("no memory for a table of live blocks")

    def run(self, rows: Rows, failed: npt.NDArray[np.bool_]) -> tuple[Events, npt.NDArray[np.uint8] | None]:
        """The events, and by row what is wrong with it (keys of _WORDS), or None where nothing is. Changes ``rows.op``
        and ``failed``."""
        n = len(rows)
        thread, object_, problem = np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.uint8)
        given = [np.ascontiguousarray(c) for c in (rows.thread, rows.name, rows.old, rows.size, rows.count)]
        op = np.ascontiguousarray(rows.op)
        columns: list[npt.NDArray[Any]] = [op, *given, failed, object_, thread, problem]
        problems = lib.al_identity_run(self.state, n, *map(_at, columns))
        if problems < 0:
            raise MemoryError("no memory for a table of live blocks")
        no_time = np.full(n, -1, np.int64)
        events = Events(op, thread, object_, rows.size, rows.count, rows.align, no_time, failed)
        return events, problem if problems else None


def _set_times(events: Events, time: U64, base: int | None) -> int | None:
    """Nanoseconds since the first time of the file. What began before that counts as beginning with it."""
    known = time != NO_TIME
    if not known.any():
        return base
    if base is None:
        base = int(time[np.argmax(known)])
    elapsed = np.where(time > base, time - np.uint64(base), np.uint64(0)).astype(np.int64)
    events.time_ns = np.where(known, elapsed, -1)
    return base


def _round_alignments(events: Events) -> None:
    """memalign takes any alignment, and serves the next power of two: the row says that one."""
    served = (events.op == Op.ALIGNED) & ~events.failed
    odd = served & ((events.align == 0) | (events.align & (events.align - np.uint64(1)) != 0))
    for i in np.flatnonzero(odd):
        events.align[i] = 1 << min(63, max(0, int(events.align[i]) - 1).bit_length())


def _chosen(events: Events, mask: npt.NDArray[np.bool_]) -> Events:
    columns = (getattr(events, field.name) for field in fields(events) if field.name != "stack")
    return Events(*(None if column is None else column[mask] for column in columns))  # type: ignore[arg-type]


def resolve(
    blocks: Iterator[Rows],
    session: Session,
    *,
    unit: str,
    addresses: bool,
    unknown_realloc_is_malloc: bool = False,
) -> Iterator[Events]:
    """Rows to events. ``addresses``: names are addresses and results are known, so NULL tells of failure; else names
    are ids plus one, and a call fails where no process could grant it.

    Leaves the live and peak figures in the session's report. Raises TraceError for rows that contradict those before.
    """
    tracker = _Tracker(unknown_realloc_is_malloc)
    base: int | None = None
    for rows in blocks:
        failed = np.zeros(len(rows), np.bool_) if addresses else _impossible(rows)
        given_op = rows.op.copy()
        events, problem = tracker.run(rows, failed)
        if addresses:
            events.address = np.where(rows.name < INVENTED_NAME, rows.name, np.uint64(0))
        base = _set_times(events, rows.time, base)
        _round_alignments(events)
        kept = events.op != RENAME
        if problem is not None:
            _leave_out(rows, given_op, problem, session, unit, addresses)
            kept &= problem == 0
        session.report.births_by_realloc += int((kept & (given_op == Op.REALLOC) & (events.op == Op.MALLOC)).sum())
        if not kept.all():
            events = _chosen(events, kept)
        _report(tracker, session)
        if len(events):
            yield events


def _impossible(rows: Rows) -> npt.NDArray[np.bool_]:
    possible = np.uint64(IMPOSSIBLE_SIZE)
    with np.errstate(over="ignore"):
        product = rows.size * rows.count
        overflows = (rows.size >= possible) | (rows.count >= possible) | (product >= possible)
        wraps = (rows.count > 1) & (rows.size > 0) & (product // np.maximum(rows.count, 1) != rows.size)
    failed: npt.NDArray[np.bool_] = (overflows & (rows.size > 0) & (rows.count > 0)) | wraps
    return failed


def _leave_out(
    rows: Rows, op: npt.NDArray[np.uint8], problem: npt.NDArray[np.uint8], session: Session, unit: str, addresses: bool
) -> None:
    if addresses:  # what goes wrong with a made-up name was told when it was made up
        problem = np.where(rows.old < INVENTED_NAME, problem, np.uint8(0))
    kinds, firsts = np.unique(problem, return_index=True)
    for kind in kinds[np.argsort(firsts)]:
        if kind == 0:
            continue
        mask = problem == kind
        at = int(np.argmax(mask))
        found, expected, reason = _WORDS[int(kind)]

        def words(name: int) -> str:
            return f"block {name:#x}" if addresses else f"block {name - 1}"

        label = OP_LABELS[op[at]] if op[at] < len(OP_LABELS) else Op.REALLOC.label
        asked = int(rows.size[at]) * int(rows.count[at])
        text = found.format(op=label, name=words(int(rows.name[at])), old=words(int(rows.old[at])), bytes=asked)
        session.leave_out(reason, int(mask.sum()), f"{unit} {rows.where[at]}", text, expected)


def _report(tracker: _Tracker, session: Session) -> None:
    state, report = tracker.state, session.report
    report.threads = int(state.thread_count)
    report.live_blocks, report.live_bytes = int(state.live_blocks), int(state.live_bytes)
    report.peak_live_bytes = int(state.peak_bytes)
