"""A test's own rows of a recording: those between two marks, about blocks that it made."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from alloclab.pytest_plugin.child import BEGIN, END, NO_ALIGNMENT
from alloclab.trace.cut import slice_events
from alloclab.trace.model import Events, Op


class OwnRows:
    """Takes them out of a recording's blocks, as a trace that begins with nothing.

    A block from before is not the test's, and its free is left out; with its first realloc it is born, of the new size,
    as in the recording of a forked child. Objects are numbered in order of birth.
    """

    def __init__(self) -> None:
        self._inside = self._begun = self._done = False
        self._next = 0  # number of the next object to be born, in the recording
        self._first = 0  # the first that was born in the test
        self._adopted: dict[int, int] = {}  # blocks from before, as they became the test's -> the next number then

    def of(self, events: Events) -> Events:
        """Of a block of the recording, in order."""
        start, stop = self._range(events)
        born = np.maximum.accumulate(np.concatenate([[self._next - 1], events.object])) + 1  # the next, before each row
        self._next = int(born[-1])
        return self._renumbered(slice_events(events, start, stop), born[start:])

    def _range(self, events: Events) -> tuple[int, int]:
        """From after the first mark up to the second."""
        marks = (events.op == Op.ALIGNED) & events.failed & (events.align == NO_ALIGNMENT)
        begin, end = (np.flatnonzero(marks & (events.size == size)).tolist() for size in (BEGIN, END))
        start = 0 if self._inside else begin[0] + 1 if begin else len(events)
        stop = 0 if self._done else end[0] if end else len(events)
        self._inside, self._done = self._inside or bool(begin), self._done or bool(end)
        return start, max(start, stop)

    def _renumbered(self, events: Events, born: npt.NDArray[np.int64]) -> Events:
        if not len(events):
            return events
        if not self._begun:
            self._begun, self._first = True, int(born[0])
        op, block = events.op.copy(), events.object
        old = (block >= 0) & (block < self._first)
        for row in np.flatnonzero(old & (op == Op.REALLOC) & ~events.failed & (events.size > 0)).tolist():
            if int(block[row]) not in self._adopted:
                self._adopted[int(block[row])] = int(born[row])
                op[row] = Op.MALLOC
        adopted, at = (np.array(list(found), np.int64) for found in (self._adopted, self._adopted.values()))
        keep = ~old | (np.isin(block, adopted) & ~events.failed)
        number = np.where(block < 0, block, block - self._first + np.searchsorted(at, block, side="right"))
        order = np.argsort(adopted)
        mine = np.flatnonzero(keep & old)
        which = order[np.searchsorted(adopted[order], block[mine])]
        number[mine] = at[which] - self._first + which
        own = replace(events, op=op, object=number)
        kept = {f.name: column[keep] for f in fields(own) if (column := getattr(own, f.name)) is not None}
        return Events(**kept)
