"""What the reports say: marks, words, what is left out for width, what failed, and the verdict."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from comparisons import MACHINE, MIB, made_up, made_up_result, rounds_around
from rich.console import Console

from alloclab.errors import UsageError
from alloclab.measure import METRICS
from alloclab.report.columns import (
    CONCURRENT_COLUMNS,
    DEFAULT_COLUMNS,
    best,
    columns_named,
    every_column,
    labels,
    say,
    say_bytes,
    say_count,
)
from alloclab.report.markdown import markdown
from alloclab.report.measures import print_measures
from alloclab.report.sentences import verdict
from alloclab.report.table import print_table, print_transposed
from alloclab.result import Comparison, Value

RIVALS = {"system": (1.2, 16.0), "fit:policy=best": (1.0, 30.0), "buddy": (2.0, 16.02), "libfast": (1.3, 8.0)}
RESIDENT, TIME = (next(c for c in DEFAULT_COLUMNS if c.name == n) for n in ("peak_resident_bytes", "ns_per_op"))


def printed(comparison: Comparison, width: int, show=print_table, columns=DEFAULT_COLUMNS) -> str:
    text = io.StringIO()
    show(comparison, Console(file=text, width=width, highlight=False), columns)
    return text.getvalue()


def with_failure() -> Comparison:
    whole = made_up(["t"], RIVALS)
    failed = made_up_result("t", "buddy", failure="operation 7: block 3 overlaps block 2")
    return Comparison(MACHINE, tuple(failed if r.allocator == "buddy" else r for r in whole.results))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("show", [print_table, print_transposed])
def test_no_line_is_wider_than_the_terminal(width: int, show) -> None:
    names = {**RIVALS, "fit:policy=first,order=address,coalesce=deferred": (1.1, 20.0)}
    lines = printed(made_up(["t", "a-longer-name-of-a-trace"], names), width, show).splitlines()
    assert max(len(line) for line in lines) <= width


def test_narrow_terminals_leave_columns_out_and_say_which() -> None:
    comparison = made_up(["t"], RIVALS)
    wide, narrow = printed(comparison, 120), printed(comparison, 80)
    assert "Left out" not in wide
    for column in DEFAULT_COLUMNS:
        assert column.title in wide.splitlines()[0]
    left_out = re.search(r"Left out for width: (.*)\.", narrow)
    assert left_out and "peak mapped" in left_out[1]
    shown = [c.title for c in DEFAULT_COLUMNS if c.title not in left_out[1].split(", ")]
    assert all(title in narrow.splitlines()[0] for title in shown)
    assert "peak resident" in shown and "ns/op" in shown


def test_every_pair_of_trace_and_allocator_has_a_row_and_the_floor_comes_last() -> None:
    text = printed(made_up(["t", "u"], RIVALS), 120)
    names = re.findall(r"^  (\S+)", text, re.M)
    assert names == [*RIVALS, "null", *RIVALS, "null", *RIVALS]
    assert "geometric mean" in text and "geometric mean" not in printed(made_up(["t"], RIVALS), 120)


def test_the_best_is_marked_without_colour() -> None:
    rows = {
        line.split()[0]: line for line in printed(made_up(["t"], RIVALS), 120).splitlines() if line.startswith("  ")
    }
    assert "*10.0 MiB" in rows["fit:policy=best"]
    assert "*8.0" in rows["libfast"]
    assert "*" not in rows["system"] + rows["buddy"] + rows["null"]


def test_time_marks_all_that_are_not_told_apart_from_the_fastest() -> None:
    alike = made_up(["t"], {"system": (1.0, 10.0), "fit": (1.0, 10.02), "buddy": (1.0, 12.0)})
    assert best(alike, "t", TIME) == {"system", "fit"}
    assert best(alike, "t", RESIDENT) == set(), "all alike: no best"


def test_failures_and_the_floor_do_not_compete() -> None:
    comparison = with_failure()
    smallest = replace(made_up_result("t", "null", memory=0.001, ns=rounds_around(1)), verified=False)
    results = tuple(smallest if r.allocator == "null" else r for r in comparison.results)
    for column in (RESIDENT, TIME):
        assert best(Comparison(MACHINE, results), "t", column) <= {"fit:policy=best", "libfast"}


def test_higher_is_better_where_the_metric_says_so() -> None:
    (column,) = columns_named(["utilization"])
    results = [made_up_result("t", s, utilization=Value(v, "ratio")) for s, v in (("system", 0.5), ("fit", 0.9))]
    assert best(Comparison(MACHINE, tuple(results)), "t", column) == {"fit"}


def test_a_failure_is_shown_in_its_row_and_in_words() -> None:
    for text in (printed(with_failure(), 120), markdown(with_failure())):
        assert "t on buddy FAILED: operation 7: block 3 overlaps block 2" in text
        assert "buddy failed and is not ranked." in text


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    comparison = made_up(["t"], RIVALS)
    null = {"calls_mmap": Value(None, "calls", reason="the kernel lacks a counter")}
    results = tuple(replace(r, metrics=r.metrics | null) if r.allocator == "libfast" else r for r in comparison.results)
    assert "Not measured: calls of libfast: the kernel lacks a counter." in printed(Comparison(MACHINE, results), 120)


def test_mode_touch_policy_machine_and_rounds_are_named() -> None:
    for text in (printed(made_up(["t"], RIVALS), 200), markdown(made_up(["t"], RIVALS))):
        for part in ("Mode serial", "touch policy page", "median of 10 interleaved rounds", "Test CPU, 2 cores"):
            assert part in text


def concurrent(rivals: dict[str, float]) -> Comparison:
    results = [made_up_result("t", s, ns=rounds_around(10), speeds=rounds_around(v)) for s, v in rivals.items()]
    return Comparison(MACHINE, tuple(results))


def test_concurrent_replays_are_compared_in_speed_and_say_how_they_were_measured() -> None:
    comparison = concurrent({"system": 4e6, "fit": 8e6, "buddy": 8.01e6})
    assert best(comparison, "t", CONCURRENT_COLUMNS[0]) == {"fit", "buddy"}
    waited = [made_up_result("t", s, waits=Value(v, "waits")) for s, v in (("system", 5), ("fit", 9))]
    assert best(Comparison(MACHINE, tuple(waited)), "t", columns_named(["waits"])[0]) == set(), "no merit of theirs"
    text = printed(comparison, 200, columns=(*DEFAULT_COLUMNS, *CONCURRENT_COLUMNS))
    for part in (
        "speed vs system",
        "Mode concurrent",
        "memory, calls and faults: median of 5 runs",
        "time: CPU time of all threads, median of 10 interleaved rounds",
    ):
        assert part in text
    assert re.search(r"fit .* \*8\.00 M +2\.00x faster", text)


@pytest.mark.parametrize("width", [60, 80, 100, 112, 120, 140, 160, 200])
def test_what_is_shown_is_shown_whole(width: int) -> None:
    comparison = concurrent({"system": 4e6, "libtcmalloc_minimal": 8e6, "buddy": 1.25e6, "null": 2e7})
    columns = (*DEFAULT_COLUMNS, *CONCURRENT_COLUMNS)
    text = printed(comparison, width, columns=columns)
    left_out = re.search(r"Left out for width: (.*?)\. Ratios:", " ".join(text.split()))
    shown = [c for c in columns if not left_out or c.title not in left_out[1].split(", ")]
    (row,) = [line for line in text.splitlines() if line.startswith("  libtcmalloc_minimal")]
    figures = [say(c.measure(comparison.results[1])) for c in shown]
    assert shown and all(f" {figure}" in row.replace("*", " ") for figure in figures), figures


def test_what_varies_has_as_many_bests_as_are_not_told_apart() -> None:
    spread = [("system", 100, 90, 104), ("fit", 95, 91, 103), ("buddy", 120, 110, 130)]
    results = [made_up_result("t", s, minor_faults=Value(v, "faults", low, high)) for s, v, low, high in spread]
    (faults,) = columns_named(["minor_faults"])
    assert best(Comparison(MACHINE, tuple(results)), "t", faults) == {"system", "fit"}


def test_markdown_has_one_row_per_pair_and_equal_columns() -> None:
    comparison = made_up(["t", "u"], RIVALS)
    rows = [line for line in markdown(comparison).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(comparison.results) + len(RIVALS)
    assert len({line.count("|") for line in rows}) == 1
    assert "| t | libfast | 13.0 MiB (1.08x) |" in markdown(comparison)


def test_markdown_escapes_names() -> None:
    assert "a\\_b\\|c" in markdown(made_up(["a_b|c"], {"system": (1.0, 1.0)}))


def test_the_verdict_in_plain_words() -> None:
    assert verdict(made_up(["t"], RIVALS)) == (
        "libfast is fastest (2.00x faster than system); fit:policy=best needs least memory "
        "(0.83x of system's peak resident)."
    )
    costly = {"system": (1.0, 16.0), "libfast": (3.0, 8.0)}
    assert verdict(made_up(["t", "u"], costly)) == (
        "Over 2 traces: libfast is fastest (2.00x faster than system, at 3.00x its memory); system needs least memory."
    )
    one_for_all = {"system": (1.2, 16.0), "fit": (0.6, 8.0)}
    assert verdict(made_up(["t"], one_for_all)) == (
        "fit is fastest (2.00x faster than system) and needs least memory (0.50x of system's peak resident)."
    )
    alike = {"system": (1.0, 16.0), "fit": (1.0, 16.0)}
    assert verdict(made_up(["t"], alike)) == "No significant difference in time; all need the same memory."
    assert verdict(made_up(["t"], {"system": (1.0, 16.0)})) == ""


def test_chosen_columns() -> None:
    text = printed(made_up(["t"], RIVALS), 120, columns=columns_named(["minor_faults", "calls", "ns_per_op"]))
    assert re.search(r"minor faults +calls +ns per op", text.splitlines()[0])
    with pytest.raises(UsageError, match=r"unknown metric 'peak_rss'; there are calls peak_live_bytes"):
        columns_named(["peak_rss"])


def test_all_metrics_transposed() -> None:
    text = printed(made_up(["t"], RIVALS), 200, print_transposed, every_column())
    assert all(re.search(rf"^ {name} ", text, re.M) for name in METRICS)


def test_one_allocator_with_every_definition() -> None:
    text = io.StringIO()
    print_measures(made_up(["t"], {"fit": (1.1, 10.0)}), Console(file=text, width=120, highlight=False))
    said = text.getvalue()
    assert "t on fit: 1,234,567 operations" in said
    assert all(re.search(rf"^{name} ", said, re.M) for name in METRICS)
    assert re.search(rf"^peak_resident_bytes +{int(1.1 * 10 * MIB):,} +bytes", said, re.M)
    assert "not measured: made up" in said
    assert "the replay loop itself takes about 4.5" in said


def test_a_path_is_cut_to_its_file_name_unless_two_share_it() -> None:
    assert labels(["/a/libx.so", "/b/liby.so"]) == {"/a/libx.so": "libx.so", "/b/liby.so": "liby.so"}
    assert labels(["/a/libx.so LOG=/tmp/log"]) == {"/a/libx.so LOG=/tmp/log": "libx.so LOG=/tmp/log"}
    assert labels(["/a/libx.so", "/b/libx.so"]) == {"/a/libx.so": "/a/libx.so", "/b/libx.so": "/b/libx.so"}


def test_figures_as_text() -> None:
    sizes = [0, 999, 1000, 1023 * 1024, 2**20, 28_836_864, 10**9, 2**40]
    assert [say_bytes(b) for b in sizes] == [
        "0 B", "999 B", "0.98 KiB", "1.00 MiB", "1.00 MiB", "27.5 MiB", "954 MiB", "1.00 TiB",
    ]  # fmt: skip
    assert [say_count(c) for c in (950, 1234, 1_234_567)] == ["950", "1.23 k", "1.23 M"]
    assert [say(v) for v in (None, Value(None, "ns"), Value(1234, "calls"), Value(16.16, "ns"))] == [
        "-", "-", "1,234", "16.2",
    ]  # fmt: skip
