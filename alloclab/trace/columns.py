"""Blocks of rows as the C core reads them, and what the core says of a row that is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from alloclab.errors import TraceError
from alloclab.native import ffi, lib
from alloclab.trace.model import Events


class Fault(IntEnum):
    """What can be wrong with a row, numbered as in csrc/trace/fault.h."""

    DOUBLE_FREE = lib.AL_FAULT_DOUBLE_FREE
    UNKNOWN_FREE = lib.AL_FAULT_UNKNOWN_FREE
    REALLOC_DEAD = lib.AL_FAULT_REALLOC_DEAD
    REALLOC_UNKNOWN = lib.AL_FAULT_REALLOC_UNKNOWN
    BORN_TWICE = lib.AL_FAULT_BORN_TWICE
    IMPOSSIBLE_SIZE = lib.AL_FAULT_IMPOSSIBLE_SIZE
    UNNAMED = lib.AL_FAULT_UNNAMED
    FAILED_BIRTH = lib.AL_FAULT_FAILED_BIRTH
    BAD_ALIGNMENT = lib.AL_FAULT_BAD_ALIGNMENT
    NEGATIVE_OBJECT = lib.AL_FAULT_NEGATIVE_OBJECT
    NEGATIVE_TIME = lib.AL_FAULT_NEGATIVE_TIME
    THREAD_TWICE = lib.AL_FAULT_THREAD_TWICE
    THREAD_GONE = lib.AL_FAULT_THREAD_GONE

    @property
    def label(self) -> str:
        return self.name.lower()

    def describe(self, events: Events, row: int) -> str:
        """One clause on row ``row`` of the block."""
        return _WORDS[self].format(
            object=events.object[row],
            thread=events.thread[row],
            size=events.size[row],
            count=events.count[row],
            align=events.align[row],
            time=events.time_ns[row],
        )


_WORDS = {
    Fault.DOUBLE_FREE: "double free: object {object} is already dead",
    Fault.UNKNOWN_FREE: "free of object {object}, which was never born",
    Fault.REALLOC_DEAD: "realloc of object {object}, which is already dead",
    Fault.REALLOC_UNKNOWN: "realloc of object {object}, which was never born",
    Fault.BORN_TWICE: "object {object} born twice or out of order",
    Fault.IMPOSSIBLE_SIZE: "impossible size: {count} x {size} bytes cannot have succeeded",
    Fault.UNNAMED: "a call for {size} bytes succeeded without an object",
    Fault.FAILED_BIRTH: "object {object} comes from a call that failed",
    Fault.BAD_ALIGNMENT: "alignment {align} is not a power of two, yet the call succeeded",
    Fault.NEGATIVE_OBJECT: "negative object {object}",
    Fault.NEGATIVE_TIME: "negative time {time} ns",
    Fault.THREAD_TWICE: "thread {thread} started twice",
    Fault.THREAD_GONE: "thread {thread} acts after its exit",
}

_COLUMNS = {
    "op": np.uint8,
    "thread": np.uint32,
    "object": np.int64,
    "size": np.uint64,
    "count": np.uint64,
    "align": np.uint64,
    "time_ns": np.int64,
    "failed": np.uint8,
}
NAMES = tuple(_COLUMNS)
"""The columns that the core reads."""


def check_fault(fault: int, path: Path, events: Events, row: int, first: int) -> None:
    """Raises what the core found at row ``row`` of a block that begins at row ``first`` of the trace."""
    if fault == lib.AL_FAULT_NO_MEMORY:
        raise MemoryError(f"{path}: no memory for what is live at row {first + row}")
    if fault:
        raise TraceError(f"{path}: row {first + row}: {Fault(fault).describe(events, row)}")


@contextlib.contextmanager
def borrowed(events: Events) -> Iterator[Any]:
    """An ``al_events *`` over the arrays of a block, which are alive until the context ends.

    Not bound to the block's own life: a weak reference's callback would swallow the Ctrl-C that came in a long call.
    """
    block = ffi.new("al_events *")
    block.rows = len(events)
    kept = []
    for name, dtype in _COLUMNS.items():
        column = np.ascontiguousarray(getattr(events, name)).view(dtype)
        pointer = ffi.from_buffer(ffi.typeof(getattr(block, name)), column)
        setattr(block, name, pointer)
        kept.append(pointer)
    yield block
