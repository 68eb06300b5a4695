"""Frozen results and their JSON, the one format in which figures leave the program.

    {"schema": 1, "machine": {...},
     "results": [{"trace", "program", "allocator", "mode", "touch", "verified", "ops", "failure", "memory_runs",
                  "rounds_ns_per_op": [...], "rounds_ops_per_second": [...],
                  "metrics": {NAME: {"value", "unit"}}}]}

A metric carries ``low`` and ``high`` where it was measured with an interval, and ``reason`` where its value is null.
``rounds_ns_per_op`` are the interleaved timings as they were taken: round i of every allocator of a trace ran side by
side, so every ratio and interval can be computed again from the file. ``rounds_ops_per_second`` are those of concurrent
replays, which also measure memory in several runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alloclab.errors import UsageError
from alloclab.files import write_whole

RESULT_SCHEMA = 1
FLOOR = "null"
"""The built-in that only counts: its row is the replay loop's own cost. Neither verified nor a competitor."""


@dataclass(frozen=True)
class Value:
    """A measured figure. ``value`` is None where it was not measured, and ``reason`` then says why in a few words.

    ``low`` and ``high`` bound it where it was measured more than once: timed in rounds, by a bootstrap interval of its
    median (95 %); otherwise the least and the most that was found.
    """

    value: float | int | None
    unit: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Of what bounds it; the figure itself where nothing does."""
        assert self.value is not None
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


@dataclass(frozen=True)
class Result:
    """One trace on one allocator.

    ``failure`` says why it is not verified (None for the floor, which is not tried); its figures are then null.
    ``rounds``: ns per operation of each interleaved timed round; ``speeds``: operations per second, of concurrent
    replays. ``memory_runs``: how many runs all else is the median of. ``timeline``: of the one of them whose peak
    resident is the median, see :mod:`alloclab.replay`; kept out of the JSON. ``program``: what was recorded, where the
    trace says.
    """

    trace: str
    allocator: str
    mode: str
    touch: str
    verified: bool
    ops: int
    metrics: dict[str, Value]
    failure: str | None = None
    rounds: tuple[float, ...] = ()
    speeds: tuple[float, ...] = ()
    memory_runs: int = 1
    program: str = ""
    timeline: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Comparison:
    """Results of traces x allocators, in the order asked for; per trace the floor comes last. Reports render it."""

    machine: dict[str, Any]
    results: tuple[Result, ...]

    @property
    def traces(self) -> list[str]:
        return list(dict.fromkeys(r.trace for r in self.results))

    @property
    def allocators(self) -> list[str]:
        """Specs of the competitors; the first is what the others are held against."""
        return [spec for spec in dict.fromkeys(r.allocator for r in self.results) if spec != FLOOR]

    @property
    def failed(self) -> list[Result]:
        return [r for r in self.results if r.failure is not None]

    def find(self, trace: str, allocator: str) -> Result | None:
        return next((r for r in self.results if (r.trace, r.allocator) == (trace, allocator)), None)


def to_json(comparison: Comparison) -> str:
    """The document as text, ending in a newline."""
    document = {
        "schema": RESULT_SCHEMA,
        "machine": comparison.machine,
        "results": [_result_to_dict(r) for r in comparison.results],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def from_json(text: str, source: str = "result") -> Comparison:
    """Read a document strictly. Raises UsageError that names ``source`` and the place."""
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"{source}: line {error.lineno}"
        raise UsageError(f"{where}: not JSON ({error.msg}), expected a result of compare --json") from error
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error
    fields = _Fields(document, source)
    schema = fields.get("schema", int)
    if schema != RESULT_SCHEMA:
        raise UsageError(f"{source}: schema {schema}, this version reads {RESULT_SCHEMA}: measure again")
    results = fields.get("results", list)
    return Comparison(
        machine=fields.get("machine", dict),
        results=tuple(_result_from_dict(r, f"{source}: results[{i}]") for i, r in enumerate(results)),
    )


def save(comparison: Comparison, path: str | Path) -> None:
    """Write the JSON, whole or not at all."""
    write_whole(path, to_json(comparison).encode())


def load(path: str | Path) -> Comparison:
    """Read what :func:`save` wrote. Raises UsageError for other contents, OSError for a file that cannot be read."""
    try:
        text = Path(path).read_text()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not text, expected a result of compare --json") from error
    return from_json(text, str(path))


def _value_to_dict(value: Value) -> dict[str, Any]:
    optional = {"low": value.low, "high": value.high, "reason": value.reason}
    return {"value": value.value, "unit": value.unit} | {k: v for k, v in optional.items() if v is not None}


def _result_to_dict(result: Result) -> dict[str, Any]:
    return {
        "trace": result.trace,
        "program": result.program,
        "allocator": result.allocator,
        "mode": result.mode,
        "touch": result.touch,
        "verified": result.verified,
        "ops": result.ops,
        "failure": result.failure,
        "memory_runs": result.memory_runs,
        "rounds_ns_per_op": list(result.rounds),
        "rounds_ops_per_second": list(result.speeds),
        "metrics": {name: _value_to_dict(value) for name, value in result.metrics.items()},
    }


@dataclass(frozen=True)
class _Fields:
    """A JSON object that is read field by field; what is missing or of a wrong kind is named with its place."""

    value: Any
    place: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise UsageError(f"{self.place}: found {_kind(self.value)}, expected an object")

    def get(self, name: str, *kinds: type) -> Any:
        if name not in self.value:
            raise UsageError(f"{self.place}: {name!r} is missing")
        found = self.value[name]
        # bool is an int in Python, not in JSON
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            expected = " or ".join(_KINDS[k] for k in kinds)
            raise UsageError(f"{self.place}: {name!r}: found {_kind(found)}, expected {expected}")
        return found

    def optional(self, name: str, *kinds: type) -> Any:
        return self.get(name, *kinds, type(None)) if name in self.value else None


_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, expected a number")


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "something else")


def _result_from_dict(value: Any, place: str) -> Result:
    fields = _Fields(value, place)
    metrics = fields.get("metrics", dict)
    return Result(
        trace=fields.get("trace", str),
        program=fields.optional("program", str) or "",
        allocator=fields.get("allocator", str),
        mode=fields.get("mode", str),
        touch=fields.get("touch", str),
        verified=fields.get("verified", bool),
        ops=fields.get("ops", int),
        failure=fields.optional("failure", str),
        rounds=_rounds(fields, "rounds_ns_per_op"),
        speeds=_rounds(fields, "rounds_ops_per_second"),
        memory_runs=fields.optional("memory_runs", int) or 1,
        metrics={name: _value_from_dict(v, f"{place}: metrics.{name}") for name, v in metrics.items()},
    )


def _rounds(fields: _Fields, name: str) -> tuple[float, ...]:
    found = fields.optional(name, list) or []
    for i, number in enumerate(found):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            raise UsageError(f"{fields.place}: {name}[{i}]: found {_kind(number)}, expected a number")
    return tuple(found)


def _value_from_dict(value: Any, place: str) -> Value:
    fields = _Fields(value, place)
    return Value(
        value=fields.get("value", int, float, type(None)),
        unit=fields.get("unit", str),
        low=fields.optional("low", int, float),
        high=fields.optional("high", int, float),
        reason=fields.optional("reason", str),
    )
