"""Figures of a trace against counts made naively, row by row, in plain Python; and cuts, whose figures must agree."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from rows import Row, rows_of, sound_rows, write
from support import budget

from alloclab.errors import TraceError
from alloclab.trace.model import Op
from alloclab.trace.stats import TOP, Class, Spread, Stats, bucket_low, summarize
from alloclab.trace.synth import Recipe, synthesize

CALLS = [op for op in Op if op < Op.THREAD_START]


@dataclass
class Block:
    birth_op: int
    born: int
    size: int
    thread: int
    time: int | None
    reallocs: int = 0


@dataclass
class Naive:
    live: dict[int, Block] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    lifetimes: list[int] = field(default_factory=list)
    lifetimes_ns: list[int] = field(default_factory=list)
    chains: list[tuple[int, int, int, int]] = field(default_factory=list)  # reallocs, object, born, last
    factors: list[float] = field(default_factory=list)
    shrinks: int = 0
    same: int = 0
    to_zero: int = 0
    free_null: int = 0
    cross: Counter[int] = field(default_factory=Counter)
    deaths: Counter[int] = field(default_factory=Counter)
    births: Counter[int] = field(default_factory=Counter)
    calls: Counter[int] = field(default_factory=Counter)
    peak: tuple[int, int, int, int] = (0, 0, 0, 0)  # bytes, blocks, operation, row
    most_blocks: int = 0
    operations: int = 0

    def add(self, index: int, row: Row) -> None:
        self.calls[row.thread] += row.op in CALLS
        if row.op not in CALLS:
            return
        size = row.size * row.count if row.op == Op.CALLOC else row.size
        if row.op == Op.FREE or (row.op == Op.REALLOC and row.object is not None and size == 0):
            self.end(row)
        elif not row.failed and row.op == Op.REALLOC and row.object is not None:
            self.resize(self.live[row.object], size)
        elif not row.failed:
            assert row.object is not None
            self.live[row.object] = Block(self.operations, size, size, row.thread, row.time)
            self.sizes.append(size)
            self.births[row.thread] += 1
        total = sum(block.size for block in self.live.values())
        if total > self.peak[0]:
            self.peak = (total, len(self.live), self.operations, index)
        self.most_blocks = max(self.most_blocks, len(self.live))
        self.operations += 1

    def resize(self, block: Block, size: int) -> None:
        block.reallocs += 1
        if size > block.size:
            self.factors.append(size / block.size if block.size else math.inf)
        self.shrinks += size < block.size
        self.same += size == block.size
        block.size = size

    def end(self, row: Row) -> None:
        if row.object is None:
            self.free_null += 1
            return
        block = self.live.pop(row.object)
        self.to_zero += row.op == Op.REALLOC
        self.lifetimes.append(self.operations - block.birth_op)
        if row.time is not None and block.time is not None:
            self.lifetimes_ns.append(max(0, row.time - block.time))
        self.deaths[row.thread] += 1
        self.cross[row.thread] += block.thread != row.thread
        if block.reallocs:
            self.chains.append((block.reallocs, row.object, block.born, block.size))

    def finish(self) -> None:
        self.chains += [(b.reallocs, o, b.born, b.size) for o, b in self.live.items() if b.reallocs]


def octaves(values: list[int], weights: list[int] | None = None) -> list[Class]:
    blocks: Counter[int] = Counter(value.bit_length() for value in values)
    held: defaultdict[int, int] = defaultdict(int)
    for value, weight in zip(values, weights or values, strict=True):
        held[value.bit_length()] += weight
    return [Class(1 << k >> 1, (1 << k) - 1, blocks[k], held[k]) for k in sorted(blocks)]


def rounded(value: int) -> int:
    """Down to 6 significant bits, as the histograms keep them."""
    drop = max(0, value.bit_length() - 6)
    return value >> drop << drop


def spread(values: list[int]) -> Spread:
    kept = sorted(rounded(value) for value in values)
    if not kept:
        return Spread(0, 0, 0, 0, 0, [])
    p50, p90, p99 = (kept[math.ceil(share * len(kept)) - 1] for share in (0.5, 0.9, 0.99))
    return Spread(len(kept), p50, p90, p99, kept[-1], [Class(c.low, c.high, c.blocks) for c in octaves(kept)])


def count(rows: list[Row]) -> Naive:
    naive = Naive()
    for index, row in enumerate(rows):
        naive.add(index, row)
    naive.finish()
    return naive


def assert_agree(stats: Stats, rows: list[Row]) -> None:
    naive = count(rows)
    assert (stats.events, stats.operations) == (len(rows), naive.operations)
    for op in Op:
        kind = stats.kinds[op.label]
        assert kind.calls == sum(row.op == op for row in rows)
        assert kind.failed == sum(row.failed for row in rows if row.op == op)
    assert stats.free_null == naive.free_null
    assert (stats.births, stats.born_bytes) == (len(naive.sizes), sum(naive.sizes))
    assert stats.sizes == octaves(naive.sizes)
    counted = Counter(naive.sizes)
    assert stats.distinct_sizes == len(counted)
    by_births = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    assert [(size.size, size.births) for size in stats.top_by_births] == by_births
    by_bytes = sorted(counted.items(), key=lambda item: (-item[0] * item[1], item[0]))[:TOP]
    assert [(size.size, size.bytes) for size in stats.top_by_bytes] == [(s, s * n) for s, n in by_bytes]
    assert_lives_agree(stats, naive, rows)
    assert_threads_agree(stats, naive)
    assert_reallocs_agree(stats, naive)


def assert_lives_agree(stats: Stats, naive: Naive, rows: list[Row]) -> None:
    assert stats.lifetimes == spread(naive.lifetimes)
    assert stats.lifetimes_ns == (spread(naive.lifetimes_ns) if naive.lifetimes_ns else None)
    peak = stats.peak
    assert (peak.bytes, peak.blocks, peak.operation, peak.row) == naive.peak
    assert peak.time_ns == (rows[peak.row].time if peak.bytes else None)
    assert peak.share == ((peak.operation + 1) / naive.operations if peak.bytes else 0)
    assert stats.most_blocks == naive.most_blocks
    left = list(naive.live.values())
    assert (stats.survivors, stats.survivor_bytes) == (len(left), sum(b.size for b in left))
    assert stats.survivors_by_size == octaves([b.size for b in left])
    ages = [naive.operations - 1 - b.birth_op for b in left]
    assert stats.survivors_by_age == octaves(ages, [b.size for b in left])
    times = [row.time for row in rows if row.time is not None]
    assert (stats.clock is None) == (not times)
    if stats.clock is not None:
        back = [a - b for a, b in itertools.pairwise(times) if b < a]
        assert (stats.clock.first_ns, stats.clock.last_ns) == (min(times), max(times))
        assert (stats.clock.steps_back, stats.clock.largest_ns) == (len(back), max(back, default=0))


def assert_threads_agree(stats: Stats, naive: Naive) -> None:
    assert stats.deaths == naive.deaths.total() == len(naive.lifetimes)
    assert stats.cross_deaths == naive.cross.total()
    assert {t.thread for t in stats.threads} == set(naive.calls)
    assert [t.calls for t in stats.threads] == sorted(naive.calls.values(), reverse=True)
    for t in stats.threads:
        left = [block.size for block in naive.live.values() if block.thread == t.thread]
        figures = (t.calls, t.births, t.deaths, t.cross, t.left, t.left_bytes)
        counted = (naive.calls[t.thread], naive.births[t.thread], naive.deaths[t.thread], naive.cross[t.thread])
        assert figures == (*counted, len(left), sum(left))


def assert_reallocs_agree(stats: Stats, naive: Naive) -> None:
    reallocs = stats.reallocs
    assert (reallocs.shrinks, reallocs.same, reallocs.to_zero) == (naive.shrinks, naive.same, naive.to_zero)
    assert reallocs.grows == len(naive.factors)
    classes = Counter[str]()
    for factor in naive.factors:
        bounds = [float(name[2:]) for name in reallocs.growth if name.startswith("<=")]
        fits = [f"<={bound:g}" for bound in bounds if factor <= bound]
        classes[fits[0] if fits else ">4"] += 1
    assert {name: n for name, n in reallocs.growth.items() if n} == classes
    assert reallocs.chains == spread([chain[0] for chain in naive.chains])
    assert [c.reallocs for c in reallocs.longest] == sorted((c[0] for c in naive.chains), reverse=True)[:10]
    assert {(c.reallocs, c.object, c.born, c.last) for c in reallocs.longest} <= set(naive.chains)


@settings(max_examples=budget(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sound_rows())
@example(rows=[Row(Op.MALLOC, 0, 8), Row(Op.REALLOC, 0, 0, failed=True)])
def test_figures_equal_a_naive_count(tmp_path: Path, rows: list[Row]) -> None:
    assert_agree(summarize(write(tmp_path / "t.parquet", rows)), rows)


def test_figures_of_a_longer_trace_equal_a_naive_count(tmp_path: Path) -> None:
    recipe = Recipe(20_000, sizes="tiny", live=300, phases=3, threads=5, reallocs=0.2, callocs=0.2, aligned=0.1)
    trace = synthesize(tmp_path / "t.parquet", recipe)
    assert_agree(summarize(trace), rows_of(trace))


def test_an_empty_trace_has_figures_too(tmp_path: Path) -> None:
    stats = summarize(write(tmp_path / "t.parquet", []))
    assert (stats.events, stats.births, stats.peak.bytes, stats.survivors, stats.cross_share) == (0, 0, 0, 0, None)


def test_buckets_are_exact_below_64_and_within_a_32nd_above() -> None:
    lows = [bucket_low(i) for i in range(60 * 32)]
    assert lows[:64] == list(range(64))
    assert all(low < high <= low + max(1, low // 32) for low, high in itertools.pairwise(lows))
    assert lows[-1] < 1 << 64 <= lows[-1] + lows[-1] // 32 + 1


def test_a_contradiction_is_named_with_its_row(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.parquet", [Row(Op.MALLOC, 0, 1), Row(Op.FREE, 0), Row(Op.FREE, 0)])
    with pytest.raises(TraceError, match="row 2: double free: object 0"):
        summarize(trace)


def test_memory_figures_are_plain_json_values(tmp_path: Path) -> None:
    values = summarize(synthesize(tmp_path / "t.parquet", Recipe(2000))).to_json()

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return all(plain(v) for v in value)
        return value is None or type(value) in (int, float, str)

    assert plain(values)
