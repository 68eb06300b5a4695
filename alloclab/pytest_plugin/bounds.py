"""The markers of limits, understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from alloclab.allocators import Allocator, resolve
from alloclab.errors import UsageError
from alloclab.measure.calls import KINDS
from alloclab.pytest_plugin import LIMITS
from alloclab.report.columns import say_bytes

REPLAYED_ON = "ptmalloc"
UNITS = {"B": 1} | {f"{p}{b}": (1024 if b == "iB" else 1000) ** n for n, p in enumerate("KMGT", 1) for b in ("B", "iB")}


@dataclass(frozen=True)
class Limit:
    """``what``: "rss", "fragmentation", "calls", or one kind of call. ``most``: bytes, a ratio, or calls. ``unit``: of
    a size, "" where it was given as a number. ``allocator``: to run or replay on; None: the one that is there."""

    marker: str
    what: str
    most: float
    unit: str
    allocator: Allocator | None

    def say(self, figure: float) -> str:
        """A figure as the limit was said."""
        if self.what == "rss":
            return f"{figure / UNITS[self.unit]:,.4g} {self.unit}" if self.unit else say_bytes(figure)
        return f"{figure:.3g}" if self.what == "fragmentation" else f"{figure:,.0f}"


def limits_of(item: pytest.Item) -> list[Limit]:
    """Those of its markers, of one kind the closest. UsageError for what is no limit."""
    found: dict[str, Limit] = {}
    for name in LIMITS:
        for marker in item.iter_markers(name):
            for limit in _limits(marker):
                found.setdefault(limit.what, limit)
    return list(found.values())


def _limits(marker: pytest.Mark) -> Iterator[Limit]:
    given = dict(marker.kwargs)
    allocator = _allocator(marker, given.pop("allocator", None if marker.name == "limit_rss" else REPLAYED_ON))
    if marker.name == "limit_calls":
        if len(marker.args) == 1:
            given["calls"] = marker.args[0]
        if len(marker.args) > 1 or not given or given.keys() - {"calls", *KINDS}:
            raise _wrong(marker)
        for what, most in given.items():
            if isinstance(most, bool) or not isinstance(most, int) or most < 0:
                raise _wrong(marker)
            yield Limit(marker.name, what, most, "", allocator)
        return
    if given or len(marker.args) != 1:
        raise _wrong(marker)
    if marker.name == "limit_rss":
        most, unit = _size(marker)
        yield Limit(marker.name, "rss", most, unit, allocator)
        return
    [ratio] = marker.args
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not ratio >= 1:
        raise _wrong(marker)
    yield Limit(marker.name, "fragmentation", ratio, "", allocator)


def _allocator(marker: pytest.Mark, spec: object) -> Allocator | None:
    if spec is None:
        return None
    if not isinstance(spec, str):
        raise _wrong(marker)
    try:
        allocator = resolve(spec)
    except UsageError as error:
        raise UsageError(f"{marker.name}: allocator: {error}") from None
    if allocator.kind == "null":
        raise UsageError(f"{marker.name}: allocator: null is no malloc that a program could run on")
    return allocator


def _size(marker: pytest.Mark) -> tuple[float, str]:
    """In bytes, and the unit."""
    [size] = marker.args
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size, ""
    match = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})\s*", size) if isinstance(size, str) else None
    if match is None:
        raise _wrong(marker)
    return float(match[1]) * UNITS[match[2]], match[2]


def _wrong(marker: pytest.Mark) -> UsageError:
    given = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
    return UsageError(f"{marker.name}({', '.join(given)}): expected {_EXAMPLES[marker.name]}")


_EXAMPLES = {
    "limit_rss": 'a size such as limit_rss("24 MB"), "24 MiB" or 24_000_000',
    "limit_fragmentation": "a ratio of 1 or more such as limit_fragmentation(1.3)",
    "limit_calls": f"numbers of calls such as limit_calls(30) or limit_calls(mmap=10), of {', '.join(KINDS)}",
}
