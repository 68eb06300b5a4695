"""``alloclab fidelity`` from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import HERE, compile_c

from alloclab import cli
from alloclab.trace.synth import Recipe, synthesize


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("trace") / "one.parquet"
    synthesize(path, Recipe(events=4000, live=300, sizes="kilobytes", seed=1))
    return str(path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.delenv("COLUMNS", raising=False)

    def go(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["fidelity", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_the_same_is_code_0(run, trace: str) -> None:
    code, out, err = run(trace, "-a", "system")
    assert (code, err) == (0, "")
    assert "one: system against system again, 4,000 operations, mode serial" in out
    assert "The same: every operation agrees" in out and "peak mapped bytes" in out


def test_a_difference_is_code_1_and_is_shown(run, trace: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    code, out, err = run(trace, "-a", "fit:policy=first", "--against", "bump", "--json", str(file))
    assert (code, err) == (1, "")
    document = json.loads(file.read_text())
    first = document["first"]
    assert document["same"] is False and document["agreeing"] < document["operations"] == 4000
    for word in (f"First: operation {first['operation']:,} ", "heap +0x", "brk +", "fit:policy=first", str(file)):
        assert word in out


def test_json_alone_on_stdout(run, trace: str) -> None:
    code, out, err = run(trace, "-a", "bump", "--against", "bump", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["same"] is True and json.loads(out)["first"] is None


def test_faults_strike_both_sides(run, trace: str) -> None:
    code, out, _ = run(trace, "-a", "system", "--fail-call", "3", "--json")
    assert code == 0 and [side["failed_calls"] for side in json.loads(out)["sides"]] == [1, 1]
    code, out, _ = run(trace, "-a", "fit", "--against", "fit", "--limit", "256KiB", "--json")
    sides = json.loads(out)["sides"]
    assert code == 0 and all(side["peak_mapped"] <= 256 * 1024 and side["failed_calls"] > 0 for side in sides)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "--allocator"),
        (["-a", "fit", "-a", "bump"], 2, "name the other with --against"),
        (["-a", "jemaloc"], 2, "unknown allocator 'jemaloc'"),
        (["-a", "fit", "--against", "null"], 2, "overlap"),
        (["-a", "fit", "--limit", "many"], 2, "expected a size"),
        (["-a", "fit", "--limit", "0"], 2, "expected at least 1"),
        (["-a", "fit", "--fail-call", "0"], 2, "--fail-call"),
        (["-a", "fit", "--fail-call", str(2**63)], 2, "fail_call is a number"),
        (["-a", "fit", "--env", "bump", "A=1"], 2, "bump"),
        (["-a", "fit", "--env", "fit", "A"], 2, "NAME=VALUE"),
        (["-a", "fit", "--json", "trace.parquet"], 2, "must end in .json"),
    ],
)
def test_bad_arguments_are_one_line(run, trace: str, arguments: list[str], code: int, said: str) -> None:
    found, out, err = run(trace, *arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1 and said in err


def test_a_bad_trace_is_one_line(run, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no trace at all\n")
    code, out, err = run(str(tmp_path / "bad.parquet"), "-a", "fit")
    assert (code, out) == (3, "")
    assert err.count("\n") == 1 and "bad.parquet" in err


@pytest.fixture(scope="module")
def without(trace: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = compile_c(HERE / "without.c", tmp_path_factory.mktemp("without") / "without")

    def go(what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        alloclab = [sys.executable, "-c", "from alloclab.cli import main; main()"]
        command = [program, what, *alloclab, "fidelity", trace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return go


@pytest.mark.needs("gcc")
def test_without_a_kernel_that_shows_calls_the_labs_own_can_be_compared(without) -> None:
    assert without("dispatch", "-a", "fit", "--against", "fit").returncode == 0
    done = without("dispatch", "-a", "fit", "--against", "system")
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1 and "this kernel has no Syscall User Dispatch" in done.stderr


@pytest.mark.needs("gcc")
@pytest.mark.needs("fixed addresses")
def test_where_addresses_stay_random_a_difference_says_so(without, run, trace: str) -> None:
    """The lab's ptmalloc and the system's malloc do the same even so."""
    note = "Addresses were random"
    assert note in without("fixed_addresses", "-a", "fit", "--against", "bump").stdout
    assert note not in run(trace, "-a", "fit", "--against", "bump")[1]
    done = without("fixed_addresses", "-a", "ptmalloc")
    assert done.returncode == 0 and note not in done.stdout
