"""malloc-bench's ``.trace.gz``: one protobuf message, read from its wire format (csrc/trace/tracefile.h draws it).

A missing id is NULL: a call without a result failed (malloc-bench's malloc(0) is one), a free without an input is
free(NULL). An ``input_alignment`` other than 0 makes a malloc an aligned allocation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alloclab.native import ffi, lib
from alloclab.trace.importers.base import HEAD_BYTES, Importer, ImportReport, Session, register
from alloclab.trace.importers.rows import RowBuffer, Rows, resolve
from alloclab.trace.importers.stream import Stream, open_stream
from alloclab.trace.model import Events

BLOCK_BYTES = 1 << 20
_FAULTS = {
    1: ("a number of more than 64 bits", "a varint"),
    2: ("a field of another type", "a field of malloc-bench's Tracefile"),
    3: ("a length past the end of its message", "a TraceLine of a malloc-bench Tracefile"),
    4: ("a line without an operation", "malloc, free, realloc or calloc"),
    5: ("the id 2^64 - 1", "a smaller one"),
}


def _scan(data: bytes, base: int) -> tuple[Rows, int, int]:
    """Rows of the whole fields in data, the bytes they take, and what is wrong with what follows, 0 for nothing."""
    buffer, consumed = RowBuffer(), ffi.new("size_t *")
    fault = lib.al_tracefile_scan(ffi.from_buffer("uint8_t[]", data), len(data), base, buffer.pointer, consumed)
    rows = buffer.rows()
    return rows, int(consumed[0]), int(fault)


@register
class MallocBench(Importer):
    name = "malloc_bench"
    title = "malloc-bench (.trace.gz)"
    extensions = (".trace.gz", ".trace")

    def sniff(self, head: bytes) -> bool:
        rows, consumed, fault = _scan(head, 0)
        return head[:1] == b"\n" and len(rows) > 0 and fault == 0 and (consumed == len(head) or len(head) == HEAD_BYTES)

    def read(self, path: Path, lenient: bool, report: ImportReport) -> Iterator[Events]:
        session = Session(path, lenient, report)
        with open_stream(path, self.sniff, report.progress) as stream:
            yield from resolve(_rows(stream, session), session, unit="byte", addresses=False)


def _rows(stream: Stream, session: Session) -> Iterator[Rows]:
    rest, base = b"", 0
    while block := stream.read(BLOCK_BYTES):
        rest += block
        while True:
            rows, consumed, fault = _scan(rest, base)
            rest, base = rest[consumed:], base + consumed
            yield rows
            if fault:
                session.refuse(f"byte {base}", *_FAULTS[fault])
            if not consumed:
                break
    if rest:
        session.refuse(f"byte {base}", f"the end of the file within {len(rest)} bytes of a field", "a whole one")
