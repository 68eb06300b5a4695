"""Stanford CS107's heap allocator scripts: ``a id size``, ``r id size``, ``f id``; comments begin with ``#``.

An id may come again once it is freed. ``r id 0`` frees.
"""

from __future__ import annotations

from collections.abc import Iterator

from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import Rows
from alloclab.trace.importers.text import NO_EVENT, Line, TextImporter
from alloclab.trace.model import Op


@register
class Script(TextImporter):
    name = "script"
    title = "CS107 heap allocator script (.script)"
    extensions = (".script",)
    expects = "'a ID SIZE', 'r ID SIZE', 'f ID' or a '#' comment"
    addresses = False
    lines = (
        Line("a {name:i} {size:u}", Op.MALLOC),
        Line("f {name:i}", Op.FREE),
        Line("r {name:i} {size:u}", Op.REALLOC),
        Line("#{*}", NO_EVENT),
    )

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """A realloc keeps its block's id."""
        for rows in blocks:
            rows.old = rows.name
            yield rows
