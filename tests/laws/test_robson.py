"""Robson's adversary: no malloc that leaves blocks where they are does without the memory that it makes it hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from support import budget

from alloclab.allocators import lab_allocators, resolve
from alloclab.check.bounds import bounds
from alloclab.check.moves import Plan, plans
from alloclab.check.program import Limits
from alloclab.heap import Heap

WORD, PAGE = 16, 4096
POWERS = (PAGE // WORD).bit_length() - 1
LIVE = 32 * PAGE


def keep(blocks: dict[int, int], power: int, offset: int) -> set[int]:
    """The blocks that reach over an address that is ``offset`` modulo ``WORD << power``."""
    modulus = WORD << power
    return {at for at, size in blocks.items() if (offset - at) % modulus < size}


def robson(heap: Heap) -> dict[int, int]:
    """Live blocks, address to size, as the adversary leaves them. In each round blocks are freed but those that lie
    modulo twice the size on one of two offsets, whichever wastes more; what may live then is allocated at that size."""
    blocks = {heap.malloc(WORD): WORD for _ in range(LIVE // WORD)}
    offset = 0
    for power in range(1, POWERS + 1):
        size = WORD << power
        ways = [(at, keep(blocks, power, at)) for at in (offset, offset + size // 2)]
        offset, kept = max(ways, key=lambda way: sum(size - blocks[at] for at in way[1]))
        for at in blocks.keys() - kept:
            heap.free(at)
        blocks = {at: blocks[at] for at in kept}
        blocks |= {heap.malloc(size): size for _ in range((LIVE - sum(blocks.values())) // size)}
    return blocks


@pytest.mark.parametrize("name", [lab.name for lab in lab_allocators()])
def test_robsons_adversary_makes_every_malloc_hold_what_he_proved(name: str) -> None:
    """In the last round each block reaches over an address of its own modulo a page, so none shares its page with
    another: as many pages are mapped, whatever the allocator gives back. Each round adds half of what is live to what
    the blocks spoil, but for what is too little for one more block."""
    with Heap(name) as heap:
        blocks = robson(heap)
        assert sum(blocks.values()) <= LIVE
        spoiled = len(blocks) * PAGE
        assert spoiled >= LIVE * (1 + POWERS / 2) - 2 * PAGE
        assert heap.ledger().mapped >= spoiled


LIMITS = Limits(operations=120, live=40 * 4088, least=4088, most=16 * 4096 - 8)
FIRST = resolve("fit:policy=first,order=address,mmap_threshold=1GiB,top_pad=0")


@pytest.mark.slow
@settings(max_examples=budget(100))
@given(plans(LIMITS, reallocs=False))
def test_first_fit_needs_no_more_than_its_bound(plan: Plan) -> None:
    """With blocks of whole words, heads included: a chunk of n units is n * 4096 bytes."""
    with Heap(FIRST.name, **FIRST.tunables()) as heap:
        Plan(8, plan.moves).play(heap, LIMITS)
        [lower, upper] = bounds(FIRST, LIMITS, "fragmentation_4", reallocs=False)
        assert lower.ratio < upper.ratio and upper.kind == "at most"
        assert heap.counters().peak_mapped <= upper.ratio * 40 * 4096 + 4096
