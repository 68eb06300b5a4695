"""Looking inside a heap: lists of free chunks, what an address is, and glibc's questions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
from heaps import every_setting, play, random_trace
from support import budget

from alloclab.errors import UsageError
from alloclab.heap import Heap

WITHOUT_BINS = {"bump"}
FREE_IN_TWO = {"tcmalloc", "tcmalloc-hpaa"}  # what is cached is fsmblks, and no part of fordblks


@contextmanager
def used_heap(name: str, tunables: dict[str, int | str], seed: int) -> Iterator[Heap]:
    """A heap with live and free chunks, large ones too."""
    with Heap(name, **tunables) as heap:
        play(heap, [*random_trace(seed, 150), ("malloc", 100, 1 << 20), ("malloc", 101, 10)], {})
        yield heap


@every_setting
def test_every_free_chunk_is_in_one_list_that_takes_its_size(name: str, tunables: dict[str, int | str]) -> None:
    for seed in range(10):
        with used_heap(name, tunables, seed) as heap:
            bins = heap.bins()
            if name in WITHOUT_BINS:
                assert bins == []
                continue
            kept = [chunk for b in bins for chunk in b.chunks]
            assert sorted(kept) == [(c.address, c.bytes) for c in heap.walk() if c.state in ("free", "cached")]
            assert len({(b.kind, b.owner, b.index) for b in bins}) == len(bins)
            assert all(b.chunks for b in bins)
            assert all(b.least <= size <= b.most for b in bins for _, size in b.chunks)


def test_lists_are_shown_in_their_order() -> None:
    for order, first in ("lifo", 2), ("fifo", 0), ("address", 0):
        with Heap("fit", policy="first", order=order) as heap:
            blocks = [heap.malloc(100) for _ in range(6)]
            freed = [blocks[i] for i in (0, 2, 4)]
            for block in freed:
                heap.free(block)
            tree, top = heap.bins()
            assert (tree.kind, top.kind) == ("tree", "top")
            assert tree.chunks[0][0] < freed[first] < tree.chunks[0][0] + tree.chunks[0][1]


def test_a_list_is_shown_in_a_line() -> None:
    with Heap("ptmalloc") as heap:
        blocks = [heap.malloc(size) for size in (40, 40, 24)]
        other = heap.thread()
        other.free(blocks[2])
        for block in blocks[:2]:
            heap.free(block)
        first, second, third = (block - 8 for block in blocks)
        shown = [str(b) for b in heap.bins() if b.kind == "tcache"]
        assert shown == [f"tcache 0 of 1: {third:#x} (32)", f"tcache 1: {second:#x} (48), {first:#x} (48)"]


@every_setting
def test_an_address_is_explained(name: str, tunables: dict[str, int | str]) -> None:
    rng = random.Random(5)
    with used_heap(name, tunables, 5) as heap:
        walk = heap.walk()
        for chunk in rng.sample(walk, min(len(walk), budget(60))):
            for offset in (0, chunk.bytes - 1, rng.randrange(chunk.bytes)):
                found = heap.explain(chunk.address + offset)
                assert (found.chunk, found.offset) == (chunk, offset)
                assert found.region in heap.regions.vmas()
                assert found.region.start <= found.address < found.region.end
                assert all(isinstance(value, int | str) for value in found.facts.values())
                text = str(found).splitlines()
                assert text[0] == f"{chunk.address + offset:#x} lies {offset} bytes into a chunk"
                assert len(text) == 3 + (chunk.state == "live") + len(found.facts)


@every_setting
def test_an_address_of_nobody_is_refused(name: str, tunables: dict[str, int | str]) -> None:
    with used_heap(name, tunables, 5) as heap:
        for address in (-1, 0, heap.regions.vmas()[0].start - 1, heap.regions.vmas()[-1].end, (1 << 64) - 1, 1 << 64):
            with pytest.raises(UsageError, match=f"^{address:#x} is no address of this heap$"):
                heap.explain(address)


@every_setting
def test_a_table_has_the_same_columns_in_every_row(name: str, tunables: dict[str, int | str]) -> None:
    with used_heap(name, tunables, seed=3) as heap:
        for view in heap.views:
            assert len({tuple(row) for row in heap.view(view)}) <= 1
        with pytest.raises(UsageError, match=f"unknown view 'tables' of {name}: there is "):
            heap.view("tables")


@every_setting
def test_names_that_the_real_library_does_not_have_are_refused(name: str, tunables: dict[str, int | str]) -> None:
    with used_heap(name, tunables, seed=3) as heap:
        for value in None, 0:
            with pytest.raises(UsageError, match=f"{name}: nothing is called 'no.such.name'"):
                heap.control("no.such.name", value)


@every_setting
def test_time_passes(name: str, tunables: dict[str, int | str]) -> None:
    with used_heap(name, tunables, seed=3) as heap:
        heap.advance(60 * 10**9)
        heap.advance(1)
        assert heap.regions.now() == 60 * 10**9 + 1
        heap.validate()


@every_setting
def test_glibcs_questions_are_answered(name: str, tunables: dict[str, int | str]) -> None:
    with used_heap(name, tunables, 5) as heap:
        info = heap.mallinfo()
        assert len(info) == 10 and info["uordblks"] + info["hblkhd"] > 0
        kept = info["fsmblks"] if name in FREE_IN_TWO else 0
        assert info["uordblks"] + info["fordblks"] + kept == info["arena"]
        assert heap.report().endswith("\n")
        assert ElementTree.fromstring(heap.report(xml=True)).tag == "malloc"


def test_one_without_answers_of_its_own_answers_from_its_ledger() -> None:
    with Heap("fit") as heap:
        heap.malloc(100)
        held = heap.ledger()
        assert not heap.mallopt(-2, 4096)
        for parameter, value in ((1 << 31, 0), (-1, 1 << 31), (0, -(1 << 31) - 1)):
            with pytest.raises(UsageError, match="is a number from -2147483648 to 2147483647"):
                heap.mallopt(parameter, value)
        assert heap.mallinfo()["fordblks"] == held.free
        parts = ("usable", "metadata", "cached", "free")
        expected = ["alloclab fit", *(f"{part} {getattr(held, part)}" for part in parts)]
        expected += [f"{figure} {value}" for figure, value in heap.stats().items()]
        assert heap.report().splitlines() == expected
