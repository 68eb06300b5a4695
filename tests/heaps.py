"""Heaps to try laws on: every lab allocator with telling settings, and one trace for all of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from alloclab.allocators import lab_allocators
from alloclab.heap import Heap, Thread

QUICK = [
    *((lab.name, {}) for lab in lab_allocators()),
    ("fit", {"policy": "next", "order": "fifo", "coalesce": "deferred", "top_pad": 0}),
]
SLOW = [
    ("bump", {"top_pad": 0}),
    ("fit", {"policy": "first", "order": "lifo", "mmap_threshold": "4KiB"}),
    ("fit", {"policy": "worst", "coalesce": "never", "mmap_threshold": "1GiB"}),
    ("fit", {"policy": "next", "trim_threshold": 0, "top_pad": 0, "mmap_threshold": 0}),
    ("buddy", {"min_order": 4, "max_order": 16}),
    ("buddy", {"min_order": 12}),
    ("ptmalloc", {"tcache_count": 0}),
    ("ptmalloc", {"coalesce": "immediate", "realloc_backward": True}),
    ("ptmalloc", {"large_fit": "first", "mxfast": 160, "top_pad": 0, "trim_threshold": 0}),
    ("ptmalloc", {"mmap_threshold": 0}),
    ("tcmalloc", {"aggressive_decommit": True, "transfer_num_obj": 8}),
    ("tcmalloc-hpaa", {"cpus": 1, "max_per_cpu_cache_size": 0, "huge_regions": False, "hugepage_cache_limit": 0}),
]


def _as_value(name: str, tunables: dict[str, int | str], *marks: pytest.MarkDecorator) -> Any:
    return pytest.param(name, tunables, id=f"{name}:{','.join(f'{k}={v}' for k, v in tunables.items())}", marks=marks)


every_setting = pytest.mark.parametrize(
    ("name", "tunables"),
    [*(_as_value(*setting) for setting in QUICK), *(_as_value(*setting, pytest.mark.slow) for setting in SLOW)],
)


def spec_of(name: str, tunables: dict[str, int | str]) -> str:
    """As a command line has it."""
    words = {True: "true", False: "false"}
    settings = ",".join(
        f"{key}={words[value] if isinstance(value, bool) else value}" for key, value in tunables.items()
    )
    return f"{name}:{settings}" if settings else name


Trace = list[tuple[str, int, int]]  # call, slot, size


def random_trace(seed: int, length: int) -> Trace:
    rng = random.Random(seed)
    calls = rng.choices(["malloc", "calloc", "memalign", "realloc", "free"], [4, 1, 1, 3, 3], k=length)
    return [(call, rng.randrange(12), int(2 ** rng.uniform(0, 18))) for call in calls]


def play(heap: Heap, trace: Trace, blocks: dict[int, int], thread: Thread | None = None) -> list[int]:
    """Plays the calls that make sense, in the thread or the first; returns the relative addresses they gave, 0 for a
    failure."""
    calls = thread or heap
    given = []
    for call, slot, size in trace:
        block = blocks.get(slot, 0)
        if call == "free":
            calls.free(blocks.pop(slot, 0))
            continue
        if call == "realloc":
            address = calls.realloc(block, size)
        elif block:
            continue
        else:
            before = {"memalign": [256], "calloc": [1]}.get(call, [])
            address = getattr(calls, call)(*before, size)
        given.append(address and address - heap.regions.base)
        if address:
            blocks[slot] = address
    return given


def kept(heap: Heap, kind: str, index: int | None = None, owner: int = 0) -> list[int]:
    """The addresses in the lists of a kind, in their order."""
    chosen = [b for b in heap.bins() if b.kind == kind and b.owner == owner and index in (None, b.index)]
    return [address for b in chosen for address, _ in b.chunks]


def shelved(heap: Heap) -> Counter[str]:
    """The bytes in all lists of a kind; together they are all that the walk says is free or cached."""
    bins = heap.bins()
    chunks = sorted(chunk for b in bins for chunk in b.chunks)
    assert chunks == [(c.address, c.bytes) for c in heap.walk() if c.state in ("free", "cached")]
    found: Counter[str] = Counter()
    for b in bins:
        found[b.kind] += sum(length for _, length in b.chunks)
    return found


def come_and_go(heap: Heap, rng: random.Random, refused: bool) -> dict[int, int]:
    """Threads come, take blocks, free what others took, and go; a stranger moves the break, time passes, and where
    `refused` calls of the system fail. After every call the heap is sound. Returns what is still live, by slot."""
    threads: list[Heap | Thread] = [heap, *(heap.thread() for _ in range(rng.choice([1, 9])))]
    blocks: dict[int, int] = {}
    for _ in range(250):
        thread, slot = rng.choice(threads), rng.randrange(60)
        size, align = int(2 ** rng.uniform(0, rng.choice([9, 15, 23, 25]))), rng.choice([16, 64, 4096, 1 << 20])
        if refused and rng.random() < 0.1:
            heap.fail_call(rng.randint(1, 4))
        if rng.random() < 0.03:
            heap.regions.foreign_brk(rng.choice([16, 4096, 70_000]))
        if rng.random() < 0.05:
            heap.regions.advance(int(10 ** rng.uniform(6, 10.5)))
        if rng.random() < 0.03 and isinstance(thread, Thread):
            thread.exit()
            threads[threads.index(thread)] = heap.thread()
        elif slot not in blocks:
            blocks[slot] = thread.memalign(align, size) if rng.random() < 0.5 else thread.calloc(1, size)
        elif rng.random() < 0.6:
            thread.free(blocks.pop(slot))
        else:
            blocks[slot] = thread.realloc(blocks[slot], size) or blocks[slot]
        heap.validate()
    return blocks
