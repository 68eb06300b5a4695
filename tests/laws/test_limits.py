"""Limits of pytest's plugin: what they may be, and which rows of a recording are a test's own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import Row, events, sound_rows
from support import budget

from alloclab.errors import UsageError
from alloclab.pytest_plugin.bounds import limits_of
from alloclab.pytest_plugin.child import BEGIN, END, NO_ALIGNMENT
from alloclab.pytest_plugin.own_rows import OwnRows
from alloclab.trace.model import Op


def mark(name: str, *args: object, **kwargs: object) -> Any:
    return SimpleNamespace(name=name, args=args, kwargs=kwargs)


def limits(*marks: Any) -> list[tuple[str, float, str | None]]:
    """Of a test that has them, the closest first: what, how much, on which allocator."""
    item: Any = SimpleNamespace(iter_markers=lambda name: (m for m in marks if m.name == name))
    return [(limit.what, limit.most, limit.allocator and limit.allocator.spec) for limit in limits_of(item)]


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [
        ("24 MB", 24_000_000),
        ("24MiB", 24 << 20),
        ("1.5 kB", None),
        ("1.5 KB", 1500),
        ("7 B", 7),
        (4096, 4096),
        (-1, None),
    ],
)
def test_sizes(size: object, bytes_: int | None) -> None:
    if bytes_ is None:
        with pytest.raises(UsageError, match=r'^limit_rss\(.*\): expected a size such as limit_rss\("24 MB"\)'):
            limits(mark("limit_rss", size))
    else:
        assert limits(mark("limit_rss", size)) == [("rss", bytes_, None)]


def test_of_one_kind_the_closest_holds() -> None:
    near, far = mark("limit_calls", mmap=1, allocator="fit"), mark("limit_calls", 30, mmap=2)
    assert limits(near, far) == [("mmap", 1, "fit"), ("calls", 30, "ptmalloc")]


@pytest.mark.parametrize(
    "wrong",
    [
        mark("limit_rss"),
        mark("limit_rss", True),
        mark("limit_rss", "1 MB", "2 MB"),
        mark("limit_rss", "1 MB", allocator=3),
        mark("limit_rss", "1 MB", allocator="null"),
        mark("limit_rss", "1 MB", allocator="nowhere"),
        mark("limit_calls"),
        mark("limit_calls", mmpa=1),
        mark("limit_calls", mmap="x"),
        mark("limit_calls", 1, 2),
        mark("limit_fragmentation", 0.5),
        mark("limit_fragmentation", float("nan")),
        mark("limit_fragmentation", 1.3, mmap=1),
    ],
)
def test_what_is_no_limit_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"^{wrong.name}"):
        limits(wrong)


def own(rows: list[Row], begin: int, end: int) -> list[Row]:
    """In plain Python: rows ``begin`` up to ``end`` about blocks that were born there, or resized first."""
    before = {row.object for row in rows[:begin]} - {None}
    numbers: dict[int | None, int | None] = {None: None}
    found = []
    for row in rows[begin:end]:
        if row.object in before:
            if row.failed or (row.object not in numbers and (row.op == Op.FREE or row.size == 0)):
                continue
            if row.object not in numbers:
                row = replace(row, op=Op.MALLOC)
        numbers.setdefault(row.object, len(numbers) - 1)
        found.append(replace(row, object=numbers[row.object]))
    return found


@settings(max_examples=budget(100))
@given(rows=sound_rows(), data=st.data())
def test_own_rows_are_a_trace_of_what_the_test_made(rows: list[Row], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(rows)))
    marked = [*rows[:begin], boundary(BEGIN), *rows[begin:end], boundary(END), *rows[end:]]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(marked)), max_size=4)))
    taker = OwnRows()
    parts = [taker.of(events(marked[a:b])) for a, b in zip([0, *cuts], [*cuts, len(marked)], strict=True)]
    expected = events(own(rows, begin, end))
    for name in ("op", "thread", "object", "size", "count", "align", "time_ns", "failed"):
        assert [value for part in parts for value in getattr(part, name).tolist()] == getattr(expected, name).tolist()


def boundary(size: int) -> Row:
    return Row(Op.ALIGNED, size=size, align=NO_ALIGNMENT, failed=True)
