"""Resident bytes and page faults of traces whose pages can be counted by hand; the touch policy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from replays import PAGE, compiled
from rows import Row

from alloclab.allocators import resolve
from alloclab.replay import Settings, examine
from alloclab.trace.model import Op

PAGES_OF_BLOCK = 16
BLOCKS = 100
SLACK = 12 * PAGE
"""The allocator's own first pages, and a stack that grows."""

SMALL_PAGES = Settings(thp=False)
"""A kernel that gives huge pages to everybody makes more resident than is touched."""


def blocks() -> list[Row]:
    return [Row(Op.MALLOC, i, PAGES_OF_BLOCK * PAGE) for i in range(BLOCKS)]


@pytest.mark.parametrize("spec", ["system", "bump", "fit"])
def test_touched_pages_are_resident_and_no_others(spec: str, tmp_path: Path) -> None:
    run = examine(compiled(tmp_path, blocks()), resolve(spec), SMALL_PAGES)
    touched = BLOCKS * PAGES_OF_BLOCK * PAGE
    assert touched <= run.figure("peak_resident") <= touched + SLACK
    assert touched <= run.figure("at_end_resident") <= touched + SLACK
    assert touched // PAGE <= run.figure("minor_faults") <= (touched + SLACK) // PAGE


@pytest.mark.parametrize("spec", ["system", "bump", "fit"])
def test_untouched_pages_are_not_resident(spec: str, tmp_path: Path) -> None:
    """Only headers are written: one page for each block at most."""
    run = examine(compiled(tmp_path, blocks()), resolve(spec), Settings(touch="none", thp=False))
    assert run.figure("peak_resident") <= BLOCKS * PAGE + SLACK
    assert run.figure("peak_mapped") >= BLOCKS * PAGES_OF_BLOCK * PAGE


def test_what_is_freed_is_no_longer_resident(tmp_path: Path) -> None:
    """Large blocks have mappings of their own, which go back at once."""
    size = 64 << 20
    run = examine(compiled(tmp_path, [Row(Op.MALLOC, 0, size), Row(Op.FREE, 0)]), resolve("system"), SMALL_PAGES)
    assert size <= run.figure("peak_resident") <= size + SLACK
    assert run.figure("at_end_resident") <= SLACK
    assert run.figure("drained_resident") <= SLACK


# Asks for huge pages as an allocator may, where the kernel gives them to those who ask. Every block begins in one of
# its own, for the kernel may find no memory for one or the other.
ADVISES = """
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>
enum { HUGE = 2 << 20 };
static char memory[16 * HUGE] __attribute__((aligned(HUGE)));
static size_t used;
void *malloc(size_t n) {
    if (used == 0) madvise(memory, sizeof memory, MADV_HUGEPAGE);
    void *block = memory + used;
    used += (n + HUGE - 1) / HUGE * HUGE;
    return used > sizeof memory ? NULL : block;
}
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n) { return p ? NULL : malloc(n); }
void free(void *p) { (void)p; }
"""


@pytest.mark.parametrize("thp", [True, False])
def test_huge_pages_are_as_found_unless_switched_off(thp: bool, tmp_path: Path) -> None:
    (tmp_path / "advises.c").write_text(ADVISES)
    command = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-fno-builtin", "advises.c", "-o", "advises.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = thp and found.exists() and "[never]" not in found.read_text()
    rows = [Row(Op.MALLOC, n, 100) for n in range(15)]
    run = examine(compiled(tmp_path, rows), resolve(str(tmp_path / "advises.so")), Settings(thp=thp))
    assert run.thp is thp
    assert (run.figure("peak_resident") >= 2 << 20) == huge
