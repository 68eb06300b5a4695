"""Traces for tests: built from rows, drawn by hypothesis, or counted naively in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import Trace, TraceWriter


@dataclass
class Row:
    """One event, as the schema says it; ``object`` and ``time`` are None for null."""

    op: Op
    object: int | None = None
    size: int = 0
    count: int = 1
    align: int = 0
    thread: int = 0
    time: int | None = None
    failed: bool = False
    address: int | None = None


def events(rows: Iterable[Row]) -> Events:
    rows = list(rows)
    return Events(
        op=np.array([r.op for r in rows], np.uint8),
        thread=np.array([r.thread for r in rows], np.uint32),
        object=np.array([-1 if r.object is None else r.object for r in rows], np.int64),
        size=np.array([r.size for r in rows], np.uint64),
        count=np.array([r.count for r in rows], np.uint64),
        align=np.array([r.align for r in rows], np.uint64),
        time_ns=np.array([-1 if r.time is None else r.time for r in rows], np.int64),
        failed=np.array([r.failed for r in rows], np.bool_),
        address=np.array([r.address or 0 for r in rows], np.uint64) if have_addresses(rows) else None,
    )


def have_addresses(rows: Iterable[Row]) -> bool:
    return any(row.address is not None for row in rows)


def rows_of(trace: Trace) -> list[Row]:
    found = []
    for e in trace.blocks():
        for i in range(len(e)):
            found.append(
                Row(
                    Op(int(e.op[i])),
                    None if e.object[i] < 0 else int(e.object[i]),
                    int(e.size[i]),
                    int(e.count[i]),
                    int(e.align[i]),
                    int(e.thread[i]),
                    None if e.time_ns[i] < 0 else int(e.time_ns[i]),
                    bool(e.failed[i]),
                )
            )
    return found


def write(path: Path, rows: Iterable[Row], metadata: Metadata | None = None) -> Trace:
    rows = list(rows)
    with TraceWriter(path, metadata or Metadata(program="test"), address=have_addresses(rows)) as writer:
        writer.write(events(rows))
    return Trace.open(path)


SIZES = st.one_of(st.integers(0, 100), st.integers(0, 1 << 20), st.sampled_from([0, 1, 4096, (1 << 63) - 1]))
SMALL_SIZES = st.one_of(st.integers(0, 100), st.integers(0, 1 << 20))


@st.composite
def sound_rows(draw: st.DrawFn, max_rows: int = 60) -> list[Row]:
    """Rows of a sound trace, with all that the schema allows: failures, NULLs, threads, times."""
    rows: list[Row] = []
    live: list[int] = []
    born = 0
    time = draw(st.integers(0, 10**7))
    timed = draw(st.booleans())
    for _ in range(draw(st.integers(0, max_rows))):
        op = draw(st.sampled_from([Op.MALLOC, Op.MALLOC, Op.CALLOC, Op.REALLOC, Op.ALIGNED, Op.FREE, Op.FREE]))
        row = Row(op, size=draw(SMALL_SIZES), thread=draw(st.integers(0, 3)))
        row.failed = op != Op.FREE and draw(st.integers(0, 7)) == 0
        time += draw(st.integers(-200_000, 2_000_000))
        row.time = max(0, time) if timed and draw(st.integers(0, 9)) else None
        if op == Op.CALLOC:
            row.count = draw(st.integers(0, 50))
            if row.failed and draw(st.booleans()):
                row.size, row.count = 1 << 40, 1 << 40
        if op == Op.ALIGNED:
            row.align = draw(st.sampled_from([0, 3, 24])) if row.failed else 1 << draw(st.integers(0, 16))
        if op in (Op.REALLOC, Op.FREE) and live and draw(st.integers(0, 9)):
            row.object = draw(st.sampled_from(live))
        if op == Op.REALLOC and row.object is not None and draw(st.integers(0, 5)) == 0:
            row.size, row.failed = 0, False
        if op == Op.FREE:
            row.size = 0
        ends = row.object is not None and (op == Op.FREE or (op == Op.REALLOC and row.size == 0))
        if ends:
            live.remove(row.object)
        elif op in (Op.MALLOC, Op.CALLOC, Op.ALIGNED) and not row.failed:
            row.object = born
            live.append(born)
            born += 1
        elif op == Op.REALLOC and row.object is None and not row.failed:
            row.op, row.object = Op.MALLOC, born
            live.append(born)
            born += 1
        rows.append(row)
    return rows
