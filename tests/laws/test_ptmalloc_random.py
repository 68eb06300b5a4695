"""Random scripts of heap calls by several threads, which come, go and fork: the system's malloc and ptmalloc do the
same, statement by statement."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from heap_scripts import PTMALLOC, accounts, compile_program
from random_scripts import Script
from support import budget, slow

from alloclab.allocators import resolve

pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", "glibc 2.36")]
ASKS = ["trim 0", "trim 100000", "sbrk 4096", "sbrk 24", "mallopt 77 0", "info arena"]
SIZES = [24, 40, 40, 120, 136, 300, 1000, 1040, 3000, 7000]
SETTINGS = ["", *(f"{{GLIBC_TUNABLES=glibc.malloc.{setting}}}" for setting in (
    "tcache_count=0", "tcache_count=2:glibc.malloc.mxfast=160", "arena_max=2", "top_pad=0", "mmap_threshold=20000",
    "tcache_unsorted_limit=1", "tcache_max=200:glibc.malloc.trim_threshold=200000", "perturb=170", "mmap_max=1",
))]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


def script(seed: int) -> str:
    """Now and then the break meets something."""
    rng = random.Random(seed)
    obstacle = [f"obstacle {4096 * rng.randrange(200)}"] if rng.random() < 0.3 else []
    return "\n".join([*obstacle, *Script(rng, ASKS, SIZES, 19).statements(600)])


def both(seed: int, setting: str, program: Path, folder: Path, *mallocs: str) -> list[list[str]]:
    text = f"== seed {seed} {setting}\n{script(seed)}"
    return accounts(text, PTMALLOC, program, folder, *map(resolve, mallocs))


@pytest.mark.parametrize("setting", [SETTINGS[0], *slow(*SETTINGS[1:])], ids=lambda s: s[16:-1] or "default")
def test_both_do_the_same(setting: str, program: Path, tmp_path: Path) -> None:
    for seed in range(budget(2)):
        theirs, ours = both(seed, setting, program, tmp_path, "system", "ptmalloc")
        assert ours == theirs


@pytest.mark.parametrize("setting", ["tcache_count=6", *slow("mxfast=112", "top_pad=132KiB", "mmap_threshold=8KiB")])
def test_another_setting_is_seen(setting: str, program: Path, tmp_path: Path) -> None:
    theirs, ours = both(0, "", program, tmp_path, "system", f"ptmalloc:{setting}")
    assert ours != theirs
