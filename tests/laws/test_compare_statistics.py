"""Ratios, their intervals and means, and the words for them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from comparisons import MACHINE, made_up, made_up_result, rounds_around
from hypothesis import given
from hypothesis import strategies as st

from alloclab.comparison.statistics import (
    SPEED,
    Ratio,
    bootstrap_medians,
    calls,
    in_words,
    interval,
    interval_in_words,
    mean_ratio,
    mean_time_ratio,
    median_value,
    metric,
    ratio,
    time_ratio,
    timed_value,
    times,
)
from alloclab.result import Comparison, Value

RESIDENT = metric("peak_resident_bytes")


@pytest.mark.parametrize(
    ("given_ratio", "words", "bounds"),
    [
        (Ratio(1.123, 1.10, 1.14, 10), "1.12x slower", "[1.10-1.14]"),
        (Ratio(1 / 2.3, 1 / 2.4, 1 / 2.2, 10), "2.30x faster", "[2.20-2.40]"),
        (Ratio(1.20, 0.99, 1.30, 10), "no significant difference", ""),
        (Ratio(0.90, 0.80, 1.00, 10), "no significant difference", ""),
        (Ratio(1.004, 1.003, 1.005, 10), "no significant difference", ""),
        (Ratio(1.40, 1.30, 1.50, 5), "about 1.40x slower", "[1.30-1.50]"),
        (Ratio(0.50, rounds=1), "about 2.00x faster", ""),
    ],
)
def test_words_say_direction_size_and_doubt(given_ratio: Ratio, words: str, bounds: str) -> None:
    assert in_words(given_ratio) == words
    assert interval_in_words(given_ratio) == bounds


def test_large_ratios_have_fewer_digits() -> None:
    assert [times(v) for v in (1.234, 12.34, 123.4)] == ["1.23x", "12.3x", "123x"]


def test_bootstrap_interval_covers_the_true_median() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        low, high = interval(bootstrap_medians(rng.normal(1.1, 0.05, size=10)))
        covered += low <= 1.1 <= high
    assert covered >= 0.88 * 200


def test_bootstrap_of_a_constant_is_that_constant() -> None:
    assert interval(bootstrap_medians([1.5] * 10)) == (1.5, 1.5)


@given(st.lists(st.floats(0.1, 1000), min_size=2, max_size=12))
def test_timed_value_lies_within_its_interval_and_repeats(rounds: list[float]) -> None:
    value = timed_value(rounds)
    assert value.low is not None and value.high is not None and isinstance(value.value, float)
    assert min(rounds) <= value.low <= value.value <= value.high <= max(rounds)
    assert timed_value(rounds) == value


def test_a_single_round_has_no_interval_and_none_no_value() -> None:
    assert timed_value([3.0]) == Value(3.0, "ns")
    assert timed_value([]).value is None


def test_pairs_remove_what_both_share() -> None:
    """A drift that slows every round of both by the same factor leaves the ratio exact."""
    drift = [1 + 0.1 * i for i in range(10)]
    first = made_up_result("t", "system", ns=[10 * d for d in drift])
    other = made_up_result("t", "fit", ns=[12 * d for d in drift])
    compared = time_ratio(other, first)
    assert compared is not None and compared.low is not None and compared.high is not None
    assert math.isclose(compared.low, 1.2) and math.isclose(compared.high, 1.2)


def test_twice_the_speed_is_half_the_time() -> None:
    first = made_up_result("t", "system", ns=rounds_around(10), speeds=rounds_around(1e6))
    other = made_up_result("t", "fit", ns=rounds_around(10), speeds=rounds_around(2e6))
    compared = time_ratio(other, first, SPEED)
    assert compared is not None and math.isclose(compared.value, 0.5) and in_words(compared) == "2.00x faster"
    assert mean_time_ratio(Comparison(MACHINE, (first, other)), "fit", timed=SPEED) == compared


def test_the_median_of_several_runs_has_the_least_and_the_most() -> None:
    assert median_value([Value(3, "calls"), Value(9, "calls"), Value(4, "calls")]) == Value(4, "calls", 3, 9)
    assert median_value([Value(3, "calls"), Value(6, "calls")]) == Value(4, "calls", 3, 6)
    assert median_value([Value(1.0, "ratio"), Value(2.0, "ratio")]) == Value(1.5, "ratio", 1.0, 2.0)
    assert median_value([Value(7, "edges")] * 3) == median_value([Value(7, "edges")]) == Value(7, "edges")
    unknown = Value(None, "calls", reason="no counter")
    assert median_value([Value(3, "calls"), unknown]) == unknown


def test_no_time_ratio_without_rounds_side_by_side() -> None:
    timed, short, untimed = (made_up_result("t", "a", ns=[1.0] * n) for n in (4, 3, 0))
    assert time_ratio(timed, untimed) is None
    assert time_ratio(timed, short) is None


def test_ratio_of_figures() -> None:
    first = made_up_result("t", "system", calls_mmap=Value(0, "calls"), calls_brk=Value(4, "calls"))
    other = made_up_result("t", "fit", calls_mmap=Value(3, "calls"), calls_brk=Value(6, "calls"))
    assert ratio(other, first, metric("calls_brk")) == Ratio(1.5)
    assert ratio(other, first, metric("calls_mmap")) is None
    assert ratio(first, first, metric("calls_mmap")) == Ratio(1.0)
    assert ratio(first, first, metric("peak_vmas")) is None


def test_calls_are_the_sum_over_kinds_or_null() -> None:
    result = made_up_result("t", "system")
    kinds = [v.value for name, v in result.metrics.items() if name.startswith("calls_")]
    total = calls(result)
    assert total is not None and total.value == sum(k for k in kinds if k is not None)
    more = replace(result, metrics=result.metrics | {"calls_per_thousand": Value(99, "calls")})
    assert calls(more) == total, "a measure that somebody adds is no kind of call"
    unknown = replace(result, metrics=result.metrics | {"calls_brk": Value(None, "calls", reason="no counter")})
    assert calls(unknown) == Value(None, "calls", reason="no counter")


def test_geometric_mean_of_twice_and_half_is_one() -> None:
    results = [
        made_up_result("t", "system", memory=1.0, ns=rounds_around(10)),
        made_up_result("t", "fit", memory=2.0, ns=rounds_around(20)),
        made_up_result("u", "system", memory=1.0, ns=rounds_around(10)),
        made_up_result("u", "fit", memory=0.5, ns=rounds_around(5)),
    ]
    comparison = Comparison(MACHINE, tuple(results))
    memory, time = mean_ratio(comparison, "fit", RESIDENT), mean_time_ratio(comparison, "fit")
    assert memory is not None and math.isclose(memory.value, 1)
    assert time is not None and math.isclose(time.value, 1) and not time.differs


def test_geometric_mean_of_one_trace_is_its_ratio() -> None:
    comparison = made_up(["t"], {"system": (1.0, 10.0), "fit": (1.0, 13.0)})
    one = comparison.find("t", "fit"), comparison.find("t", "system")
    assert one[0] is not None and one[1] is not None
    assert mean_time_ratio(comparison, "fit") == time_ratio(one[0], one[1])


def test_no_geometric_mean_over_a_trace_that_failed() -> None:
    comparison = made_up(["t", "u"], {"system": (1.0, 10.0), "fit": (1.1, 12.0)})
    failed = made_up_result("u", "fit", failure="overlap")
    results = tuple(failed if (r.trace, r.allocator) == ("u", "fit") else r for r in comparison.results)
    broken = Comparison(MACHINE, results)
    assert mean_ratio(comparison, "fit", RESIDENT) is not None
    assert mean_ratio(broken, "fit", RESIDENT) is None
    assert mean_time_ratio(broken, "fit") is None
