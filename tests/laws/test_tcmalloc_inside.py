"""What tcmalloc's caches, slots, spans and page heap hold, step by step, where its rules show; that all looks at a heap
agree; and that it stays sound whatever threads do and the system refuses."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from heaps import come_and_go, kept, shelved
from support import slow

from alloclab.heap import Heap

PAGE = 8192
MIB = 1 << 20
WHAT = {
    "live": "live",
    "cached": "cached",
    "free": "free",
    "normal": "free",
    "returned": "free",
    "own block": "metadata",
    "end of a span": "metadata",
    "metadata": "metadata",
}


def all_looks_agree(heap: Heap) -> None:
    """The walk, the lists, what is known of pieces at either end, and the tables."""
    walk = heap.walk()
    for chunk in walk[:: max(1, len(walk) // 100)]:
        facts = heap.explain(chunk.address).facts
        assert heap.explain(chunk.address + chunk.bytes - 1).facts == facts
        assert WHAT[str(facts["what"])] == chunk.state
    pieces = shelved(heap)
    classes, shelves, spans = heap.view("classes"), heap.view("pageheap"), heap.view("spans")
    assert pieces["thread"] == sum(int(r["cached"]) for r in heap.view("threads"))
    assert pieces["thread"] == sum(int(r["length"]) * int(r["bytes"]) for r in heap.view("lists"))
    assert pieces["transfer"] == sum(int(r["objects"]) * int(r["bytes"]) for r in heap.view("slots"))
    assert Counter(r["class"] for r in heap.view("slots")) == +Counter({r["class"]: r["slots_used"] for r in classes})
    assert pieces["span"] == sum(int(r["free"]) * int(r["bytes"]) for r in classes)
    assert Counter(r["class"] for r in spans if r["class"]) == +Counter({r["class"]: r["spans"] for r in classes})
    assert pieces["normal"] == sum(int(r["normal_pages"]) for r in shelves) * PAGE
    assert pieces["returned"] == sum(int(r["returned_pages"]) for r in shelves) * PAGE
    assert sum(int(r["bytes"]) for r in heap.view("growths")) == sum(int(r["pages"]) for r in spans) * PAGE


# --- what is where ---


def test_a_thread_takes_what_it_was_given_last() -> None:
    with Heap("tcmalloc") as heap:
        blocks = [heap.malloc(100) for _ in range(55)]
        for block in blocks[:5]:
            heap.free(block)
        assert kept(heap, "thread", 8)[:5] == blocks[4::-1]
        facts = heap.explain(blocks[0]).facts
        assert (facts["what"], facts["cache"], facts["thread"], facts["position"]) == ("cached", "thread", 0, 4)
        assert (facts["class bytes"], facts["serves from"], facts["serves to"]) == (112, 97, 112)
        assert [heap.malloc(100) for _ in range(5)] == blocks[4::-1]


def test_whole_batches_go_to_slots_and_come_back_as_they_went() -> None:
    with Heap("tcmalloc") as heap:
        blocks = [heap.malloc(64) for _ in range(600)]
        for block in blocks[:80]:
            heap.free(block)
        cached = kept(heap, "thread", 5)
        heap.control("MarkThreadIdle", 0)
        assert heap.view("lists") == [] and kept(heap, "thread", 5) == []
        assert kept(heap, "transfer", 5) == cached[32:64] + cached[:32], "the batch that came last is taken first"
        facts = heap.explain(cached[32]).facts
        assert (facts["cache"], facts["slot"], facts["position"]) == ("transfer", 1, 0)
        rest = kept(heap, "span", 5)
        assert set(cached[64:]) <= set(rest), "what is no batch goes to its spans"
        row = heap.view("classes")[4]
        assert (row["slots"], row["slots_used"], row["slots_most"], row["batch"]) == (16, 2, 64, 32)


def test_objects_of_a_new_span_are_taken_from_the_lowest() -> None:
    with Heap("tcmalloc") as heap:
        first = heap.malloc(1000)
        facts = heap.explain(first).facts
        assert (facts["number in span"], facts["objects"], facts["objects out"], facts["span"]) == (0, 8, 1, first)
        assert kept(heap, "span", 31) == [first + 1024 * i for i in range(1, 8)]
        assert heap.explain(first + 3 * 1024).facts["position"] == 2
        tail = heap.explain(heap.malloc(5000) + 3 * 5120)
        assert (tail.facts["what"], tail.chunk.bytes, tail.chunk.state) == ("end of a span", 1024, "metadata")


def test_the_first_request_makes_two_blocks_of_the_allocators_own() -> None:
    with Heap("tcmalloc") as heap:
        assert heap.ledger().usable == 0 and heap.ledger().metadata == 8 * MIB
        heap.malloc(100_000)
        own = [c for c in heap.walk() if heap.explain(c.address).facts["what"] == "own block"]
        assert [(c.bytes, c.state) for c in own] == [(8, "metadata"), (16, "metadata")]
        shares = [(r["dropped"], r["share"]) for r in heap.view("threads")]
        assert shares == [(False, 65536), (True, 65536)], "and the cache that served it has a share for good"


def test_free_pages_are_normal_then_returned() -> None:
    with Heap("tcmalloc") as heap:
        blocks = [heap.malloc(pages * PAGE) for pages in (50, 40, 50, 40, 200, 40)]
        for block in (blocks[0], blocks[2], blocks[4]):
            heap.free(block)
        assert kept(heap, "normal", 50) == [blocks[2], blocks[0]]
        assert blocks[4] in kept(heap, "normal", 129)
        facts = heap.explain(blocks[0]).facts
        assert (facts["what"], facts["span pages"], facts["in a set"], facts["position"]) == ("normal", 50, False, 1)
        heap.trim()
        assert heap.explain(blocks[4]).facts["what"] == "returned"
        release = heap.view("release")[0]
        assert (release["normal"], release["returned"]) == (0, release["released_bytes"])
        assert {(r["set"], r["normal"]) for r in heap.view("pageheap")} == {(False, 0), (True, 0)}
        assert heap.malloc(50 * PAGE) in (blocks[0], blocks[2])
        heap.validate()


# --- tables ---


def test_the_tables_of_a_heap() -> None:
    with Heap("tcmalloc") as heap:
        for _ in range(2):
            heap.malloc(1000)
        other = heap.thread()
        other.malloc(300_000)
        assert heap.views == ("classes", "spans", "slots", "threads", "lists", "pageheap", "release", "growths")
        classes = heap.view("classes")
        assert [r["class"] for r in classes] == list(range(1, 86))
        assert [(r["bytes"], r["pages"], r["objects"], r["batch"]) for r in classes][41:43] == [
            (3328, 3, 7, 19),
            (4096, 2, 4, 16),
        ]
        assert [r["thread"] for r in heap.view("threads") if not r["dropped"]] == [1, 0], "the last come first"
        lists = [(r["class"], r["length"], r["most"]) for r in heap.view("lists")]
        assert lists == [(1, 0, 2), (2, 0, 2), (31, 0, 2)], "of 8 and 16 bytes it has its own blocks"
        assert {r["location"] for r in heap.view("spans")} == {"in use", "normal"}
        assert [r["bytes"] for r in heap.view("growths")] == [MIB]
        assert heap.view("release")[0]["system"] == MIB


# --- soundness ---

SETTINGS: list[dict[str, int | str]] = [
    {},
    {"aggressive_decommit": True},
    {"transfer_num_obj": 1, "skip_sbrk": True},
    {"release_rate": "1000000"},
    {"transfer_num_obj": 8192},
    {"max_total_thread_cache_bytes": 512 << 10},
    {"heap_limit_mb": 20},
    {"disable_memory_release": True},
]


@pytest.mark.parametrize("tunables", [SETTINGS[0], *slow(*SETTINGS[1:])], ids=str)
@pytest.mark.parametrize("refused", [*slow(False), True], ids=["", "refused"])
def test_threads_come_and_go_and_free_what_others_took(tunables: dict[str, int | str], refused: bool) -> None:
    """After every call the heap is sound, and all that is free is kept somewhere: also where calls of the system fail,
    and a stranger moves the break."""
    for seed in range(3):
        limit = refused and seed * 12 * MIB
        with Heap("tcmalloc", limit=limit, **tunables) as heap:
            blocks = come_and_go(heap, random.Random(seed), refused)
            all_looks_agree(heap)
            heap.trim()
            heap.validate()
            for block in blocks.values():
                heap.free(block)
            assert heap.ledger().usable == 0
            heap.validate()


def test_who_is_to_give_of_its_share_next_may_leave() -> None:
    """Where the budget is spent, whoever comes asks ten others in turn. Then it is the turn of the next one."""
    with Heap("tcmalloc", max_total_thread_cache_bytes=512 << 10) as heap:
        threads = [heap.thread() for _ in range(9)]
        for thread in threads:
            thread.malloc(100)
        rows = heap.view("threads")
        turn = next(i for i, row in enumerate(rows) if row["gives_next"])
        threads[-1 - turn].exit()  # the last come are told first
        heap.validate()
        assert [row["thread"] for row in heap.view("threads") if row["gives_next"]] == [rows[turn + 1]["thread"]]


def test_idle_threads_and_budgets_that_change_leave_all_sound() -> None:
    rng = random.Random(3)
    with Heap("tcmalloc") as heap:
        threads = [heap.thread() for _ in range(6)]
        blocks: list[int] = []
        for step in range(2500):
            thread = rng.choice(threads)
            if blocks and rng.random() < 0.45:
                thread.free(blocks.pop(rng.randrange(len(blocks))))
            else:
                blocks.append(thread.malloc(int(2 ** rng.uniform(0, 18))))
            if step % 100 == 0:
                thread.control(rng.choice(["MarkThreadIdle", "MarkThreadTemporarilyIdle", "MarkThreadBusy"]), 0)
            if step % 250 == 0:
                heap.control("tcmalloc.max_total_thread_cache_bytes", int(2 ** rng.uniform(19, 26)))
                heap.validate()
                all_looks_agree(heap)
