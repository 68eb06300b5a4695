"""Gates: conditions such as ``peak_resident_bytes>1.05x`` that make a comparison fail against an earlier one.

    CONDITION = METRIC (">" | "<") BOUND
    BOUND     = NUMBER "x"              so many times the baseline's figure    ns_per_op>1.10x
              | ("+" | "-") NUMBER "%"  that much above or below it            minor_faults>+5%
              | ("+" | "-") NUMBER      that much above or below it            calls_mmap>+10
              | NUMBER                  the figure itself, without a baseline  fragmentation_4>1.5

A number may be a size: ``peak_mapped_bytes>+64KiB``. A condition that holds for one trace on one allocator fails the
gate. Where both figures carry intervals, the condition must hold for the whole of both: for ``>`` the low end now over
the bound reckoned from the baseline's high end. So noise alone rarely fails a gate, and a loss within the noise passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alloclab.errors import UsageError
from alloclab.result import FLOOR, Comparison, Result, Value

_GRAMMAR = "METRIC>1.05x, METRIC>+10, METRIC>+5%, METRIC>1.5 (or with <)"
_CONDITION = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?)(\d+(?:\.\d+)?)\s*(x|%|[KMGT]iB)?\s*")
_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class Condition:
    """``metric`` above (or below) ``factor`` x baseline + ``offset``; an absolute bound has factor 0."""

    text: str
    metric: str
    above: bool
    factor: float
    offset: float

    @property
    def relative(self) -> bool:
        return self.factor != 0


@dataclass(frozen=True)
class Offence:
    """A condition that holds for one trace on one allocator."""

    condition: Condition
    trace: str
    allocator: str
    found: str

    def __str__(self) -> str:
        return f"{self.trace} on {self.allocator}: {self.condition.text}: {self.found}"


def parse(text: str, metrics: Iterable[str]) -> Condition:
    """Raises UsageError for text that is no condition; for an unknown metric it lists ``metrics``."""
    match = _CONDITION.fullmatch(text)
    if not match:
        raise UsageError(f"condition {text!r} is not understood, expected {_GRAMMAR}")
    name, comparison, sign, digits, suffix = match.groups()
    if name not in (known := list(metrics)):
        raise UsageError(f"condition {text!r}: unknown metric {name!r}; there are {' '.join(known)}")
    number = float(digits) * _SIZES.get(suffix, 1) * (-1 if sign == "-" else 1)
    if suffix == "x":
        if sign or number == 0:
            raise UsageError(f"condition {text!r}: a multiple is written without a sign and above 0, as 1.05x")
        factor, offset = number, 0.0
    elif suffix == "%":
        if not sign:
            raise UsageError(f"condition {text!r}: a percentage is written with its sign, as +5%")
        factor, offset = 1 + number / 100, 0.0
        if factor <= 0:
            raise UsageError(f"condition {text!r}: nothing can be more than 100 % below the baseline")
    else:
        factor, offset = (1.0, number) if sign else (0.0, number)
    return Condition(text, name, comparison == ">", factor, offset)


def require_counterparts(baseline: Comparison, traces: Iterable[str], allocators: Sequence[str], source: str) -> None:
    """Raises UsageError where the baseline has no result for one of the pairs: silence would let it pass."""
    for trace in traces:
        for allocator in allocators:
            if baseline.find(trace, allocator) is None:
                have = ", ".join(sorted({f"{r.trace} on {r.allocator}" for r in baseline.results}))
                raise UsageError(f"{source}: has no result for {trace} on {allocator}; it has {have or 'none'}")


def offences(
    comparison: Comparison, conditions: Sequence[Condition], baseline: Comparison | None, source: str = "baseline"
) -> list[Offence]:
    """Conditions that hold. Results that failed are left out: they are reported as failures of their own.

    A figure that is null, now or in the baseline, counts as an offence. Raises UsageError for a counterpart that is
    missing, or was taken in another mode or with another touch policy.
    """
    found = []
    for result in comparison.results:
        if result.allocator == FLOOR or result.failure is not None:
            continue
        for condition in conditions:
            other = _counterpart(result, baseline, source) if condition.relative else None
            offence = _judge(condition, result, other)
            if offence is not None:
                found.append(Offence(condition, result.trace, result.allocator, offence))
    return found


def _counterpart(result: Result, baseline: Comparison | None, source: str) -> Result:
    if baseline is None:
        raise UsageError("a condition against a baseline needs --baseline FILE.json")
    require_counterparts(baseline, [result.trace], [result.allocator], source)
    other = baseline.find(result.trace, result.allocator)
    assert other is not None
    for what, now, then in (("mode", result.mode, other.mode), ("touch policy", result.touch, other.touch)):
        if now != then:
            raise UsageError(f"{source}: {result.trace} on {result.allocator}: {what} {then!r} there, {now!r} here")
    return other


def _judge(condition: Condition, result: Result, other: Result | None) -> str | None:
    """What was found where the condition holds, else None."""
    now = result.metrics.get(condition.metric)
    if now is None or now.value is None:
        return f"not measured{f' ({now.reason})' if now and now.reason else ''}"
    then = None
    if other is not None:
        then = other.metrics.get(condition.metric)
        if then is None or then.value is None:
            return "not measured in the baseline"
    low, high = now.ends
    nearest = low if condition.above else high
    then_low, then_high = then.ends if then else (0, 0)
    bound = condition.factor * (then_high if condition.above else then_low) + condition.offset
    holds = nearest > bound if condition.above else nearest < bound
    if not holds:
        return None
    against = f", {_say(then)} in the baseline" if then else ""
    return f"{_say(now)}{against}"


def _say(value: Value) -> str:
    interval = "" if value.low is None or value.high is None else f" [{value.low:.4g}, {value.high:.4g}]"
    figure = f"{value.value:,}" if isinstance(value.value, int) else f"{value.value:.4g}"
    return f"{figure}{interval} {value.unit}".rstrip()
