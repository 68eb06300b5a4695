"""The page allocator of tcmalloc-hpaa in whole heaps: T5, T6, T7 and T9, what was measured on the real one; every block
where a model of its rules puts it; what it shows of itself. csrc/tests/test_hpaa_pages.c has rule after rule."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hpaa_pages_model import Model
from support import budget as examples

from alloclab.heap import Heap
from alloclab.region import CALLS

PAGE, HUGE, MIB, GIB = 8192, 2 << 20, 1 << 20, 1 << 30
SECOND = 1_000_000_000
NAME = "tcmalloc-hpaa"
HASTY = {"skip_subrelease_short_ms": 0, "skip_subrelease_long_ms": 0}


def cache(heap: Heap) -> dict[str, int]:
    (row,) = heap.view("hugecache")
    return {name: int(value) for name, value in row.items()}


def hugepage(heap: Heap, address: int) -> dict[str, int | bool | str]:
    (row,) = (r for r in heap.view("hugepages") if r["hugepage"] == address // HUGE * HUGE)
    return row


def unmapped(heap: Heap) -> int:
    return heap.control("tcmalloc.pageheap_unmapped_bytes")


# --- what was measured ---


def test_t5_a_gib_is_reserved_and_committed_from_the_top() -> None:
    with Heap(NAME, log=True) as heap:
        first = heap.malloc(300_000)
        blocks = [heap.malloc(HUGE) for _ in range(20)]
        events = heap.events()
        maps = events[events["call"] == CALLS.index("mmap")]
        assert list(maps["bytes"]) == [GIB, GIB] and set(maps["extra"]) == {0}, "for metadata, for pages; PROT_NONE"
        start = int(maps["result"][1])
        commits = events[(events["call"] == CALLS.index("mprotect")) & (events["address"] >= start)]
        commits = commits[commits["address"] < start + GIB]
        assert set(commits["bytes"]) == {HUGE}
        assert list(commits["address"]) == [start + GIB - (i + 1) * HUGE for i in range(21)]
        assert first == start + GIB - HUGE + heap.regions.base
        assert blocks == [first - (i + 1) * HUGE for i in range(20)]


def test_t6_of_a_hundred_mebibytes_twenty_stay_cached() -> None:
    with Heap(NAME) as heap:
        blocks = [heap.malloc(MIB) for _ in range(100)]
        before = heap.counters().calls["madvise"]
        assert unmapped(heap) == 0
        for block in blocks:
            heap.free(block)
        assert unmapped(heap) == 80 * MIB
        assert heap.control("tcmalloc.pageheap_free_bytes") == 20 * MIB == cache(heap)["cached"] * HUGE
        stats = heap.stats()
        assert (stats["hugepage_cache_bytes"], stats["page_heap_unmapped"]) == (20 * MIB, 80 * MIB)
        assert heap.counters().calls["madvise"] - before == 40
        heap.validate()


def test_t7_all_that_is_free_goes_back_when_asked_for() -> None:
    with Heap(NAME) as heap:
        for block in [heap.malloc(MIB) for _ in range(100)]:
            heap.free(block)
        heap.control("ReleaseMemoryToSystem", (1 << 64) - 1)
        assert unmapped(heap) == 104857600 and heap.control("tcmalloc.pageheap_free_bytes") == 0
        heap.validate()


def test_t9_two_hugepages_of_its_own_and_what_is_left_of_them() -> None:
    with Heap(NAME) as heap:
        small = heap.malloc(500_000)
        large = heap.malloc(2_100_000)
        assert large % HUGE == 0 and heap.usable_size(large) == 257 * PAGE
        assert hugepage(heap, large)["state"] == "whole"
        last = hugepage(heap, large + HUGE)
        assert (last["state"], last["shelf"], last["used_pages"], last["longest_free"]) == ("filled", "donated", 1, 255)
        second = heap.malloc(500_000)
        assert second // HUGE == small // HUGE, "it is not preferred"
        third = heap.malloc(1_200_000)
        assert third == large + HUGE + PAGE, "but it is used"
        assert hugepage(heap, third)["shelf"] == "regular"
        heap.validate()


# --- where blocks lie ---


def some_pages(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.5:
        return rng.randint(33, 80)
    if kind < 0.7:
        return rng.randint(100, 255)
    return rng.choice([256, 512, 1024]) if kind < 0.8 else rng.randint(257, 3000)


@pytest.mark.parametrize("limit", [0, 3, 10])
@pytest.mark.parametrize("slack", [None, MIB, 4 * MIB])
def test_every_block_lies_where_the_rules_say(limit: int, slack: int | None) -> None:
    rng = random.Random(limit * 1000 + (slack or 7))
    tunables = {"huge_regions": slack is not None, "region_slack": slack or 0, "hugepage_cache_limit": limit, **HASTY}
    with Heap(NAME, **tunables) as heap:
        model = Model(limit, slack)
        origin = 0
        live: list[tuple[int, int, int]] = []
        for step in range(examples(1200)):
            if live and rng.random() < (0.6 if step // 150 % 2 else 0.4):
                address, at, pages = live.pop(rng.randrange(len(live)))
                heap.free(address)
                model.give(at, pages)
            else:
                pages = some_pages(rng)
                address, at = heap.malloc(pages * PAGE), model.take(pages)
                origin = origin or address - at * PAGE
                assert address == origin + at * PAGE, step
                live.append((address, at, pages))
            if rng.random() < 0.02:
                pages = rng.randint(1, 2000)
                heap.control("ReleaseMemoryToSystem", pages * PAGE)
                model.release(pages)
            if rng.random() < 0.02:
                heap.advance(10 * SECOND)
                model.pass_time()
            assert unmapped(heap) == model.unbacked_pages() * PAGE, step
            found = cache(heap)
            assert (found["limit"], found["cached"]) == (model.limit, model.cached.total()), step
            if step % 100 == 0:
                heap.validate()
        assert heap.counters().calls["madvise"] == model.calls + 1, "and one for the reservation of metadata"
        assert len(heap.view("regions")) == len(model.regions)
        assert slack is None or len(model.regions) > 0
        for address, at, pages in live:
            heap.free(address)
            model.give(at, pages)
        assert unmapped(heap) == model.unbacked_pages() * PAGE
        heap.validate()


# --- settings ---


def half_empty(**tunables: int | bool) -> Heap:
    heap = Heap(NAME, **tunables)
    blocks = [heap.malloc(MIB) for _ in range(200)]
    for block in blocks[::2]:
        heap.free(block)
    return heap


def test_subrelease_waits_until_demand_has_been_low() -> None:
    for tunables, seconds, released in (
        ({}, 59, 0),
        ({}, 60, 100),
        ({"skip_subrelease_short_ms": 10_000}, 9, 0),
        ({"skip_subrelease_short_ms": 10_000}, 10, 100),
        (HASTY, 0, 100),
        ({"subrelease": False, **HASTY}, 0, 0),
    ):
        with half_empty(**tunables) as heap:
            heap.advance(seconds * SECOND)
            heap.control("ReleaseMemoryToSystem", GIB)
            assert unmapped(heap) == released * MIB
            assert heap.control("tcmalloc.hugepage_coverage") == (100 - released) * MIB
            heap.validate()


def test_subreleased_pages_read_zero_and_cost_no_memory() -> None:
    with Heap(NAME, **HASTY) as heap:
        first, second = heap.malloc(MIB), heap.malloc(MIB)
        heap.write(second, b"x" * MIB)
        heap.free(second)
        resident = heap.regions.resident()
        heap.control("ReleaseMemoryToSystem", 1)
        assert heap.regions.resident() == resident - MIB
        assert hugepage(heap, first)["shelf"] == "released"
        assert heap.malloc(MIB) == second and heap.read(second, MIB) == bytes(MIB)
        assert hugepage(heap, first)["shelf"] == "regular"


def test_large_blocks_share_regions_when_slack_is_high() -> None:
    with Heap(NAME, region_slack=2 * MIB) as heap:
        own = [heap.malloc(150 * PAGE) for _ in range(3)]
        assert heap.view("regions") == [] and all(block % HUGE == 0 for block in own)
        shared = [heap.malloc(150 * PAGE) for _ in range(4)]
        assert shared == [shared[0] + i * 150 * PAGE for i in range(4)]
        (region,) = heap.view("regions")
        assert (region["blocks"], region["used_pages"], region["backed_hugepages"]) == (4, 600, 3)
        assert {r["state"] for r in heap.view("hugepages") if int(r["used_pages"]) > 0} == {"filled", "region"}
        heap.validate()
    with Heap(NAME, region_slack=2 * MIB, huge_regions=False) as heap:
        assert all(heap.malloc(150 * PAGE) % HUGE == 0 for _ in range(20))
        assert heap.view("regions") == []


# --- looking inside ---


def test_hugepages_are_shown_as_they_are() -> None:
    rng = random.Random(3)
    with Heap(NAME, region_slack=MIB, hugepage_cache_limit=4, **HASTY) as heap:
        blocks = [heap.malloc(some_pages(rng) * PAGE) for _ in range(150)]
        for block in blocks[::2]:
            heap.free(block)
        heap.control("ReleaseMemoryToSystem", 10 * MIB)
        rows = heap.view("hugepages")
        addresses = [int(r["hugepage"]) for r in rows]
        assert addresses == sorted(addresses) and all(a % HUGE == 0 for a in addresses)
        assert {r["state"] for r in rows} >= {"whole", "filled", "region", "unbacked"}
        used = np.zeros(len(rows), dtype=np.int64)
        for chunk in heap.walk():
            if chunk.state == "live":
                for page in range(chunk.address, chunk.address + chunk.bytes, PAGE):
                    used[addresses.index(page // HUGE * HUGE)] += 1
        assert list(used) == [r["used_pages"] for r in rows]
        assert unmapped(heap) == PAGE * sum(
            int(r["released_pages"]) for r in rows if r["state"] != "region" or r["used_pages"] == 0
        )
        facts = heap.explain(blocks[1]).facts
        assert facts["used_pages"] == hugepage(heap, blocks[1])["used_pages"]


def test_free_pages_are_told_by_where_they_are() -> None:
    with Heap(NAME, region_slack=2 * MIB, hugepage_cache_limit=3, **HASTY) as heap:
        large = [heap.malloc(pages * PAGE) for pages in (300, 400, 150, 300, 1280)]
        small = [heap.malloc(60 * PAGE) for _ in range(6)]
        stats = heap.stats()
        assert stats["slack"] == (212 + 112) * PAGE and stats["donated"] == (44 + 144) * PAGE
        assert stats["regions_free"] == (512 - 300) * PAGE and stats["abandoned"] == 0
        states = [row["state"] for row in heap.view("hugepages")]
        assert stats["hugepages"] == stats["hugepages_whole"] == states.count("whole") + states.count("filled")
        for block in (large[0], large[-1], *small[::2]):
            heap.free(block)
        heap.control("ReleaseMemoryToSystem", 4 * HUGE)
        stats = heap.stats()
        assert stats["abandoned"] > 0 and stats["subreleased"] == stats["filler_unmapped"] > 0
        assert stats["hugepages_whole"] < stats["hugepages"] and stats["released"] >= stats["subreleased"]
        assert stats["page_heap_free"] == sum(stats[name] for name in ("filler_free", "hugepage_cache", "regions_free"))
        kinds = {b.kind: sum(length for _, length in b.chunks) for b in heap.bins()}
        assert stats["hugepage_cache"] == kinds.get("hugecache", 0)
        assert stats["regions_free"] + stats["regions_unmapped"] == kinds["region"]
        assert stats["page_heap_unmapped"] == (kinds["unbacked"] + stats["filler_unmapped"] + stats["regions_unmapped"])
        heap.validate()


# --- refusals ---


def test_whatever_call_is_refused_the_heap_stays_sound() -> None:
    sizes = (300_000, 2_100_000, 1_500_000, HUGE, 600_000, 9 * MIB, 1_500_000, 1_200_000, 70_000)
    refused = 0
    for nth in range(1, 40):
        with Heap(NAME, region_slack=2 * MIB, hugepage_cache_limit=1, cpus=1, **HASTY) as heap:
            heap.fail_call(nth)
            blocks = []
            for size in sizes:
                before = heap.ledger().usable
                block = heap.malloc(size)
                if block == 0:
                    refused += 1
                    assert heap.ledger().usable == before
                    heap.validate()
                    block = heap.malloc(size)
                assert block != 0
                blocks.append(block)
            for block in blocks[::2]:
                heap.free(block)
            heap.validate()
            heap.control("ReleaseMemoryToSystem", GIB)
            heap.validate()
            for block in blocks[1::2]:
                heap.free(block)
            heap.validate()
            assert heap.ledger().usable == 0
    assert refused > 3
