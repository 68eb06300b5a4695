"""The picture of a comparison: live, mapped and resident bytes over time, one line per allocator."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloclab.errors import UsageError
from alloclab.files import write_whole
from alloclab.report import sentences
from alloclab.report.columns import labels, say_bytes
from alloclab.result import FLOOR, Comparison, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg")
MOST_PANELS = 6
"""Traces in one picture; more are drawn one picture each."""

# Okabe and Ito's colours that the eye tells apart with any colour vision; their yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":")
_LIVE = "#BBBBBB"
_OFF_SCALE = 6
_CLEAR = 1.25
"""An allocator is cut off and named where it needs more than ``_OFF_SCALE`` times the least, and ``_CLEAR`` times what
the next one below it needs: so the others can be told apart, and no line is lost that a little more height would show.
"""

NOTE = "#555555"
_NOTE_WIDTH = 64
_FOOT_WIDTH = 200
_LEGEND_WIDTH = 24
_MIB = 2**20
_KINDS = ("resident", "mapped")


def draw(comparison: Comparison, traces: Sequence[str] | None = None) -> Figure:
    """A figure with one row of panels per trace: resident bytes on the left, mapped on the right, live in grey in both.

    Raises UsageError where no result carries a timeline (results read from JSON have none).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(traces or comparison.traces)
    drawn = {trace: _with_timeline(comparison, trace) for trace in shown}
    shown = [trace for trace in shown if drawn[trace]]
    if not shown:
        raise UsageError("nothing to draw: no allocator passed verification, or the results were read from JSON")
    figure = Figure(figsize=(11, 1.9 + 2.9 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), len(_KINDS), squeeze=False, sharex="row")
    looks = _looks(comparison)
    for row, trace in zip(panels, shown, strict=True):
        for axes, kind in zip(row, _KINDS, strict=True):
            _draw_panel(axes, drawn[trace], kind, looks)
            axes.set_title(f"{_title(drawn[trace][0])}: {kind}", loc="left", fontsize=10)
            axes.set_xlabel("million operations" if _millions(drawn[trace]) else "thousand operations", fontsize=9)
        row[0].set_ylabel("MiB")
    _label(figure, panels[0][0], comparison)
    return figure


def write(comparison: Comparison, path: str | Path) -> list[Path]:
    """Draw to a PNG or SVG file, by its ending; returns the files written.

    More than six traces make a file each, named FILE-TRACE.png. Where nothing can be drawn, nothing is written.
    """
    path = Path(path)
    drawable = [trace for trace in comparison.traces if _with_timeline(comparison, trace)]
    if len(comparison.traces) <= MOST_PANELS:
        return [_write(draw(comparison, drawable), path)] if drawable else []
    return [
        _write(draw(comparison, [trace]), path.with_name(f"{path.stem}-{trace}{path.suffix}")) for trace in drawable
    ]


def _write(figure: Figure, path: Path) -> Path:
    import matplotlib

    data = io.BytesIO()
    # without date and random names, so that the same figures give the same file
    kind = path.suffix[1:].lower()
    with matplotlib.rc_context({"svg.hashsalt": "alloclab"}):
        figure.savefig(data, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_whole(path, data.getvalue())
    return path


def _with_timeline(comparison: Comparison, trace: str) -> list[Result]:
    return [r for r in comparison.results if r.trace == trace and r.allocator != FLOOR and r.timeline is not None]


def _looks(comparison: Comparison) -> dict[str, tuple[str, str, str]]:
    """Colour, dashes and label of every allocator; the dashes change with each, for those who see no colour.

    7 colours and 4 dashes make 28 looks.
    """
    names = labels(comparison.allocators)
    return {
        spec: (COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)], names[spec])
        for i, spec in enumerate(comparison.allocators)
    }


def _draw_panel(axes: Axes, results: Sequence[Result], kind: str, looks: dict[str, tuple[str, str, str]]) -> None:
    scale = 1e6 if _millions(results) else 1e3
    live = results[0].timeline
    axes.fill_between(
        np.asarray(live.operation) / scale, np.asarray(live.live) / _MIB, color=_LIVE, linewidth=0, label="live"
    )
    known = _knowing(results, kind)
    for result in known:
        colour, dashes, label = looks[result.allocator]
        where, held = np.asarray(result.timeline.operation) / scale, np.asarray(getattr(result.timeline, kind)) / _MIB
        axes.plot(where, held, color=colour, linestyle=dashes, linewidth=1.4, label=label)
    within = _highest_within([_peak(r, kind) for r in known])
    beyond = [f"{looks[r.allocator][2]} {say_bytes(_peak(r, kind))}" for r in known if _peak(r, kind) > within]
    if beyond:
        said = textwrap.fill(f"off the scale: {', '.join(beyond)}", _NOTE_WIDTH)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(0.99, 0.99, said, transform=axes.transAxes, ha="right", va="top", fontsize=7, bbox=box)
    # room for the notes above the lines; never 0
    axes.set_ylim(0, within / _MIB * (1.05 + 0.06 * len(beyond)) or 1)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)


def _knowing(results: Sequence[Result], kind: str) -> list[Result]:
    return [r for r in results if getattr(r.timeline, kind) is not None]


def _peak(result: Result, kind: str) -> float:
    return float(np.max(getattr(result.timeline, kind), initial=0))


def _highest_within(peaks: Sequence[float]) -> float:
    """The largest of ``peaks`` that the scale reaches, 0 where there are none."""
    least, highest = min(peaks, default=0), 0.0
    for peak in sorted(peaks):
        if peak > _OFF_SCALE * least > 0 and peak > _CLEAR * highest:
            break
        highest = peak
    return highest


def _millions(results: Sequence[Result]) -> bool:
    return results[0].ops >= 1_000_000


def _title(result: Result) -> str:
    return f"{result.trace} ({result.program})" if result.program and result.program != result.trace else result.trace


def _label(figure: Figure, panel: Axes, comparison: Comparison) -> None:
    handles, names = panel.get_legend_handles_labels()
    figure.suptitle("Memory over time, same operations on every allocator", x=0.01, ha="left", fontsize=12)
    figure.legend(handles, [_folded(name) for name in names], loc="outside right upper", frameon=False, fontsize=9)
    notes = (
        f"{sentences.conditions(comparison)}. {_lines(comparison)}: a peak between two is in the figures alone. "
        f"{sentences.machine_line(comparison)}"
    )
    figure.supxlabel(textwrap.fill(notes, _FOOT_WIDTH), fontsize=7, color=NOTE, x=0.01, ha="left")


def _lines(comparison: Comparison) -> str:
    several = any(result.memory_runs > 1 for result in comparison.results)
    return f"Lines join samples{' of the run whose peak resident is the median' if several else ''}"


def _folded(label: str) -> str:
    """A long spec breaks at its commas, so that the panels keep their width."""
    return label if len(label) <= _LEGEND_WIDTH else label.replace(",", ",\n  ")
