"""Traces at rest: what is written is read, foreign files open, broken ones say what is wrong."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import Row, events, rows_of, sound_rows, write
from support import PRINT_PEAK_KIB, ROOT, budget

from alloclab.errors import TraceError, UsageError
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import OP_LABELS, SCHEMA, Events, Metadata, Op
from alloclab.trace.parquet import METADATA_KEY, ROW_GROUP, Trace, TraceWriter
from alloclab.trace.synth import Recipe, generate, synthesize
from alloclab.trace.validate import validate

ROWS = [
    Row(Op.MALLOC, 0, 100, time=5),
    Row(Op.CALLOC, 1, 8, 3, thread=1),
    Row(Op.REALLOC, 0, 200, time=7),
    Row(Op.ALIGNED, None, 64, align=32, failed=True),
    Row(Op.FREE),
    Row(Op.FREE, 1),
    Row(Op.THREAD_EXIT, thread=1),
]


@settings(max_examples=budget(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sound_rows(), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_what_is_written_is_read_however_it_was_split(tmp_path: Path, rows: list[Row], cuts: list[int]) -> None:
    path = tmp_path / "t.parquet"
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    with TraceWriter(path, Metadata()) as writer:
        for start, stop in itertools.pairwise(bounds):
            writer.write(events(rows[start:stop]))
    trace = Trace.open(path)
    assert len(trace) == len(rows) == writer.rows
    assert rows_of(trace) == rows


def test_addresses_and_stacks_come_along(tmp_path: Path) -> None:
    block = events(ROWS)
    block.address = np.arange(100, 100 + len(ROWS), dtype=np.uint64)
    block.stack = [[1, 2, 3], [], [1 << 63], [], [], [7], []]
    path = tmp_path / "t.parquet"
    with TraceWriter(path, Metadata(), address=True, stack=True) as writer:
        writer.write(block)
        writer.write(block)
    (read,) = Trace.open(path).blocks()
    assert read.address is not None and read.stack is not None
    assert read.address.tolist() == block.address.tolist() * 2
    assert [list(frames) for frames in read.stack] == [list(frames) for frames in block.stack] * 2
    (again,) = Trace.open(path).blocks(["op"])
    assert again.address is None and again.stack is None


def test_the_file_has_the_schema(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", ROWS)
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.names == SCHEMA.names
    assert [field.type for field in schema] == [field.type for field in SCHEMA]
    table = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert table[4] == {
        **dict.fromkeys(SCHEMA.names),
        **{"op": "free", "thread": 0, "size": 0, "count": 1, "align": 0, "failed": False},
    }


def test_columns_not_asked_for_are_neutral(tmp_path: Path) -> None:
    (block,) = write(tmp_path / "t.parquet", ROWS).blocks(["op", "size"])
    assert block.op.tolist() == [row.op for row in ROWS]
    assert block.size.tolist() == [row.size for row in ROWS]
    assert set(block.object.tolist()) == set(block.time_ns.tolist()) == {-1}
    assert not block.thread.any() and not block.failed.any()


def test_metadata_may_be_replaced_until_the_end(tmp_path: Path) -> None:
    final = Metadata(program="p", command=("p", "-x"), clock_resolution_ns=3, dropped={"a": 1}, extra={"k": [1, {}]})
    with TraceWriter(tmp_path / "t.parquet", Metadata(program="early")) as writer:
        writer.write(events(ROWS))
        writer.metadata = final
    assert Trace.open(tmp_path / "t.parquet").metadata == final


def test_rows_are_stored_and_read_in_bounded_groups(tmp_path: Path) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(2 * ROW_GROUP + 10, live=100))
    file = pq.ParquetFile(trace.path)
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [ROW_GROUP, ROW_GROUP, 10]
    assert [len(block) for block in trace.blocks()] == [ROW_GROUP, ROW_GROUP, 10]


MEMORY_OF = f"""
import sys
from alloclab.trace.compile import compile_trace
from alloclab.trace.parquet import Trace
from alloclab.trace.stats import summarize
from alloclab.trace.synth import Recipe, synthesize
from alloclab.trace.validate import validate
trace = synthesize(sys.argv[1], Recipe(int(sys.argv[2]), live=1000))
assert not validate(trace) and summarize(trace).events == len(trace)
{PRINT_PEAK_KIB}"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trace(tmp_path: Path) -> None:
    """Writing, validating and summarizing 24 row groups needs hardly more than 3: rows in memory would be 47 B each."""

    def peak_kib(rows: int) -> int:
        command = [sys.executable, "-c", MEMORY_OF, str(tmp_path / "t.parquet"), str(rows)]
        return int(subprocess.run(command, env=plain, check=True, capture_output=True, text=True).stdout)

    # Arrow's own pool, and arenas of threads, keep more or less of what was freed, as it comes.
    plain = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
    more_rows = 21 * ROW_GROUP
    growth = 1024 * (peak_kib(3 * ROW_GROUP + more_rows) - peak_kib(3 * ROW_GROUP))
    assert growth < more_rows * 47 / 3


# --- files that other tools write ---


def foreign_table(**changed: pa.Array | None) -> pa.Table:
    """The same rows as plain columns; a column given as None is left out."""
    columns: dict[str, pa.Array | None] = {
        "op": pa.array([row.op.label for row in ROWS]),
        "thread": pa.array([row.thread for row in ROWS]),
        "object": pa.array([row.object for row in ROWS]),
        "size": pa.array([row.size for row in ROWS]),
        "count": pa.array([row.count for row in ROWS]),
        "align": pa.array([row.align for row in ROWS]),
        "time_ns": pa.array([row.time for row in ROWS]),
        "failed": pa.array([row.failed for row in ROWS]),
    }
    return pa.table({name: column for name, column in {**columns, **changed}.items() if column is not None})


def floats(values: list[int | None]) -> pa.Array:
    return pa.array([None if v is None else float(v) for v in values], pa.float64())


UNUSED_LABELS = pa.array(["free", "thread_exit", "unused", *reversed(OP_LABELS[:4])])
FOREIGN = {
    "plain strings and int64": {},
    "string views": {"op": pa.array([r.op.label for r in ROWS], pa.string_view())},
    "large strings": {"op": pa.array([r.op.label for r in ROWS], pa.large_string())},
    "another order of labels, some unused": {
        "op": pa.DictionaryArray.from_arrays(pa.array([6, 5, 4, 3, 0, 0, 1], pa.int32()), UNUSED_LABELS)
    },
    "floats where there are nulls": {"object": floats([r.object for r in ROWS]), "time_ns": floats([5, *[None] * 6])},
    "narrow integers": {"thread": pa.array([r.thread for r in ROWS], pa.int8())},
    "more columns": {"note": pa.array(["x"] * len(ROWS))},
}


@pytest.mark.parametrize("changed", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_another_tool_wrote_opens(tmp_path: Path, changed: dict[str, Any], dictionary: bool) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(foreign_table(**changed), path, use_dictionary=dictionary, store_schema=dictionary)
    expected = [Row(**vars(row)) for row in ROWS]
    if "time_ns" in changed:
        expected[2].time = None
    assert rows_of(Trace.open(path)) == expected
    assert Trace.open(path).metadata == Metadata()


def test_a_column_of_nothing_but_nulls_opens(tmp_path: Path) -> None:
    pq.write_table(foreign_table(time_ns=pa.nulls(len(ROWS))), tmp_path / "t.parquet")
    assert {row.time for row in rows_of(Trace.open(tmp_path / "t.parquet"))} == {None}


def test_one_huge_row_group_is_read_in_blocks(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP + 3
    table = foreign_table().take(pa.array(np.arange(rows) % len(ROWS)))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=rows)
    assert max(len(block) for block in Trace.open(tmp_path / "t.parquet").blocks()) <= ROW_GROUP


def changed(name: str, row: int, value: object, kind: pa.DataType | None = None) -> dict[str, pa.Array]:
    values = foreign_table()[name].to_pylist()
    values[row] = value
    return {name: pa.array(values, kind)}


BAD_TABLES = {
    "row 3: found op 'mallocate', expected one of malloc, calloc": changed("op", 3, "mallocate"),
    "row 2, column op: found null, expected a value": changed("op", 2, None),
    "row 1, column size: found null, expected a value": changed("size", 1, None),
    "row 5, column size: found -3, expected a value of type uint64": changed("size", 5, -3),
    "row 6, column thread: found 4294967296, expected": changed("thread", 6, 1 << 32),
    "row 2, column object: found 1.5, expected a value of type int64": changed("object", 2, 1.5, pa.float64()),
    "column size: found double, expected uint64": changed("size", 0, 1.0, pa.float64()),
    "column op: found int64, expected string": {"op": pa.array(range(len(ROWS)))},
    "column failed: found int64, expected bool": {"failed": pa.array(range(len(ROWS)))},
    "not a trace: columns thread, time_ns missing": {"thread": None, "time_ns": None},
}


@pytest.mark.parametrize(("message", "columns"), BAD_TABLES.items(), ids=BAD_TABLES.keys())
def test_a_table_that_is_no_trace_is_refused_with_its_row(
    tmp_path: Path, message: str, columns: dict[str, Any]
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(foreign_table(**columns), path)
    with pytest.raises(TraceError) as caught:
        list(Trace.open(path).blocks())
    assert str(caught.value).startswith(f"{path}: {message}")


def test_the_row_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    table = foreign_table().take(pa.array(np.arange(ROW_GROUP + 5) % len(ROWS)))
    late = table["op"].to_pylist()
    late[ROW_GROUP + 2] = "strange"
    pq.write_table(table.set_column(0, "op", pa.array(late)), tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=f"row {ROW_GROUP + 2}: found op 'strange'"):
        list(Trace.open(tmp_path / "t.parquet").blocks())


# --- files that are none ---


def test_files_that_are_no_parquet_get_one_line(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", ROWS)
    whole = (tmp_path / "t.parquet").read_bytes()
    contents = {
        "empty file": b"",
        "not a Parquet file": b"malloc 100\nfree 1\n",
        "truncated or damaged": whole[:-20],
        "truncated or damaged Parquet file": whole[: len(whole) // 2],
        "truncated": whole[:4],
    }
    for message, content in contents.items():
        path = tmp_path / "bad.parquet"
        path.write_bytes(content)
        with pytest.raises(TraceError, match=message) as caught:
            Trace.open(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(TraceError, match="no such file"):
        load(tmp_path / "missing")
    with pytest.raises(TraceError, match="is a folder"):
        load(tmp_path)


def test_damage_inside_a_file_is_noticed(tmp_path: Path) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(50_000))
    raw = bytearray(trace.path.read_bytes())
    raw[100:4000] = bytes(3900)
    trace.path.write_bytes(raw)
    with pytest.raises(TraceError, match="damaged after row 0"):
        list(Trace.open(trace.path).blocks())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "unreadable metadata"),
        ("[]", "unreadable metadata"),
        ('{"command": 3}', "unreadable metadata"),
        ('{"schema": 99}', "schema version 99"),
    ],
)
def test_metadata_that_cannot_be_read_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    table = foreign_table().replace_schema_metadata({METADATA_KEY: text})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=message):
        Trace.open(tmp_path / "t.parquet")


def test_metadata_of_a_later_minor_version_is_read_as_far_as_known(tmp_path: Path) -> None:
    text = json.dumps({"schema": 1, "program": "p", "colour": "red"})
    pq.write_table(foreign_table().replace_schema_metadata({METADATA_KEY: text}), tmp_path / "t.parquet")
    assert Trace.open(tmp_path / "t.parquet").metadata == Metadata(program="p")


# --- writing ---


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path, ROWS)
    before = path.read_bytes()

    def fail_while_writing() -> None:
        with TraceWriter(path, Metadata()) as writer:
            for block in generate(Recipe(ROW_GROUP + 100)):
                writer.write(block)
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail_while_writing()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_a_disk_that_is_full_from_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *arguments: object, **options: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "Detail: [errno 28]")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter", full)
    with (
        pytest.raises(OSError, match="No space left on device"),
        TraceWriter(tmp_path / "t.parquet", Metadata()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_devices_and_folders_are_never_replaced(tmp_path: Path) -> None:
    for path, what in ((Path("/dev/null"), "device"), (tmp_path, "folder")):
        with pytest.raises(UsageError, match=f"is a {what}"):
            TraceWriter(path, Metadata())
    assert Path("/dev/null").is_char_device()


def test_columns_of_unequal_length_are_refused(tmp_path: Path) -> None:
    block = events(ROWS)
    short = Events(**{**vars(block), "size": block.size[:-1]})
    with (
        pytest.raises(ValueError, match="column size has 6 rows, not 7"),
        TraceWriter(tmp_path / "t.parquet", Metadata()) as writer,
    ):
        writer.write(short)
    assert list(tmp_path.iterdir()) == []


def test_the_callers_arrays_may_be_reused(tmp_path: Path) -> None:
    block = events(ROWS)
    with TraceWriter(tmp_path / "t.parquet", Metadata()) as writer:
        writer.write(block)
        block.size[:] = 0
        block.op[:] = Op.FREE
    assert rows_of(Trace.open(tmp_path / "t.parquet")) == ROWS


def test_a_loaded_foreign_trace_goes_with_its_object(tmp_path: Path) -> None:
    source = tmp_path / "small.script"
    source.write_text("a 1 100\na 2 50\nf 1\n")
    trace = load(source)
    converted = trace.path
    assert (trace.name, len(trace), converted.exists()) == ("small", 3, True)
    del trace
    assert not converted.exists()


def test_the_repositorys_and_extra_traces_load_validate_and_compile(extra_traces: list[Path]) -> None:
    """And whatever is in the folder that ALLOCLAB_EXTRA_TRACES names."""
    for path in [*sorted((ROOT / "traces").glob("*.parquet")), *extra_traces]:
        trace = load(path)
        assert validate(trace) == [], path
        compiled = compile_trace(trace)
        assert compiled.operations == sum(int((block.op < Op.THREAD_START).sum()) for block in trace.blocks(["op"]))
