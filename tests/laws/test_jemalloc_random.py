"""Random scripts of heap calls by several threads, which come, go and fork: the real jemalloc and the laboratory's do
the same, statement by statement, and have the same figures. Where the system refuses memory they may part: the real one
crashes where a thread's first call gets none, and ours merges what is free before it gives up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from heap_scripts import JEMALLOC, accounts, compile_program
from programs import with_equal_start
from random_scripts import Script
from support import budget, slow

pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", "libjemalloc", "glibc 2.36")]

FIGURES = ["pactive .pdirty .pmuzzy .retained .nthreads", "bins.7.curregs .curslabs .nonfull_slabs .nslabs .nflushes"]
FIGURES += ["small.allocated .nmalloc .ndalloc .nfills", "large.allocated .nmalloc .ndalloc"]
ASKS = [f"control stats.arenas.{arena}.{figures}" for arena in range(3) for figures in FIGURES]
ASKS += ["do arena.0.purge", "do arena.1.purge", "control stats.allocated .active .mapped .retained"]
ASKS += [f"pass {ms}\ndo arena.4096.decay" for ms in (300, 3000)]
SIZES = [24, 100, 100, 110, 300, 1000, 1040, 3000, 7000, 14336, 16384, 20000, 32768, 40000, 100000]
# Not retain:false: which mappings are neighbours, and merge, is then the kernel's choice.
SETTINGS = ["", "tcache:false", "narenas:1", "narenas:2", "dirty_decay_ms:0", "dirty_decay_ms:-1",
            "oversize_threshold:100000", "tcache_max:4096", "tcache_max:131072", "lg_extent_max_active_fit:1",
            "tcache_gc_incr_bytes:4096", "muzzy_decay_ms:-1", "muzzy_decay_ms:5000", "zero:true", "junk:true",
            "narenas:1,bin_shards:1-14336:3", "narenas:2,tcache:false,bin_shards:1-128:2|129-14336:5",
            "dss:disabled", "narenas:2,dirty_decay_ms:0,muzzy_decay_ms:10000"]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


def both(seed: int, setting: str, bits: int, program: Path, folder: Path, *mallocs: str) -> list[list[str]]:
    lines = "\n".join(Script(random.Random(seed), ASKS, SIZES, bits, refuses=False).statements(600))
    text = f"== seed {seed} {{MALLOC_CONF={setting}}}\n{lines}"
    return accounts(text, JEMALLOC, program, folder, *(with_equal_start(malloc, "libjemalloc") for malloc in mallocs))


@pytest.mark.parametrize("setting", [SETTINGS[0], *slow(*SETTINGS[1:])], ids=lambda s: s or "default")
@pytest.mark.parametrize("bits", [*slow(19), 24])
def test_both_do_the_same(setting: str, bits: int, program: Path, tmp_path: Path) -> None:
    for seed in range(budget(2)):
        theirs, ours = both(seed, setting, bits, program, tmp_path, "libjemalloc", "jemalloc:heap_order=5.3.0")
        assert ours == theirs
