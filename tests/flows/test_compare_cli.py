"""``alloclab compare`` and ``alloclab replay`` from end to end, on small synthetic traces."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from replays import at_rest, churn, threaded
from rows import write
from support import children_of, started, wait_for

from alloclab import cli
from alloclab.allocators import lab_allocators, libraries_found, resolve
from alloclab.comparison import run as comparing
from alloclab.measure import METRICS
from alloclab.result import FLOOR, load
from alloclab.trace.synth import Recipe, synthesize

ALLOCLAB = [sys.executable, "-c", "from alloclab.cli import main; main()"]
QUICK = ["--rounds", "2"]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("traces")
    for name, seed in (("one", 1), ("two", 2)):
        synthesize(folder / f"{name}.parquet", Recipe(events=4000, live=300, seed=seed))
    return [str(folder / f"{name}.parquet") for name in ("one", "two")]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def go(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def figures(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (r.trace, r.allocator): {name: v.value for name, v in r.metrics.items() if name != "ns_per_op"}
        for r in load(path).results
    }


def test_the_main_job(run, traces: list[str], tmp_path: Path) -> None:
    outputs = {ending: tmp_path / f"out.{ending}" for ending in ("json", "md", "png")}
    code, out, err = run(
        "compare", *traces, "-a", "system", "-a", "fit:policy=best", "-a", "bump", *QUICK,
        "--json", str(outputs["json"]), "--markdown", str(outputs["md"]), "--figure", str(outputs["png"]),
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert re.findall(r"^  (\w\S*)", out, re.M)[:4] == ["system", "fit:policy=best", "bump", "null"]
    for word in (
        "geometric mean",
        "Machine: ",
        "Mode serial",
        "touch policy page",
        "needs least memory",
        "peak mapped",
    ):
        assert word in out
    for path in outputs.values():
        assert str(path) in out and path.stat().st_size > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.md", "out.png"]

    comparison = load(outputs["json"])
    assert len(comparison.results) == 2 * 4
    for result in comparison.results:
        assert set(result.metrics) == set(METRICS)
        assert result.verified == (result.allocator != FLOOR)
        assert result.ops == 4000 and len(result.rounds) == 2
        assert result.metrics["ns_per_op"].value is not None
        if result.verified:
            live, mapped = (result.metrics[f"peak_{kind}_bytes"].value for kind in ("live", "mapped"))
            assert live is not None and mapped is not None and 0 < live <= mapped


@pytest.fixture(scope="module")
def threaded_trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("threaded") / "threaded.parquet"
    write(path, threaded(churn(4000, seed=1), seed=2))
    return str(path)


@pytest.mark.slow
def test_threads_side_by_side(run, threaded_trace: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    command = ["compare", threaded_trace, "-a", "system", "-a", "fit", "--concurrent", *QUICK, "--memory-runs", "3"]
    code, out, err = run(*command, "--json", str(file), "--figure", str(tmp_path / "r.png"))
    assert (code, err) == (0, "")
    for words in ("Mode concurrent", "median of 3 runs", "of all threads", "ops/s", "waited", "speed vs"):
        assert words in out
    assert re.search(r"\d+ threads, ", out)
    for result in load(file).results:
        assert (result.mode, result.memory_runs) == ("concurrent", 3)
        assert len(result.rounds) == len(result.speeds) == 2
        assert result.metrics["edges"].value == load(file).results[0].metrics["edges"].value != 0
        assert all(result.metrics[name].value is not None for name in ("ops_per_second", "waits", "waited_ns_per_op"))
    assert run("compare", threaded_trace, "-a", "fit", "--concurrent", "--no-time", "--all")[0] == 0


def test_recorded_threads_in_one(run, threaded_trace: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    code, out, err = run("compare", threaded_trace, "--threads", "recorded", "--no-time", "--json", str(file))
    assert (code, err) == (0, "")
    assert "Mode serial, recorded threads, in process" in out
    assert load(file).allocators == [lab.name for lab in lab_allocators()], "all that can be"


@pytest.mark.slow
def test_one_trace_on_one_allocator_side_by_side(run, threaded_trace: str) -> None:
    code, out, _ = run("replay", threaded_trace, "-a", "ptmalloc", "--concurrent", *QUICK)
    assert code == 0 and re.search(r"^edges +[\d,]+ +edges", out, re.M)
    assert re.search(r"^realloc_bytes_copied +- +bytes +not measured: threads ran side by side", out, re.M)


def test_json_alone_on_stdout(run, traces: list[str]) -> None:
    code, out, err = run("compare", traces[0], "-a", "bump", "--no-time", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [r["allocator"] for r in document["results"]] == ["bump", FLOOR]
    time_of_bump = document["results"][0]["metrics"]["ns_per_op"]
    assert time_of_bump["value"] is None and time_of_bump["reason"]


def test_markdown_alone_on_stdout(run, traces: list[str]) -> None:
    code, out, err = run("compare", traces[0], "-a", "bump", "-a", "system", "--no-time", "--markdown", "-")
    assert (code, err) == (0, "")
    assert out.startswith("| trace | allocator |") and "| one | system |" in out


BY_MARK = {"peak_resident_bytes", "fragmentation_resident_3", "fragmentation_resident_4"}
"""Of the kernel's high-water mark, in which pages count by the batch: of each core and each kind of page, as many as
BATCH may be still, or no more, in it."""

BATCH = 32 * 4096


def test_everything_but_time_repeats(run, traces: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no time passes: tcmalloc-hpaa remembers each second at another place, jemalloc gives memory back."""
    monkeypatch.setattr(comparing, "resolve", lambda *spec: at_rest(resolve(*spec)))
    every_lab = [word for lab in lab_allocators() for word in ("-a", lab.name)]
    for name in ("a", "b"):
        assert run("compare", traces[0], *every_lab, *QUICK, "--json", str(tmp_path / f"{name}.json"))[0] == 0
    first, second = (figures(tmp_path / f"{name}.json") for name in ("a", "b"))
    assert first.keys() == second.keys()
    for replayed, found in first.items():
        again = second[replayed]
        assert {n: again[n] for n in again.keys() - BY_MARK} == {n: found[n] for n in found.keys() - BY_MARK}
        peak, other = (f["peak_resident_bytes"] or 0 for f in (found, again))
        assert other == pytest.approx(peak, abs=2 * BATCH * (os.cpu_count() or 1))


def test_without_allocators_it_compares_what_is_here(run, traces: list[str]) -> None:
    code, out, _ = run("compare", traces[0], "--no-time", "--json")
    assert code == 0
    specs = [r["allocator"] for r in json.loads(out)["results"]]
    assert specs == ["system", *(lab.name for lab in lab_allocators()), *libraries_found(), FLOOR]


def test_chosen_columns_and_all_metrics(run, traces: list[str]) -> None:
    _, out, _ = run("compare", traces[0], "-a", "fit", "-a", "bump", "--no-time", "--columns", "calls_brk,utilization")
    assert re.search(r"calls brk +utilization", out.splitlines()[0])
    _, out, _ = run("compare", traces[0], "-a", "fit", "-a", "bump", "--no-time", "--all")
    assert all(re.search(rf"^ {name} ", out, re.M) for name in METRICS)


def test_replay_prints_every_measure_with_its_meaning(run, traces: list[str]) -> None:
    code, out, err = run("replay", traces[0], "-a", "fit", *QUICK)
    assert (code, err) == (0, "")
    assert "one on fit" in out.splitlines()[0] and "4,000 operations" in out
    assert all(re.search(rf"^{name} ", out, re.M) for name in METRICS)
    code, out, _ = run("replay", traces[0], "-a", "fit", "--no-time", "--json", "-")
    assert code == 0 and json.loads(out)["schema"] == 1


def test_replay_takes_one_allocator(run, traces: list[str]) -> None:
    code, out, err = run("replay", traces[0], "-a", "fit", "-a", "bump")
    assert (code, out) == (2, "") and "replay takes one allocator" in err


def test_both_ways_count_the_same(run, traces: list[str], tmp_path: Path) -> None:
    for name, options in (("out", ["--no-time"]), ("in", ["--in-process", *QUICK])):
        code, _, _ = run("compare", traces[0], "-a", "fit", "--json", str(tmp_path / f"{name}.json"), *options)
        assert code == 0
    out, inside = (figures(tmp_path / f"{name}.json")["one", "fit"] for name in ("out", "in"))
    exact = [n for n in METRICS if n.startswith(("calls_", "bytes_", "ledger_", "peak_live", "peak_mapped"))]
    assert {n: out[n] for n in exact} == {n: inside[n] for n in exact}


def test_a_gate_passes_against_itself_and_fails_on_a_loss(run, traces: list[str], tmp_path: Path) -> None:
    baseline = str(tmp_path / "base.json")
    command = ["compare", traces[0], "-a", "fit", "--no-time"]
    assert run(*command, "--json", baseline)[0] == 0
    gate = [*command, "--baseline", baseline, "--fail-if"]
    assert run(*gate, "peak_mapped_bytes>1.00x", "--fail-if", "calls_brk>+0")[0] == 0
    code, out, err = run(*gate, "peak_mapped_bytes>0.5x")
    assert code == 6 and "peak mapped" in out
    assert err.count("\n") == 1 and "one on fit: peak_mapped_bytes>0.5x: " in err
    assert run(*command, "--fail-if", "fragmentation_4>1000")[0] == 0
    code, _, err = run("compare", traces[1], "-a", "fit", *gate[4:], "peak_mapped_bytes>1x")
    assert code == 2 and "has no result for two on fit" in err


BROKEN = r"""
#include <stddef.h>
#include <stdlib.h>
extern void *__libc_malloc(size_t);
extern void __libc_free(void *);
static char twice[4096] __attribute__((aligned(16)));
void *malloc(size_t n) { return n >= 1000 && n < 4000 ? twice : __libc_malloc(n); }
void free(void *p) { if (p != twice) __libc_free(p); }
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A malloc that gives out one block twice, whenever 1,000 to 4,000 bytes are asked for."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken.c").write_text(BROKEN)
    library = folder / "libbroken.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", str(library), str(folder / "broken.c")], check=True
    )
    return str(library)


@pytest.mark.needs("gcc")
def test_an_allocator_that_fails_gets_no_figures_and_the_command_says_so(run, broken: str, tmp_path: Path) -> None:
    synthesize(tmp_path / "t.parquet", Recipe(events=2000, live=100, sizes="kilobytes", seed=3))
    code, out, err = run(
        "compare", str(tmp_path / "t.parquet"), "-a", "system", "-a", broken, *QUICK, "--json", str(tmp_path / "r.json")
    )
    picture = str(tmp_path / "p.png")
    none, alone, _ = run("compare", str(tmp_path / "t.parquet"), "-a", broken, *QUICK, "--figure", picture)
    assert none == 5 and "FAILED" in alone and "Picture" not in alone and not (tmp_path / "p.png").exists()
    assert code == 5
    assert "libbroken.so" in out and "FAILED" in out
    assert err.count("\n") == 1 and "1 of 3 replays failed" in err
    good, bad, _ = load(tmp_path / "r.json").results
    assert good.verified and not bad.verified and bad.failure
    assert {v.value for v in bad.metrics.values()} == {None}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-a", "jemaloc"], 2, "fit"),
        (["-a", "fit:polisy=best"], 2, "policy"),
        (["-a", "fit:policy=bester"], 2, "best"),
        (["-a", "/lib/x86_64-linux-gnu/libm.so.6"], 2, "malloc"),
        (["-a", "/nonexistent/libx.so"], 2, "/nonexistent/libx.so"),
        (["-a", "fit", "-a", "fit"], 2, "given twice"),
        (["-a", "system", "--in-process"], 2, "only lab allocators"),
        (["-a", "system", "--threads", "recorded"], 2, "only lab allocators can be replayed with recorded threads"),
        (["-a", "fit", "--threads", "two"], 2, "recorded"),
        (["-a", "fit", "--concurrent", "--threads", "recorded"], 2, "exclude each other"),
        (["-a", "fit", "--concurrent", "--in-process"], 2, "excludes in-process"),
        (["-a", "fit", "--concurrent", "--instructions"], 2, "excludes instructions"),
        (["-a", "fit", "--memory-runs", "0"], 2, "--memory-runs"),
        (["-a", "fit", "--in-process", "--env", "fit", "A=1"], 2, "variables"),
        (["-a", "fit", "--env", "bump", "A=1"], 2, "bump"),
        (["-a", "fit", "--env", "fit", "A"], 2, "NAME=VALUE"),
        (["-a", "fit", "--columns", "rss"], 2, "unknown metric 'rss'; there are calls peak_live_bytes"),
        (["-a", "fit", "--columns", ""], 2, "unknown metric ''; there are calls"),
        (["-a", "fit", "--fail-if", "rss>1"], 2, "unknown metric 'rss'"),
        (["-a", "fit", "--fail-if", "calls_brk>1.1x"], 2, "--baseline"),
        (["-a", "fit", "--baseline", "/nonexistent.json", "--fail-if", "calls_brk>1x"], 1, "No such file"),
        (["-a", "fit", "--json", "trace.parquet"], 2, "must end in .json"),
        (["-a", "fit", "--json", "/nonexistent/r.json"], 2, "there is no folder"),
        (["-a", "fit", "--figure", "picture.gif"], 2, ".png or .svg"),
        (["-a", "fit", "--json", "-", "--markdown", "-"], 2, "stdout"),
        (["-a", "fit", "--rounds", "0"], 2, "--rounds"),
        (["-a", "fit", "--touch", "all"], 2, "page"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(
    run, traces: list[str], arguments: list[str], code: int, said: str
) -> None:
    found, out, err = run("compare", traces[0], *arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1 and said in err


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing behind it", b"no trace at all\n"])
def test_bad_traces_are_one_line(run, tmp_path: Path, content: bytes | None) -> None:
    trace = tmp_path / "bad.parquet"
    if content is not None:
        trace.write_bytes(content)
    code, out, err = run("compare", str(trace), "-a", "fit", "--json", str(tmp_path / "r.json"))
    assert (code, out) == (3, "")
    assert err.count("\n") == 1 and "bad.parquet" in err
    assert not (tmp_path / "r.json").exists()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """A limit of 2 KiB a file: enough for the compiled trace, not for the result."""
    synthesize(tmp_path / "t.parquet", Recipe(events=20, live=10))
    result = tmp_path / "r.json"
    compare = [*ALLOCLAB, "compare", str(tmp_path / "t.parquet"), "-a", "fit", "--no-time", "--json", str(result)]
    done = subprocess.run(["bash", "-c", 'ulimit -f 2; exec "$@"', "_", *compare], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"alloclab: File too large: {result}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, b"alloclab: interrupted\n"), (signal.SIGTERM, 143, b"")]
)
def test_a_signal_in_the_middle_is_one_line_at_most_and_leaves_nothing(
    traces: list[str], tmp_path: Path, number: int, code: int, said: bytes
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [*ALLOCLAB, "compare", traces[0], "-a", "fit", "--rounds", "100000", "--json", str(tmp_path / "r.json")]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        wait_for(lambda: "alloclab-replay" in children_of(running.pid).values(), "the first replay")
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out, err) == (code, b"", said)
    assert [p.name for p in tmp_path.iterdir()] == ["tmp"]
    assert list(temporary.iterdir()) == []
