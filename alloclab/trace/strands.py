"""A compiled trace taken apart by threads, for replays in which they run side by side (csrc/trace/strands.h)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alloclab.files import whole_file
from alloclab.native import ffi, lib
from alloclab.trace.compile import OP_DTYPE, CompiledTrace

RANGE_DTYPE = np.dtype([("first", "<u8"), ("count", "<u8")])
"""An ``al_strand_range``."""
ACT_DTYPE = np.dtype([("strand", "<u4"), ("exits", "<u4")])
"""An ``al_act``."""


@dataclass(frozen=True)
class Strands:
    """What each thread did, for a thread of the system each. What it shares with a CompiledTrace means the same.

    ``entries``: array of OP_DTYPE, those of strand i being ``ranges[i]``, with padding behind them. ``acts``: starts
    and exits, in recorded order. ``edges``: how many operations wait for another strand's, whose block it was last.
    ``alive``: how many strands are alive at once, at most. ``slots``: size of the slot table.
    """

    name: str
    operations: int
    peak_live_bytes: int
    end_live_bytes: int
    head: npt.NDArray[np.uint64]
    entries: npt.NDArray[np.void]
    ranges: npt.NDArray[np.void]
    acts: npt.NDArray[np.void]
    slots: int
    edges: int
    alive: int

    def __len__(self) -> int:
        return len(self.ranges)

    def write(self, path: str | os.PathLike[str]) -> None:
        """As ``alloclab-replay`` reads them; the file appears whole or not at all."""
        with whole_file(Path(path)) as unfinished, unfinished.open("wb") as file:
            for part in (self.head, self.ranges, self.acts, self.entries):
                file.write(part.data)


Replayable: TypeAlias = CompiledTrace | Strands
"""What a replay takes: serial, or concurrent."""


def take_apart(compiled: CompiledTrace) -> Strands:
    """The strands of a trace that was compiled with ``threads=True``."""
    image = ffi.new("al_strands_image *")
    head, entries = ffi.from_buffer(compiled.head()), ffi.from_buffer(compiled.entries)
    if not lib.al_unweave(ffi.cast("al_ops_head *", head), ffi.cast("struct al_op *", entries), image):
        raise MemoryError("no memory to take a trace apart")
    image = ffi.gc(image, lib.al_strands_image_free)

    def view(start: Any, count: int, dtype: Any) -> Any:
        return np.frombuffer(ffi.buffer(start, count * dtype.itemsize), dtype).copy()

    word = np.dtype(np.uint64)
    return Strands(
        name=compiled.name,
        operations=compiled.operations,
        peak_live_bytes=compiled.peak_live_bytes,
        end_live_bytes=compiled.end_live_bytes,
        head=view(ffi.addressof(image.head), ffi.sizeof("al_strands_head") // word.itemsize, word),
        entries=view(image.entries, image.entry_count, OP_DTYPE),
        ranges=view(image.ranges, image.head.strands, RANGE_DTYPE),
        acts=view(image.acts, image.head.acts, ACT_DTYPE),
        slots=image.head.whole.slots,
        edges=image.head.events,
        alive=image.head.alive,
    )
