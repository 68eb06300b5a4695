"""glibc's mtrace(3): ``@ caller + 0xptr 0xsize``, ``@ caller - 0xptr``, ``@ caller ! 0xptr 0xsize`` (a realloc that
failed), and a realloc in two lines, ``@ caller < 0xold`` then ``@ caller > 0xnew 0xsize``, written under one lock.

mtrace does not say which thread called, nor alignments, nor free(NULL); a calloc looks like a malloc, realloc(p, 0)
like a free and realloc(NULL, n) like a malloc. Blocks from before mtrace() was called are unknown when they are freed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import Rows
from alloclab.trace.importers.text import NO_EVENT, Line, TextImporter
from alloclab.trace.model import Op

_OLD, _FAILED = 100, 101
_CALLER = "{(}@ {~}] {)}"


@register
class Mtrace(TextImporter):
    name = "mtrace"
    title = "glibc mtrace"
    extensions = (".mtrace", ".txt")
    expects = "'@ CALLER + POINTER SIZE', or '-', '<', '>', '!' in the place of '+', as mtrace(3) writes"
    lines = (
        Line(_CALLER + "+ {name:p} {size:x}", Op.MALLOC),
        Line(_CALLER + "- {name:p}", Op.FREE),
        Line(_CALLER + "< {old:p}", _OLD),
        Line(_CALLER + "> {name:p} {size:x}", Op.REALLOC),
        Line(_CALLER + "! {old:p} {size:x}", _FAILED),
        Line("= Start", NO_EVENT),
        Line("= End", NO_EVENT),
    )

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """Join the halves of reallocs into one row, where the second stands."""
        held: Rows | None = None  # a first half that ends its block
        for rows in blocks:
            if held is not None:
                rows, held = held.then(rows), None
            if len(rows) and rows.op[-1] == _OLD:
                held, rows = rows.take(slice(-1, None)), rows.take(slice(-1))
            yield _joined(rows, session)
        if held is not None:
            _half(session, held, 0)


def _joined(rows: Rows, session: Session) -> Rows:
    first = rows.op == _OLD
    after_first = np.concatenate((np.zeros(min(1, len(rows)), np.bool_), first[:-1]))
    second = rows.op == Op.REALLOC
    lonely = (second & ~after_first) | (first & ~np.concatenate((second[1:], np.zeros(min(1, len(rows)), np.bool_))))
    if lonely.any():
        _half(session, rows, int(np.argmax(lonely)), int(lonely.sum()))
    pairs = np.flatnonzero(second & after_first)
    rows.old[pairs] = rows.old[pairs - 1]
    keep = ~(first | (second & ~after_first))
    rows.op = np.where(rows.op == _FAILED, np.uint8(Op.REALLOC), rows.op)
    return rows.take(keep)


def _half(session: Session, rows: Rows, at: int, count: int = 1) -> None:
    found, other = ("'<'", "'>' on the next line") if rows.op[at] == _OLD else ("'>'", "'<' on the line before")
    session.leave_out("halves of a realloc", count, f"line {rows.where[at]}", f"{found} alone", other)
