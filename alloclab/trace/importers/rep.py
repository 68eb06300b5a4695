"""CMU's malloc lab: four integers, one a line, then ``a id bytes``, ``r id bytes``, ``f id`` (``f -1`` is free(NULL)).

The header has three meanings in the wild and wrong counts in some published files, so it is kept as it stands in the
metadata and nothing is concluded from it. ``r`` of an unknown id is an allocation, ``r id 0`` frees. Requests of 2^47
bytes and more, which some files make on purpose, are calls that failed: the id then stands for NULL, and its ``f`` is
free(NULL).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import Rows
from alloclab.trace.importers.text import NO_EVENT, Line, TextImporter
from alloclab.trace.model import Op

_HEADER = 100
_HEADER_LINES = 4


@register
class Rep(TextImporter):
    name = "rep"
    title = "CMU malloc lab (.rep)"
    extensions = (".rep",)
    expects = "'a ID SIZE', 'r ID SIZE', 'f ID' or 'f -1' after four lines of one integer"
    addresses = False
    unknown_realloc_is_malloc = True
    lines = (
        Line("a {name:i} {size:u}", Op.MALLOC),
        Line("f {name:i}", Op.FREE),
        Line("r {name:i} {size:u}", Op.REALLOC),
        Line("f -1", Op.FREE),
        Line("{size:u}", _HEADER),
    )

    def recognize(self, rows: Rows) -> bool:
        meant = rows.take(rows.op != NO_EVENT).op[: _HEADER_LINES + 1]
        return len(meant) >= _HEADER_LINES and bool((meant[:_HEADER_LINES] == _HEADER).all())

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """Check that the header is the first four lines, and take it out. A realloc keeps its block's id."""
        header: list[int] = []
        for rows in blocks:
            rows.old = rows.name
            wanted = _HEADER_LINES - len(header)
            expected = np.arange(len(rows)) < wanted
            wrong = np.flatnonzero((rows.op == _HEADER) != expected)
            if len(wrong):
                yield rows.take(slice(wanted, int(wrong[0])))
                line = f"line {rows.where[wrong[0]]}"
                if int(wrong[0]) < wanted:
                    session.refuse(
                        line, "an operation", f"integer {len(header) + int(wrong[0]) + 1} of four in the header"
                    )
                session.refuse(line, f"the integer {rows.size[wrong[0]]}", self.expects)
            header += rows.size[:wanted].tolist() if wanted else []
            session.report.metadata = replace(session.report.metadata, extra={"header": header})
            yield rows.take(slice(wanted, None))
