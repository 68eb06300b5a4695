"""glibc's mtrace(3): ``@ caller + 0xptr 0xsize``, ``@ caller - 0xptr``, ``@ caller ! 0xptr 0xsize`` (a realloc that
failed), and a realloc in two lines, ``@ caller < 0xold`` then ``@ caller > 0xnew 0xsize``, written under one lock.

mtrace does not say which thread called, nor alignments, nor free(NULL); a calloc looks like a malloc, realloc(p, 0)
like a free and realloc(NULL, n) like a malloc. Blocks from before mtrace() was called are unknown when they are freed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

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
            lonely = np.flatnonzero(_lonely(rows))
            if len(lonely):
                if not session.lenient:
                    yield _joined(rows.take(slice(lonely[0])))
                _leave_out(rows, lonely, session)
            yield _joined(rows)
        if held is not None:
            _leave_out(held, np.zeros(1, np.int64), session)


def _shifted(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """The mask of the rows before (by = 1) or after (by = -1)."""
    moved = np.roll(mask, by)
    moved[: max(by, 0)] = moved[len(moved) + min(by, 0) :] = False
    return moved


def _lonely(rows: Rows) -> npt.NDArray[np.bool_]:
    first, second = rows.op == _OLD, rows.op == Op.REALLOC
    lonely: npt.NDArray[np.bool_] = (second & ~_shifted(first, 1)) | (first & ~_shifted(second, -1))
    return lonely


def _joined(rows: Rows) -> Rows:
    """Reallocs in one row each; halves on their own are left out."""
    second = (rows.op == Op.REALLOC) & _shifted(rows.op == _OLD, 1)
    pairs = np.flatnonzero(second)
    rows.old[pairs] = rows.old[pairs - 1]
    rows = rows.take(second | ((rows.op != Op.REALLOC) & (rows.op != _OLD)))
    rows.op[rows.op == _FAILED] = Op.REALLOC
    return rows


def _leave_out(rows: Rows, halves: npt.NDArray[np.int64], session: Session) -> None:
    first = halves[0]
    found, other = ("'<'", "'>' on the next line") if rows.op[first] == _OLD else ("'>'", "'<' on the line before")
    session.leave_out("halves of a realloc", len(halves), f"line {rows.where[first]}", f"{found} alone", other)
