"""Real programs on every drop-in library: each script of ``programs/`` says there what it says on the system's malloc,
and ends with the exit code of its last program, which fails on purpose. The table comes at the end of pytest's report.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from support import ROOT, started

from alloclab.allocators import lab_allocators, resolve

ALLOCATORS = [lab.name for lab in lab_allocators()]
QUICK = ("perl",)
SETTINGS = [
    *("ptmalloc:arena_max=1", "ptmalloc:tcache=false,mmap_threshold=4KiB", "jemalloc:narenas=1,tcache=false"),
    *("jemalloc:dirty_decay_ms=10,background_thread=true", "tcmalloc:aggressive_decommit=true"),
    *("tcmalloc-hpaa:cpus=1", "tcmalloc-hpaa:background=true,background_release_rate=100MiB"),
    "fit:policy=next,order=lifo,coalesce=deferred",
    "fit:policy=worst,order=fifo,coalesce=never,mmap_threshold=4KiB,top_pad=0",
]
SECONDS = 900


@dataclass(frozen=True)
class Script:
    """Of ``programs/``; the remarks at its head say what it needs and how it ends."""

    path: Path

    def remarks(self, word: str) -> list[str]:
        return re.findall(rf"^# {word}: (.*)$", self.path.read_text(), re.MULTILINE)

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        needed = [pytest.mark.needs(name) for name in self.remarks("needs")]
        return needed if self.path.stem in QUICK else [*needed, pytest.mark.slow]


@dataclass(frozen=True)
class Said:
    """What a script said, how it ended, and the processor time of all its processes."""

    out: str
    errors: str
    status: int
    seconds: float = field(compare=False)


SCRIPTS = {path.stem: Script(path) for path in sorted((Path(__file__).parent / "programs").glob("*.sh"))}
Run = Callable[[str, str], Said]


def scripts(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [pytest.param(name, marks=SCRIPTS[name].marks) for name in names])


def run_in(folder: Path, script: Path, spec: str) -> Said:
    """All its processes on the allocator; their folder is gone afterwards."""
    variables = {name: os.environ[name] for name in ("PATH", "USER") if name in os.environ}
    variables |= resolve(spec).environment()
    variables |= {"HOME": str(folder), "LC_ALL": "C.UTF-8", "REPOSITORY": str(ROOT), "PYTHON": sys.executable}
    command = ["timeout", "--kill-after=1", str(SECONDS), "bash", "-eu", "-o", "pipefail", script]
    out, errors = folder.with_suffix(".out"), folder.with_suffix(".errors")
    folder.mkdir()
    with (
        out.open("w") as to_out,
        errors.open("w") as to_errors,
        started(command, cwd=folder, env=variables, stdout=to_out, stderr=to_errors) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(folder)
    return Said(out.read_text(), errors.read_text(), process.returncode, used.ru_utime + used.ru_stime)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A script on an allocator, once."""
    return cache(lambda name, spec: run_in(tmp_path_factory.mktemp(name) / "work", SCRIPTS[name].path, spec))


@pytest.mark.parametrize("spec", ["system", *ALLOCATORS])
@scripts(*SCRIPTS)
def test_every_program(name: str, spec: str, run: Run, record_property: Callable[[str, object], None]) -> None:
    expected, said = run(name, "system"), run(name, spec)
    record_property("cell", f"ok, {said.seconds:.1f} s")
    assert expected.out.endswith("\nNow one that fails.\n"), expected.errors
    assert [str(expected.status)] == SCRIPTS[name].remarks("exit"), expected.errors
    assert said == expected


@pytest.mark.slow
@pytest.mark.parametrize("spec", SETTINGS)
@scripts("git", "numpy", "perl")
def test_with_other_settings(name: str, spec: str, run: Run) -> None:
    assert run(name, spec) == run(name, "system")


@pytest.mark.parametrize("spec", ALLOCATORS)
def test_all_processes_are_on_the_allocator(spec: str) -> None:
    nested = ["bash", "-c", "bash -c 'cat /proc/self/maps; true'; true"]
    maps = subprocess.run(nested, env=os.environ | resolve(spec).environment(), capture_output=True, text=True)
    assert f"{resolve(spec).preload}\n" in maps.stdout
