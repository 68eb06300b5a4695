"""Conditions of a gate: how they are written, and when they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from comparisons import MACHINE, made_up, made_up_result, rounds_around
from hypothesis import given
from hypothesis import strategies as st

from alloclab.comparison.gate import Condition, offences, parse, require_counterparts
from alloclab.errors import UsageError
from alloclab.measure import METRICS
from alloclab.result import Comparison, Value


@pytest.mark.parametrize(
    ("text", "above", "factor", "offset"),
    [
        ("peak_resident_bytes>1.05x", True, 1.05, 0),
        ("calls_mmap>+10", True, 1, 10),
        ("calls_mmap<-3", False, 1, -3),
        ("peak_mapped_bytes>+64KiB", True, 1, 65536),
        ("peak_mapped_bytes>1MiB", True, 0, 2**20),
        ("minor_faults>+5%", True, 1.05, 0),
        ("minor_faults<-5%", False, 0.95, 0),
        ("fragmentation_4>1.5", True, 0, 1.5),
        (" utilization < 0.9x ", False, 0.9, 0),
    ],
)
def test_conditions_are_read(text: str, above: bool, factor: float, offset: float) -> None:
    condition = parse(text, METRICS)
    assert condition == Condition(text, text.split("<")[0].split(">")[0].strip(), above, factor, offset)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not understood, expected METRIC>1.05x"),
        ("peak_resident_bytes", "is not understood"),
        ("peak_resident_bytes=1", "is not understood"),
        ("peak_resident_bytes>1.05xx", "is not understood"),
        ("peak_resident_bytes>1kB", "is not understood"),
        ("peak_rss>1.05x", "unknown metric 'peak_rss'; there are peak_live_bytes"),
        ("calls_mmap>+2x", "written without a sign"),
        ("calls_mmap>0x", "above 0"),
        ("calls_mmap>5%", "written with its sign"),
        ("calls_mmap<-100%", "100 %"),
    ],
)
def test_errors_say_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, METRICS)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@given(now=st.integers(0, 10**12), then=st.integers(1, 10**12))
def test_a_multiple_holds_exactly_above_it(now: int, then: int) -> None:
    baseline, comparison = (
        Comparison(MACHINE, (made_up_result("t", "fit", minor_faults=Value(n, "faults")),)) for n in (then, now)
    )
    held = offences(comparison, [parse("minor_faults>1.5x", METRICS)], baseline)
    assert bool(held) == (now > 1.5 * then)


def judged(condition: str, now: Value, then: Value | None = None, name: str = "calls_mmap") -> bool:
    comparison = Comparison(MACHINE, (made_up_result("t", "fit", **{name: now}),))
    baseline = Comparison(MACHINE, (made_up_result("t", "fit", **{name: then}),)) if then else None
    return bool(offences(comparison, [parse(condition, METRICS)], baseline))


def test_differences_and_absolute_bounds() -> None:
    assert judged("calls_mmap>+10", Value(21, "calls"), Value(10, "calls"))
    assert not judged("calls_mmap>+10", Value(20, "calls"), Value(10, "calls"))
    assert judged("calls_mmap<-2", Value(7, "calls"), Value(10, "calls"))
    assert judged("calls_mmap>0", Value(1, "calls"))
    assert not judged("calls_mmap>0", Value(0, "calls"))
    assert judged("utilization<0.5", Value(0.4, "ratio"), name="utilization")


def test_timed_figures_fail_only_when_their_intervals_agree() -> None:
    then = Value(10.0, "ns", 9.5, 10.5)
    assert not judged("ns_per_op>1.10x", Value(11.6, "ns", 11.2, 12.0), then, "ns_per_op")
    assert judged("ns_per_op>1.10x", Value(12.0, "ns", 11.6, 12.4), then, "ns_per_op")
    assert not judged("ns_per_op<0.90x", Value(8.8, "ns", 8.5, 9.1), then, "ns_per_op")
    assert judged("ns_per_op<0.90x", Value(8.0, "ns", 7.8, 8.2), then, "ns_per_op")


def test_a_figure_that_is_null_does_not_pass_in_silence() -> None:
    null, one = Value(None, "calls", reason="no counter"), Value(1, "calls")
    assert judged("calls_mmap>0", null)
    assert judged("calls_mmap>1.5x", null, one)
    assert judged("calls_mmap>1.5x", one, null)


def test_a_comparison_passes_against_itself() -> None:
    comparison = made_up(["t", "u"], {"system": (1.2, 10.0), "fit": (1.1, 12.0)})
    conditions = [parse(text, METRICS) for text in ("peak_resident_bytes>1x", "ns_per_op>1.01x", "calls_brk>+0")]
    assert offences(comparison, conditions, comparison) == []


def test_offences_name_trace_allocator_and_both_figures() -> None:
    comparison = made_up(["t"], {"fit": (1.2, 10.0)})
    baseline = made_up(["t"], {"fit": (1.0, 10.0)})
    (offence,) = offences(comparison, [parse("peak_resident_bytes>1.05x", METRICS)], baseline)
    assert str(offence) == ("t on fit: peak_resident_bytes>1.05x: 12,582,912 bytes, 10,485,760 bytes in the baseline")


def test_the_floor_and_failures_are_not_judged() -> None:
    comparison = Comparison(
        MACHINE, (made_up_result("t", "fit", failure="overlap"), made_up_result("t", "null", ns=rounds_around(4)))
    )
    assert offences(comparison, [parse("ns_per_op>0", METRICS)], None) == []


def test_a_missing_or_unlike_counterpart_is_an_error() -> None:
    comparison = made_up(["t"], {"fit": (1.2, 10.0)})
    condition = parse("peak_resident_bytes>1.05x", METRICS)
    with pytest.raises(UsageError, match=r"old\.json: has no result for t on fit; it has u on fit"):
        offences(comparison, [condition], made_up(["u"], {"fit": (1.2, 10.0)}), "old.json")
    with pytest.raises(UsageError, match="needs --baseline"):
        offences(comparison, [condition], None)
    untouched = Comparison(MACHINE, tuple(replace(r, touch="none") for r in comparison.results))
    with pytest.raises(UsageError, match="touch policy 'none' there, 'page' here"):
        offences(comparison, [condition], untouched)
    require_counterparts(comparison, ["t"], ["fit"], "old.json")
