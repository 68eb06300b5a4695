"""The drop-in libraries: the rules of malloc from inside a program, and what they export."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from programs import HERE, compile_c, run
from support import slow

from alloclab.allocators import LabAllocator, lab_allocators

FAMILY = [
    *("malloc", "calloc", "realloc", "reallocarray", "free", "cfree", "free_sized", "free_aligned_sized"),
    *("memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc", "malloc_usable_size", "malloc_trim"),
    *("mallinfo", "mallinfo2", "mallopt", "malloc_stats", "malloc_info"),
    *("__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free", "__libc_memalign", "__libc_valloc"),
    *("__libc_pvalloc", "__libc_mallinfo", "__libc_mallopt"),
]
SPECS = [
    *(lab.name for lab in lab_allocators()),
    "fit:policy=next,order=lifo,coalesce=deferred",
    "fit:policy=worst,order=fifo,coalesce=never,mmap_threshold=4KiB,top_pad=0",
]
every_library = pytest.mark.parametrize("lab", lab_allocators(), ids=lambda lab: lab.name)
every_spec = pytest.mark.parametrize("spec", [*SPECS[:-2], *slow(*SPECS[-2:])])


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(HERE / "dropin_rules.c", tmp_path_factory.mktemp("rules") / "rules")


@every_spec
def test_the_rules_hold(spec: str, rules: Path) -> None:
    done = run(spec, rules)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("spec", [s for s in SPECS if s != "bump" and "never" not in s])
def test_what_was_freed_is_used_again(spec: str, rules: Path) -> None:
    """By other threads, by threads to come, and after exhaustion, of which tcmalloc says something."""
    done = run(spec, rules, "reuse")
    said = [line for line in done.stderr.splitlines() if spec != "tcmalloc" or "allocation failed" not in line]
    assert (done.returncode, done.stdout, said) == (0, "", [])


def test_the_rules_are_able_to_fail(rules: Path) -> None:
    """glibc lacks free_sized, and sets no errno where realloc frees."""
    done = subprocess.run([rules], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert {"C10", "C28"} <= {line.split(":")[0] for line in done.stdout.splitlines()}


@every_library
def test_only_the_family_is_exported(lab: LabAllocator) -> None:
    listed = subprocess.run(["nm", "-D", "--defined-only", lab.library], capture_output=True, text=True, check=True)
    assert sorted(line.split()[2] for line in listed.stdout.splitlines()) == sorted(
        [*FAMILY, "alloclab_begin", "alloclab_control", "alloclab_heap"]
    )


@every_library
def test_only_libc_is_needed(lab: LabAllocator) -> None:
    dynamic = subprocess.run(["readelf", "-Wd", lab.library], capture_output=True, text=True, check=True).stdout
    needed = [line for line in dynamic.splitlines() if "(NEEDED)" in line]
    assert len(needed) == 1 and "libc.so.6" in needed[0]
    assert "RUNPATH" not in dynamic and "RPATH" not in dynamic
    assert "NOW" in dynamic and "NOOPEN" in dynamic


@every_library
def test_a_thread_costs_one_pointer_of_static_storage(lab: LabAllocator) -> None:
    """What there is of it for all libraries is a few hundred bytes more than what the program brings."""
    listed = subprocess.run(["readelf", "-lW", lab.library], capture_output=True, text=True, check=True)
    assert [int(line.split()[5], 16) for line in listed.stdout.splitlines() if line.split()[:1] == ["TLS"]] == [8]


@every_library
def test_wrong_options_end_the_program_with_one_line(lab: LabAllocator, rules: Path) -> None:
    """Even one that allocates before libc has read its environment."""
    done = run(lab.name, rules, ALLOCLAB_OPTIONS="size=3")
    names = ", ".join(t.name for t in lab.tunables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"alloclab: ALLOCLAB_OPTIONS: {lab.name} has no tunable 'size'; it has: {names}\n"
