"""What a trace is: the schema of its rows, its metadata, and a block of rows in memory.

A trace is Parquet, one row per event in global order. In memory it is handled a block at a time, as numpy columns
(:class:`Events`), so that no trace needs to fit in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SCHEMA_VERSION = 1
NO_OBJECT = -1  # free(NULL), failed births, and thread events: null in the file


class Op(IntEnum):
    """Kinds of events, in the order of the file's dictionary."""

    MALLOC = 0
    CALLOC = 1
    REALLOC = 2
    ALIGNED = 3
    FREE = 4
    THREAD_START = 5
    THREAD_EXIT = 6

    @property
    def label(self) -> str:
        return self.name.lower()


OP_LABELS: tuple[str, ...] = tuple(op.label for op in Op)

SCHEMA = pa.schema(
    [
        pa.field("op", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("thread", pa.uint32(), nullable=False),
        pa.field("object", pa.int64()),
        pa.field("size", pa.uint64(), nullable=False),
        pa.field("count", pa.uint64(), nullable=False),
        pa.field("align", pa.uint64(), nullable=False),
        pa.field("time_ns", pa.int64()),
        pa.field("failed", pa.bool_(), nullable=False),
    ]
)
"""Columns every trace has. ``address`` (uint64) and ``stack`` (list of uint64) follow where the source has them.

op       kind of event
thread   dense number of the calling thread
object   identity of the block from birth to death, dense in order of birth; a realloc keeps it; null for free(NULL),
         for a malloc that failed and for thread events
size     bytes asked for; for calloc bytes per element; 0 for free
count    calloc: elements; else 1
align    aligned: alignment in bytes; else 0
time_ns  nanoseconds since the trace began, null where the source has no clock
failed   the call returned NULL with an error; replayed all the same
"""

ADDRESS_FIELD = pa.field("address", pa.uint64())
STACK_FIELD = pa.field("stack", pa.list_(pa.uint64()))


@dataclass
class Events:
    """A block of rows as columns of equal length ``n``.

    ``op`` uint8 (values of :class:`Op`), ``thread`` uint32, ``object`` int64 (``NO_OBJECT`` for null), ``size``,
    ``count``, ``align`` uint64, ``time_ns`` int64 (-1 for null), ``failed`` bool, ``address`` uint64 or None,
    ``stack`` one list of return addresses per row, innermost first, or None.
    """

    op: npt.NDArray[np.uint8]
    thread: npt.NDArray[np.uint32]
    object: npt.NDArray[np.int64]
    size: npt.NDArray[np.uint64]
    count: npt.NDArray[np.uint64]
    align: npt.NDArray[np.uint64]
    time_ns: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]
    address: npt.NDArray[np.uint64] | None = None
    stack: Sequence[Sequence[int]] | None = None

    def __len__(self) -> int:
        return len(self.op)


@dataclass(frozen=True)
class Metadata:
    """What is known of a recording. Strings are empty and numbers None where the source does not say.

    ``source``: which importer or recorder wrote it. ``ended``: how the program ended, in words ("exit 0", "signal 9").
    ``dropped``: what was left out, by reason, counted. ``extra``: whatever else the source knows, as JSON values.

    The recorder's ``extra``: ``executable``; ``pid``, ``parent`` and ``image`` (how many programs this pid was before);
    ``forked`` (the heap was inherited); ``stopped`` (why recording stopped early, or ""); ``peak_live_bytes`` and
    ``live_bytes_at_end``; ``thread_names`` (thread number as text -> its name when it exited, when the program did, or
    when recording stopped; without those that ended otherwise) and ``memory_at_exit`` (bytes by the names of
    /proc/self/smaps_rollup, without the recorder's buffers; empty where the program did not end by exit()).
    """

    schema: int = SCHEMA_VERSION
    program: str = ""
    command: tuple[str, ...] = ()
    allocator: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    clock: str = ""
    clock_resolution_ns: int | None = None
    source: str = ""
    ended: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
