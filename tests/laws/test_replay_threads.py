"""Serial replay with recorded threads: a heap in process sees every recorded thread as one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from replays import churn, compiled, threaded
from rows import Row, write
from support import ROOT, slow

from alloclab.allocators import lab_allocators, resolve
from alloclab.comparison.run import compare
from alloclab.replay import CONCURRENT, RECORDED_THREADS, Settings, examine, prepare, time_once
from alloclab.replay.run import Mode
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Op

THREADED = ["containers", "redis", "node"]
SETTINGS = Settings(mode=RECORDED_THREADS)

# Sets the memory that it may have to a little more than what it has by then, and replays.
LIMITED = """
import re, resource, sys
from pathlib import Path
from alloclab.allocators import resolve
from alloclab.replay import RECORDED_THREADS, Settings, inprocess
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
trace = compile_trace(load(sys.argv[1]), threads=True)
data = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (data + (4 << 20),) * 2)
inprocess.run_pass(sys.argv[2], trace, resolve("ptmalloc"), Settings(mode=RECORDED_THREADS))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", THREADED)
@pytest.mark.parametrize("spec", [lab.name for lab in lab_allocators()])
def test_every_recording_of_threads_verifies_and_is_timed(spec: str, name: str) -> None:
    trace = compile_trace(load(ROOT / "traces" / f"{name}.parquet"), threads=True)
    run = examine(trace, resolve(spec), SETTINGS)
    assert run.verified, run.failure
    assert time_once(trace, resolve(spec), SETTINGS)["ns_per_op"] > 0


@pytest.mark.parametrize("spec", [lab.name for lab in lab_allocators()])
def test_threads_that_outlive_a_pass_go_on_in_the_next(spec: str, tmp_path: Path) -> None:
    trace = compiled(tmp_path, threaded(churn(2000, seed=3), seed=2), threads=True)
    assert time_once(trace, resolve(spec), Settings(mode=RECORDED_THREADS, warm=3))["ns_per_op"] > 0


def test_a_thread_has_a_cache_from_its_start_to_its_exit(tmp_path: Path) -> None:
    """Two threads free half of the blocks each: 7 of them, of 112 bytes with their heads, stay in each one's cache."""
    blocks = range(64)
    rows = [*(Row(Op.MALLOC, n, 100) for n in blocks), *(Row(Op.FREE, n, thread=n % 2 + 1) for n in blocks)]
    both, one = (compiled(tmp_path, made, threads=True) for made in (rows, [*rows, Row(Op.THREAD_EXIT, thread=1)]))
    assert examine(both, resolve("ptmalloc"), SETTINGS).figure("at_end_ledger_cached") == 2 * 7 * 112
    assert examine(one, resolve("ptmalloc"), SETTINGS).figure("at_end_ledger_cached") == 7 * 112


@pytest.mark.parametrize("mode", [RECORDED_THREADS, CONCURRENT])
def test_threads_may_have_any_numbers(mode: Mode, tmp_path: Path) -> None:
    """As the kernel's, of which there are far more than operations."""
    first, second = 4_000_000_000, 28_939
    rows = [Row(Op.MALLOC, 0, 8, thread=first), Row(Op.FREE, 0, thread=second), Row(Op.THREAD_EXIT, thread=second)]
    settings = Settings(mode=mode)
    write(tmp_path / "t.parquet", rows)
    run = examine(prepare(load(tmp_path / "t.parquet"), settings), resolve("ptmalloc"), settings)
    assert run.verified, run.failure


def test_results_say_the_mode(tmp_path: Path) -> None:
    trace = load(ROOT / "traces/containers.parquet")
    ours, floor = compare(trace, "fit", settings=SETTINGS, rounds=1).results
    assert ours.mode == "serial, recorded threads, in process"
    assert floor.metrics["ns_per_op"].value is not None


@pytest.mark.parametrize("name", ["memory", *slow("time")])
def test_without_memory_for_a_context_it_says_so(name: str, tmp_path: Path) -> None:
    compiled(tmp_path, [Row(Op.MALLOC, n, 8, thread=n) for n in range(20_000)])
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "t.parquet"), name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    said = done.stderr.splitlines()[-1]
    assert said.endswith("ptmalloc: cannot be replayed on: no memory for the context of a thread")
