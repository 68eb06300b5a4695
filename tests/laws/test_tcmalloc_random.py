"""Random scripts of heap calls by several threads, which come, go, idle and fork: the real tcmalloc and the
laboratory's do the same, statement by statement, and have the same figures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from heap_scripts import TCMALLOC, accounts, compile_program
from programs import with_equal_start
from random_scripts import Script
from support import budget, slow

REAL = "libtcmalloc_minimal"
pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", REAL, "glibc 2.36")]

ASKS = ["control tcmalloc.thread_cache_free_bytes .transfer_cache_free_bytes .central_cache_free_bytes"] * 4
ASKS += ["control tcmalloc.pageheap_free_bytes .pageheap_unmapped_bytes generic.heap_size"] * 4
ASKS += ["control tcmalloc.pageheap_committed_bytes .pageheap_scavenge_count .pageheap_decommit_count"] * 2
ASKS += ["control tcmalloc.pageheap_commit_count .pageheap_total_decommit_bytes generic.current_allocated_bytes"] * 2
ASKS += ["do ReleaseFreeMemory", "do ReleaseToSystem = 1", "do ReleaseToSystem = 1000000"]
ASKS += [f"control tcmalloc.max_total_thread_cache_bytes = {total}" for total in (1, 1000000, 33554432)]
ASKS += [f"control tcmalloc.aggressive_memory_decommit = {flag}" for flag in (0, 1)]
ACTS = ["do MarkThreadIdle"] * 3 + ["do MarkThreadTemporarilyIdle", "do MarkThreadBusy"]
SIZES = [8, 24, 100, 110, 1000, 1040, 3000, 7000, 16384, 20000, 32768, 40000, 100000, 262144, 262145, 400000, 1 << 20]
# Not SKIP_SBRK: which mappings are neighbours, and merge, is then the kernel's choice.
SETTINGS = ["", "RELEASE_RATE=10", "RELEASE_RATE=0", "AGGRESSIVE_DECOMMIT=1", "TRANSFER_NUM_OBJ=4",
            "TRANSFER_NUM_OBJ=100", "MAX_TOTAL_THREAD_CACHE_BYTES=524288", "MAX_TOTAL_THREAD_CACHE_BYTES=900000",
            "HEAP_LIMIT_MB=16", "DISABLE_MEMORY_RELEASE=1", "SKIP_MMAP=1"]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


def both(
    seed: int, setting: str, bits: int, refuses: bool, program: Path, folder: Path, *mallocs: str
) -> list[list[str]]:
    lines = "\n".join(Script(random.Random(seed), ASKS, SIZES, bits, refuses, ACTS).statements(600))
    variables = f"TCMALLOC_{setting}" if setting else ""
    text = f"== seed {seed} {{{variables}}}\n{lines}"
    return accounts(text, TCMALLOC, program, folder, *(with_equal_start(malloc, REAL) for malloc in mallocs))


@pytest.mark.parametrize(
    "setting",
    [SETTINGS[0], *slow(*SETTINGS[1:])],
    ids=lambda s: s or "default",
)
@pytest.mark.parametrize("bits", [*slow(19), 23])
def test_both_do_the_same(setting: str, bits: int, program: Path, tmp_path: Path) -> None:
    for seed in range(budget(2)):
        theirs, ours = both(seed, setting, bits, seed % 2 == 1, program, tmp_path, REAL, "tcmalloc")
        assert ours == theirs


def test_another_malloc_does_otherwise(program: Path, tmp_path: Path) -> None:
    theirs, others = both(0, "", 19, False, program, tmp_path, REAL, "jemalloc")
    assert others != theirs


@pytest.mark.parametrize("setting", ["TRANSFER_NUM_OBJ=31", "MAX_TOTAL_THREAD_CACHE_BYTES=600000"])
def test_another_setting_is_seen(setting: str, program: Path, tmp_path: Path) -> None:
    (theirs,) = both(0, "", 19, False, program, tmp_path, REAL)
    (others,) = both(0, setting, 19, False, program, tmp_path, REAL)
    assert others != theirs
