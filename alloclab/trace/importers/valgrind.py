"""valgrind --trace-malloc=yes: ``--pid-- malloc(size) = 0xptr`` and the like, C++ operators by their mangled names.

valgrind says which process called, not which thread: all events belong to thread 0, and the file may hold one process
only (--lenient keeps the first). A call that Memcheck finds fishy is printed in two parts and fails. realloc(p, 0)
prints the free that it makes. The program's own output does not belong here: keep it apart with --log-file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import Rows
from alloclab.trace.importers.text import NO_EVENT, Line, TextImporter
from alloclab.trace.model import Op

_PID = "--{thread:u}-- {(}malloc_usable_size(0x0){)}"  # of NULL: printed without an end of line
_CALLS = (
    ("malloc({size:u})", Op.MALLOC),
    ("_Zn{~}({size:u})", Op.MALLOC),
    ("calloc({count:u},{size:u})", Op.CALLOC),
    ("realloc(0x0,{_:u})malloc({size:u})", Op.MALLOC),
    ("realloc({old:p},{size:u})", Op.REALLOC),
    ("memalign(al {align:u}, size {size:u})", Op.ALIGNED),
    ("_Zn{~}(size {size:u}, al {align:u})", Op.ALIGNED),
)


@register
class Valgrind(TextImporter):
    name = "valgrind"
    title = "valgrind --trace-malloc=yes"
    extensions = (".log", ".txt")
    expects = "'--PID-- malloc(SIZE) = POINTER' or the like, or '==PID== ...', as valgrind --trace-malloc=yes prints"
    anywhere = True
    lines = (
        Line(_PID + "free({name:p})", Op.FREE),
        Line(_PID + "_Zd{~}({name:p})", Op.FREE),
        *(Line(f"{_PID}{call} = {{name:p}}", op) for call, op in _CALLS),
        *(Line(f"{_PID}{call}Argument{{*}}", op) for call, op in _CALLS),
        Line(_PID + "realloc({old:p},0)free({_:p})", Op.REALLOC),
        Line("--{_:u}-- = 0", NO_EVENT),  # second part of a call that was already read
        Line("--{_:u}-- = 0x0", NO_EVENT),
        Line("--{_:u}-- malloc_usable_size({_:p}) = {_:u}", NO_EVENT),
        Line("=={_:u}=={*}", NO_EVENT),
        Line("**{_:u}**{*}", NO_EVENT),
    )

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """Hold all events to one process."""
        process: int | None = None
        for rows in blocks:
            if not len(rows):
                continue
            process = int(rows.thread[0]) if process is None else process
            foreign = np.flatnonzero(rows.thread != process)
            rows.thread, pids = np.zeros(len(rows), np.uint64), rows.thread
            if len(foreign):
                at = foreign[0]
                if not session.lenient:
                    yield rows.take(slice(at))
                found, expected = f"process {pids[at]}", f"process {process} only"
                line = f"line {rows.where[at]}"
                session.leave_out("events of other processes", len(foreign), line, found, expected)
                rows = rows.take(pids == process)
            yield rows
