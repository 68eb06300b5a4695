"""The workloads of the scaling benchmark: their work is counted, and they notice what an allocator loses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from programs import HERE, compile_c, run
from support import ROOT

from alloclab.allocators import lab_allocators

pytestmark = pytest.mark.needs("gcc")
BENCHMARKS = HERE / "benchmarks"
SPECS = ["system", *(lab.name for lab in lab_allocators())]
THREADS = 3
OPERATIONS = {
    "larson": THREADS * (1000 + 4 * 2 * 10_000),
    "mstress": 107_246,
    "xmalloc": (2 * 200 + 2 * 100) * 256,
    "sh8bench": THREADS * 25 * 2 * 2000,
    "cache-scratch": THREADS * (1 + 2 * 2500),
    "cache-thrash": THREADS * 2 * 2500,
}
"""Of a hundredth of the usual work; mstress's come from its generators alone."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first, *others = sorted(p for p in (BENCHMARKS / "programs/scaling").glob("*.c") if p.name != "null.c")
    path = tmp_path_factory.mktemp("scaling") / "scaling"
    return compile_c(first, path, "-I", str(ROOT / "csrc"), *map(str, others))


def counted(spec: str, program: Path, workload: str, threads: int = THREADS) -> tuple[int, int]:
    """Operations, and blocks that were not as they were left."""
    done = run(spec, program, workload, str(threads), "1")
    assert (done.returncode, done.stderr) == (0, ""), f"{workload}: {done}"
    operations, _, _, kib, faults = done.stdout.split()
    assert int(kib) > 0
    return int(operations), int(faults)


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_work_on_every_allocator(spec: str, program: Path) -> None:
    assert {workload: counted(spec, program, workload) for workload in OPERATIONS} == {
        workload: (operations, 0) for workload, operations in OPERATIONS.items()
    }


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty("OVERLAPS", tmp_path_factory.mktemp("overlapping"))


def faulty(fault: str, folder: Path) -> Path:
    return compile_c(HERE / "faulty_malloc.c", folder / f"{fault}.so", "-shared", "-fPIC", f"-DFAULT={fault}")


@pytest.mark.parametrize("workload", ["larson", "mstress", "xmalloc", "sh8bench"])
def test_blocks_that_overlap_are_noticed(workload: str, program: Path, overlapping: Path) -> None:
    _, faults = counted(str(overlapping), program, workload, 1)
    assert faults > 10


def test_a_byte_that_realloc_forgets_is_noticed(program: Path, tmp_path: Path) -> None:
    _, faults = counted(str(faulty("REALLOC_FORGETS", tmp_path)), program, "mstress", 1)
    assert faults > 10


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / "bench_scaling.py", "--percent", "1", "--threads", "1,2", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_tells_and_draws(tmp_path: Path) -> None:
    files = {name: tmp_path / f"scaling.{name}" for name in ("json", "md", "png")}
    told = ["--json", files["json"], "--markdown", files["md"], "--figure", files["png"]]
    done = bench(
        "-a", "system", "-a", "ptmalloc", "--workload", "larson", "--workload", "xmalloc", "--rounds", "2", *told
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:11] if line.strip()] == [
        *("larson", "system", "ptmalloc", "null"),
        *("xmalloc", "system", "ptmalloc", "null"),
    ]
    found = json.loads(files["json"].read_text())
    assert len(found["results"]) == 2 * 2 * 3 and found["failures"] == []
    assert {row["operations"] for row in found["results"] if row["workload"] == "larson"} == {81_000, 162_000}
    for row in found["results"]:
        assert (
            len(row["rounds"]["seconds"]) == 2 and row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
        )
    assert files["md"].read_text().count("| ptmalloc | ") == 2
    assert files["png"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_allocator_that_loses_blocks_gets_no_figure(overlapping: Path) -> None:
    done = bench("-a", "system", "-a", overlapping, "--workload", "sh8bench", "--rounds", "1", "--threads", "1")
    assert done.returncode == 5
    assert done.stdout.count("FAILED") == 1
    assert f"sh8bench, {overlapping}, 1 thread: " in done.stderr and "not as they were left" in done.stderr
