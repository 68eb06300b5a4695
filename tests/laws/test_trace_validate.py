"""The validator passes sound traces and names the row of every seeded defect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from rows import Row, sound_rows, write
from support import budget

from alloclab.trace.columns import Fault
from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import ROW_GROUP, Trace, TraceWriter
from alloclab.trace.synth import Recipe, generate
from alloclab.trace.validate import LIMIT, validate

SOUND = [
    Row(Op.THREAD_START, thread=1),
    Row(Op.MALLOC, 0, 8),
    Row(Op.MALLOC, 1, 8, thread=1),
    Row(Op.FREE, 0),
    Row(Op.THREAD_EXIT, thread=1),
    Row(Op.MALLOC, 2, 8),
]

DEFECTS: dict[Fault, list[Row]] = {
    Fault.DOUBLE_FREE: [Row(Op.FREE, 0)],
    Fault.UNKNOWN_FREE: [Row(Op.FREE, 3)],
    Fault.REALLOC_DEAD: [Row(Op.REALLOC, 0, 9), Row(Op.REALLOC, 0, 9, failed=True)],
    Fault.REALLOC_UNKNOWN: [Row(Op.REALLOC, 99, 9)],
    Fault.BORN_TWICE: [Row(Op.MALLOC, 2, 8), Row(Op.CALLOC, 0, 8), Row(Op.ALIGNED, 1, 8, align=8)],
    Fault.IMPOSSIBLE_SIZE: [
        Row(Op.MALLOC, 3, 1 << 63),
        Row(Op.CALLOC, 3, 1 << 32, 1 << 32),
        Row(Op.CALLOC, 3, 1 << 32, 1 << 31),
        Row(Op.REALLOC, 1, (1 << 64) - 1),
    ],
    Fault.UNNAMED: [Row(Op.MALLOC, None, 8), Row(Op.REALLOC, None, 8)],
    Fault.FAILED_BIRTH: [Row(Op.MALLOC, 3, 8, failed=True)],
    Fault.BAD_ALIGNMENT: [Row(Op.ALIGNED, 3, 8, align=24), Row(Op.ALIGNED, 3, 8, align=0)],
    Fault.NEGATIVE_OBJECT: [Row(Op.FREE, -2)],
    Fault.NEGATIVE_TIME: [Row(Op.MALLOC, 3, 8, time=-5)],
    Fault.THREAD_TWICE: [Row(Op.THREAD_START, thread=7)],
    Fault.THREAD_GONE: [Row(Op.MALLOC, 3, 8, thread=1), Row(Op.THREAD_START, thread=1), Row(Op.FREE, thread=1)],
}


@settings(max_examples=budget(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sound_rows())
def test_a_sound_trace_has_no_problems(tmp_path: Path, rows: list[Row]) -> None:
    problems = validate(write(tmp_path / "t.parquet", rows))
    assert problems == [] and problems.counts == {} and problems.total == 0


def test_every_kind_of_defect_is_seeded_here() -> None:
    assert set(DEFECTS) == set(Fault)


@pytest.mark.parametrize(
    ("fault", "defect"), [(fault, row) for fault, found in DEFECTS.items() for row in found], ids=lambda x: str(x)[:40]
)
def test_a_defect_is_found_with_its_row(tmp_path: Path, fault: Fault, defect: Row) -> None:
    started = Row(Op.THREAD_START, thread=7)
    rows = [started, *SOUND, defect, Row(Op.FREE, 2)]
    problems = validate(write(tmp_path / "t.parquet", rows))
    assert [(problem.row, problem.kind) for problem in problems] == [(len(SOUND) + 1, fault.label)]
    assert problems.counts == {fault.label: 1}
    assert str(problems[0]).startswith(f"row {len(SOUND) + 1}: ")


def test_what_is_unusual_but_possible_passes(tmp_path: Path) -> None:
    rows = [
        Row(Op.MALLOC, 0, 0),
        Row(Op.MALLOC, None, 0),  # NULL for malloc(0), as some allocators answer
        Row(Op.MALLOC, 1, (1 << 63) - 1),
        Row(Op.CALLOC, None, 1 << 40, 1 << 40, failed=True),
        Row(Op.ALIGNED, None, 8, align=3, failed=True),
        Row(Op.REALLOC, 1, 0, failed=True),  # gone all the same
        Row(Op.MALLOC, 2, 8, time=1000),
        Row(Op.MALLOC, 5, 8, time=10),  # a step back in time, a gap in the numbers
        Row(Op.FREE),
    ]
    assert validate(write(tmp_path / "t.parquet", rows)) == []
    assert validate(write(tmp_path / "t.parquet", [*rows, Row(Op.FREE, 1)])).counts == {"double_free": 1}


def test_rows_count_through_all_blocks(tmp_path: Path) -> None:
    def blocks(row: int) -> Trace:
        with TraceWriter(tmp_path / "t.parquet", Metadata()) as writer:
            first = 0
            for block in generate(Recipe(ROW_GROUP + 1000, live=50)):
                if first <= row < first + len(block):
                    block = spoilt(block, row - first)
                writer.write(block)
                first += len(block)
        return Trace.open(tmp_path / "t.parquet")

    def spoilt(block: Events, at: int) -> Events:
        time = block.time_ns.copy()
        time[at] = -2
        return replace(block, time_ns=time)

    for row in (0, ROW_GROUP - 1, ROW_GROUP, ROW_GROUP + 999):
        assert [problem.row for problem in validate(blocks(row))] == [row]


def test_the_list_is_bounded_and_the_counts_are_not(tmp_path: Path) -> None:
    rows = [Row(Op.FREE, 5), Row(Op.MALLOC, None, 1)] * 100
    problems = validate(write(tmp_path / "t.parquet", rows))
    assert [problem.row for problem in problems] == list(range(LIMIT))
    assert problems.counts == {"unknown_free": 100, "unnamed": 100} and problems.total == 200
    assert len(validate(Trace.open(tmp_path / "t.parquet"), limit=3)) == 3
