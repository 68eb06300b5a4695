"""What the tables show: columns over metrics, cells as text, and which cell is the best of its column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from alloclab.comparison.statistics import SPEED, TIMED, Measure, calls, metric, time_ratio
from alloclab.errors import UsageError
from alloclab.measure import METRICS, Better
from alloclab.result import Comparison, Result, Value

ABSENT = "-"
_NO_MERIT = ("threads", "threads_alive", "edges", "waits", "waited_ns_per_op")
"""Metrics that say more of the trace and of what else the machine did than of the allocator."""
_CALLS = "brk, mmap, munmap, mremap, madvise and mprotect together"


@dataclass(frozen=True)
class Column:
    """One measure of a table. ``importance``: on a narrow terminal the columns with the lowest are left out first.

    ``note``: what its title leaves out, for the legend.
    """

    name: str
    title: str
    measure: Measure
    better: Better = "lower"
    with_ratio: bool = False
    importance: int = 0
    note: str = ""

    @property
    def timed(self) -> bool:
        """Compared in words, by rounds that ran side by side."""
        return self.name in (TIMED, SPEED)


DEFAULT_COLUMNS = (
    Column("peak_resident_bytes", "peak resident", metric("peak_resident_bytes"), with_ratio=True, importance=9),
    Column("peak_mapped_bytes", "peak mapped", metric("peak_mapped_bytes"), with_ratio=True, importance=2),
    Column(
        "fragmentation_resident_1",
        "frag.",
        metric("fragmentation_resident_1"),
        importance=4,
        note="mean of resident / live over time",
    ),
    Column("calls", "calls", calls, importance=3, note=_CALLS),
    Column("minor_faults", "faults", metric("minor_faults"), importance=1),
    Column(TIMED, "ns/op", metric(TIMED), importance=10),
)

CONCURRENT_COLUMNS = (
    Column(SPEED, "ops/s", metric(SPEED), "higher", importance=11, note="by the clock, all threads together"),
    Column(
        "waited_ns_per_op",
        "waited",
        metric("waited_ns_per_op"),
        importance=5,
        note="ns per operation that threads waited for one another, all together",
    ),
)
"""Beside the default ones where threads ran side by side."""

INSTRUCTIONS = Column("instructions_per_op", "instr/op", metric("instructions_per_op"), with_ratio=True, importance=5)
"""Beside the default ones where instructions were counted."""


def columns_named(names: Sequence[str]) -> tuple[Column, ...]:
    """Columns for metrics by name, and ``calls`` for the sum of all calls. Raises UsageError that lists what exists."""
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in METRICS and name != "calls"]
    if unknown:
        raise UsageError(f"unknown metric {', '.join(map(repr, unknown))}; there are calls {' '.join(METRICS)}")
    return tuple(_column(name, len(names) - i) for i, name in enumerate(names))


def every_column() -> tuple[Column, ...]:
    return columns_named(list(METRICS))


def _column(name: str, importance: int) -> Column:
    if name == "calls":
        return Column(name, "calls", calls, with_ratio=True, importance=importance, note=_CALLS)
    with_ratio = name not in (TIMED, SPEED)
    return Column(name, name.replace("_", " "), metric(name), METRICS[name].better, with_ratio, importance)


def best(comparison: Comparison, trace: str, column: Column) -> set[str]:
    """Allocators with the best figure of a column; where it varies, all that are not told apart from the best.

    Empty where there are no rivals, or where all are alike. The floor and failures do not compete.
    """
    if column.name in _NO_MERIT:
        return set()
    rivals = {}
    for spec in comparison.allocators:
        result = comparison.find(trace, spec)
        value = column.measure(result) if result and result.failure is None else None
        if result and value and value.value is not None:
            rivals[spec] = (-value.value if column.better == "higher" else value.value, value, result)
    if len(rivals) < 2:
        return set()
    _, least, leader = min(rivals.values(), key=lambda rival: rival[0])
    if column.timed:
        winners = {spec for spec, (_, _, result) in rivals.items() if _no_slower(result, leader, column.name)}
    else:
        winners = {spec for spec, (_, value, _) in rivals.items() if _overlap(value, least)}
    return winners if len(winners) < len(rivals) else set()


def _no_slower(result: Result, leader: Result, timed: str) -> bool:
    ratio = time_ratio(result, leader, timed)
    return ratio is not None and not ratio.differs


def _overlap(one: Value, other: Value) -> bool:
    (low, high), (other_low, other_high) = one.ends, other.ends
    return low <= other_high and other_low <= high


def labels(specs: Sequence[str]) -> dict[str, str]:
    """Specs as shown: a library's path is cut to its file name where that names one allocator only."""
    short = {spec: _without_folder(spec) for spec in specs}
    names = list(short.values())
    return {spec: name if names.count(name) == 1 else spec for spec, name in short.items()}


def _without_folder(spec: str) -> str:
    """``/usr/lib/libx.so A=1`` is ``libx.so A=1``."""
    path, *variables = spec.split(" ")
    return " ".join([PurePath(path).name if "/" in path else path, *variables])


def say(value: Value | None) -> str:
    """A figure with as many digits as a table bears: ``27.5 MiB``, ``1,234``, ``16.2``; ``-`` where not measured."""
    if value is None or value.value is None:
        return ABSENT
    if value.unit == "bytes":
        return say_bytes(value.value)
    if value.unit == "ops/s":
        return say_count(value.value)
    if isinstance(value.value, int):
        return f"{value.value:,}"
    if value.unit == "ns":
        return f"{value.value:.1f}" if value.value < 100 else f"{value.value:,.0f}"
    return f"{value.value:.2f}" if abs(value.value) < 1000 else f"{value.value:,.0f}"


def say_bytes(count: float) -> str:
    """Three digits and a binary unit: ``0 B``, ``640 KiB``, ``9.96 MiB``."""
    return _scaled(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def say_count(count: float) -> str:
    """Three digits and the letter of a power of 1000: ``950``, ``1.23 M``."""
    return _scaled(count, 1000, ("", " k", " M", " G", " T"))


def _scaled(number: float, step: int, units: Sequence[str]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number /= step
        power += 1
    digits = 0 if power == 0 or abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f"{number:.{digits}f}{units[power]}"
