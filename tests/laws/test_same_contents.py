"""What blocks hold is the program's doing: whatever malloc has the same calls, it ends with the same contents; and a
block that comes and goes, anywhere and in any thread, changes no content of any other."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from heap_scripts import as_program_reads, compile_program, operation_of
from heaps import QUICK, SLOW, spec_of
from programs import faulty
from random_scripts import Script
from support import budget

from alloclab.allocators import Allocator, resolve

pytestmark = [pytest.mark.slow, pytest.mark.needs("gcc")]
SIZES = [24, 40, 40, 120, 136, 300, 1000, 1040, 3000, 7000]
STATEMENTS = 800
SEEDS = range(budget(3))
LABS = [spec_of(*setting) for setting in [*QUICK, *SLOW]]
REAL = [
    pytest.param(name, marks=pytest.mark.needs(name)) for name in ("libjemalloc", "libtcmalloc_minimal", "libmimalloc")
]
REFERENCE = "system"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


def written(seed: int) -> list[list[str]]:
    """Calls of threads that come, go and fork. Whatever a program may count on is written once and summed up as the
    block dies, or at the end: all that was asked for, but not what calloc gave, nor what a realloc keeps."""
    rng = random.Random(seed)
    sizes: dict[str, int] = {}
    found = []
    for statement in Script(rng, ["trim 0"], SIZES, 20, refuses=False).statements(STATEMENTS):
        words = statement.replace("memalign", "posix_memalign").split()
        operation = operation_of(words)
        if operation in ("fill", "dirty"):
            continue
        if operation == "free":
            found.append(summed(words[-1], sizes.pop(words[-1])))
        found.append(words)
        if operation in ("malloc", "calloc", "realloc", "posix_memalign"):
            block, size = words[words.index("=") - 1], int(words[-1])
            known = size if operation == "calloc" else sizes.get(block, 0)
            if size > known:
                found.append(["scribble", f"{block}+{known}", str(rng.getrandbits(32)), str(size - known)])
            sizes[block] = size
    return [*found, *(summed(block, size) for block, size in sizes.items())]


def summed(block: str, size: int) -> list[str]:
    return ["sum", block, str(size)]


def with_passers_by(statements: Iterable[list[str]], seed: int) -> Iterator[list[str]]:
    """Before one statement in three a block comes, is written into, and goes; it may go in another thread."""
    rng = random.Random(seed)
    threads = [""]
    for words in statements:
        if words[0] == "start":
            threads.append(f"{words[1]}: ")
        elif words[0] == "exit":
            threads.remove(f"{words[1]}: ")
        elif words[0] == "fork":
            threads = [""]
        elif rng.random() < 0.3:
            size = int(2 ** rng.uniform(0, 20))
            yield f"{rng.choice(threads)}passer = malloc {size}".split()
            yield f"scribble passer {rng.getrandbits(32)} {size}".split()
            yield f"{rng.choice(threads)}free passer".split()
        yield words


def sums(allocator: Allocator, program: Path, statements: Iterable[list[str]]) -> list[str]:
    statements = list(statements)
    done = subprocess.run(
        [program],
        input=as_program_reads(statements),
        env=allocator.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = done.stdout.split("\n")[1:-1]
    return [row for row, words in zip(rows, statements, strict=True) if words[0] == "sum"]


@cache
def expected(program: Path, seed: int) -> list[str]:
    found = sums(resolve(REFERENCE), program, written(seed))
    assert len(found) > STATEMENTS / 5
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spec", [*LABS, *REAL])
def test_the_same_calls_end_with_the_same_contents(spec: str, seed: int, program: Path) -> None:
    assert sums(resolve(spec), program, written(seed)) == expected(program, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spec", [*LABS, *REAL, REFERENCE])
def test_passers_by_change_no_content(spec: str, seed: int, program: Path) -> None:
    assert sums(resolve(spec), program, with_passers_by(written(seed), seed)) == expected(program, seed)


@pytest.mark.parametrize("fault", ["NONE", "DIRTY_CALLOC", "REALLOC_FORGETS", "REALLOC_OVERRUNS", "FREE_SCRIBBLES"])
def test_a_fault_shows(fault: str, program: Path, tmp_path: Path) -> None:
    found = [sums(faulty(tmp_path, fault), program, written(seed)) == expected(program, seed) for seed in SEEDS]
    assert all(found) if fault == "NONE" else not any(found)
