"""ltrace -f -e malloc+calloc+...: ``[pid N] prog->malloc(size) = 0xptr``, in two parts where threads interleave:
``[pid N] prog->malloc(size <unfinished ...>`` and ``[pid N] <... malloc resumed> ) = 0xptr``.

A call's row stands where it returned, a free's where it was called. A call that a thread makes inside another of these
calls is that call's own work and no event. What the process's end cut off is left out and counted, but for frees.
ltrace does not print the block that posix_memalign makes, only that it made one: the block is born, nothing in the file
can name it again, and a later free of its address is of an unknown block (--lenient drops it). Threads that exit give
thread_exit. ltrace -f follows child processes too, and they cannot be told from threads: their frees of blocks
inherited are refused, or dropped. The program's own output does not belong here: keep it apart with ltrace -o (which
writes ``N prog->malloc``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alloclab.errors import TraceError
from alloclab.trace.importers.base import Session, register
from alloclab.trace.importers.rows import INVENTED_NAME, RENAME, UNNAMEABLE, Rows
from alloclab.trace.importers.text import NO_EVENT, PAGE, Line, TextImporter
from alloclab.trace.model import Op

_POSIX = 8  # an op here only: posix_memalign, with its error number for a name
_OPENED, _RESUMED = 100, 120  # plus op: the two halves of a call
_NO_RETURN = 140  # in flight when the process ended, says ltrace

_CALLS = (
    ("malloc({size:n}", Op.MALLOC, 0),
    ("calloc({count:n}, {size:n}", Op.CALLOC, 0),
    ("realloc({old:p}, {size:n}", Op.REALLOC, 0),
    ("free({name:p}", Op.FREE, 0),
    ("memalign({align:n}, {size:n}", Op.ALIGNED, 0),
    ("posix_memalign({_:p}, {align:n}, {size:n}", _POSIX, 0),
    ("aligned_alloc({align:n}, {size:n}", Op.ALIGNED, 0),
    ("reallocarray({old:p}, {count:n}, {size:n}", Op.REALLOC, 0),
    ("valloc({size:n}", Op.ALIGNED, PAGE),
    ("pvalloc({size:n}", Op.ALIGNED, PAGE),
)
_THREAD = "{(}[pid {thread:u}] {)}{(}{thread:u} {)}"
_LIBRARY = "{(}{~}->{)}"
_CLOSE = "{(},{~}){)}{(}){)}"  # ltrace prints more arguments than a function without a prototype has
_UNFINISHED = "{(},{~}<unfinished{)}{(} <unfinished{)} ...>"
_LOST = "{(},{~}<no{)}{(} <no{)} return ...>"
_NEVER_RETURNED = "calls that never returned"


def _call_lines() -> Iterator[Line]:
    for call, op, align in _CALLS:
        function = call[: call.index("(")]
        result = "<void>" if op == Op.FREE else "{name:n}" if op == _POSIX else "{name:p}"
        yield Line(f"{_THREAD}{_LIBRARY}{call}{_CLOSE} = {result}", op, align)
        yield Line(f"{_THREAD}{_LIBRARY}{call}{_UNFINISHED}", _OPENED + op, align)
        yield Line(f"{_THREAD}{_LIBRARY}{call}{_LOST}", op if op == Op.FREE else _NO_RETURN)
        yield Line(f"{_THREAD}<... {function} resumed> {{~}}) = {result}", _RESUMED + op)


@register
class Ltrace(TextImporter):
    name = "ltrace"
    title = "ltrace -f -e malloc+free+..."
    extensions = (".ltrace", ".txt")
    expects = "'[pid N] PROGRAM->malloc(SIZE) = POINTER' or the like, as ltrace prints"
    anywhere = True
    lines = (
        *_call_lines(),
        Line("[pid {thread:u}] +++ {*}", Op.THREAD_EXIT),
        Line("{thread:u} +++ {*}", Op.THREAD_EXIT),
        Line("+++ {*}", NO_EVENT),
        Line(_THREAD + "--- {*}", NO_EVENT),
    )

    def interpret(self, blocks: Iterator[Rows], session: Session) -> Iterator[Rows]:
        """Join the halves of calls, and give names to what has none."""
        open_calls: dict[int, list[_Call]] = {}
        for rows in blocks:
            refused = None
            if open_calls or (rows.op >= _OPENED).any():
                rows, refused = _join_halves(rows, open_calls, session)
            yield _plain(rows)
            if refused:
                raise refused
        _leave_open(open_calls, list(open_calls), session)


@dataclass(frozen=True)
class _Call:
    """A call not yet resumed. ``name``: what its block goes by meanwhile."""

    op: int
    inner: bool
    old: int
    name: int
    size: int
    count: int
    align: int


def _join_halves(rows: Rows, open_calls: dict[int, list[_Call]], session: Session) -> tuple[Rows, TraceError | None]:
    """One row for the two halves of a call, none for a call inside of another; up to the error, if there is one."""
    out: list[tuple[int, int, int, int]] = []
    refused = None
    try:
        for event in _joined(rows, open_calls, session):
            out.append(event)
    except TraceError as error:
        refused = error
    table = np.array(out, np.uint64).reshape(-1, 4)
    joined = rows.take(table[:, 0].astype(np.int64))
    joined.op, joined.name, joined.old = table[:, 1].astype(np.uint8), table[:, 2], table[:, 3]
    return joined, refused


def _joined(rows: Rows, open_calls: dict[int, list[_Call]], session: Session) -> Iterator[tuple[int, int, int, int]]:
    """Row number, op, name and old name of each event. While a realloc runs, its old address may be given to another
    thread, so its block goes by a made-up name."""
    ops, names, olds = rows.op.tolist(), rows.name.tolist(), rows.old.tolist()
    for i, (op, thread, name, old) in enumerate(zip(ops, rows.thread.tolist(), names, olds, strict=True)):
        stack = open_calls.get(thread)
        if op == Op.THREAD_EXIT:
            _leave_open(open_calls, [thread], session)
            yield i, op, name, old
        elif op < _OPENED:
            if not stack:
                yield i, op, name, old
        elif op < _RESUMED:
            moves = op == _OPENED + Op.REALLOC and old != 0 and rows.size[i] != 0
            made_up = INVENTED_NAME | int(rows.where[i]) if moves else old
            sizes = (int(rows.size[i]), int(rows.count[i]), int(rows.align[i]))
            call = _Call(op - _OPENED, bool(stack), old, made_up, *sizes)
            open_calls.setdefault(thread, []).append(call)
            if not call.inner and moves:
                yield i, RENAME, made_up, old
            elif not call.inner and call.op == Op.FREE:
                yield i, Op.FREE, name, 0
        elif op == _NO_RETURN:
            session.report.drop(_NEVER_RETURNED, not stack)
        elif not stack:
            line = f"line {rows.where[i]}"
            session.leave_out(
                "resumed calls that never began", 1, line, "a resumed call", "an unfinished one before it"
            )
        else:
            call = stack.pop()
            if call.op != op - _RESUMED:
                session.refuse(
                    f"line {rows.where[i]}", "another function resumed", "the last one this thread left unfinished"
                )
            if call.inner or call.op == Op.FREE:
                continue
            rows.size[i], rows.count[i], rows.align[i] = call.size, call.count, call.align
            yield i, call.op, name, call.name
            if call.name != call.old and name == 0:  # the realloc failed
                yield i, RENAME, call.old, call.name


def _leave_open(open_calls: dict[int, list[_Call]], threads: list[int], session: Session) -> None:
    for thread in threads:
        calls = open_calls.pop(thread, [])
        session.report.drop(_NEVER_RETURNED, sum(not call.inner and call.op != Op.FREE for call in calls))


def _plain(rows: Rows) -> Rows:
    """posix_memalign gets a block that nothing can name, reallocarray its size in one number."""
    posix = rows.op == _POSIX
    rows.name[posix] = np.where(rows.name[posix] == 0, UNNAMEABLE | rows.where[posix], np.uint64(0))
    rows.op[posix] = Op.ALIGNED
    array = (rows.op == Op.REALLOC) & (rows.count != 1)
    for i in np.flatnonzero(array):
        rows.size[i] = min(int(rows.size[i]) * int(rows.count[i]), 2**64 - 1)
        rows.count[i] = 1
    return rows
