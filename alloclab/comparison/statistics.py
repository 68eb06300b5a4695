"""Ratios of allocators to the first one: with intervals where they were timed, over one trace or many, and in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alloclab.measure.calls import KINDS
from alloclab.result import Comparison, Result, Value

TIMED = "ns_per_op"
SPEED = "ops_per_second"
"""The metrics that are taken in interleaved rounds and compared in words, the second one in concurrent replays."""

RESAMPLES = 2000
CONFIDENCE = 0.95
ENOUGH_ROUNDS = 6
"""From the median of fewer values no 95 % interval can be had: all 5 lie on one side of it in 1 case of 16."""

_SEED = 20240229

Measure = Callable[[Result], Value | None]


@dataclass(frozen=True)
class Ratio:
    """How many times the first allocator's figure. ``low``, ``high``: 95 % bootstrap interval, None where not timed.

    ``rounds``: how many pairs it rests on; 0 for figures that are the same in every run.
    """

    value: float
    low: float | None = None
    high: float | None = None
    rounds: int = 0

    @property
    def differs(self) -> bool:
        """Whether it is told apart from 1: its interval leaves 1 out, and it does not round to 1.00."""
        if self.low is not None and self.high is not None and self.low <= 1 <= self.high:
            return False
        return f"{self.value:.2f}" != "1.00"


def metric(name: str) -> Measure:
    """The measure that reads the metric ``name``."""
    return lambda result: result.metrics.get(name)


def calls(result: Result) -> Value | None:
    """System calls for memory: the sum over all kinds, null where one is null."""
    return sum_of_calls(result.metrics)


def sum_of_calls(metrics: Mapping[str, Value]) -> Value | None:
    """As :func:`calls`."""
    parts = [value for kind in KINDS if (value := metrics.get(f"calls_{kind}")) is not None]
    missing = [part for part in parts if part.value is None]
    if not parts or missing:
        return Value(None, "calls", reason=missing[0].reason) if missing else None
    return Value(sum(int(part.value or 0) for part in parts), "calls")


def bootstrap_medians(
    samples: Sequence[float], resamples: int = RESAMPLES, seed: int = _SEED
) -> npt.NDArray[np.float64]:
    """Medians of ``resamples`` samples drawn from ``samples`` with replacement; the same for the same input."""
    values = np.asarray(samples, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    medians: npt.NDArray[np.float64] = np.median(values[draws], axis=1)
    return medians


def interval(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)


def timed_value(rounds: Sequence[float], unit: str = "ns") -> Value:
    """The median of the rounds, with its interval where there is more than one."""
    if not rounds:
        return Value(None, unit, reason="not timed")
    middle = float(np.median(rounds))
    if len(rounds) < 2:
        return Value(middle, unit)
    low, high = interval(bootstrap_medians(rounds))
    return Value(middle, unit, low, high)


def median_value(values: Sequence[Value]) -> Value:
    """Of several runs: the median, with the least and the most where they differ; null where one is."""
    found = sorted(value.value for value in values if value.value is not None)
    if len(found) < len(values) or found[0] == found[-1]:
        return next((value for value in values if value.value is None), values[0])
    middle = statistics.median(found)
    whole = all(isinstance(figure, int) for figure in found)
    return Value(round(middle) if whole else middle, values[0].unit, found[0], found[-1])


def time_ratio(result: Result, first: Result, timed: str = TIMED) -> Ratio | None:
    """Of rounds that ran side by side, as :func:`paired_ratio`. None where either was not timed.

    ``timed``: of CPU time, or with ``SPEED`` of the time by the clock on the wall."""
    return paired_ratio(*_rounds(result, first, timed))


def _rounds(result: Result, first: Result, timed: str) -> tuple[Sequence[float], Sequence[float]]:
    """Those whose ratio is that of the times: twice the speed is half the time."""
    return (first.speeds, result.speeds) if timed == SPEED else (result.rounds, first.rounds)


def paired_ratio(rounds: Sequence[float], first: Sequence[float]) -> Ratio | None:
    """Median of the ratios of pairs, with its interval. None where there are none, or not as many of both."""
    paired = _paired(rounds, first)
    if paired is None:
        return None
    if len(paired) < 2:
        return Ratio(float(paired[0]), rounds=1)
    low, high = interval(bootstrap_medians(paired))
    return Ratio(float(np.median(paired)), low, high, len(paired))


def _paired(rounds: Sequence[float], first: Sequence[float]) -> list[float] | None:
    if not rounds or len(rounds) != len(first):
        return None
    return [a / b for a, b in zip(rounds, first, strict=True)]


def ratio(result: Result, first: Result, measure: Measure) -> Ratio | None:
    """Ratio of a measure that repeats. None where either is null, or where the first is 0 and the other not."""
    one, other = measure(result), measure(first)
    if one is None or other is None or one.value is None or other.value is None:
        return None
    if other.value == 0:
        return Ratio(1.0) if one.value == 0 else None
    return Ratio(one.value / other.value)


def mean_ratio(comparison: Comparison, allocator: str, measure: Measure) -> Ratio | None:
    """Geometric mean over all traces of the ratio to the first allocator. None where one trace has none, or a 0."""
    ratios = [
        ratio(r, first, measure) if r and first else None
        for r, first in _pairs(comparison, allocator, comparison.allocators[0])
    ]
    if not ratios or any(r is None or r.value <= 0 for r in ratios):
        return None
    return Ratio(math.exp(sum(math.log(r.value) for r in ratios if r) / len(ratios)))


def mean_time_ratio(
    comparison: Comparison, allocator: str, against: str | None = None, timed: str = TIMED
) -> Ratio | None:
    """Geometric mean over all traces of the time ratio to ``against`` (the first); its interval resamples the rounds
    of every trace. For one trace the same as :func:`time_ratio`. None where one trace has none."""
    pairs = _pairs(comparison, allocator, against or comparison.allocators[0])
    paired = [_paired(*_rounds(r, other, timed)) if r and other else None for r, other in pairs]
    complete = [p for p in paired if p]
    if not complete or len(complete) < len(paired):
        return None
    value = math.exp(float(np.mean([math.log(np.median(p)) for p in complete])))
    rounds = min(len(p) for p in complete)
    if rounds < 2:
        return Ratio(value, rounds=rounds)
    draws = np.exp(np.mean([np.log(bootstrap_medians(p, seed=_SEED + i)) for i, p in enumerate(complete)], axis=0))
    low, high = interval(draws)
    return Ratio(value, low, high, rounds)


def _pairs(comparison: Comparison, allocator: str, other: str) -> list[tuple[Result | None, Result | None]]:
    return [(comparison.find(trace, allocator), comparison.find(trace, other)) for trace in comparison.traces]


def times(value: float) -> str:
    """``1.12x``; large ones with fewer digits."""
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"


def in_words(ratio: Ratio) -> str:
    """``1.12x slower``, ``2.30x faster``, ``no significant difference``; ``about`` where it rests on too few rounds."""
    if not ratio.differs:
        return "no significant difference"
    about = "about " if ratio.rounds < ENOUGH_ROUNDS else ""
    return f"{about}{times(ratio.value)} slower" if ratio.value > 1 else f"{about}{times(1 / ratio.value)} faster"


def interval_in_words(ratio: Ratio) -> str:
    """The interval in the sense of :func:`in_words`: ``[1.10-1.14]``. Empty where there is none or no difference."""
    if ratio.low is None or ratio.high is None or not ratio.differs:
        return ""
    low, high = (ratio.low, ratio.high) if ratio.value > 1 else (1 / ratio.high, 1 / ratio.low)
    return f"[{low:.2f}-{high:.2f}]"
