"""Formats of one event a line: a subclass lists what its lines look like, as patterns for the core's line scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.native import ffi, lib
from alloclab.trace.importers.base import HEAD_BYTES, Importer, ImportReport, Session
from alloclab.trace.importers.rows import INVENTED_NAME, RowBuffer, Rows, resolve
from alloclab.trace.importers.stream import Stream, open_stream
from alloclab.trace.model import Events

BLOCK_BYTES = 1 << 20
PAGE = 4096
NO_EVENT = 255  # as an op: the line is understood and says nothing of the heap
_SHOWN = 60  # characters of a malformed line in a message


@dataclass(frozen=True)
class Line:
    """A kind of line: its pattern (csrc/trace/linescan.h says how to write one) and what it means.

    ``op`` is an Op, NO_EVENT, or a number of the importer's own from 100 on, for its ``interpret`` to resolve.
    """

    pattern: str
    op: int
    align: int = 0


class _Scanner:
    """The core's ``al_linescan`` over the lines of a format."""

    def __init__(self, lines: tuple[Line, ...], addresses: bool) -> None:
        self._addresses = addresses
        self._scan = ffi.gc(lib.al_linescan_new(), lib.al_linescan_free)
        if not self._scan:
            raise MemoryError("no memory for a line scanner")
        self._ops = np.full(256, NO_EVENT, np.uint8)
        self._aligns = np.zeros(256, np.uint64)
        for line in lines:
            number = lib.al_linescan_add(self._scan, line.pattern.encode())
            assert number >= 0, f"malformed pattern {line.pattern!r}"
            self._ops[number] = line.op
            self._aligns[number] = line.align

    def run(self, text: Any) -> tuple[Rows, npt.NDArray[np.int64], int]:
        """Rows for the whole lines of text, as many as fit a buffer; which of them fit no pattern; bytes done."""
        buffer = RowBuffer()
        used = lib.al_linescan_run(self._scan, text, len(text), buffer.pointer)
        rows = buffer.rows()
        kinds = rows.op
        rows.op = self._ops[kinds]
        if self._aligns.any():
            np.maximum(rows.align, self._aligns[kinds], out=rows.align)
        unknown = kinds == lib.AL_LINE_UNKNOWN
        if self._addresses:
            unknown |= (rows.name | rows.old) >= INVENTED_NAME
            rows.op[unknown] = NO_EVENT
        return rows, np.flatnonzero(unknown), used


def whole_lines(stream: Stream, block_bytes: int) -> Iterator[bytearray]:
    """The file in pieces that end with a line. A line too long to be one is cut, so that memory stays bounded."""
    rest = bytearray()
    skipping = False  # within the part that was cut off
    while block := stream.read(block_bytes):
        if skipping:
            newline = block.find(b"\n")
            if newline < 0:
                continue
            block, skipping = block[newline:], False
        rest += block
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            del rest[:end]
        if len(rest) > lib.AL_LINE_MAX:
            del rest[lib.AL_LINE_MAX + 1 :]
            skipping = True
    if rest:
        yield rest + b"\n"


class TextImporter(Importer):
    """Subclasses set ``lines``, ``expects`` (what a line should have been, for messages) and the flags below."""

    lines: tuple[Line, ...]
    expects: str
    addresses = True
    """Blocks are named by address and NULL tells of failure; else they are named by ids."""
    unknown_realloc_is_malloc = False
    anywhere = False
    """The file is of this format if any line of its head is an event; else the first line with a meaning must be."""

    def sniff(self, head: bytes) -> bool:
        text = head if len(head) == HEAD_BYTES else head + b"\n"
        rows, unknown, _ = _Scanner(self.lines, self.addresses).run(text)
        return self.recognize(rows.take(slice(None if self.anywhere or not len(unknown) else unknown[0])))

    def recognize(self, rows: Rows) -> bool:
        """Whether these rows, up to the first line that is none of ``lines``, tell of this format."""
        return bool((rows.op != NO_EVENT).any())

    def read(self, path: Path, lenient: bool, report: ImportReport) -> Iterator[Events]:
        session = Session(path, lenient, report)
        with open_stream(path, self.sniff, report.progress) as stream:
            rows = self.interpret(self._scan(stream, session), session)
            yield from resolve(
                rows,
                session,
                unit="line",
                addresses=self.addresses,
                unknown_realloc_is_malloc=self.unknown_realloc_is_malloc,
            )

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """For formats whose lines do not each stand for themselves: rows to rows with ops only.

        What comes before a contradiction is yielded before that is raised, so that the first one is the one reported.
        """
        return blocks

    def _scan(self, stream: Stream, session: Session) -> Iterator[Rows]:
        """Rows of lines with a meaning; ``where`` is the line. Those before a malformed line come before its error."""
        scanner = _Scanner(self.lines, self.addresses)
        line = 1
        for text in whole_lines(stream, BLOCK_BYTES):
            view, at = memoryview(text), 0
            while at < len(text):
                rows, unknown, used = scanner.run(ffi.from_buffer("char[]", view[at:]))
                offsets, rows.where = rows.where, np.arange(line, line + len(rows), dtype=np.uint64)
                if len(unknown):
                    first = int(unknown[0])
                    if not session.lenient:
                        yield _meaningful(rows.take(slice(first)))
                    found = _quote(text, at + int(offsets[first]))
                    session.leave_out("lines not understood", len(unknown), f"line {line + first}", found, self.expects)
                line += len(rows)
                at += used
                yield _meaningful(rows)


def _meaningful(rows: Rows) -> Rows:
    mask = rows.op != NO_EVENT
    return rows if mask.all() else rows.take(mask)


def _quote(text: bytearray, start: int) -> str:
    """The line that starts there, as much as a message bears."""
    line = bytes(text[start : start + _SHOWN + 1]).split(b"\n")[0].strip()
    shown = repr(line[:_SHOWN].decode("utf-8", "backslashreplace"))
    return shown + "..." if len(line) > _SHOWN else shown
