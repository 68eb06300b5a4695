"""Random scripts of heap calls by several threads, which come, go and fork: the system's malloc and ptmalloc do the
same, statement by statement."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from heap_scripts import PTMALLOC, account, compile_program, parse_checks, run
from support import budget

from alloclab.allocators import resolve

pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", "glibc 2.36")]
THREADS = 5
SETTINGS = ["", *(f"{{GLIBC_TUNABLES=glibc.malloc.{setting}}}" for setting in (
    "tcache_count=0", "tcache_count=2:glibc.malloc.mxfast=160", "arena_max=2", "top_pad=0", "mmap_threshold=20000",
    "tcache_unsorted_limit=1", "tcache_max=200:glibc.malloc.trim_threshold=200000", "perturb=170", "mmap_max=1",
))]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


class Script:
    """Statements in the making: who runs, what lives. Thread 0 is the main one."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.threads = [0]
        self.live: list[str] = []
        self.born = 0
        self.started = 0
        self.refused = 0  # statements to come for which the system gives no memory

    def statements(self, count: int) -> Iterator[str]:
        if self.rng.random() < 0.3:  # the break meets something sooner or later
            yield f"obstacle {4096 * self.rng.randrange(200)}"
        for step in range(count):
            grows = (step * 6 // count) % 2 == 0
            kind = self.rng.random()
            self.refused -= 1
            if self.refused == 0:
                yield "limit 0"
            if self.refused > 0:  # only calls of the heap then: a thread's start wants memory, too
                kind = max(kind, 0.03)
            if kind < 0.01 and len(self.threads) < THREADS:
                self.started += 1
                self.threads.append(self.started)
                yield f"start {self.started}"
            elif kind < 0.015 and len(self.threads) > 2:
                yield f"exit {self.threads.pop(self.rng.randrange(1, len(self.threads)))}"
            elif kind < 0.016:
                self.threads = [0]  # the child's only one
                yield "fork"
            elif kind < 0.02:
                self.refused = 15
                yield "limit 1"
            elif kind < 0.03:
                yield self.rng.choice(["trim 0", "trim 100000", "sbrk 4096", "sbrk 24", "mallopt 77 0", "info arena"])
            elif self.live and kind < (0.3 if grows else 0.75):
                yield self.by_some_thread(f"free {self.live.pop(self.rng.randrange(len(self.live)))}")
            elif self.live and kind < (0.4 if grows else 0.85):
                block = self.rng.choice(self.live)
                yield self.by_some_thread(f"{block} = realloc {block} {self.size()}")
            else:
                yield from self.birth()

    def by_some_thread(self, statement: str) -> str:
        thread = self.rng.choice(self.threads)
        return f"{thread}: {statement}" if thread else statement

    def birth(self) -> Iterator[str]:
        """What is born is filled with something, and what calloc gives must be all zero before."""
        self.born += 1
        name, size = f"b{self.born}", self.size()
        self.live.append(name)
        call = self.rng.choice(["malloc"] * 8 + ["calloc"] * 2 + [f"memalign {1 << self.rng.randrange(5, 13)}"])
        yield self.by_some_thread(f"{name} = {call} {size}")
        if call == "calloc":
            yield f"dirty {name} {size}"
        yield f"fill {name} 0xa5 {size}"

    def size(self) -> int:
        """Of few values small, so that bins meet; now and then large."""
        return self.rng.choice([24, 40, 40, 120, 136, 300, 1000, 1040, 3000, 7000, int(2 ** self.rng.uniform(0, 19))])


def accounts(seed: int, setting: str, program: Path, folder: Path, *mallocs: str) -> list[list[str]]:
    lines = "\n".join(Script(random.Random(seed)).statements(600))
    (check,) = parse_checks(f"== seed {seed} {setting}\n{lines}", PTMALLOC)
    found = [account(check, run(check, program, folder, resolve(malloc).environment())) for malloc in mallocs]
    assert len(found[0]) == len(check.lines) and not any("aborts" in line for line in found[0])
    return found


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s[16:-1] or "default")
def test_both_do_the_same(setting: str, program: Path, tmp_path: Path) -> None:
    for seed in range(budget(2)):
        theirs, ours = accounts(seed, setting, program, tmp_path, "system", "ptmalloc")
        assert ours == theirs


@pytest.mark.parametrize("setting", ["tcache_count=6", "mxfast=112", "top_pad=132KiB", "mmap_threshold=8KiB"])
def test_another_setting_is_seen(setting: str, program: Path, tmp_path: Path) -> None:
    theirs, ours = accounts(0, "", program, tmp_path, "system", f"ptmalloc:{setting}")
    assert ours != theirs
