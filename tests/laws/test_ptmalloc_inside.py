"""What ptmalloc's lists hold, step by step, where its rules show; and what it knows of a piece."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from support import slow

from alloclab.heap import Heap, Thread

Picture = dict[str, list[int]]

HEAD = 8
"""From where a chunk's own bytes begin to the block it offers, or offered."""


def picture(heap: Heap) -> Picture:
    """Of each list its blocks, in the list's order; tops left out."""
    return {f"{b.kind} {b.index}": [at + HEAD for at, _ in b.chunks] for b in heap.bins() if b.kind != "top"}


def apart(heap: Heap, sizes: list[int]) -> list[int]:
    """Blocks that do not touch each other."""
    blocks = []
    for size in sizes:
        blocks.append(heap.malloc(size))
        heap.malloc(24)
    return blocks


def test_what_the_cache_has_no_room_for_goes_to_a_fastbin_and_comes_back_by_the_cache() -> None:
    with Heap("ptmalloc") as heap:
        blocks = [heap.malloc(40) for _ in range(9)]
        for block in blocks:
            heap.free(block)
        assert picture(heap) == {"tcache 1": blocks[6::-1], "fastbin 1": [blocks[8], blocks[7]]}
        assert heap.mallinfo()["fsmblks"] == 96
        assert [heap.malloc(40) for _ in range(7)] == blocks[6::-1]
        assert heap.malloc(40) == blocks[8]
        assert picture(heap) == {"tcache 1": [blocks[7]]}
        assert heap.malloc(40) == blocks[7]
        assert picture(heap) == {}


def test_a_small_bin_gives_the_oldest_and_the_rest_to_the_cache() -> None:
    with Heap("ptmalloc") as heap:
        *filling, a, b, c = apart(heap, [500] * 10)
        for block in (*filling, a, b, c):
            heap.free(block)
        assert picture(heap) == {"tcache 30": filling[::-1], "unsorted 1": [c, b, a]}
        heap.malloc(3000)
        assert picture(heap) == {"tcache 30": filling[::-1], "smallbin 32": [c, b, a]}
        for _ in filling:
            heap.malloc(500)
        assert heap.malloc(500) == a
        assert picture(heap) == {"tcache 30": [c, b]}
        assert [heap.malloc(500) for _ in range(2)] == [c, b]


def test_the_smallest_hole_that_fits_is_cut() -> None:
    with Heap("ptmalloc") as heap:
        holes = apart(heap, [3000, 2000, 2500])
        for hole in holes:
            heap.free(hole)
        assert picture(heap) == {"unsorted 1": holes[::-1]}
        assert heap.malloc(2300) == holes[2]
        rest = holes[2] + 2320
        assert picture(heap) == {"unsorted 1": [rest], "largebin 79": [holes[1]], "largebin 95": [holes[0]]}
        assert heap.malloc(1950) == holes[1]
        assert picture(heap) == {"unsorted 1": [holes[1] + 1968], "smallbin 12": [rest], "largebin 95": [holes[0]]}
        assert heap.malloc(184) == rest


def test_small_requests_are_cut_from_the_last_remainder() -> None:
    with Heap("ptmalloc") as heap:
        (hole,) = apart(heap, [4000])
        heap.free(hole)
        for size, offset, rest in (1200, 0, 1216), (200, 1216, 1424), (200, 1424, 1632), (200, 1632, 1840):
            assert heap.malloc(size) == hole + offset
            assert picture(heap) == {"unsorted 1": [hole + rest]}
        assert heap.explain(hole + 1840).facts["last_remainder"] is True
        assert "last_remainder" not in heap.explain(hole).facts


def test_a_large_bin_is_sorted_and_equals_wait_behind_the_first() -> None:
    with Heap("ptmalloc") as heap:
        sizes = [13000, 15000, 14000, 13000, 14000, 13000]
        blocks = apart(heap, sizes)
        for block in blocks:
            heap.free(block)
        heap.malloc(60000)
        a13, a15, a14, b13, b14, c13 = blocks
        assert picture(heap) == {"largebin 113": [a15, a14, b14, a13, c13, b13]}
        known = {block: heap.explain(block).facts for block in blocks}
        assert known[a15]["fd_size"] == known[a14]["malloc_chunk"] == known[a13]["bk_size"]
        assert known[a13]["fd_size"] == known[a15]["malloc_chunk"]
        assert known[c13]["fd_size"] == known[c13]["bk_size"] == 0
        assert heap.malloc(13000) == c13


def test_a_head_is_shown_as_it_is() -> None:
    with Heap("ptmalloc") as heap:
        first, second = heap.malloc(24), heap.malloc(25)
        assert heap.read(first - 8, 8) == (0x21).to_bytes(8, "little")
        assert heap.read(second - 8, 8) == (0x31).to_bytes(8, "little")
        facts = heap.explain(second).facts
        assert facts["what"] == "live" and facts["arena"] == 0
        assert (facts["malloc_chunk"], facts["size"]) == (second - 16, 48)
        assert (facts["prev_inuse"], facts["mapped"], facts["non_main"]) == (True, False, False)
        heap.free(first)
        heap.free(second)
        facts = heap.explain(first).facts
        assert (facts["what"], facts["in"], facts["index"], facts["position"]) == ("free", "tcache", 0, 0)
        assert facts["next"] == 0 and facts["next, stored"] == first >> 12
        assert int.from_bytes(heap.read(first + 8, 8), "little") == facts["key"]


@pytest.mark.parametrize("alignment", [16, 64, 4096, 1 << 20])
def test_a_mapped_block_is_explained_and_its_mapping_is_one_piece(alignment: int) -> None:
    with Heap("ptmalloc") as heap:
        block = heap.memalign(alignment, 1 << 20)
        facts, usable = heap.explain(block).facts, heap.usable_size(block)
        assert facts["mapped"] is True and facts["what"] == "live"
        assert facts["prev_size"] == block - 16 - facts["mapping"]
        assert facts["size"] == usable + 16
        piece = next(c for c in heap.walk() if c.block == block)
        assert (piece.address, piece.bytes) == (facts["mapping"], facts["prev_size"] + facts["size"])
        assert heap.realloc(block, 2 << 20) != 0
        heap.validate()


def test_every_piece_says_what_it_is() -> None:
    with Heap("ptmalloc") as heap:
        for block in apart(heap, [40] * 10 + [2000]):
            heap.free(block)
        heap.malloc(200_000)
        states = {
            "live": "live",
            "free": "free",
            "tcache": "cached",
            "top": "free",
            "thread cache": "metadata",
            "the segment's head": "metadata",
        }
        seen = set()
        for chunk in heap.walk():
            facts = heap.explain(chunk.address).facts
            what = "tcache" if facts.get("in") == "tcache" else facts["what"]
            assert states[str(what)] == chunk.state
            seen.add(what)
        assert seen == set(states)


# --- arenas ---


def all_looks_agree(heap: Heap) -> None:
    """The walk, the lists, what is known of each piece at either end of it, and glibc's figures."""
    bins, walk, info = heap.bins(), heap.walk(), heap.mallinfo()
    place = {at: (b.kind, b.index, i) for b in bins for i, (at, _) in enumerate(b.chunks)}
    kept = sorted(chunk for b in bins for chunk in b.chunks)
    assert kept == [(c.address, c.bytes) for c in walk if c.state in ("free", "cached")]
    for chunk in walk:
        facts = heap.explain(chunk.address).facts
        assert heap.explain(chunk.address + chunk.bytes - 1).facts == facts
        assert facts.get("arena", 0) == chunk.owner
        if "in" in facts:
            assert place[chunk.address] == (facts["in"], facts["index"], facts["position"])
    held = Counter({"top": HEAD * sum(b.kind == "top" for b in bins)})
    for b in bins:
        held[b.kind] += sum(length for _, length in b.chunks)
    assert info["fsmblks"] == held["fastbin"]
    assert info["fordblks"] == held.total() - held["tcache"] - held["unused"]


@pytest.mark.parametrize(
    "tunables",
    [
        {"arena_max": 2},
        *slow({}, {"tcache_count": 0}, {"trim_threshold": 0, "top_pad": 0}, {"mmap_threshold": 1 << 30}),
    ],
    ids=str,
)
def test_threads_come_and_go_and_free_what_others_took(tunables: dict[str, int]) -> None:
    """After every call the heap is sound, and all that is free is kept somewhere: also where a stranger moves the
    break, or the system soon refuses to."""
    for seed in range(6):
        rng = random.Random(seed)
        refused = seed % 2 == 1
        with Heap("ptmalloc", regions={"break_room": 1 << 20} if refused else {}, **tunables) as heap:
            threads: list[Heap | Thread] = [*(heap.thread() for _ in range(3)), heap]
            blocks: dict[int, int] = {}
            for _ in range(200):
                thread, slot = rng.choice(threads), rng.randrange(40)
                size = int(2 ** rng.uniform(0, rng.choice([9, 23])))
                if not refused and rng.random() < 0.03:
                    heap.regions.foreign_brk(rng.choice([16, 4096, 70000]))
                if rng.random() < 0.03 and isinstance(thread, Thread):
                    thread.exit()
                    threads[threads.index(thread)] = heap.thread()
                elif slot not in blocks:
                    blocks[slot] = thread.memalign(rng.choice([16, 64, 4096]), size)
                elif rng.random() < 0.6:
                    thread.free(blocks.pop(slot))
                else:
                    blocks[slot] = thread.realloc(blocks[slot], size)
                heap.validate()
            all_looks_agree(heap)
            assert len({c.owner for c in heap.walk()}) > 1


@pytest.mark.parametrize("seed", range(12))
def test_a_break_that_others_leave_within_a_page_and_that_is_refused_does_no_harm(seed: int) -> None:
    """glibc dies of some of it."""
    rng = random.Random(seed)
    with Heap("ptmalloc") as heap:
        blocks: list[int] = []
        for _ in range(200):
            if rng.random() < 0.1:
                heap.regions.foreign_brk(rng.choice([1, 8, 16, 100, 70_000]))
            if rng.random() < 0.2:
                heap.fail_call(rng.randint(1, 4))
            if blocks and rng.random() < 0.3:
                heap.free(blocks.pop(rng.randrange(len(blocks))))
            elif block := heap.malloc(int(2 ** rng.uniform(5, 18))):
                assert block % 16 == 0
                blocks.append(block)
            heap.validate()


def test_a_chunk_of_another_arena_says_so() -> None:
    with Heap("ptmalloc") as heap:
        heap.malloc(100)
        other = heap.thread()
        block = other.malloc(2000)
        facts = heap.explain(block).facts
        assert facts["non_main"] is True and facts["arena"] == 1
        assert facts["subheap"] == block - 0xB70 and block % (1 << 26) == 0xB70
        assert heap.explain(facts["subheap"]).facts["what"] == "the subheap's head"
        assert heap.explain(facts["subheap"]).chunk.bytes == 0x8D0 + 8
        other.malloc(24)
        other.free(block)
        facts = heap.explain(block).facts
        assert facts["non_main"] is False, "what is free does not say whose it is"
        assert [(b.kind, b.owner) for b in heap.bins()] == [("top", 0), ("unsorted", 1), ("top", 1)]
        small = heap.malloc(24)
        other.free(small)
        assert (heap.bins()[0].kind, heap.bins()[0].owner) == ("tcache", 1), "it is the thread's that freed it"


def test_what_a_trim_left_readable_is_no_top() -> None:
    with Heap("ptmalloc") as heap:
        heap.malloc(100)
        other = heap.thread()
        blocks = [other.malloc(60_000) for _ in range(5)]
        for block in reversed(blocks):
            other.free(block)
        top, unused = heap.walk()[-2:]
        assert heap.explain(top.address + top.bytes - 1).facts["what"] == "top"
        for address in unused.address, unused.address + 7, unused.address + unused.bytes - 1:
            assert heap.explain(address).facts["what"] == "not in use"
