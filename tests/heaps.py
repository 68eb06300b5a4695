"""Heaps to try laws on: every lab allocator with telling settings, and one trace for all of them."""

from __future__ import annotations

import random

import pytest

from alloclab.allocators import lab_allocators
from alloclab.heap import Heap

SETTINGS = [
    *((lab.name, {}) for lab in lab_allocators()),
    ("bump", {"top_pad": 0}),
    ("fit", {"policy": "first", "order": "lifo", "mmap_threshold": "4KiB"}),
    ("fit", {"policy": "next", "order": "fifo", "coalesce": "deferred", "top_pad": 0}),
    ("fit", {"policy": "worst", "coalesce": "never", "mmap_threshold": "1GiB"}),
    ("fit", {"policy": "next", "trim_threshold": 0, "top_pad": 0, "mmap_threshold": 0}),
    ("buddy", {"min_order": 4, "max_order": 16}),
    ("buddy", {"min_order": 12}),
    ("ptmalloc", {"tcache_count": 0}),
    ("ptmalloc", {"coalesce": "immediate", "realloc_backward": True}),
    ("ptmalloc", {"large_fit": "first", "mxfast": 160, "top_pad": 0, "trim_threshold": 0}),
    ("ptmalloc", {"mmap_threshold": 0}),
]
NAMES = [f"{name}:{','.join(f'{k}={v}' for k, v in tunables.items())}" for name, tunables in SETTINGS]
every_setting = pytest.mark.parametrize(("name", "tunables"), SETTINGS, ids=NAMES)

Trace = list[tuple[str, int, int]]  # call, slot, size


def random_trace(seed: int, length: int) -> Trace:
    rng = random.Random(seed)
    calls = rng.choices(["malloc", "calloc", "memalign", "realloc", "free"], [4, 1, 1, 3, 3], k=length)
    return [(call, rng.randrange(12), int(2 ** rng.uniform(0, 18))) for call in calls]


def play(heap: Heap, trace: Trace, blocks: dict[int, int]) -> list[int]:
    """Plays the calls that make sense; returns the relative addresses they gave, 0 for a failure."""
    given = []
    for call, slot, size in trace:
        block = blocks.get(slot, 0)
        if call == "free":
            heap.free(blocks.pop(slot, 0))
            continue
        if call == "realloc":
            address = heap.realloc(block, size)
        elif block:
            continue
        else:
            address = (
                heap.memalign(256, size) if call == "memalign" else getattr(heap, call)(*[1] * (call == "calloc"), size)
            )
        given.append(address and address - heap.regions.base)
        if address:
            blocks[slot] = address
    return given
