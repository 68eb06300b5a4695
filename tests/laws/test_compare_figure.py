"""The picture: its axes and lines, not its pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from comparisons import MACHINE, MIB, made_up, made_up_result
from support import slow

from alloclab.errors import UsageError
from alloclab.report.figure import draw, write
from alloclab.result import Comparison

RIVALS = {"system": (1.2, 16.0), "fit": (1.0, 30.0), "buddy": (2.0, 16.0)}


def test_two_panels_per_trace_with_one_line_per_allocator() -> None:
    comparison = made_up(["t", "u"], RIVALS)
    panels = draw(comparison).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["t: resident", "t: mapped", "u: resident", "u: mapped"]
    for axes in panels:
        assert [line.get_label() for line in axes.lines] == list(RIVALS), "the floor is not drawn"
        assert len(axes.collections) == 1, "live, filled"
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert len(looks) == len(RIVALS)


def test_lines_are_the_bytes_in_mib_over_operations() -> None:
    comparison = made_up(["t"], RIVALS)
    result = comparison.find("t", "fit")
    assert result is not None
    for axes, kind in zip(draw(comparison).axes, ("resident", "mapped"), strict=True):
        line = next(line for line in axes.lines if line.get_label() == "fit")
        assert np.allclose(np.asarray(line.get_ydata()) * MIB, getattr(result.timeline, kind))
        assert np.allclose(np.asarray(line.get_xdata()) * 1e6, result.timeline.operation)
        assert axes.get_xlabel() == "million operations"


def test_what_nobody_knows_is_not_drawn() -> None:
    comparison = made_up(["t"], RIVALS)
    for result in comparison.results:
        if result.allocator == "buddy":
            result.timeline.mapped = None
    resident, mapped = draw(comparison).axes
    assert len(resident.lines) == 3
    assert [line.get_label() for line in mapped.lines] == ["system", "fit"]


def test_an_outlier_is_cut_off_and_named() -> None:
    for axes in draw(made_up(["t"], {**RIVALS, "bump": (50.0, 5.0)})).axes:
        assert axes.get_ylim()[1] < 3 * 10
        assert [text.get_text().split(" MiB")[0][:20] for text in axes.texts] == ["off the scale: bump "]


def test_what_a_little_more_height_would_show_is_shown() -> None:
    rivals = {"system": (1.0, 16.0), "fit": (5.9, 30.0), "buddy": (7.0, 16.0), "bump": (12.0, 5.0)}
    for axes in draw(made_up(["t"], rivals)).axes:
        assert [text.get_text().split(" MiB")[0][:20] for text in axes.texts] == ["off the scale: bump "]


def test_many_allocators_have_looks_of_their_own() -> None:
    axes = draw(made_up(["t"], {f"mine{i}": (1.0, 10.0) for i in range(28)})).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 28


def test_the_footnote_names_touch_policy_and_machine() -> None:
    notes = draw(made_up(["t"], RIVALS)).get_supxlabel()
    assert "touch policy page" in notes and "Test CPU" in notes


@pytest.mark.parametrize("name", ["m.png", "m.svg", *slow("M.SVG")])
def test_the_ending_names_the_format_and_the_file_repeats(tmp_path: Path, name: str) -> None:
    comparison = made_up(["t"], RIVALS)
    (path,) = write(comparison, tmp_path / name)
    first = path.read_bytes()
    if path.suffix == ".png":
        assert first.startswith(b"\x89PNG")
    else:
        assert ElementTree.fromstring(first).tag.endswith("svg")
    write(comparison, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_many_traces_make_a_picture_each(tmp_path: Path) -> None:
    traces = [f"t{i}" for i in range(7)]
    written = write(made_up(traces, {"system": (1.2, 16.0)}), tmp_path / "m.png")
    assert [p.name for p in written] == [f"m-{t}.png" for t in traces]
    assert all(p.exists() for p in written)


def test_allocators_that_failed_are_left_out_and_nothing_is_an_error() -> None:
    comparison = made_up(["t"], RIVALS)
    failed = made_up_result("t", "fit", failure="overlap")
    results = tuple(failed if r.allocator == "fit" else r for r in comparison.results)
    assert [line.get_label() for line in draw(Comparison(MACHINE, results)).axes[0].lines] == ["system", "buddy"]
    bare = Comparison(MACHINE, tuple(replace(r, timeline=None) for r in comparison.results))
    with pytest.raises(UsageError, match="nothing to draw"):
        draw(bare)
