"""glibc-malloc-trace-utils' workloads (``.wl``): threads' scripts in byte opcodes (csrc/trace/workload.h draws them).

The scripts are merged into one order, each thread in turn one step, waiting where SYNC_R says so. A calloc says its
size in bytes: it becomes so many elements of one. VALLOC and PVALLOC are aligned to the page; DONE is the thread's
exit.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from alloclab.native import ffi, lib
from alloclab.trace.importers.base import Importer, ImportReport, Session, register
from alloclab.trace.importers.rows import RowBuffer, Rows, resolve
from alloclab.trace.importers.stream import GZIP_MAGIC, ZIP_MAGIC, magic_of
from alloclab.trace.importers.text import PAGE
from alloclab.trace.model import Events

_FAULTS = {
    1: ("the end of the file", "the rest of a script, up to DONE"),
    2: ("a number of more than 64 bits", "a base-128 number"),
    3: ("opcode {byte}", "an opcode that may stand here"),
    4: ("a pointer number past ALLOC_PTRS", "a smaller one"),
    5: ("a sync number past ALLOC_SYNCS, or more syncs than bytes", "a smaller one"),
    6: ("a thread that starts past the end of the file", "an offset within it"),
    7: ("a thread that waits for a sync no other will write", "scripts without a deadlock"),
}
_NO_MEMORY = 8
_HEAD_OPCODES = {0: 0, 8: 1, 9: 1, 10: 1, 11: 1}  # NOP ALLOC_PTRS ALLOC_SYNCS NTHREADS START_THREAD, and operands
_START_THREAD, _ALLOC_PTRS = 11, 8


@register
class Workload(Importer):
    name = "workload"
    title = "glibc-malloc-trace-utils workload (.wl)"
    extensions = (".wl",)

    def sniff(self, head: bytes) -> bool:
        """The head's opcodes, with ALLOC_PTRS, up to the first START_THREAD."""
        at, seen = 0, set()
        while at < len(head) and head[at] in _HEAD_OPCODES:
            opcode = head[at]
            seen.add(opcode)
            at += 1
            if _HEAD_OPCODES[opcode]:
                while at < len(head) and head[at] >= 0x80:
                    at += 1
                at += 1
            if opcode == _START_THREAD:
                return at <= len(head) and _ALLOC_PTRS in seen
        return False

    def read(self, path: Path, lenient: bool, report: ImportReport) -> Iterator[Events]:
        """The file is mapped, for each thread reads at a place of its own; so it may not be compressed."""
        session = Session(path, lenient, report)
        if magic_of(path).startswith((GZIP_MAGIC, ZIP_MAGIC)):
            session.refuse("byte 0", "a compressed file", "an unpacked one: threads' scripts are read at many places")
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # unmapped with its last user
        yield from resolve(_rows(data, session), session, unit="byte", addresses=False)


def _rows(data: mmap.mmap, session: Session) -> Iterator[Rows]:
    pointer = ffi.from_buffer("uint8_t[]", data)
    workload = ffi.gc(ffi.new("al_workload *"), lib.al_workload_destroy)
    _check(lib.al_workload_open(workload, pointer, len(data), PAGE), workload, data, session)
    while True:
        buffer = RowBuffer()
        fault = lib.al_workload_run(workload, buffer.pointer)
        yield buffer.rows()
        _check(fault, workload, data, session)
        if buffer.pointer.count == 0:
            return


def _check(fault: int, workload: object, data: mmap.mmap, session: Session) -> None:
    if fault == _NO_MEMORY:
        raise MemoryError("no memory for a workload's threads")
    if fault:
        at = int(workload.fault_at)  # type: ignore[attr-defined]
        found, expected = _FAULTS[fault]
        session.refuse(f"byte {at}", found.format(byte=data[at] if at < len(data) else ""), expected)
