"""The picture of scaling: a panel for each workload, throughput over threads, a line for each allocator."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.runs import Measured

from alloclab.allocators import lab_allocators
from alloclab.comparison.statistics import paired_ratio
from alloclab.files import write_whole
from alloclab.machine import one_line
from alloclab.report.columns import labels
from alloclab.report.figure import COLOURS, NOTE
from alloclab.result import FLOOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = {"system": "ptmalloc", "libtcmalloc_minimal": "tcmalloc", "tcmalloc-hpaa": "tcmalloc"}
"""Allocators that have another one's colour: the real ones that of the laboratory's of their kind."""
_LINES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""Dashes and marker: the laboratory's have the first and third, the real ones the others."""
_FLOOR = "#BBBBBB"
_OFF_SCALE = 1.6
"""The floor is drawn where it is within so many times the fastest; else it is only told."""
_COLUMNS = 3
_FOOT_WIDTH = 190


def write(measured: Measured, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    workloads = measured.plan.workloads
    across = min(_COLUMNS, len(workloads))
    down = -(-len(workloads) // across)
    figure = Figure(figsize=(3.2 * across + 2.2, 1.4 + 2.9 * down), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False)
    for i, axes in enumerate(panels.flat):
        if i < len(workloads):
            _draw(axes, measured, workloads[i])
        else:
            axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel(f"times {_first(measured)} with one thread", fontsize=9)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.suptitle("Throughput as threads are added, every thread with the same work", x=0.01, ha="left", fontsize=12)
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
    first = _first(measured)
    note = (
        f"Median of {measured.plan.rounds} rounds in turn: operations (malloc, realloc, free) a second, to those of "
        f"{first} with one thread in the same round. Grey: {FLOOR}, the workload without a malloc. Dotted upright: as "
        f"many threads as cores. {one_line(measured.machine)}."
    )
    figure.supxlabel(textwrap.fill(note, _FOOT_WIDTH), fontsize=7, color=NOTE, x=0.01, ha="left")
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower())
    write_whole(path, data.getvalue())


def _first(measured: Measured) -> str:
    return labels(measured.plan.specs)[measured.plan.specs[0]]


def _looks(specs: tuple[str, ...]) -> dict[str, tuple[str, str, str]]:
    """Colour, dashes and marker: a colour for each kind, and lines that tell those of a kind apart."""
    ours = {lab.name for lab in lab_allocators()}
    order = list(dict.fromkeys(map(_kind, specs)))
    looks: dict[str, tuple[str, str, str]] = {}
    seen = set()
    for spec in specs:
        line = 0 if spec.split(":")[0] in ours else 1
        while (_kind(spec), line) in seen:
            line += 2
        seen.add((_kind(spec), line))
        looks[spec] = COLOURS[order.index(_kind(spec)) % len(COLOURS)], *_LINES[line % len(_LINES)]
    return looks


def _kind(spec: str) -> str:
    name = spec.split(":")[0]
    return _KINDS.get(name, name.removeprefix("lib"))


def _draw(axes: Axes, measured: Measured, workload: str) -> None:
    looks, names = _looks(measured.plan.specs), labels(measured.plan.specs)
    highest = 0.0
    for spec in measured.plan.specs:
        colour, dashes, marker = looks[spec]
        face = colour if dashes == "-" else "white"
        look = {"color": colour, "linestyle": dashes, "marker": marker, "markerfacecolor": face, "markersize": 4}
        top = _plot(axes, measured, workload, spec, **look, linewidth=1.4, label=names[spec])
        highest = max(highest, top)
    top = _plot(axes, measured, workload, FLOOR, color=_FLOOR, linewidth=3, zorder=1, label=FLOOR)
    if top < _OFF_SCALE * highest:
        highest = max(highest, top)
    else:
        said = f"{FLOOR} up to {top:.1f}"
        axes.text(0.02, 0.98, said, transform=axes.transAxes, va="top", fontsize=7, color=NOTE)
    axes.axvline(measured.machine["cores"], color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_ylim(0, highest * 1.08 or 1)
    _dress(axes, workload, measured.plan.threads)


def _plot(axes: Axes, measured: Measured, workload: str, spec: str, **look: Any) -> float:
    """Its line; returns the highest point. Where a number of threads failed, the line leaves it out."""
    points = {n: height for n in measured.plan.threads if (height := _height(measured, workload, spec, n)) is not None}
    axes.plot(list(points), list(points.values()), **look)
    return max(points.values(), default=0)


def _height(measured: Measured, workload: str, spec: str, threads: int) -> float | None:
    """Throughput to that of the first allocator with the fewest threads."""
    reference = measured.throughput(workload, measured.plan.specs[0], measured.plan.threads[0])
    ratio = paired_ratio(measured.throughput(workload, spec, threads), reference)
    return None if ratio is None else ratio.value


def _dress(axes: Axes, workload: str, threads: tuple[int, ...]) -> None:
    axes.set_title(workload, loc="left", fontsize=10)
    axes.set_xlabel("threads", fontsize=9)
    if threads[-1] > 8:
        axes.set_xscale("log", base=2)
    axes.set_xticks(threads, [str(n) for n in threads])
    axes.minorticks_off()
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
