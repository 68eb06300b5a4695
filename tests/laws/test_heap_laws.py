"""What every lab allocator owes, whatever its settings: random calls, and after each the full self-check."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import pytest
from heaps import every_setting, play, random_trace
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from alloclab.errors import UsageError
from alloclab.heap import Chunk, Heap, Ledger

BUDGET = int(os.environ.get("ALLOCLAB_TEST_BUDGET", "1"))
edges = st.sampled_from([16, 32, 64, 128, 1024, 4096, 65536, 1 << 17, 1 << 19])
sizes = st.one_of(
    st.integers(0, 300),
    st.integers(0, 18).flatmap(lambda bits: st.integers(0, 1 << bits)),
    st.tuples(edges, st.integers(-9, 9)).map(sum),
)

TCMALLOC = {"tcmalloc", "tcmalloc-hpaa"}
CACHING = {"ptmalloc", "jemalloc", *TCMALLOC}  # keeps freed blocks for their threads
MOVING = {"jemalloc", *TCMALLOC}  # a block that shrinks may change its size class, and its place
PURGING = {"ptmalloc", "jemalloc", *TCMALLOC}  # gives pages back, too, that stay mapped


def spare_word(heap: Heap, block: int) -> int:
    """The last bytes of a block that are offered, but make it grow when asked for: of glibc's mapped ones, a word."""
    return 8 if heap.explain(block).facts.get("mapped") else 0


@dataclass
class Block:
    """A live block and what was last written into it: the first and last bytes, up to EDGE of each."""

    address: int
    size: int
    head: bytes = b""
    tail: bytes = b""


EDGE = 64


def fill(heap: Heap, block: Block, seed: int) -> None:
    """Writes every byte that was asked for, and remembers the edges."""
    data = random.Random(seed).randbytes(min(block.size, 4096))
    whole = (data * (block.size // max(len(data), 1) + 1))[: block.size]
    heap.write(block.address, whole)
    block.head, block.tail = whole[:EDGE], whole[-EDGE:]


def check_contents(heap: Heap, block: Block) -> None:
    assert heap.read(block.address, len(block.head)) == block.head
    assert heap.read(block.address + block.size - len(block.tail), len(block.tail)) == block.tail


class Calls(RuleBasedStateMachine):
    """Random calls on one heap, of which a subclass says the allocator."""

    name: str
    tunables: dict[str, int | str]
    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.heap = Heap(self.name, **self.tunables)
        self.live: list[Block] = []
        self.calls = 0

    def teardown(self) -> None:
        self.heap.close()

    def born(self, address: int, size: int, alignment: int) -> Block:
        assert address != 0 and address % alignment == 0
        assert self.heap.usable_size(address) >= size
        block = Block(address, size)
        self.live.append(block)
        self.calls += 1
        fill(self.heap, block, self.calls)
        return block

    @rule(target=blocks, size=sizes)
    def malloc(self, size: int) -> Block:
        return self.born(self.heap.malloc(size), size, 16 if size >= 16 else 8)

    @rule(target=blocks, size=sizes)
    def calloc(self, size: int) -> Block:
        address = self.heap.calloc(1, size)
        assert not any(self.heap.read(address, size))
        return self.born(address, size, 16 if size >= 16 else 8)

    @rule(target=blocks, size=sizes, bits=st.integers(0, 16))
    def memalign(self, size: int, bits: int) -> Block:
        return self.born(self.heap.memalign(1 << bits, size), size, max(1 << bits, 16 if size >= 16 else 8))

    @rule(block=consumes(blocks))
    def free(self, block: Block) -> None:
        check_contents(self.heap, block)
        self.heap.free(block.address)
        self.live.remove(block)

    @rule(target=blocks, block=consumes(blocks), size=sizes.filter(bool))
    def realloc(self, block: Block, size: int) -> Block:
        before = {c.address: c for c in self.heap.walk()}
        old = self.heap.usable_size(block.address)
        kept_room = old - spare_word(self.heap, block.address)
        address = self.heap.realloc(block.address, size)
        assert address != 0
        kept = min(block.size, size)
        assert self.heap.read(address, min(kept, EDGE)) == block.head[:kept]
        if size >= block.size:
            assert self.heap.read(address + block.size - len(block.tail), len(block.tail)) == block.tail
        if size <= kept_room and self.name not in MOVING:
            assert address == block.address, "a block that shrinks, or fits, moved"
        elif address == block.address:
            self.check_growth_was_legal(before, address, old)
        self.live.remove(block)
        return self.born(address, size, 8)

    def check_growth_was_legal(self, before: dict[int, Chunk], address: int, old: int) -> None:
        """The bytes taken were free before, or not mapped at all."""
        end = address + self.heap.usable_size(address)
        for chunk in before.values():
            if chunk.state != "free" and chunk.block != address:
                assert chunk.address + chunk.bytes <= address or chunk.address >= end

    @rule(pad=st.sampled_from([0, 4096, 1 << 20]))
    def trim(self, pad: int) -> None:
        before = self.heap.ledger()
        trimmed = self.heap.trim(pad)
        after = self.heap.ledger()
        assert trimmed if after.mapped < before.mapped else not trimmed or self.name in PURGING
        assert after.usable == before.usable

    @invariant()
    def the_heap_is_sound(self) -> None:
        self.heap.validate()
        held = self.heap.ledger()
        assert held.mapped == self.heap.counters().mapped
        assert held.cached == 0 or self.name in CACHING

    @invariant()
    def live_blocks_are_where_the_walk_says(self) -> None:
        walked = {c.block: c.usable for c in self.heap.walk() if c.state == "live"}
        assert walked == {b.address: self.heap.usable_size(b.address) for b in self.live}
        for block in self.live:
            check_contents(self.heap, block)


@every_setting
def test_random_calls(name: str, tunables: dict[str, int | str]) -> None:
    machine = type("Calls_" + name, (Calls,), {"name": name, "tunables": tunables})
    machine.TestCase.settings = settings(max_examples=8 * BUDGET, stateful_step_count=30)
    machine.TestCase("runTest").runTest()


# --- one trace, many heaps ---


@every_setting
def test_the_same_trace_gives_the_same_addresses(name: str, tunables: dict[str, int | str]) -> None:
    results: list[tuple[list[int], Ledger, dict[str, int]]] = []
    for _ in range(2):
        with Heap(name, **tunables) as heap:
            results.append((play(heap, random_trace(3, 300), {}), heap.ledger(), heap.counters().calls))
    assert results[0] == results[1]


@every_setting
def test_any_system_call_may_fail(name: str, tunables: dict[str, int | str]) -> None:
    """For every n the n-th call fails: the heap stays sound, and the next calls work."""
    trace = random_trace(5, 40)
    nth, calls = 0, 1
    while nth < calls:
        nth += 1
        with Heap(name, fail_call=nth, **tunables) as heap:
            blocks: dict[int, int] = {}
            play(heap, trace, blocks)
            heap.validate()
            heap.fail_call(0)
            again = heap.malloc(100_000)
            assert again != 0
            heap.free(again)
            for block in blocks.values():
                heap.free(block)
            heap.validate()
            assert heap.ledger().usable == 0
            calls = sum(heap.counters().calls.values())


@every_setting
def test_a_failed_call_changes_nothing(name: str, tunables: dict[str, int | str]) -> None:
    with Heap(name, **tunables) as heap:
        block = heap.malloc(1000)
        heap.write(block, b"x" * 1000)
        before = heap.walk()
        heap.regions.set_limit(heap.ledger().mapped)
        for failing in (1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            assert heap.malloc(failing) == 0
            assert heap.calloc(1, failing) == 0
            assert heap.calloc(failing, 16) == 0
            assert heap.memalign(64, failing) == 0
            assert heap.realloc(block, failing) == 0
        assert heap.memalign(1 << 62, 1) == 0
        assert heap.memalign(24, 1) == 0
        assert heap.walk() == before
        assert heap.read(block, 1000) == b"x" * 1000
        heap.validate()


@every_setting
@given(order=st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_freed_to_the_last_block_a_heap_is_one_free_run_or_returned(
    name: str, tunables: dict[str, int | str], order: random.Random
) -> None:
    with Heap(name, **tunables) as heap:
        blocks: dict[int, int] = {}
        play(heap, random_trace(7, 120), blocks)
        doomed = list(blocks.values())
        order.shuffle(doomed)
        for block in doomed:
            heap.free(block)
        heap.validate()
        assert heap.ledger().usable == 0
        if name == "fit" and tunables.get("coalesce") != "never":
            heap.trim(1 << 20)
            assert sum(c.state == "free" for c in heap.walk()) <= 1
        if name != "bump":
            heap.trim()
            assert all(not c.block for c in heap.walk())
        if name == "buddy":
            assert heap.walk() == [] and heap.counters().mapped == 0


@pytest.mark.slow
@every_setting
@given(seed=st.integers(0, 1 << 16), order=st.randoms(use_true_random=False))
@settings(max_examples=5 * BUDGET)
def test_the_order_of_frees_is_nothing_to_what_is_left(
    name: str, tunables: dict[str, int | str], seed: int, order: random.Random
) -> None:
    """Once the thread that freed is gone, and what may be given back is: as much is mapped, free, and a cache's."""
    left = []
    for shuffles in (False, True):
        with Heap(name, **tunables) as heap:
            blocks: dict[int, int] = {}
            thread = heap.thread()
            play(heap, random_trace(seed, 300), blocks, thread)
            doomed = list(blocks.values())
            if shuffles:
                order.shuffle(doomed)
            for block in doomed:
                thread.free(block)
            thread.exit()
            heap.trim()
            heap.validate()
            left.append(heap.ledger())
    assert left[0] == left[1] and left[0].usable == 0


@every_setting
def test_realloc_to_the_usable_size_stays(name: str, tunables: dict[str, int | str]) -> None:
    with Heap(name, **tunables) as heap:
        for size in (1, 24, 25, 1000, 5000, 200_000, 700_000):
            block, guard = heap.malloc(size), heap.malloc(1)
            usable = heap.usable_size(block)
            assert heap.realloc(block, usable - spare_word(heap, block)) == block
            assert heap.usable_size(block) == usable
            heap.free(guard)


@every_setting
def test_threads_share_a_heap(name: str, tunables: dict[str, int | str]) -> None:
    with Heap(name, **tunables) as heap:
        one, two = heap.thread(), heap.thread()
        block = one.malloc(100)
        assert two.realloc(block, 100) == block
        two.free(block)
        one.exit()
        heap.validate()
        assert heap.ledger().usable == 0
        with pytest.raises(UsageError):
            one.malloc(1)
        assert heap.thread().malloc(8) != 0


def test_growth_takes_the_free_neighbour_and_the_top() -> None:
    with Heap("fit") as heap:
        first, second, third = heap.malloc(100), heap.malloc(1000), heap.malloc(100)
        heap.free(second)
        assert heap.realloc(first, 1000) == first, "the free neighbour is taken"
        assert heap.realloc(third, 100_000) == third, "the top is taken"
        assert heap.realloc(third, 10_000_000) == third, "and moved for it"
        large, other = heap.malloc(1 << 20), heap.malloc(1 << 20)
        calls = heap.counters().calls
        moved = heap.realloc(other, 1 << 22)
        assert heap.counters().calls["mremap"] == calls["mremap"] + 1
        assert heap.realloc(moved, 1 << 12) == moved, "a mapped block shrinks in place"
        assert heap.ledger().mapped == heap.counters().mapped
        heap.free(large)


def test_buddies_grow_into_their_buddies() -> None:
    with Heap("buddy") as heap:
        block = heap.memalign(4096, 32)
        assert heap.usable_size(block) == 4096
        assert heap.realloc(block, 20) == block
        assert heap.usable_size(block) == 32
        assert heap.realloc(block, 4000) == block
        upper = heap.realloc(block, 30)
        assert heap.usable_size(upper) == 32
        assert heap.malloc(32) == block + 32, "the buddy is the newest free block of its order"
        assert heap.realloc(block, 64) != block


def test_an_upper_buddy_grows_only_by_moving() -> None:
    """The block above it is free and of its order, but no buddy of it."""
    with Heap("buddy") as heap:
        lower = heap.memalign(4096, 4096)
        assert heap.realloc(lower, 32) == lower
        upper, third, fourth = (heap.malloc(32) for _ in range(3))
        assert [upper, third, fourth] == [lower + 32, lower + 64, lower + 96]
        heap.free(third)
        moved = heap.realloc(upper, 64)
        assert moved != upper and moved % 64 == heap.regions.base % 64
        heap.validate()


def test_bump_never_uses_a_byte_twice() -> None:
    with Heap("bump") as heap:
        seen = 0
        for size in range(1, 400, 7):
            block = heap.malloc(size)
            assert block > seen
            seen = block + heap.usable_size(block) - 1
            heap.free(block)
        last = heap.malloc(10)
        assert heap.realloc(last, 1000) == last
        assert heap.calloc(1, 1000) > last + 1000
