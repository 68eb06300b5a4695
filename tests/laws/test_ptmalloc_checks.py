"""The system's malloc and the laboratory's ptmalloc, statement by statement: the scripts in tests/ptmalloc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from heap_scripts import (
    IS_MMAPPED,
    NON_MAIN_ARENA,
    PTMALLOC,
    Check,
    Ran,
    account,
    compare,
    compile_program,
    each,
    find,
    parse_checks,
    read_checks,
    run,
    transcript,
)
from support import slow

from alloclab.allocators import resolve

FOLDER = Path(__file__).parent.parent / "ptmalloc"
CHECKS = [check for path in sorted(FOLDER.glob("*.txt")) for check in read_checks(path, PTMALLOC)]
MALLOCS = (*slow("system"), "ptmalloc")
LIMIT = max(8 * os.sysconf("SC_NPROCESSORS_ONLN"), 9)
"""Arenas there may be: eight for each processor, asked for the first time when there are more than eight."""

pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", "glibc 2.36")]
every_malloc = pytest.mark.parametrize("malloc", MALLOCS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


@every_malloc
@pytest.mark.parametrize("check", each(CHECKS))
def test_it_does_what_the_script_says(check: Check, malloc: str, program: Path, tmp_path: Path) -> None:
    should, does = compare(check, program, tmp_path, resolve(malloc))
    assert does == should


@every_malloc
@pytest.mark.parametrize("tunables", ["", "{GLIBC_TUNABLES=glibc.malloc.arena_test=100000}"])
def test_p19_threads_get_arenas_until_there_are_eight_for_each_processor(
    malloc: str, tunables: str, program: Path, tmp_path: Path
) -> None:
    """Then they share them: the main one, then from the newest down. Unless nobody counts."""
    threads = range(1, LIMIT + 5)
    arenas = {n: f"heap{n}" for n in threads}
    if not tunables:
        arenas |= {LIMIT: "brk"} | {LIMIT + n: f"heap{LIMIT - n}" for n in range(1, 5)}
    text = f"== P19 {tunables}\n"
    text += "".join(f"start {n}\n" for n in threads)
    text += "".join(f"{n}: a{n} = malloc 40 -> {arenas[n]}\n" for n in threads)
    (check,) = parse_checks(text, PTMALLOC)
    should, does = compare(check, program, tmp_path, resolve(malloc))
    assert does == should


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("tcache_count=0", "P2:"),
        ("tcache_count=8", "P2:"),
        ("tcache_max=1000", "P3:"),
        ("mxfast=112", "P4:"),
        ("tcache_count=6", "P5:"),
        ("tcache_count=0", "calloc takes nothing"),
        ("mxfast=0", "P17:"),
        ("mmap_threshold=131073", "P8:"),
        ("mmap_threshold=131072", "P9 and P10:"),
        ("trim_threshold=131073", "P9 and P10:"),
        ("mmap_threshold=200000", "P11:"),
        ("top_pad=100000", "P12:"),
        ("trim_threshold=300000", "P13:"),
        ("mmap_max=0", "P15:"),
        ("mmap_max=0", "P16:"),
        ("arena_max=1", "P18: a thread's first"),
        ("trim_threshold=1000000", "P18: freed from the end"),
        ("tcache_count=0", "P19:"),
        ("tcache_count=0", "P20: a double free while"),
    ],
)
def test_a_check_is_able_to_fail(setting: str, name: str, program: Path, tmp_path: Path) -> None:
    check = find(CHECKS, name)
    should, does = transcript(check, run(check, program, tmp_path, {"GLIBC_TUNABLES": f"glibc.malloc.{setting}"}))
    assert does != should


@pytest.mark.parametrize("name", ["P1:", "P12:", "P14: into the top"])
def test_another_malloc_does_otherwise(name: str, program: Path, tmp_path: Path) -> None:
    should, does = compare(find(CHECKS, name), program, tmp_path, resolve("fit"))
    assert does != should


def test_a_script_that_ends_early_is_seen(program: Path, tmp_path: Path) -> None:
    (check,) = parse_checks("== early\na = malloc 24\nfree a+8\nb = malloc 24", PTMALLOC)
    should, does = transcript(check, run(check, program, tmp_path, {}))
    assert does == ["a = malloc 24", "free a+8 aborts free(): invalid pointer"] and len(should) == 3


def test_a_region_where_another_was_is_another() -> None:
    """The kernel may put what is mapped next where the last was, or beside it."""
    (check,) = parse_checks(
        "== reuse\na = malloc 200000\nfree a\nb = malloc 200000\n1: c = malloc 24\n2: d = malloc 24", PTMALLOC
    )
    mapped, heap = 200704, 64 << 20

    def account_with(second: int, other_heap: int) -> list[str]:
        calls = [
            [("mmap", ["NULL", str(mapped)], 1 << 30)],
            [("munmap", [hex(1 << 30), str(mapped)], 0)],
            [("mmap", ["NULL", str(mapped)], second)],
            [("mmap", ["NULL", str(heap)], 64 * heap)],
            [("munmap", [hex(64 * heap), str(heap)], 0), ("mmap", ["NULL", str(heap)], other_heap)],
        ]
        blocks = [(1 << 30, IS_MMAPPED), (0, 0), (second, IS_MMAPPED), (64 * heap, NON_MAIN_ARENA)]
        blocks += [(other_heap, NON_MAIN_ARENA)]
        results = [[start + 16 if start else 0, 24, header, 0] for start, header in blocks]
        return account(check, Ran(results, calls, [], 0, 0, ""))

    assert account_with(1 << 30, 64 * heap) == account_with(1 << 31, 99 * heap)
