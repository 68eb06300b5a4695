"""The drop-in libraries: what they export and need. The rules of malloc: test_check_rules.py."""

from __future__ import annotations

import subprocess

import pytest
from programs import run

from alloclab.allocators import LabAllocator, lab_allocators
from alloclab.native import built_file

FAMILY = [
    *("malloc", "calloc", "realloc", "reallocarray", "free", "cfree", "free_sized", "free_aligned_sized"),
    *("memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc", "malloc_usable_size", "malloc_trim"),
    *("mallinfo", "mallinfo2", "mallopt", "malloc_stats", "malloc_info"),
    *("__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free", "__libc_memalign", "__libc_valloc"),
    *("__libc_pvalloc", "__libc_mallinfo", "__libc_mallopt"),
]
every_library = pytest.mark.parametrize("lab", lab_allocators(), ids=lambda lab: lab.name)


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
def test_wrong_options_end_the_program_with_one_line(lab: LabAllocator) -> None:
    """Even one that allocates before libc has read its environment."""
    done = run(lab.name, built_file("alloclab-rules"), "first", "malloc(10)", ALLOCLAB_OPTIONS="size=3")
    names = ", ".join(t.name for t in lab.tunables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"alloclab: ALLOCLAB_OPTIONS: {lab.name} has no tunable 'size'; it has: {names}\n"
