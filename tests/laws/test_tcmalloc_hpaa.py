"""The front of tcmalloc-hpaa: size classes, the caches of CPUs, transfer caches, central lists, objects on spans;
T1-T4, T8, T10 and T12. T5-T7 and T9 are about pages. T11, what happens where glibc owns rseq, does not apply: the cache
of a simulated CPU has a lock instead."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from hpaa_model import CLASSES, number, one

from alloclab.errors import UsageError
from alloclab.heap import Heap, Thread

PAGE = 8192
SECOND = 1_000_000_000
NAME = "tcmalloc-hpaa"


def stack(heap: Heap, size: int, cpu: int = 0) -> dict[str, int]:
    return one(heap.view("cpu_caches"), **{"cpu": cpu, "class": number(size)})


def transfer(heap: Heap, size: int) -> dict[str, int]:
    return one(heap.view("transfer"), **{"class": number(size)})


def central(heap: Heap, size: int) -> dict[str, int]:
    return one(heap.view("central"), **{"class": number(size)})


def kept(heap: Heap, kind: str, size: int) -> list[int]:
    return [a for b in heap.bins() if b.kind == kind and b.index == number(size) for a, _ in b.chunks]


# --- classes ---


def test_the_classes_and_what_they_serve() -> None:
    with Heap(NAME) as heap:
        assert tuple(r["bytes"] for r in heap.view("classes")) == CLASSES
        assert {r["table"] for r in heap.view("classes")} == {"relaxed below 64, 2^13-byte pages, 16-byte new"}
        for size in {edge + d for edge in CLASSES for d in (-1, 0, 1)} - {262145}:
            block = heap.malloc(size)
            assert heap.usable_size(block) == CLASSES[number(size) - 1], size
            assert block % 16 == 0
            heap.free(block)


def test_every_span_holds_what_its_class_says() -> None:
    with Heap(NAME) as heap:
        rows = heap.view("classes")
        assert all(int(r["objects"]) == int(r["pages"]) * PAGE // int(r["bytes"]) for r in rows)
        assert [r["batch"] for r in rows] == [32] * 25 + [28, 24, 18, 16, 13, 10, 8, 6, 5, 4, 3] + [2] * 12
        assert [r["bitmap"] for r in rows] == [size >= 48 for size in CLASSES]
        assert all(int(r["transfer_most"]) * int(r["bytes"]) <= 1 << 20 for r in rows)


def test_tiny_blocks_are_aligned_to_sixteen() -> None:
    with Heap(NAME) as heap:
        assert [heap.usable_size(heap.malloc(n)) for n in (0, 1, 8, 9, 16, 17)] == [16, 16, 16, 16, 16, 32]


def test_beyond_the_classes_pages_are_exact() -> None:
    with Heap(NAME) as heap:
        assert [heap.usable_size(heap.malloc(n)) for n in (262144, 262145, 1 << 20, (1 << 20) + 1)] == [
            262144,
            270336,
            1 << 20,
            (1 << 20) + PAGE,
        ]


# --- the caches of CPUs ---


def test_the_order_and_the_sizes_of_the_first_fills() -> None:
    with Heap(NAME, cpus=1) as heap:
        blocks, cached = [], []
        for _ in range(100):
            before = len(kept(heap, "cpu", 64))
            blocks.append(heap.malloc(64))
            after = len(kept(heap, "cpu", 64))
            cached += [after] * (after > before)
        base = min(blocks)
        assert [(b - base) // 64 for b in blocks[:36]] == [16, *range(16), 34, *range(17, 34), 52]
        assert cached == [16, 17, 17, 18, 18, 19]
        assert stack(heap, 64)["capacity"] == 37


def test_a_cache_gives_what_it_was_given_last() -> None:
    with Heap(NAME) as heap:
        blocks = [heap.malloc(100) for _ in range(5)]
        for block in blocks:
            heap.free(block)
        assert kept(heap, "cpu", 100)[:5] == blocks[::-1]
        facts = heap.explain(blocks[0]).facts
        assert (facts["what"], facts["cache"], facts["CPU"], facts["position"]) == ("cached", "CPU", 0, 4)
        assert [heap.malloc(100) for _ in range(5)] == blocks[::-1]


def test_a_first_overflow_gives_one_back() -> None:
    """Who only frees earns room one by one; with room for one, one goes at a time."""
    with Heap(NAME, cpus=2) as heap:
        first, second = Thread(heap), Thread(heap)  # of CPUs 1 and 0
        blocks = [first.malloc(64) for _ in range(8)]
        sizes = []
        for block in blocks:
            second.free(block)
            row = stack(heap, 64, 0)
            sizes.append((row["capacity"], row["used"], transfer(heap, 64)["used"]))
        assert sizes == [(1, 0, 1), (1, 1, 1), (2, 0, 3), (2, 1, 3), (2, 2, 3), (3, 0, 6), (3, 1, 6), (3, 2, 6)]


def test_an_underflow_after_an_overflow_adds_a_batch() -> None:
    with Heap(NAME, cpus=1) as heap:
        blocks = [heap.malloc(64) for _ in range(200)]
        before = stack(heap, 64)
        assert (before["misses"], before["successive"], before["capacity"]) == (11, 10, 32 + 10)
        for block in blocks:
            heap.free(block)
        after_frees = stack(heap, 64)
        assert after_frees["misses"] > 10 and after_frees["capacity"] > 42
        for _ in range(after_frees["used"] + 1):
            heap.malloc(64)
        assert stack(heap, 64)["capacity"] == after_frees["capacity"] + 32


def test_room_ends_at_two_batches_without_an_overflow() -> None:
    with Heap(NAME, cpus=1) as heap:
        for _ in range(5000):
            heap.malloc(64)
        assert stack(heap, 64)["capacity"] == 64


def swing(heap: Heap, size: int, count: int, rounds: int) -> None:
    for _ in range(rounds):
        blocks = [heap.malloc(size) for _ in range(count)]
        for block in blocks:
            heap.free(block)


@pytest.mark.parametrize(
    ("size", "most"),
    [(64, 2000), (1024, 246), *(pytest.param(*p, marks=pytest.mark.slow) for p in ((160, 2000), (176, 246)))],
)
def test_room_ends_at_the_depth_of_the_class(size: int, most: int) -> None:
    with Heap(NAME, cpus=1) as heap:
        swing(heap, size, 3 * most, 80)
        assert stack(heap, size)["capacity"] == stack(heap, size)["most"] == most
        heap.validate()


def test_the_budget_is_held_and_room_is_stolen() -> None:
    with Heap(NAME, cpus=1) as heap:
        swing(heap, 4096, 400, 30)
        [cpu] = heap.view("cpus")
        held = stack(heap, 4096)["capacity"]
        assert held == 246 and cpu["budget"] == 3 << 19 and cpu["steals"] == 0
        swing(heap, 8192, 300, 30)
        [cpu] = heap.view("cpus")
        assert stack(heap, 4096)["capacity"] < held and int(cpu["steals"]) > 0
        assert int(cpu["capacity_bytes"]) <= 3 << 19
        heap.validate()


def test_without_a_budget_nothing_is_cached() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        blocks = [heap.malloc(64) for _ in range(10)]
        assert blocks == [blocks[0] + 64 * i for i in range(10)], "one at a time, the lowest first"
        for block in blocks:
            heap.free(block)
        assert heap.stats()["cpu_cache_bytes"] == 0 and transfer(heap, 64)["used"] == 10


def test_threads_have_cpus_in_turn() -> None:
    with Heap(NAME, cpus=3) as heap:
        threads = [Thread(heap) for _ in range(6)]
        for thread in threads:
            thread.malloc(64)
        rows = heap.view("cpus")
        assert [r["cpu"] for r in rows] == [0, 1, 2] and [r["underflows"] for r in rows] == [1, 1, 1]
        threads[0].free(block := threads[0].malloc(64))
        threads[0].exit()
        assert threads[3].malloc(64) == block, "nobody's exit empties a CPU's cache"


def test_threads_may_ask_the_system_for_their_cpu() -> None:
    with Heap(NAME, cpu_of="system", cpus=2) as heap:
        blocks = [heap.malloc(64) for _ in range(100)]
        assert sum(int(r["underflows"]) for r in heap.view("cpus")) >= 5
        for block in blocks:
            heap.free(block)
        heap.validate()


# --- transfer caches ---


def test_a_transfer_cache_has_room_for_sixteen_batches() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        for block in [heap.malloc(64) for _ in range(600)]:
            heap.free(block)
        row = transfer(heap, 64)
        assert (row["used"], row["capacity"], row["most"]) == (512, 512, 2048)
        assert transfer(heap, 1024)["most"] == 1024 and transfer(heap, 262144)["capacity"] == 4
        assert (central(heap, 64)["spans"], central(heap, 64)["emptied"]) == (4, 1)


def test_it_gives_the_last_first_and_as_many_as_it_has() -> None:
    with Heap(NAME, cpus=2) as heap:
        first, second = Thread(heap), Thread(heap)
        blocks = [first.malloc(64) for _ in range(17)]
        for block in blocks[:3]:
            second.free(block)
        assert kept(heap, "transfer", 64) == [blocks[2], blocks[1], blocks[0]]
        takes = transfer(heap, 64)["takes"]
        for _ in range(2):
            first.malloc(64)
        assert kept(heap, "transfer", 64) == []
        row = transfer(heap, 64)
        assert row["takes"] == takes + 1 and row["take_misses"] == takes + 1


# --- central lists and spans ---


def spans(heap: Heap, size: int) -> list[tuple[int, int]]:
    """List and objects out of each, in the order in which they are taken from."""
    return [(int(r["list"]), int(r["out"])) for r in heap.view("spans") if r["class"] == number(size)]


def test_spans_are_filed_by_how_many_objects_are_out() -> None:
    """8 - min(bits(out), 8) where a span holds more than 16 objects, else 8 - min(out, 8)."""
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        for count in range(1, 128):
            heap.malloc(64)
            assert spans(heap, 64) == [(8 - min(count.bit_length(), 8), count)]
        heap.malloc(64)
        assert spans(heap, 64) == [(8, 128)], "none left"
        for count in range(1, 8):
            heap.malloc(1024)
            assert spans(heap, 1024) == [(8 - count, count)]
        for count in range(1, 14):
            heap.malloc(1152)
            assert spans(heap, 1152) == [(8 - min(count, 8), count)]


def test_the_fullest_span_is_taken_from() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        dump = [heap.malloc(1024) for _ in range(512)]  # fills the transfer cache
        blocks = [heap.malloc(1024) for _ in range(24)]  # three spans of eight
        for block in dump:
            heap.free(block)
        assert transfer(heap, 1024)["used"] == 512
        for i in (0, 1, 2, 8, 16, 17):
            heap.free(blocks[i])
        heads = [(facts["list"], facts["objects out"]) for facts in (heap.explain(blocks[i]).facts for i in (0, 8, 16))]
        assert heads == [(3, 5), (1, 7), (2, 6)]
        for _ in range(512):
            heap.malloc(1024)  # what the transfer cache had
        assert [heap.malloc(1024) for _ in range(6)] == [blocks[i] for i in (8, 16, 17, 0, 1, 2)]


def test_the_lowest_object_is_taken_first() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        dump = [heap.malloc(48) for _ in range(512)]
        blocks = [heap.malloc(48) for _ in range(170 * 4 - 512)][-170:]
        for block in dump + [blocks[i] for i in (100, 3, 60)]:
            heap.free(block)
        for _ in range(512):
            heap.malloc(48)
        assert [heap.malloc(48) for _ in range(3)] == [blocks[i] for i in (3, 60, 100)]


@pytest.mark.parametrize("size", [16, 32])
def test_small_objects_are_remembered_by_index(size: int) -> None:
    """The twelve first that are freed are taken last first; the others are written into each other."""
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        objects = PAGE // size
        dump = [heap.malloc(size) for _ in range(512)]
        blocks = [heap.malloc(size) for _ in range(objects * (2 if size == 16 else 3) - 512)][-objects:]
        assert blocks == [blocks[0] + size * i for i in range(objects)], "at first they ascend"
        for block in dump:
            heap.free(block)
        assert transfer(heap, size)["used"] == 512
        freed = random.Random(3).sample(blocks, 100)
        for block in freed:
            heap.free(block)
        heap.validate()
        assert sorted(kept(heap, "span", size)) == sorted(freed)
        for _ in range(512):
            heap.malloc(size)
        taken = [heap.malloc(size) for _ in range(100)]
        assert taken[:12] == freed[:12][::-1] and set(taken) == set(freed)
        heap.validate()


def test_an_empty_span_goes_at_once() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0) as heap:
        for block in [heap.malloc(64) for _ in range(512 + 128)]:
            heap.free(block)
        row = central(heap, 64)
        assert (row["spans"], row["populated"], row["emptied"]) == (4, 5, 1)
        large = heap.malloc(PAGE * 40)
        heap.free(large)
        heap.validate()


def test_a_new_span_is_the_last_that_a_fetch_takes_from() -> None:
    with Heap(NAME, cpus=1) as heap:
        heap.malloc(1024)
        assert (stack(heap, 1024)["used"], central(heap, 1024)["spans"]) == (7, 1), "seventeen were wanted"


# --- realloc, memalign, free ---


def test_realloc_moves_on_any_change_of_class() -> None:
    with Heap(NAME) as heap:
        block = heap.malloc(1024)
        assert heap.realloc(block, 900) == block and heap.realloc(block, 897) == block
        moved = heap.realloc(block, 800)
        assert moved != block and heap.usable_size(moved) == 896
        large = heap.malloc(1 << 20)
        assert heap.realloc(large, (1 << 20) - PAGE + 1) == large
        assert heap.realloc(large, (1 << 20) - PAGE) != large


def test_memalign_takes_the_next_class_that_is_a_multiple() -> None:
    asked = [(64, 100), (64, 65), (32, 33), (4096, 100), (8192, 100), (16384, 100), (4096, 5000), (64, 300_000)]
    with Heap(NAME) as heap:
        blocks = [heap.memalign(alignment, size) for alignment, size in asked]
        assert [heap.usable_size(b) for b in blocks] == [128, 128, 64, 4096, 8192, 8192, 8192, 303_104]
        assert all(block % alignment == 0 for block, (alignment, _) in zip(blocks, asked, strict=True))
        for alignment in (1 << 14, 1 << 20, 1 << 21, 1 << 23):
            block = heap.memalign(alignment, 100)
            assert block % alignment == 0 and heap.usable_size(block) == PAGE
            heap.free(block)
        heap.validate()


def dies(code: str) -> str:
    """What a process says that dies of this."""
    done = subprocess.run(
        [sys.executable, "-c", f"from alloclab.heap import Heap\nheap = Heap({NAME!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -6, done
    return done.stderr.splitlines()[0]


def test_what_is_no_block_cannot_be_freed() -> None:
    said = "Attempted to free corrupted pointer 0x"
    assert dies("heap.free(0x123450)") == said + "123450"
    assert dies("heap.free(heap.malloc(300_000) + 64)").startswith(said)
    assert dies("block = heap.malloc(300_000); heap.free(block); heap.free(block)").startswith(said)
    assert dies("heap.realloc(0x123450, 10)") == said + "123450"


# --- the background ---


def test_the_background_is_off_by_default() -> None:
    with Heap(NAME, cpus=2) as heap:
        blocks = [heap.malloc(64) for _ in range(50)]
        for block in blocks:
            heap.free(block)
        before = heap.view("cpus")
        heap.advance(100 * SECOND)
        assert heap.view("cpus") == before


def test_idle_cpus_are_emptied() -> None:
    with Heap(NAME, cpus=2, background=True) as heap:
        first, second = Thread(heap), Thread(heap)
        first.free(first.malloc(1024))
        second.free(second.malloc(64))
        heap.advance(29 * SECOND)
        assert heap.stats()["cpu_cache_bytes"] > 8000
        heap.advance(32 * SECOND)
        assert [(r["used_bytes"], r["capacity_bytes"], r["reclaims"]) for r in heap.view("cpus")] == [(0, 0, 1)] * 2
        first.malloc(1024)
        heap.advance(31 * SECOND)
        assert [int(r["used_bytes"]) > 0 for r in heap.view("cpus")] == [False, True], "only just used"
        heap.validate()


def test_room_moves_between_cpus() -> None:
    with Heap(NAME, cpus=2, background=True) as heap:
        busy, _ = Thread(heap), Thread(heap)
        for i in range(3):
            for block in [busy.malloc(8192) for _ in range(400)]:
                busy.free(block)
            heap.advance(5 * SECOND)
            twentieth = (3 << 19) // 20
            budgets = [r["budget"] for r in heap.view("cpus")]
            assert budgets == [(3 << 19) - (i + 1) * twentieth, (3 << 19) + (i + 1) * twentieth]
        heap.validate()


def test_room_moves_between_classes() -> None:
    with Heap(NAME, cpus=1, background=True) as heap:
        for _ in range(100):
            heap.malloc(64)
        before = stack(heap, 64)["capacity"]
        heap.advance(2 * SECOND)
        assert stack(heap, 64)["capacity"] == before + 32
        heap.advance(20 * SECOND)
        assert stack(heap, 64)["capacity"] == before + 32, "no more misses"


def test_what_transfer_caches_do_not_need_is_plundered() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0, background=True) as heap:
        blocks = [heap.malloc(64) for _ in range(300)]
        for block in blocks:
            heap.free(block)
        heap.advance(5 * SECOND)
        assert transfer(heap, 64)["low_water"] == 300 == transfer(heap, 64)["used"], "it was empty before"
        again = [heap.malloc(64) for _ in range(40)]
        for block in again:
            heap.free(block)
        heap.advance(5 * SECOND)
        assert transfer(heap, 64)["used"] == 40
        heap.validate()


def test_transfer_caches_grow_with_their_misses() -> None:
    with Heap(NAME, max_per_cpu_cache_size=0, background=True) as heap:
        for block in [heap.malloc(64) for _ in range(1000)]:
            heap.free(block)
        heap.advance(2 * SECOND)
        assert transfer(heap, 64)["capacity"] == 17 * 32
        assert (
            sum(
                int(r["capacity"]) == 15 * int(one(heap.view("classes"), **{"class": int(r["class"])})["batch"])
                for r in heap.view("transfer")
            )
            >= 1
        ), "somebody gave room for it"
        heap.validate()


def test_free_memory_goes_back_at_a_rate() -> None:
    with Heap(NAME, hugepage_cache_limit=100, skip_subrelease_short_ms=0, skip_subrelease_long_ms=0) as heap:
        for block in [heap.malloc(2 << 20) for _ in range(20)]:
            heap.free(block)
        start = heap.control("tcmalloc.page_heap_unmapped")
        heap.control("SetBackgroundReleaseRate", 4 << 20)
        heap.advance(3 * SECOND)
        assert heap.control("tcmalloc.page_heap_unmapped") == start, "nobody does it yet"
        heap.control("ProcessBackgroundActions", 1)
        heap.advance(3 * SECOND)
        assert heap.control("tcmalloc.page_heap_unmapped") == start + (12 << 20)
        heap.validate()


# --- looking inside ---

WHAT = {
    "live": "live",
    "cached": "cached",
    "free": "free",
    "free pages": "free",
    "metadata": "metadata",
    "end of a span": "metadata",
}


def all_looks_agree(heap: Heap) -> None:
    bins, walk = heap.bins(), heap.walk()
    shelves = [chunk for b in bins if b.kind in ("cpu", "transfer", "span") for chunk in b.chunks]
    rest = [c for c in walk if c.state in ("free", "cached")]
    pages = sum(length for b in bins for _, length in b.chunks) - sum(length for _, length in shelves)
    assert sum(c.bytes for c in rest) == sum(length for _, length in shelves) + pages
    assert set(shelves) <= {(c.address, c.bytes) for c in rest}
    for chunk in walk[:: max(1, len(walk) // 100)]:
        facts = heap.explain(chunk.address).facts
        assert WHAT[str(facts["what"])] == chunk.state
    by_kind: Counter[str] = Counter()
    for b in bins:
        by_kind[b.kind] += sum(length for _, length in b.chunks)
    stats = heap.stats()
    assert by_kind["cpu"] == stats["cpu_cache_bytes"] == sum(int(r["used_bytes"]) for r in heap.view("cpus"))
    assert by_kind["transfer"] == stats["transfer_cache_bytes"]
    assert by_kind["span"] == stats["central_bytes"]
    assert stats["spans"] == len(heap.view("spans"))


@pytest.mark.parametrize("tunables", [{}, {"cpus": 3}, {"max_per_cpu_cache_size": 4096}, {"background": True}])
def test_all_looks_agree(tunables: dict[str, int]) -> None:
    rng = random.Random(7)
    with Heap(NAME, **tunables) as heap:
        threads = [Thread(heap) for _ in range(4)]
        blocks: list[int] = []
        for i in range(3000):
            thread = rng.choice(threads)
            if blocks and rng.random() < 0.45:
                thread.free(blocks.pop(rng.randrange(len(blocks))))
            else:
                blocks.append(thread.malloc(int(2 ** rng.uniform(0, 20))))
            if i % 600 == 0:
                heap.advance(7 * SECOND)
                all_looks_agree(heap)
                heap.validate()
        for block in blocks:
            heap.free(block)
        all_looks_agree(heap)
        heap.validate()
        assert heap.ledger().usable == 0


def test_figures_by_their_names_add_up() -> None:
    with Heap(NAME) as heap:
        blocks = [heap.malloc(size) for size in (64, 1000, 5000, 300_000, 2_100_000)]
        live = sum(heap.usable_size(b) for b in blocks)
        assert heap.control("generic.current_allocated_bytes") == live == heap.ledger().usable
        parts = ("cpu_free", "transfer_cache_free", "central_cache_free", "page_heap_free", "page_heap_unmapped")
        total = sum(heap.control(f"tcmalloc.{p}") for p in (*parts, "metadata_bytes"))
        assert total + live == heap.control("generic.virtual_memory_used") == heap.ledger().mapped
        assert heap.control("tcmalloc.max_per_cpu_cache_size") == 3 << 19
        with pytest.raises(UsageError):
            heap.control("tcmalloc.no_such_thing")
        with pytest.raises(UsageError):
            heap.control("tcmalloc.cpu_free", 1)
        heap.control("ReleaseCpuMemory", 0)
        assert heap.control("tcmalloc.cpu_free") == 0
        report = heap.report()
        assert "Bytes in use by application" in report and "per-CPU" in report
        heap.validate()


# --- refusals ---


def test_refused_memory_leaves_all_as_it_was() -> None:
    for nth in range(1, 40):
        with Heap(NAME, cpus=1) as heap:
            heap.fail_call(nth)
            blocks = [heap.malloc(size) for size in (64, 64, 40, 1000, 70_000, 300_000, 3_000_000)]
            heap.validate()
            heap.fail_call(0)
            assert all(heap.malloc(size) for size in (64, 5000, 300_000))
            for block in blocks:
                heap.free(block)
            heap.validate()
