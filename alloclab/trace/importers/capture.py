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
    readings of the clock, between which times are interpolated.
    """

    events: int
    frees_unknown: int
    reallocs_unknown: int
    frees_lost: int
    calls_lost: int
    live_bytes: int
    peak_live_bytes: int
    clock_resolution_ns: int | None

    def dropped(self) -> dict[str, int]:
        """The reasons that occurred, counted."""
        reasons = ("frees_unknown", "reallocs_unknown", "frees_lost", "calls_lost")
        return {name: getattr(self, name) for name in reasons if getattr(self, name)}


class CaptureReader:
    """A context manager that iterates over a capture's blocks of events, once.

    Memory is bounded by the number of live blocks and threads. Raises TraceError for what is no capture.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> CaptureReader:
        self._error = ffi.new("const char **")
        self._capture = lib.al_capture_open(os.fsencode(self.path), self._error)
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
            yield Events(**{name: column[:ready].copy() for name, column in columns.items()})
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
        )

    def _fail(self) -> None:
        reason = ffi.string(self._error[0]).decode()
        if not reason:
            raise MemoryError(os.strerror(errno.ENOMEM))
        raise TraceError(f"{self.path}: unreadable capture: {reason}")
