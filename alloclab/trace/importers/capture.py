"""Reads what the recorder leaves of a process image (``csrc/record/capture.h``) as a trace."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from alloclab.errors import TraceError
from alloclab.native import ffi, lib
from alloclab.trace.model import Events

BLOCK_ROWS = 1 << 17
_ALL = (1 << 64) - 1
_COLUMNS: dict[str, type[np.generic]] = {
    "op": np.uint8,
    "thread": np.uint32,
    "object": np.int64,
    "size": np.uint64,
    "count": np.uint64,
    "align": np.uint64,
    "time_ns": np.int64,
    "failed": np.bool_,
    "address": np.uint64,
}


@dataclass(frozen=True)
class Counts:
    """What a capture held, as far as it was read: rows, what was left out, and the clock's resolution.

    ``frees_unknown`` and ``reallocs_unknown``: of blocks born before the recording, in the parent of a forked child;
    such a realloc is told as a malloc. ``frees_lost``: a block was born where another lived; its free was made up.
    ``calls_lost``: calls in flight when the program was killed. ``clock_resolution_ns``: the mean time between two
    readings of the clock, between which times are interpolated. ``cut``: there were more events than asked for.
    """

    events: int
    frees_unknown: int
    reallocs_unknown: int
    frees_lost: int
    calls_lost: int
    live_bytes: int
    peak_live_bytes: int
    clock_resolution_ns: int | None
    cut: bool

    def dropped(self) -> dict[str, int]:
        """The reasons that occurred, counted."""
        reasons = ("frees_unknown", "reallocs_unknown", "frees_lost", "calls_lost")
        return {name: getattr(self, name) for name in reasons if getattr(self, name)}


class CaptureReader:
    """A context manager that iterates over a capture's blocks of events, once.

    Memory is bounded by the number of live blocks and threads. Raises TraceError for what is no capture.

    ``max_events``: that many and no more. ``until_ns``: none of a later time, on the rows' clock. ``consume``: what was
    read is given back to the disk, so that a disk which the capture fills has room for what is made of it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_events: int | None = None,
        until_ns: int | None = None,
        consume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._max_events = max_events
        self._until_ns = until_ns
        self._consume = consume

    def __enter__(self) -> CaptureReader:
        limit = _ALL if self._max_events is None else self._max_events
        if self._until_ns is not None:
            limit = _events_until(self.path, limit, self._until_ns)
        self._error = ffi.new("const char **")
        self._capture = lib.al_capture_open(os.fsencode(self.path), limit, self._consume, self._error)
        if self._capture == ffi.NULL:
            self._fail()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lib.al_capture_close(self._capture)

    def __iter__(self) -> Iterator[Events]:
        columns: dict[str, Any] = {name: np.empty(BLOCK_ROWS, kind) for name, kind in _COLUMNS.items()}
        rows = ffi.new("al_rows *", {"capacity": BLOCK_ROWS})
        for name, column in columns.items():
            pointer = f"{'uint8' if column.dtype == np.bool_ else column.dtype}_t *"
            setattr(rows, name, ffi.cast(pointer, column.ctypes.data))
        while (ready := lib.al_capture_next(self._capture, rows, self._error)) > 0:
            events = Events(**{name: column[:ready].copy() for name, column in columns.items()})
            if self._until_ns is not None:  # the last rows' times depend on what follows them
                np.minimum(events.time_ns, self._until_ns, out=events.time_ns)
            yield events
        if ready < 0:
            self._fail()

    def counts(self) -> Counts:
        """Of the blocks read so far."""
        found = lib.al_capture_counted(self._capture)
        readings = found.stamps - 1
        return Counts(
            events=found.events,
            frees_unknown=found.frees_unknown,
            reallocs_unknown=found.reallocs_unknown,
            frees_lost=found.frees_lost,
            calls_lost=found.calls_lost,
            live_bytes=found.live_bytes,
            peak_live_bytes=found.peak_live_bytes,
            clock_resolution_ns=max(1, found.span_ns // readings) if readings > 0 else None,
            cut=bool(found.cut),
        )

    def thread_names(self) -> dict[int, str]:
        """By number, of the threads whose names are known, once all blocks were read."""
        names: dict[int, str] = {}
        while (name := lib.al_capture_thread_name(self._capture, thread := len(names))) != ffi.NULL:
            names[thread] = ffi.string(name).decode(errors="replace")
        return {thread: name for thread, name in names.items() if name}

    def _fail(self) -> None:
        reason = ffi.string(self._error[0]).decode()
        if not reason:
            raise MemoryError(os.strerror(errno.ENOMEM))
        raise TraceError(f"{self.path}: unreadable capture: {reason}")


def _events_until(path: Path, limit: int, until_ns: int) -> int:
    """How many of the first ``limit`` events are not of a later time."""
    count = 0
    with CaptureReader(path, max_events=limit) as reader:
        for events in reader:
            early = int(np.searchsorted(events.time_ns, until_ns, side="right"))
            count += early
            if early < len(events):
                break
    return count
