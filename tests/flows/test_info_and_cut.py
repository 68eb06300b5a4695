"""``alloclab info`` and ``alloclab cut``, as typed."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rows import Row, write

from alloclab.cli import main
from alloclab.trace.model import Metadata, Op
from alloclab.trace.parquet import Trace
from alloclab.trace.stats import summarize
from alloclab.trace.synth import Recipe, synthesize


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def alloclab(*arguments: object) -> Done:
    """The command's own entry point, in this process: starting one takes longer than all it does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        patch.setattr(sys, "argv", ["alloclab", *map(str, arguments)])
        main()
    assert isinstance(stop.value.code, int)
    return Done(stop.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    recipe = Recipe(5000, live=200, threads=3, reallocs=0.1)
    return synthesize(tmp_path_factory.mktemp("info") / "made.parquet", recipe)


def test_info_says_what_is_in_a_trace(trace: Trace) -> None:
    found = alloclab("info", trace.path)
    stats = summarize(trace)
    assert (found.returncode, found.stderr) == (0, "")
    assert f"5,000 events, 5,000 operations; {stats.births:,} blocks" in found.stdout
    assert f"Peak live {stats.peak.bytes:,} bytes" in found.stdout
    assert f"after operation {stats.peak.operation:,} " in found.stdout
    for title in ("Operations", "Sizes", "Lifetimes", "Top sizes", "Threads", "Reallocs:", "Realloc chains:"):
        assert any(line.startswith(title) for line in found.stdout.splitlines()), title
    assert max(len(line.rstrip()) for line in found.stdout.splitlines()) <= 120
    assert {line.split()[0] for line in found.stdout.splitlines() if line} >= {"malloc", "calloc", "realloc", "free"}


def test_infos_tables_cut_no_figure_off(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = alloclab("info", trace.path).stdout
    monkeypatch.setenv("COLUMNS", "60")
    narrow = alloclab("info", trace.path).stdout
    assert "…" not in wide + narrow and sum(map(str.isdigit, wide)) == sum(map(str.isdigit, narrow))


def test_infos_json_has_the_same_figures(trace: Trace) -> None:
    found = json.loads(alloclab("info", trace.path, "--json").stdout)
    assert (found["schema"], found["valid"], found["problems"], found["events"]) == (1, True, [], 5000)
    assert found["metadata"]["program"] == "synthetic"
    expected = json.loads(json.dumps(summarize(trace).to_json()))
    assert {name: found[name] for name in expected} == expected


def test_info_on_an_invalid_trace_lists_rows_and_exits_3(tmp_path: Path) -> None:
    rows = [Row(Op.MALLOC, 0, 8), Row(Op.FREE, 0), Row(Op.FREE, 0), Row(Op.FREE, 9)]
    write(tmp_path / "bad.parquet", rows)
    found = alloclab("info", tmp_path / "bad.parquet")
    assert found.returncode == 3
    assert "row 2: double free: object 0 is already dead" in found.stdout
    assert "row 3: free of object 9, which was never born" in found.stdout
    assert found.stderr.count("\n") == 1
    assert "invalid trace, 2 problems: 1 double free, 1 unknown free; first row 2" in found.stderr
    as_json = alloclab("info", "--json", tmp_path / "bad.parquet")
    values = json.loads(as_json.stdout)
    assert as_json.returncode == 3 and values["valid"] is False and "births" not in values
    assert [(p["row"], p["kind"]) for p in values["problems"]] == [(2, "double_free"), (3, "unknown_free")]


def test_info_shows_the_metadata(tmp_path: Path) -> None:
    metadata = Metadata(program="prog", command=("prog", "[x]"), ended="signal 9", dropped={"inherited frees": 1234})
    write(tmp_path / "t.parquet", [Row(Op.FREE)], metadata)
    lines = alloclab("info", tmp_path / "t.parquet").stdout.splitlines()
    words = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  ") and line.strip()}
    assert words["command"] == "prog '[x]'" and words["ended"] == "signal 9"
    assert words["dropped"] == "1,234 inherited frees"


@pytest.mark.parametrize("content", [b"", b"no trace at all\n", b"PAR1 cut off"])
def test_what_is_no_trace_gets_one_line(tmp_path: Path, content: bytes) -> None:
    path, out = tmp_path / "bad.parquet", tmp_path / "out.parquet"
    path.write_bytes(content)
    for command in (
        ["info", path],
        ["info", "--json", path],
        ["cut", path, "--first", 3, "-o", out],
    ):
        found = alloclab(*command)
        assert (found.returncode, found.stdout, found.stderr.count("\n")) == (3, "", 1), command
        assert str(path) in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["bad.parquet"]


def test_cut_makes_a_prefix_and_a_part(trace: Trace, tmp_path: Path) -> None:
    found = alloclab("cut", trace.path, "--first", 100, "-o", tmp_path / "prefix.parquet")
    assert found.returncode == 0 and "rows 0 to 100 of 5,000: 100 events" in found.stdout
    assert len(Trace.open(tmp_path / "prefix.parquet")) == 100
    found = alloclab("cut", trace.path, "--from", 1000, "--to", 2000, "-o", tmp_path / "part.parquet")
    part = Trace.open(tmp_path / "part.parquet")
    before = part.metadata.extra["cut"]["born_before"]
    assert f"{before} births first for what was live: {1000 + before:,} events" in found.stdout
    assert "cut          rows 1,000 to 2,000 of made" in alloclab("info", part.path).stdout
    found = alloclab("cut", trace.path, "--from", 4000, "-o", tmp_path / "rest.parquet")
    assert "rows 4,000 to 5,000" in found.stdout


def test_cuts_json_has_the_same_figures(trace: Trace, tmp_path: Path) -> None:
    out = tmp_path / "part.parquet"
    found = json.loads(alloclab("cut", trace.path, "--from", 1000, "--to", 2000, "-o", out, "--json").stdout)
    assert (found["output"], found["start"], found["stop"]) == (str(out), 1000, 2000)
    assert found["rows"] == 1000 + found["born_before"] == len(Trace.open(out))


def test_cut_refuses_to_overwrite_what_is_no_trace(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    found = alloclab("cut", trace.path, "--first", 3, "-o", tmp_path / "notes.txt")
    assert found.returncode == 2 and "must end in .parquet" in found.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["--first", "3", "--to", "4"], ["--from", "9999"], ["--first", "0"]])
def test_cut_refuses_what_makes_no_part(trace: Trace, tmp_path: Path, options: list[str]) -> None:
    found = alloclab("cut", trace.path, *options, "-o", tmp_path / "out.parquet")
    assert found.returncode == 2 and found.stderr.strip() and not (tmp_path / "out.parquet").exists()


def test_cut_into_a_folder_that_is_not_there_gets_one_line(trace: Trace, tmp_path: Path) -> None:
    found = alloclab("cut", trace.path, "--first", 3, "-o", tmp_path / "no" / "out.parquet")
    assert found.returncode != 0 and found.stderr.count("\n") == 1 and "out.parquet" in found.stderr


def test_the_installed_command_passes_its_exit_code_on(tmp_path: Path) -> None:
    write(tmp_path / "bad.parquet", [Row(Op.FREE, 9)])
    command = [Path(sys.executable).with_name("alloclab"), "info", tmp_path / "bad.parquet"]
    assert subprocess.run(command, capture_output=True).returncode == 3
