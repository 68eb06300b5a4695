"""Cuts: a prefix is the same first rows; a part has the heap of the whole at its start, and the same rows after."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import Row, rows_of, sound_rows, write
from support import budget

from alloclab.errors import TraceError, UsageError
from alloclab.trace.compile import compile_trace
from alloclab.trace.cut import cut
from alloclab.trace.model import Metadata, Op
from alloclab.trace.parquet import ROW_GROUP, Trace
from alloclab.trace.synth import Recipe, synthesize
from alloclab.trace.validate import validate

HEALTH = [HealthCheck.function_scoped_fixture]


def live_after(rows: list[Row]) -> dict[int, tuple[int, int, int]]:
    """Object -> size, alignment and thread of its birth."""
    live: dict[int, tuple[int, int, int]] = {}
    for row in rows:
        if row.object is None:
            continue
        if row.op == Op.FREE or (row.op == Op.REALLOC and row.size == 0):
            del live[row.object]
        elif row.op == Op.REALLOC and not row.failed:
            live[row.object] = (row.size, *live[row.object][1:])
        elif row.op != Op.REALLOC:
            live[row.object] = (row.size * row.count, row.align, row.thread)
    return live


@settings(max_examples=budget(30), suppress_health_check=HEALTH)
@given(rows=sound_rows(), first=st.integers(1, 70))
def test_a_prefix_is_the_same_first_rows(tmp_path: Path, rows: list[Row], first: int) -> None:
    rows = rows or [Row(Op.FREE)]
    trace = write(tmp_path / "t.parquet", rows)
    report = cut(trace, tmp_path / "p.parquet", 0, first)
    assert rows_of(Trace.open(tmp_path / "p.parquet")) == rows[:first]
    assert (report.rows, report.born_before) == (min(first, len(rows)), 0)


@settings(max_examples=budget(60), suppress_health_check=HEALTH)
@given(rows=sound_rows(), bounds=st.tuples(st.integers(0, 60), st.integers(1, 30)))
def test_a_part_opens_with_what_was_live_and_goes_on_as_the_whole(
    tmp_path: Path, rows: list[Row], bounds: tuple[int, int]
) -> None:
    rows = rows or [Row(Op.FREE)]
    start = min(bounds[0], len(rows) - 1)
    stop = min(start + bounds[1], len(rows))
    cut(write(tmp_path / "t.parquet", rows), tmp_path / "p.parquet", start, stop)
    part = Trace.open(tmp_path / "p.parquet")
    assert validate(part) == []
    live = live_after(rows[:start])
    found = rows_of(part)
    births, rest = found[: len(live)], found[len(live) :]
    assert [(row.size, row.align, row.thread) for row in births] == [live[o] for o in sorted(live)]
    assert {row.op for row in births} <= {Op.MALLOC, Op.ALIGNED}
    assert {row.time for row in births} <= {rows[start].time}
    number = {old: new for new, old in enumerate(sorted(live))}
    for row in rows[start:stop]:
        if row.object is not None:
            number.setdefault(row.object, len(number))
    assert rest == [replace(r, object=None if r.object is None else number[r.object]) for r in rows[start:stop]]
    assert {size for size, _, _ in live_after(found).values()} == {s for s, _, _ in live_after(rows[:stop]).values()}


def test_the_parts_glued_together_have_the_peak_of_the_whole(tmp_path: Path) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(ROW_GROUP + 5000, live=500, phases=7, sizes="tiny"))
    whole = compile_trace(trace)
    bounds = [0, 1, 777, 100_000, ROW_GROUP - 1, ROW_GROUP + 1, len(trace)]
    peaks, ends = [], []
    for start, stop in itertools.pairwise(bounds):
        cut(trace, tmp_path / "p.parquet", start, stop)
        part = compile_trace(Trace.open(tmp_path / "p.parquet"))
        peaks.append(part.peak_live_bytes)
        ends.append((part.end_live_bytes, part.end_live_blocks))
    assert max(peaks) == whole.peak_live_bytes
    assert ends[-1] == (whole.end_live_bytes, whole.end_live_blocks)


def test_the_metadata_says_what_was_cut_from_what(tmp_path: Path) -> None:
    rows = [Row(Op.MALLOC, 0, 8), Row(Op.MALLOC, 1, 8), Row(Op.FREE, 0), Row(Op.FREE, 1)]
    metadata = Metadata(program="p", ended="exit 0", extra={"mine": 1})
    trace = write(tmp_path / "whole.parquet", rows, metadata)
    cut(trace, tmp_path / "p.parquet", 2, 3)
    found = Trace.open(tmp_path / "p.parquet").metadata
    assert (found.program, found.ended) == ("p", "cut before row 3")
    assert found.extra == {
        "cut": {"of": "whole", "from": 2, "to": 3, "rows": 4, "born_before": 2},
        "whole": {"mine": 1},
    }
    cut(trace, tmp_path / "p.parquet", 2, 99)
    assert Trace.open(tmp_path / "p.parquet").metadata.ended == "exit 0"


def test_a_trace_may_be_cut_onto_itself(tmp_path: Path) -> None:
    rows = [Row(Op.MALLOC, i, 8) for i in range(10)]
    trace = write(tmp_path / "t.parquet", rows)
    cut(trace, trace.path, 0, 4)
    assert rows_of(Trace.open(trace.path)) == rows[:4]


@pytest.mark.parametrize(("start", "stop"), [(4, 9), (2, 2), (3, 1), (-1, 2)])
def test_an_empty_part_is_refused(tmp_path: Path, start: int, stop: int) -> None:
    trace = write(tmp_path / "t.parquet", [Row(Op.MALLOC, i, 8) for i in range(4)])
    with pytest.raises(UsageError, match="the trace has 4"):
        cut(trace, tmp_path / "p.parquet", start, stop)
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("start", [1, 2, 3])
def test_a_contradiction_is_not_cut_away(tmp_path: Path, start: int) -> None:
    rows = [Row(Op.MALLOC, 0, 8), Row(Op.FREE, 0), Row(Op.FREE, 0), Row(Op.MALLOC, 1, 8)]
    trace = write(tmp_path / "t.parquet", rows)
    if start == 1:  # both frees are in the part, which keeps them: the same contradiction, for `info` to name
        cut(trace, tmp_path / "p.parquet", start, 4)
        assert validate(Trace.open(tmp_path / "p.parquet")).counts == {"double_free": 1}
        return
    with pytest.raises(TraceError):
        cut(trace, tmp_path / "p.parquet", start, 4)
    assert not (tmp_path / "p.parquet").exists()
