"""Results leave the program as JSON and come back the same; what is no result is refused in one line."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from comparisons import MACHINE, made_up
from hypothesis import given, settings
from hypothesis import strategies as st
from support import budget

from alloclab.errors import UsageError
from alloclab.files import check_output, write_whole
from alloclab.result import Comparison, Result, Value, from_json, load, save, to_json

numbers = st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False))
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.builds(Value, numbers, st.text(), st.none() | floats, st.none() | floats),
    st.builds(Value, st.none(), st.text(), reason=st.text()),
)
results = st.builds(
    Result,
    trace=st.text(),
    allocator=st.text(),
    mode=st.text(),
    touch=st.text(),
    verified=st.booleans(),
    ops=st.integers(0, 2**63),
    metrics=st.dictionaries(st.text(), values, max_size=4),
    failure=st.none() | st.text(),
    rounds=st.lists(floats, max_size=3).map(tuple),
    speeds=st.lists(floats, max_size=3).map(tuple),
    memory_runs=st.integers(1, 99),
    program=st.text(),
)


@given(st.lists(results, max_size=3).map(tuple))
@settings(max_examples=budget(100))
def test_json_round_trip_is_the_identity(made: tuple[Result, ...]) -> None:
    comparison = Comparison(MACHINE, made)
    assert from_json(to_json(comparison)) == comparison


def test_the_document_has_the_promised_shape() -> None:
    document = json.loads(to_json(made_up(["t"], {"system": (1.2, 10.0)})))
    assert document["schema"] == 1
    assert document["machine"] == MACHINE
    first = document["results"][0]
    assert {"trace", "allocator", "mode", "touch", "verified", "ops", "metrics"} <= set(first)
    assert set(first["metrics"]["ns_per_op"]) == {"value", "unit", "low", "high"}
    assert set(first["metrics"]["peak_vmas"]) == {"value", "unit", "reason"}
    assert first["metrics"]["peak_vmas"]["value"] is None


def test_results_of_before_there_were_concurrent_replays_are_read() -> None:
    made = made_up(["t"], {"system": (1.2, 10.0)})
    document = json.loads(to_json(made))
    for result in document["results"]:
        del result["memory_runs"], result["rounds_ops_per_second"]
    assert from_json(json.dumps(document)) == made


def broken(change: str) -> str:
    document = json.loads(to_json(made_up(["t"], {"system": (1.2, 10.0)})))
    first = document["results"][0]
    if change == "schema":
        document["schema"] = 2
    elif change == "missing":
        del first["touch"]
    elif change == "kind":
        first["ops"] = "many"
    elif change == "bool":
        first["metrics"]["calls_brk"]["value"] = True
    elif change == "metric":
        first["metrics"]["calls_brk"] = 7
    elif change == "rounds":
        first["rounds_ns_per_op"] = ["fast"]
    elif change == "results":
        document["results"] = {}
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (broken("schema"), "schema 2, this version reads 1"),
        (broken("missing"), "results[0]: 'touch' is missing"),
        (broken("kind"), "results[0]: 'ops': found text, expected a whole number"),
        (broken("bool"), "results[0]: metrics.calls_brk: 'value': found true or false, expected a whole number"),
        (broken("metric"), "results[0]: metrics.calls_brk: found a whole number, expected an object"),
        (broken("rounds"), "results[0]: rounds_ns_per_op[0]: found text, expected a number"),
        (broken("results"), "'results': found an object, expected a list"),
        ("[]", "found a list, expected an object"),
        ("{", "line 1: not JSON"),
        ('{"schema": NaN}', "found NaN, expected a number"),
    ],
)
def test_what_is_no_result_is_named_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_save_and_load(tmp_path: Path) -> None:
    comparison = made_up(["t"], {"system": (1.2, 10.0)})
    save(comparison, tmp_path / "r.json")
    assert load(tmp_path / "r.json") == comparison
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.json"
    file.write_text("old")

    def write_half(self: Path, data: bytes) -> int:
        with self.open("wb") as out:
            out.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(file, b"something new")
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_outputs_are_refused_before_the_work(tmp_path: Path) -> None:
    check_output("-", [".json"])
    check_output(str(tmp_path / "new.json"), [".json"])
    (tmp_path / "folder.json").mkdir()
    for path, said in [
        (str(tmp_path / "trace.parquet"), "must end in .json"),
        (str(tmp_path / "folder.json"), "is a folder"),
        (str(tmp_path / "none" / "r.json"), "there is no folder"),
    ]:
        with pytest.raises(UsageError, match=said):
            check_output(path, [".json"])
