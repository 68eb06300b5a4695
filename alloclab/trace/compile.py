"""Traces compiled for replay: one flat array of 16-byte operations over a table of slots (csrc/trace/ops.h)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.files import whole_file
from alloclab.native import ffi, lib
from alloclab.trace.columns import NAMES, borrowed, check_fault
from alloclab.trace.model import Events
from alloclab.trace.parquet import Trace

OP_DTYPE = np.dtype(
    [("slot", "<u4"), ("kind", "u1"), ("align_log2", "u1"), ("original", "u1"), ("unused", "u1"), ("size", "<u8")]
)
"""An ``al_op``."""

KINDS = (
    *("malloc", "calloc", "aligned", "realloc", "realloc_zero", "free", "failed"),
    *("tick", "thread", "exit", "wait", "post", "operand", "end"),
)
"""Words for ``al_op_kind``, by value. Operations that count are those to ``failed``."""

OPS_PAD = 16
_MAGIC = 0x31535041424C4C41


@dataclass(frozen=True)
class CompiledTrace:
    """What the replay loop walks, and what the compiler knows of it.

    ``entries``: array of OP_DTYPE, ``entry_count`` entries and then OPS_PAD of kind ``end``; read-only.
    ``operations``: entries that count, from malloc to failed; operation indices count these from 0.
    ``slots``: size of the slot table, with slot 0, which is always NULL.
    ``peak_live_bytes``: largest sum of requested bytes of live blocks, first reached after operation ``peak_live_op``.
    ``end_live_bytes``, ``end_live_blocks``: live after the last operation. ``largest``: bytes of the largest block.
    """

    name: str
    entries: npt.NDArray[np.void]
    entry_count: int
    operations: int
    slots: int
    peak_live_bytes: int
    peak_live_op: int
    end_live_bytes: int
    end_live_blocks: int
    largest: int

    def head(self) -> npt.NDArray[np.uint64]:
        """An ``al_ops_head``: nine 64-bit words."""
        words = (
            _MAGIC,
            self.entry_count,
            self.operations,
            self.slots,
            self.peak_live_bytes,
            self.peak_live_op,
            self.end_live_bytes,
            self.end_live_blocks,
            self.largest,
        )
        return np.array(words, np.uint64)

    def counts(self) -> dict[str, int]:
        """Entries by kind, in words of KINDS, without the padding."""
        found = np.bincount(self.entries["kind"][: self.entry_count], minlength=len(KINDS))
        return {kind: int(count) for kind, count in zip(KINDS, found, strict=True) if kind != "end"}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Head, entries and padding, as ``alloclab-replay`` reads them; the file appears whole or not at all."""
        with whole_file(Path(path)) as unfinished, unfinished.open("wb") as file:
            file.write(self.head().data)
            file.write(self.entries.data)


def compile_trace(trace: Trace, *, threads: bool = False) -> CompiledTrace:
    """Reads the trace once, a block at a time; the entries need 16 bytes an operation of memory, 32 for a realloc.

    ``threads``: with entries that say whose operations follow, and which thread ends.

    Raises TraceError naming the row where the trace contradicts itself: a block freed twice, never born, born twice or
    impossibly large. Which rows become what: csrc/trace/compile.h and ops.h.
    """
    return compile_events(trace.blocks(NAMES), trace.name, trace.path, threads=threads)


def compile_events(blocks: Iterable[Events], name: str, path: Path, *, threads: bool = False) -> CompiledTrace:
    """As :func:`compile_trace`, of rows at hand; ``path`` is what errors name."""
    compiler = ffi.new("al_compiler *")
    if not lib.al_compiler_init(compiler, threads):
        raise MemoryError("no memory to compile a trace")
    compiler = ffi.gc(compiler, lib.al_compiler_destroy)
    first = 0
    row = ffi.new("size_t *")
    for events in blocks:
        with borrowed(events) as block:
            fault = lib.al_compiler_add(compiler, block, row)
        check_fault(fault, path, events, row[0], first)
        first += len(events)
    return CompiledTrace(
        name=name,
        entries=_entries(compiler),
        entry_count=compiler.count,
        operations=compiler.operations,
        slots=compiler.live.used,
        peak_live_bytes=compiler.peak_live_bytes,
        peak_live_op=compiler.peak_live_op,
        end_live_bytes=compiler.live.sum,
        end_live_blocks=compiler.live.count,
        largest=compiler.largest,
    )


def _entries(compiler: Any) -> npt.NDArray[np.void]:
    """The compiler's array, taken over: it is freed with the last view of it."""
    taken = lib.al_compiler_finish(compiler)
    if taken == ffi.NULL:
        raise MemoryError("no memory to compile a trace")
    size = (compiler.count + OPS_PAD) * OP_DTYPE.itemsize
    view = np.frombuffer(ffi.buffer(ffi.gc(taken, lib.al_entries_free, size), size), OP_DTYPE)
    view.flags.writeable = False
    return view
