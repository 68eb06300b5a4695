"""wee_alloc's traces: ``Alloc(size),`` and ``Free(i),`` where i counts the Allocs before it, from 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import Rows
from alloclab.trace.importers.text import Line, TextImporter
from alloclab.trace.model import Op


@register
class WeeAlloc(TextImporter):
    name = "wee_alloc"
    title = "wee_alloc (.trace)"
    extensions = (".trace",)
    expects = "'Alloc(SIZE),' or 'Free(INDEX),'"
    addresses = False
    lines = (Line("Alloc({size:u}),", Op.MALLOC), Line("Free({name:i}),", Op.FREE))

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """An Alloc's name is its index plus one."""
        allocs = 0
        for rows in blocks:
            birth = rows.op == Op.MALLOC
            index = np.cumsum(birth) + allocs
            rows.name = np.where(birth, index.astype(np.uint64), rows.name)
            allocs = int(index[-1]) if len(index) else allocs
            yield rows
