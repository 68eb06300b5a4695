"""The process of its own: what it inherits, how it ends, and that it is gone when we are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import HERE, compile_c
from replays import churn, compiled
from support import children_of, slow, started, wait_for

from alloclab.allocators import resolve
from alloclab.native import built_file
from alloclab.replay import Settings, count_instructions, examine, time_once
from alloclab.replay.process import run_pass
from alloclab.replay.run import Pass

REPLAY_FOREVER = """
import sys
from alloclab.allocators import resolve
from alloclab.replay import Settings, time_once
from alloclab.trace.compile import compile_trace
from alloclab.trace.parquet import Trace
time_once(compile_trace(Trace.open(sys.argv[1])), resolve("system"), Settings(warm=1 << 20))
"""


def replayer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(built_file("alloclab-replay")), *arguments], capture_output=True, text=True, check=False)


def test_the_replayer_is_a_program() -> None:
    assert os.access(built_file("alloclab-replay"), os.X_OK)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("--pass", "sleep", "x"), 2),
        (("--pass", "time", "--samples", "-1", "x"), 2),
        (("--pass", "time", "--loud", "1", "x"), 2),
        (("--pass", "time", "/nowhere/t.ops"), 3),
        (("--pass", "time", __file__), 3),
    ],
)
def test_wrong_arguments_and_files_are_told(arguments: tuple[str, ...], status: int) -> None:
    done = replayer(*arguments)
    assert done.returncode == status
    assert done.stdout.startswith("trouble ") and done.stdout.count("\n") == 1


def test_a_damaged_trace_is_refused(tmp_path: Path) -> None:
    trace = compiled(tmp_path, churn(100, 1))
    path = tmp_path / "t.ops"
    trace.write(path)
    whole = path.read_bytes()
    entry = 72 + 16 * 10
    for damaged in (whole[:-1], whole[:-16], whole[:50], whole[:entry] + b"\xff" * 16 + whole[entry + 16 :]):
        path.write_bytes(damaged)
        assert replayer("--pass", "verify", str(path)).returncode == 3


def test_nothing_of_our_environment_steers_the_allocator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = compiled(tmp_path, churn(2000, 2, most=1 << 16))
    before = examine(trace, resolve("system"))
    monkeypatch.setenv("MALLOC_TOP_PAD_", "16000000")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=4096")
    monkeypatch.setenv("LD_PRELOAD", "/nowhere/lib.so")
    after = examine(trace, resolve("system"))
    assert after.figures["calls_brk"] == before.figures["calls_brk"]
    assert after.figures["peak_mapped"] == before.figures["peak_mapped"]


def test_options_of_the_spec_reach_the_allocator(tmp_path: Path) -> None:
    trace = compiled(tmp_path, churn(2000, 2, most=1 << 16))
    plain, mapping = (examine(trace, resolve(spec)) for spec in ("fit", "fit:mmap_threshold=16KiB"))
    assert mapping.figures["calls_mmap"] > plain.figures["calls_mmap"]


def test_warm_passes_follow_the_first(tmp_path: Path) -> None:
    trace = compiled(tmp_path, churn(2000, 2))
    assert len(run_pass("time", trace, resolve("system"), Settings(warm=4)).passes_ns) == 5
    assert time_once(trace, resolve("fit"), Settings(warm=2, in_process=True))["ns_per_op"] > 0


@pytest.mark.needs("gcc")
def test_what_a_library_writes_to_standard_output_is_none_of_the_answers(tmp_path: Path) -> None:
    flags = ("-shared", "-fPIC", "-fno-builtin")
    loud, quiet = (
        resolve(str(compile_c(HERE / f"faulty_{name}.c", tmp_path / f"{name}.so", *flags, "-DFAULT=NONE")))
        for name in ("loud", "family")
    )
    trace = compiled(tmp_path, churn(500, 2))
    passes: tuple[Pass, ...] = ("verify", "memory", "calls", "time")
    for name in passes:
        said, expected = (run_pass(name, trace, library, Settings()) for library in (loud, quiet))
        assert (said.words.keys(), said.numbers.keys()) == (expected.words.keys(), expected.numbers.keys()), name


@pytest.mark.slow
@pytest.mark.needs("valgrind")
def test_instructions_repeat(tmp_path: Path) -> None:
    trace = compiled(tmp_path, churn(2000, 2))
    first, second = (count_instructions(trace, resolve("fit")).value for _ in range(2))
    floor = count_instructions(trace, resolve("null")).value
    assert first == second
    assert first is not None and floor is not None and first > floor > 0


@pytest.mark.parametrize("how", [signal.SIGINT, *slow(signal.SIGKILL)])
def test_an_interrupted_replay_leaves_no_process(how: signal.Signals, tmp_path: Path) -> None:
    compiled(tmp_path, churn(20000, 2))
    command = [sys.executable, "-c", REPLAY_FOREVER, str(tmp_path / "t.parquet")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # what a killed one cannot clean up goes with the test
    with started(command, stderr=subprocess.DEVNULL, env=environment) as parent:
        wait_for(lambda: "alloclab-replay" in children_of(parent.pid).values(), "the replay to begin")
        replayers = [pid for pid, name in children_of(parent.pid).items() if name == "alloclab-replay"]
        parent.send_signal(how)
        assert parent.wait(60) != 0
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in replayers), "the replayer to go")
