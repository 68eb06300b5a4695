"""Android's memory_replay: ``<tid>: <op> <pointer> [arguments] [start_ns end_ns]``.

A realloc's line is ``realloc new old size``; ``thread_done 0x0`` ends a thread (its id may come again: that is a new
one). A row's time is the call's start. No starts of threads are made up: the format has none.
"""

from __future__ import annotations

from alloclab.trace.importers.base import register
from alloclab.trace.importers.text import Line, TextImporter
from alloclab.trace.model import Op

_TIMES = "{(} {time:u} {_:u}{)}"


@register
class Android(TextImporter):
    name = "android"
    title = "Android memory_replay (.txt, .zip)"
    extensions = (".txt", ".zip")
    expects = "'TID: malloc|calloc|realloc|memalign|free|thread_done POINTER ...' as memory_replay has it"
    lines = (
        Line("{thread:u}: malloc {name:p} {size:u}" + _TIMES, Op.MALLOC),
        Line("{thread:u}: free {name:p}" + _TIMES, Op.FREE),
        Line("{thread:u}: realloc {name:p} {old:p} {size:u}" + _TIMES, Op.REALLOC),
        Line("{thread:u}: calloc {name:p} {count:u} {size:u}" + _TIMES, Op.CALLOC),
        Line("{thread:u}: memalign {name:p} {align:u} {size:u}" + _TIMES, Op.ALIGNED),
        Line("{thread:u}: thread_done {_:p}" + _TIMES, Op.THREAD_EXIT),
    )
