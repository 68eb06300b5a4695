"""Figures of a trace: sizes, lifetimes, survivors, the peak, threads, reallocs. What ``alloclab info`` prints.

Definitions, the same in code, help and tables:

operation    a call: every row but thread starts and exits. Operation indices count calls from 0, rows count all rows
birth        a malloc, calloc or aligned call, or realloc(NULL, n), that succeeded; its size is the bytes asked for
death        free(p), or realloc(p, 0)
live bytes   sum of the requested sizes of live blocks; a realloc that succeeded changes its block's size
peak         the largest number of live bytes, at the operation after which it is first reached
lifetime     of a block that died: operations (or nanoseconds) from its birth to its death
age          of a survivor: operations from its birth to the trace's end
cross-thread a death in another thread than the birth
growth       of a realloc that enlarges: new size / old size
chain        the reallocs of one block from birth to death, or to the trace's end

Size classes are powers of two. Percentiles come from histograms with 32 steps an octave: exact below 64, at most 1/32
too low above. One pass; memory follows live blocks, threads and distinct sizes, never the trace's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.native import ffi, lib
from alloclab.trace.columns import NAMES, borrowed, check_fault
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace

GROWTH_CLASSES = ("<=1.05", "<=1.2", "<=1.3", "<=1.45", "<=1.55", "<=1.95", "<=2.05", "<=4", ">4")
"""Names of the growth classes, whose bounds are in csrc/trace/stats.c."""

TOP = 10
_POWERS = np.array([1 << i for i in range(64)], np.uint64)
_BLOCK = np.dtype(
    [
        ("object", np.int64),
        ("birth_ns", np.int64),
        ("birth_op", np.uint64),
        ("born_bytes", np.uint64),
        ("align", np.uint64),
        ("thread", np.uint32),
        ("reallocs", np.uint32),
    ]
)
"""An ``al_block``."""
_NO_BLOCK = -2


@dataclass(frozen=True)
class Kind:
    """Calls of one kind, how many of them are marked as failed, and the bytes that those which succeeded asked for."""

    calls: int
    failed: int
    bytes: int


@dataclass(frozen=True)
class Class:
    """Blocks with ``low <= x <= high``, where x is a size, an age or a lifetime; ``bytes`` they hold."""

    low: int
    high: int
    blocks: int
    bytes: int | None = None


@dataclass(frozen=True)
class Spread:
    """A distribution: how many, percentiles, and classes by powers of two."""

    count: int
    p50: int
    p90: int
    p99: int
    max: int
    classes: list[Class]


@dataclass(frozen=True)
class Peak:
    """``time_ns`` is None where that row has no time; ``share`` = (operation + 1) / operations."""

    bytes: int
    blocks: int
    operation: int
    row: int
    time_ns: int | None
    share: float


@dataclass(frozen=True)
class Thread:
    """``cross``: deaths it caused of blocks born in another thread; ``left``: its births that survive."""

    thread: int
    calls: int
    births: int
    born_bytes: int
    deaths: int
    cross: int
    left: int
    left_bytes: int


@dataclass(frozen=True)
class Size:
    """An exact size: how many births asked for it, and for how many bytes in all."""

    size: int
    births: int
    bytes: int


@dataclass(frozen=True)
class Chain:
    """A block with many reallocs; ``last`` is its size at death, or at the trace's end."""

    object: int
    reallocs: int
    born: int
    last: int


@dataclass(frozen=True)
class Reallocs:
    grows: int
    shrinks: int
    same: int
    to_zero: int
    growth: dict[str, int]
    chains: Spread
    longest: list[Chain]


@dataclass(frozen=True)
class Clock:
    """Of rows with a time. ``steps_back``: rows earlier than the timed row before, the largest by ``largest_ns``."""

    first_ns: int
    last_ns: int
    steps_back: int
    largest_ns: int


@dataclass(frozen=True)
class Stats:
    """All figures; the module's docstring defines the words."""

    events: int
    operations: int
    kinds: dict[str, Kind]
    free_null: int
    births: int
    born_bytes: int
    sizes: list[Class]
    distinct_sizes: int
    top_by_births: list[Size]
    top_by_bytes: list[Size]
    lifetimes: Spread
    lifetimes_ns: Spread | None
    peak: Peak
    most_blocks: int
    survivors: int
    survivor_bytes: int
    survivors_by_size: list[Class]
    survivors_by_age: list[Class]
    threads: list[Thread]
    deaths: int
    cross_deaths: int
    reallocs: Reallocs
    clock: Clock | None

    @property
    def cross_share(self) -> float | None:
        """Share of deaths that are cross-thread; None where nothing died."""
        return self.cross_deaths / self.deaths if self.deaths else None

    def to_json(self) -> dict[str, Any]:
        """JSON values, by the names of the fields."""
        return {**asdict(self), "cross_share": self.cross_share}


def summarize(trace: Trace) -> Stats:
    """Reads the trace once. Raises TraceError naming the row where it contradicts itself."""
    stats = ffi.new("al_stats *")
    if not lib.al_stats_init(stats):
        raise MemoryError("no memory to summarize a trace")
    stats = ffi.gc(stats, lib.al_stats_destroy)
    row = ffi.new("size_t *")
    first = 0
    for events in trace.blocks(NAMES):
        with borrowed(events) as block:
            fault = lib.al_stats_add(stats, block, row)
        check_fault(fault, trace.path, events, row[0], first)
        first += len(events)
    lib.al_stats_finish(stats)
    return _collect(stats)


def _collect(stats: Any) -> Stats:
    operations = stats.history.operations
    sizes, births = _size_counts(stats)
    survivors, survivor_bytes = survivors_of(stats.history)
    ages = np.uint64(operations) - survivors["birth_op"] - np.uint64(1)
    timed = _array(stats.life_ns, np.uint64)
    threads = _threads(stats, survivors, survivor_bytes)
    return Stats(
        events=stats.rows,
        operations=operations,
        kinds={op.label: Kind(stats.calls[op], stats.failed[op], stats.asked[op]) for op in Op},
        free_null=stats.free_null,
        births=int(births.sum()),
        born_bytes=int((sizes * births).sum()),
        sizes=_classes(sizes, births, sizes * births),
        distinct_sizes=len(sizes),
        top_by_births=_top(sizes, births, births),
        top_by_bytes=_top(sizes, births, sizes * births),
        lifetimes=_spread(_array(stats.life_ops, np.uint64)),
        lifetimes_ns=_spread(timed) if timed.any() else None,
        peak=Peak(
            stats.peak_bytes,
            stats.peak_blocks,
            stats.peak_op,
            stats.peak_row,
            stats.peak_ns if stats.peak_ns >= 0 else None,
            (stats.peak_op + 1) / operations if stats.peak_bytes else 0.0,
        ),
        most_blocks=stats.most_blocks,
        survivors=len(survivors),
        survivor_bytes=int(survivor_bytes.sum()),
        survivors_by_size=_classes(survivor_bytes, np.ones_like(survivor_bytes), survivor_bytes),
        survivors_by_age=_classes(ages, np.ones_like(ages), survivor_bytes),
        threads=threads,
        deaths=sum(thread.deaths for thread in threads),
        cross_deaths=sum(thread.cross for thread in threads),
        reallocs=_reallocs(stats),
        clock=Clock(stats.first_ns, stats.last_ns, stats.steps_back, stats.largest_step_back)
        if stats.first_ns >= 0
        else None,
    )


def survivors_of(history: Any) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint64]]:
    """Records of the live blocks of an ``al_history``, in order of birth, and their sizes in bytes."""
    used = history.live.used if history.live.count else 0
    if not used:
        return np.empty(0, _BLOCK), np.empty(0, np.uint64)
    records = np.frombuffer(ffi.buffer(history.blocks, used * _BLOCK.itemsize), _BLOCK)
    sizes = np.frombuffer(ffi.buffer(history.live.bytes, used * 8), np.uint64)
    alive = records["object"] != _NO_BLOCK
    alive[0] = False  # slot 0 is NULL
    order = np.flatnonzero(alive)[np.argsort(records["birth_op"][alive], kind="stable")]
    return records[order], sizes[order]


def _array(values: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    copy: npt.NDArray[Any] = np.frombuffer(ffi.buffer(values), dtype).copy()
    return copy


def _size_counts(stats: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Distinct sizes of births, rising, and the births of each."""
    small = np.frombuffer(ffi.buffer(stats.small_sizes, lib.AL_SMALL_SIZES * 8), np.uint64)
    sizes = np.flatnonzero(small).astype(np.uint64)
    births = small[np.flatnonzero(small)]
    if stats.large_count:
        large = np.frombuffer(ffi.buffer(stats.large_sizes, stats.large_count * 16), np.uint64).reshape(-1, 2)
        large = large[np.argsort(large[:, 0])]
        sizes, births = np.concatenate([sizes, large[:, 0]]), np.concatenate([births, large[:, 1]])
    return sizes, births


def _classes(
    values: npt.NDArray[np.uint64], blocks: npt.NDArray[np.uint64], bytes_: npt.NDArray[np.uint64] | None = None
) -> list[Class]:
    """By powers of two; classes without blocks are left out."""
    index = np.searchsorted(_POWERS, values, side="right")  # 0 for 0, k for 2^(k-1) .. 2^k - 1
    found = []
    for k in np.unique(index):
        here = index == k
        held = None if bytes_ is None else int(bytes_[here].sum())
        found.append(Class(int(1 << k >> 1), (1 << int(k)) - 1, int(blocks[here].sum()), held))
    return found


def _top(sizes: npt.NDArray[np.uint64], births: npt.NDArray[np.uint64], by: npt.NDArray[np.uint64]) -> list[Size]:
    order = np.lexsort((sizes, ~by))[:TOP]  # by falling, then sizes rising
    return [Size(int(sizes[i]), int(births[i]), int(sizes[i] * births[i])) for i in order]


def bucket_low(index: int) -> int:
    """The smallest value of a bucket of csrc/trace/stats.h's histograms."""
    return index if index < 64 else (32 + index % 32) << (index // 32 - 1)


def _spread(buckets: npt.NDArray[np.uint64]) -> Spread:
    filled = np.flatnonzero(buckets)
    if not len(filled):
        return Spread(0, 0, 0, 0, 0, [])
    counts = buckets[filled]
    lows = np.array([bucket_low(int(i)) for i in filled], np.uint64)
    below = np.cumsum(counts)
    total = int(below[-1])

    def percentile(share: float) -> int:
        return int(lows[np.searchsorted(below, np.ceil(share * total))])

    return Spread(total, percentile(0.5), percentile(0.9), percentile(0.99), int(lows[-1]), _classes(lows, counts))


def _threads(stats: Any, survivors: npt.NDArray[np.void], held: npt.NDArray[np.uint64]) -> list[Thread]:
    """By calls, falling."""
    numbers, index = np.unique(survivors["thread"], return_inverse=True)
    totals = np.zeros(len(numbers), np.uint64)
    np.add.at(totals, index, held)
    left = dict(zip(numbers.tolist(), np.bincount(index, minlength=len(numbers)).tolist(), strict=True))
    left_bytes = dict(zip(numbers.tolist(), totals.tolist(), strict=True))
    found = [
        Thread(
            t.thread,
            t.calls,
            t.births,
            t.born_bytes,
            t.deaths,
            t.remote_deaths,
            left.get(t.thread, 0),
            left_bytes.get(t.thread, 0),
        )
        for t in _elements(stats.threads, stats.thread_count)
    ]
    return sorted(found, key=lambda thread: (-thread.calls, thread.thread))


def _elements(array: Any, count: int) -> Iterable[Any]:
    return (array[i] for i in range(count))


def _reallocs(stats: Any) -> Reallocs:
    return Reallocs(
        grows=stats.grows,
        shrinks=stats.shrinks,
        same=stats.same,
        to_zero=stats.realloc_zero,
        growth=dict(zip(GROWTH_CLASSES, list(stats.growth), strict=True)),
        chains=_spread(_array(stats.chains, np.uint64)),
        longest=[Chain(c.object, c.reallocs, c.born_bytes, c.last_bytes) for c in stats.longest if c.reallocs],
    )
