"""Importers against plain Python: random programs written in every format, and real files counted line by line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from foreign import CANNOT_REALLOC, WRITERS, Call, count_naively, programs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rows import rows_of
from support import budget

from alloclab.errors import TraceError
from alloclab.trace.importers import import_file, importers
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=budget(20))
@given(calls=programs())
def test_a_program_written_and_imported_is_the_same_program(name: str, calls: list[Call]) -> None:
    write, row = WRITERS[name]
    if name in CANNOT_REALLOC:
        calls = [call for call in calls if call.op != Op.REALLOC]
    assume(calls)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "foreign"), Path(folder, "out.parquet")
        path.write_bytes(write(calls))
        report = import_file(path, out)
        rows = [r for r in rows_of(Trace.open(out)) if r.op != Op.THREAD_EXIT]
    assert report.format == name
    assert rows == [row(call) for call in calls]
    live: dict[int, int] = {}
    peak = 0
    for r in rows:
        assert r.object is not None
        live.pop(r.object, None)
        if r.op != Op.FREE:
            live[r.object] = r.size * r.count
        peak = max(peak, sum(live.values()))
    assert (report.live_blocks, report.live_bytes, report.peak_live_bytes) == (len(live), sum(live.values()), peak)


def test_there_is_a_writer_of_every_format() -> None:
    assert set(WRITERS) == set(importers())


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=budget(20))
@given(
    calls=programs(),
    cuts=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=4)), max_size=3),
    lenient=st.booleans(),
)
def test_a_damaged_file_is_imported_or_refused_in_one_line(
    name: str, calls: list[Call], cuts: list[tuple[int, int, bytes]], lenient: bool
) -> None:
    assume(any(call.op != Op.REALLOC for call in calls))
    data = WRITERS[name][0]([call for call in calls if name not in CANNOT_REALLOC or call.op != Op.REALLOC])
    for at, removed, put in cuts:
        at %= len(data)
        data = data[:at] + put + data[at + removed :]
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "foreign"), Path(folder, "out.parquet")
        path.write_bytes(data)
        try:
            report = import_file(path, out, format=name, lenient=lenient)
        except TraceError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            assert not out.exists()
        else:
            assert report.events == len(Trace.open(out))
            assert validate(Trace.open(out)) == []


ANDROID = {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "memalign": "aligned", "free": "free"}
WORDS = {
    **ANDROID,
    "thread_done": "thread_exit",
    "a": "malloc",
    "r": "realloc",
    "f": "free",
    "Alloc": "malloc",
    "Free": "free",
}


def test_real_files_have_the_counts_that_plain_python_finds(extra_traces: list[Path], tmp_path: Path) -> None:
    """By kind, live at the end and peak live, for every file of the folder that ALLOCLAB_EXTRA_TRACES names."""
    for path in extra_traces:
        if path.suffix not in (".zip", ".trace", ".script", ".txt"):
            continue
        count = count_naively(path)
        if count is None:
            continue
        report = import_file(path, tmp_path / "out.parquet")
        assert validate(Trace.open(tmp_path / "out.parquet")) == []
        expected = dict.fromkeys(report.by_kind, 0)
        for word, n in count.words.items():
            expected[WORDS[word]] += n
        expected["malloc"] += report.births_by_realloc
        expected["realloc"] -= report.births_by_realloc
        assert report.by_kind == expected, path
        found = (report.live_blocks, report.live_bytes, report.peak_live_bytes)
        assert found == (len(count.live), sum(count.live.values()), count.peak), path
        if path.name == "systemui.zip":
            assert count.words["malloc"] == 383_154 and count.words["realloc"] == 29_167
            assert found[0] == 53_645 and found[2] == 10_441_709
