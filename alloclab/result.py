"""Frozen results and their JSON, the one format in which figures leave the program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RESULT_SCHEMA = 1


@dataclass(frozen=True)
class Value:
    """A measured figure. ``value`` is None where it was not measured, and ``reason`` then says why in a few words.

    ``low`` and ``high`` bound it where it was measured with an interval (bootstrap, 95 %).
    """

    value: float | int | None
    unit: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Result:
    """One trace on one allocator. ``timeline``: see :mod:`alloclab.replay`; kept out of the JSON."""

    trace: str
    allocator: str
    mode: str
    touch: str
    verified: bool
    ops: int
    metrics: dict[str, Value]
    failure: str | None = None
    timeline: Any = field(default=None, compare=False, repr=False)
