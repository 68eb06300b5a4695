"""What jemalloc's slabs, sets and caches hold, step by step, where its rules show; that all looks at a heap agree; and
that it stays sound whatever threads do and the system refuses."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from heaps import come_and_go, kept, shelved
from support import slow

from alloclab.heap import Heap

PAGE = 4096
MIB = 1 << 20
WHAT = {
    "live": "live",
    "cached": "cached",
    "free": "free",
    "dirty": "free",
    "muzzy": "free",
    "retained": "free",
    "lost": "free",
    "metadata": "metadata",
    "thread cache": "metadata",
    "slab tail": "metadata",
}


def all_looks_agree(heap: Heap) -> None:
    """The walk, the lists, what is known of pieces at either end, and the tables."""
    walk = heap.walk()
    for chunk in walk[:: max(1, len(walk) // 100)]:
        facts = heap.explain(chunk.address).facts
        assert facts.get("arena", 0) == chunk.owner
        if facts.get("what") in ("live", "cached") and facts["class"] >= 36:
            continue  # a cached large block has metadata on both sides, all of one extent
        assert heap.explain(chunk.address + chunk.bytes - 1).facts == facts
        assert WHAT[str(facts["what"])] == chunk.state
    pieces = shelved(heap)
    sets: Counter[str] = Counter()
    for row in heap.view("extents"):
        sets[str(row["set"])] += int(row["bytes"])
    assert sets == +Counter({kind: pieces[kind] for kind in ("dirty", "muzzy", "retained")})
    assert pieces["tcache"] == sum(int(r["count"]) * int(r["bytes"]) for r in heap.view("threads"))
    assert pieces["slab"] == sum(int(r["free"]) * int(r["bytes"]) for r in heap.view("slabs"))
    slabs = Counter((r["arena"], r["class"]) for r in heap.view("slabs"))
    assert slabs == Counter({(r["arena"], r["class"]): r["slabs"] for r in heap.view("bins") if r["slabs"]})


# --- what is where ---


def test_the_lowest_free_region_of_the_oldest_slab_is_taken() -> None:
    with Heap("jemalloc", tcache=False) as heap:
        blocks = [heap.malloc(1024) for _ in range(12)]
        assert blocks == [blocks[0] + 1024 * i for i in range(12)], "three slabs, one behind the other"
        for i in (9, 1, 6, 2):
            heap.free(blocks[i])
        assert kept(heap, "slab", 20) == [blocks[i] for i in (1, 2, 6, 9)]
        current = [heap.explain(b).facts["current slab"] for b in blocks]
        assert current == [True] * 4 + [False] * 8, "it is the lowest slab with room"
        assert [heap.malloc(1024) for _ in range(4)] == [blocks[i] for i in (1, 2, 6, 9)]


def test_a_slab_has_a_tail_where_its_pages_are_set() -> None:
    with Heap("jemalloc", tcache=False, slab_sizes="3072-3072:5") as heap:
        blocks = [heap.malloc(3000) for _ in range(7)]
        tail = heap.explain(blocks[5] + 3072)
        assert (tail.chunk.address, tail.chunk.bytes, tail.chunk.state) == (blocks[5] + 3072, 2048, "metadata")
        assert (tail.facts["what"], tail.facts["extent"]) == ("slab tail", blocks[0])
        assert blocks[6] == blocks[0] + 5 * PAGE
        assert {(r["regions"], r["slab_bytes"]) for r in heap.view("slabs")} == {(6, 5 * PAGE)}
        before = heap.ledger().metadata
        heap.free(blocks[6])
        assert heap.ledger().metadata == before - 2048
        heap.validate()


def test_threads_of_an_arena_take_from_shards_in_turn() -> None:
    with Heap("jemalloc", narenas=1, tcache=False, bin_shards="1-1024:2") as heap:
        threads = [heap.thread() for _ in range(4)]
        blocks = [thread.malloc(1000) for thread in threads]
        assert [heap.explain(b).facts["shard"] for b in blocks] == [0, 1, 0, 1]
        assert all(heap.explain(b).facts["current slab"] for b in blocks)
        assert blocks[2:] == [blocks[0] + 1024, blocks[1] + 1024]
        assert [(r["shard"], r["free"]) for r in heap.view("slabs")] == [(0, 2), (1, 2)]
        assert [r["shards"] for r in heap.view("classes")][:22] == [2] * 21 + [1]
        threads[1].free(blocks[0])
        assert kept(heap, "slab", 20) == [blocks[0], *(b + 1024 * i for b in blocks[2:] for i in (1, 2))]
        assert threads[3].malloc(1000) == blocks[3] + 1024, "not where another shard has room"
        heap.validate()


@pytest.mark.parametrize("way", ["alloc", "free", "abort"])
def test_realloc_to_nothing_frees_or_yields_a_block(way: str) -> None:
    """A process of its own ends where it is told to; a window does not take this one with it."""
    with Heap("jemalloc", zero_realloc=way) as heap:
        block = heap.realloc(heap.malloc(5000), 0)
        assert (block != 0) == (way == "alloc") and heap.ledger().usable == (8 if block else 0)
        heap.validate()


def test_a_cache_gives_what_it_was_given_last() -> None:
    with Heap("jemalloc") as heap:
        blocks = [heap.malloc(100) for _ in range(5)]
        for block in blocks:
            heap.free(block)
        assert kept(heap, "tcache", 7)[:5] == blocks[::-1]
        facts = heap.explain(blocks[0]).facts
        assert (facts["what"], facts["thread"], facts["position"], facts["class bytes"]) == ("cached", 0, 4, 112)
        assert [heap.malloc(100) for _ in range(5)] == blocks[::-1]


def test_a_large_block_lies_in_its_first_page_and_is_cached_alone() -> None:
    with Heap("jemalloc") as heap:
        block = heap.malloc(20000)
        chunk, facts = heap.explain(block).chunk, heap.explain(block).facts
        assert (chunk.address, chunk.bytes, chunk.usable) == (facts["extent"], 20480 + PAGE, 20480)
        assert chunk.block == block == facts["extent"] + facts["offset"] and facts["offset"] % 64 == 0
        heap.free(block)
        pieces = [c for c in heap.walk() if facts["extent"] <= c.address < facts["extent"] + chunk.bytes]
        assert [c.state for c in pieces if c.state == "cached"] == ["cached"]
        assert sum(c.bytes for c in pieces) == chunk.bytes
        assert kept(heap, "tcache", 37) == [block]


def test_a_freed_extent_is_dirty_then_retained() -> None:
    with Heap("jemalloc", muzzy_decay_ms=1000) as heap:
        block = heap.malloc(200_000)
        heap.malloc(200_000)
        extent = heap.explain(block).facts["extent"]
        heap.free(block)
        facts = heap.explain(block).facts
        assert (facts["what"], facts["extent bytes"], facts["recency"]) == ("dirty", 229_376 + PAGE, 0)
        assert (facts["serves from"], facts["serves to"]) == (0, 229_376), "229376 >> 6 is less than a page"
        assert kept(heap, "dirty") == [extent]
        heap.trim()
        assert heap.explain(block).facts["what"] == "retained"
        assert heap.view("decay")[0]["purges"] == 1


def test_a_large_dirty_extent_serves_no_small_requests() -> None:
    with Heap("jemalloc") as heap:
        block = heap.malloc(MIB)
        heap.malloc(MIB)
        heap.free(block)
        facts = heap.explain(block).facts
        assert (facts["what"], facts["serves to"]) == ("dirty", MIB)
        slab = facts["serves from"]
        taken = heap.malloc(int(slab))
        assert facts["extent"] <= taken < facts["extent"] + facts["extent bytes"]
    with Heap("jemalloc") as heap:
        block = heap.malloc(MIB)
        heap.malloc(MIB)
        heap.free(block)
        assert not MIB > heap.malloc(int(slab) - 1) - int(heap.explain(block).facts["extent"]) >= 0


def test_mappings_are_told_apart_by_heads_and_serials() -> None:
    with Heap("jemalloc") as heap:
        for _ in range(12):
            heap.malloc(512 << 10)
        known = [heap.explain(c.address).facts for c in heap.walk()]
        extents = [facts for facts in known if "extent" in facts]
        heads = {f["extent"]: f["serial"] for f in extents if f["head"]}
        assert sorted(heads.values()) == list(range(len(heads))) and len(heads) == 3
        assert {f["serial"] for f in extents} == set(heads.values())


# --- tables ---


def test_the_tables_of_a_heap() -> None:
    with Heap("jemalloc") as heap:
        blocks = [heap.malloc(size) for size in (8, 1000, 100_000, 9 * MIB)]
        assert heap.views == ("classes", "arenas", "bins", "slabs", "extents", "decay", "backlog", "threads")
        classes = heap.view("classes")
        assert len(classes) == 232 and [r["class"] for r in classes] == list(range(232))
        assert [r["regions"] for r in classes][:5] == [512, 256, 128, 256, 64] and classes[36]["regions"] == 0
        assert sum(r["capacity"] > 0 for r in classes) == 41
        assert [r["threads"] for r in heap.view("arenas")] == [1, 0]
        assert [(r["bytes"], r["regions_in_use"], r["nfills"]) for r in heap.view("bins")] == [
            (8, 100, 1),
            (1024, 10, 1),
        ]
        assert [r["ms"] for r in heap.view("decay")] == [10_000, 0, 0, 0], "what the oversize arena frees is purged"
        weights = [int(r["weight"]) for r in heap.view("backlog")[:200]]
        assert weights[0] == 1 << 24 and all(a > b for a, b in pairwise(weights))
        assert all(r["thread"] == r["arena"] == 0 and r["count"] <= r["capacity"] for r in heap.view("threads"))
        for block in blocks:
            heap.free(block)
        heap.validate()


def test_the_backlog_is_what_was_freed_when() -> None:
    with Heap("jemalloc", tcache=False) as heap:
        blocks = [heap.malloc(400_000) for _ in range(10)]
        heap.malloc(400_000)
        for block in blocks:
            heap.free(block)
        heap.regions.advance(100_000_000)
        for _ in range(5000):
            heap.free(heap.malloc(20000))
        before = [int(r["pages"]) for r in heap.view("backlog")[:200]]
        assert sum(pages > 0 for pages in before) == 1 and before[0] > 1000
        heap.regions.advance(1_000_000_000)
        for _ in range(5000):
            heap.free(heap.malloc(20000))
        after = [int(r["pages"]) for r in heap.view("backlog")[:200]]
        assert after.index(before[0]) == 20, "a second is twenty epochs of 50 ms"
        dirty = heap.view("decay")[0]
        assert dirty["pages"] == sum(int(r["bytes"]) for r in heap.view("extents") if r["set"] == "dirty") // PAGE


# --- soundness ---

SETTINGS: list[dict[str, int | str]] = [
    {},
    {"retain": False, "muzzy_decay_ms": 1000},
    {"heap_order": "5.3.0"},
    {"tcache": False, "dirty_decay_ms": 0},
    {"narenas": 2, "muzzy_decay_ms": 5000},
    {"tcache_max": 8 * MIB, "dirty_decay_ms": -1},
    {"cache_oblivious": False, "oversize_threshold": MIB},
    {"dss": "primary", "retain": False},
    {"tcache_max": 1024, "narenas": 1},
    {"background_thread": True, "muzzy_decay_ms": 100},
    {"slab_sizes": "1-500:9|501-20000:40|1000-2000:0"},
    {"bin_shards": "1-500:2|501-20000:5", "narenas": 1},
    {"bin_shards": "1-20000:3", "slab_sizes": "1-20000:4", "narenas": 1, "tcache": False},
    {"tcache_nslots_small_min": 2, "tcache_nslots_small_max": 4, "tcache_nslots_large": 2},
]


@pytest.mark.parametrize("tunables", [SETTINGS[0], *slow(*SETTINGS[1:])], ids=str)
@pytest.mark.parametrize("refused", [*slow(False), True], ids=["", "refused"])
def test_threads_come_and_go_and_free_what_others_took(tunables: dict[str, int | str], refused: bool) -> None:
    """After every call the heap is sound, and all that is free is kept somewhere: also where calls of the system fail,
    and a stranger moves the break."""
    for seed in range(3):
        with Heap("jemalloc", limit=refused * seed * 12 * MIB, regions={"cpus": 2}, **tunables) as heap:
            blocks = come_and_go(heap, random.Random(seed), refused)
            all_looks_agree(heap)
            for block in blocks.values():
                heap.free(block)
            assert heap.ledger().usable == 0
            heap.validate()


def test_pages_of_another_arena_are_not_merged_with() -> None:
    """Where what is purged is unmapped, another arena's mapping may come to lie below the rest of one."""
    with Heap("jemalloc", narenas=2, retain=False, tcache=False, dirty_decay_ms=-1) as heap:
        other = heap.thread()
        other.malloc(1)
        whole = heap.malloc(MIB)
        heap.malloc(MIB)
        heap.free(whole)
        lower, upper = heap.malloc(400_000), heap.malloc(400_000)
        heap.free(lower)
        heap.trim()
        heap.free(upper)
        foreign = other.malloc(400_000)
        below, above = heap.explain(foreign), heap.explain(upper)
        assert below.facts["arena"] != above.facts["arena"]
        assert below.chunk.address + below.chunk.bytes == above.chunk.address
        other.free(foreign)
        heap.validate()
        assert [row["arena"] for row in heap.view("extents")] == [0, 1]
