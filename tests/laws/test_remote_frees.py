"""One thread allocates, others free everything: what tcmalloc's collapse comes from is counted. They take turns, so
that the counts are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from programs import HERE, compile_c, run

from alloclab.heap import Heap

pytestmark = pytest.mark.needs("gcc")
GROUPS, BLOCKS, AHEAD = 100, 500, 1
SPANS = ("spans_populated", "spans_emptied")
CLASSIC = ("fetches", "fetches_from_spans", "returns", "slots_full", *SPANS)
MODERN = ("transfer_takes", "transfer_take_misses", "transfer_gives", "transfer_give_misses", *SPANS)

Count = Callable[..., dict[str, int]]


@pytest.fixture(scope="module")
def count(tmp_path_factory: pytest.TempPathFactory) -> Count:
    source = HERE / "benchmarks" / "programs" / "remote_frees.c"
    program: Path = compile_c(source, tmp_path_factory.mktemp("remote") / "remote_frees")

    def counted(spec: str, who: str, size: int, figures: tuple[str, ...], blocks: int = BLOCKS) -> dict[str, int]:
        done = run(spec, program, who, str(size), str(blocks), str(GROUPS), str(AHEAD), *figures)
        assert done.returncode == 0, done.stderr
        return dict(zip(figures, map(int, done.stdout.split()[2:]), strict=True))

    return counted


@pytest.mark.parametrize("size", [64, 1024])
def test_a_thread_that_only_frees_gives_back_block_by_block(count: Count, size: int) -> None:
    local, remote, own = (count("tcmalloc", who, size, CLASSIC) for who in ("local", "remote", "own"))
    assert remote["returns"] >= GROUPS * BLOCKS
    assert remote["returns"] > 20 * local["returns"]
    assert remote["returns"] > 10 * own["returns"] > 0
    assert remote["fetches"] > 5 * local["fetches"]
    assert remote["fetches_from_spans"] == remote["fetches"], "nobody ever gives a batch"
    assert remote["spans_emptied"] > 5 * local["spans_emptied"]


def test_pages_of_large_classes_come_and_go_with_every_block(count: Count) -> None:
    local, remote, own = (count("tcmalloc", who, 32768, CLASSIC, 50) for who in ("local", "remote", "own"))
    assert remote["spans_populated"] > 0.9 * GROUPS * 50
    for name in SPANS:
        assert remote[name] > 5 * local[name]
    assert own["slots_full"] > 5 * GROUPS and local["slots_full"] == 0


def test_the_modern_one_passes_all_through_its_transfer_caches(count: Count) -> None:
    local, remote = (count("tcmalloc-hpaa:cpus=4", who, 64, MODERN) for who in ("local", "remote"))
    for name in ("transfer_takes", "transfer_gives"):
        assert remote[name] > 5 * local[name]
    assert remote["transfer_gives"] < GROUPS * BLOCKS / 4, "a CPU's cache is there for whoever frees"


def test_the_same_without_a_clock_or_chance() -> None:
    """Contexts in turn, block by block."""
    with Heap("tcmalloc") as heap:
        maker, other = heap.thread(), heap.thread()
        maker.malloc(64)
        before = heap.stats()
        for _ in range(10):
            for block in [maker.malloc(64) for _ in range(1000)]:
                other.free(block)
        after = heap.stats()
        assert after["returns"] - before["returns"] == 10_000
        assert {name: heap.control(name) for name in CLASSIC} == {name: after[name] for name in CLASSIC}
        (row,) = (row for row in heap.view("classes") if row["bytes"] == 64)
        assert row["returns"] == 10_000 and row["fetches"] == row["from_spans"] > 10_000 / 32
        heap.validate()
