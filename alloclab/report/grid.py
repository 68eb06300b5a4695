"""A comparison laid out in rows and columns, before it is rendered: what each cell says, and in what tone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from alloclab.comparison.statistics import (
    SPEED,
    TIMED,
    Ratio,
    in_words,
    interval_in_words,
    mean_ratio,
    mean_time_ratio,
    metric,
    ratio,
    time_ratio,
    times,
)
from alloclab.report.columns import ABSENT, Column, best, labels, say, say_count
from alloclab.result import FLOOR, Comparison, Result

MEANS = "geometric mean"


class Kind(Enum):
    NAME = "name"
    FIGURE = "figure"
    WORDS = "words"


class Tone(Enum):
    PLAIN = "plain"
    BEST = "best"
    FASTER = "faster"
    SLOWER = "slower"
    FAILED = "failed"
    ASIDE = "aside"


@dataclass(frozen=True)
class Cell:
    """``detail`` stands after the text: the ratio to the first allocator, or the interval of the words."""

    text: str
    tone: Tone = Tone.PLAIN
    detail: str = ""


@dataclass(frozen=True)
class Block:
    """The rows of one trace, or of the means. ``facts``: what its own line says under each heading but the name's.

    Every row has as many cells as there are headings; its first is the allocator's label.
    """

    title: str
    facts: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Grid:
    headings: list[tuple[str, Kind]]
    blocks: list[Block]


def lay_out(comparison: Comparison, columns: Sequence[Column]) -> Grid:
    """One block per trace, and one of geometric means where there are several traces and allocators."""
    blocks = [_trace_block(comparison, trace, columns) for trace in comparison.traces]
    if len(comparison.traces) > 1 and _rivals(comparison):
        blocks.append(_mean_block(comparison, columns))
    return Grid(_headings(comparison, columns), blocks)


def _rivals(comparison: Comparison) -> bool:
    return len(comparison.allocators) > 1


def _headings(comparison: Comparison, columns: Sequence[Column]) -> list[tuple[str, Kind]]:
    first = labels(comparison.allocators)[comparison.allocators[0]]
    headings = [("allocator", Kind.NAME)]
    for column in columns:
        headings.append((column.title, Kind.FIGURE))
        if column.timed and _rivals(comparison):
            what = "speed" if column.name == SPEED else "time"
            headings.append((f"{what} vs {first if len(first) < 15 else 'first'}", Kind.WORDS))
    return headings


def _trace_block(comparison: Comparison, trace: str, columns: Sequence[Column]) -> Block:
    names = labels(comparison.allocators)
    results = [r for r in comparison.results if r.trace == trace]
    first = comparison.find(trace, comparison.allocators[0])
    reference = first if _rivals(comparison) else None
    winners = {column.name: best(comparison, trace, column) for column in columns}
    rows = []
    for result in results:
        cells = [Cell(names.get(result.allocator, result.allocator), _tone(result))]
        for column in columns:
            cells.append(_figure(result, reference, column, result.allocator in winners[column.name]))
            if column.timed and _rivals(comparison):
                cells.append(_words(result, first, column))
        rows.append(cells)
    return Block(trace, _facts(comparison, results[0], columns), rows)


def _tone(result: Result) -> Tone:
    return Tone.ASIDE if result.allocator == FLOOR else Tone.FAILED if result.failure is not None else Tone.PLAIN


def _facts(comparison: Comparison, result: Result, columns: Sequence[Column]) -> list[str]:
    """The trace's peak of live bytes under the resident ones, its length under the words."""
    facts = []
    for column in columns:
        live = say(metric("peak_live_bytes")(result))
        facts.append(f"live {live}" if column.name == "peak_resident_bytes" and live != ABSENT else "")
        if column.timed and _rivals(comparison):
            facts.append(f"{say_count(result.ops)} operations" if column.name == TIMED else _threads(result))
    return facts


def _threads(result: Result) -> str:
    """``3 threads, 12 edges``."""
    counts = ((say(metric(name)(result)), name) for name in ("threads", "edges"))
    return ", ".join(f"{count} {name[:-1] if count == '1' else name}" for count, name in counts)


def _figure(result: Result, reference: Result | None, column: Column, winner: bool) -> Cell:
    tone = _tone(result)
    said, detail = say(column.measure(result)), ""
    if column.with_ratio and reference is not None and tone == Tone.PLAIN and said != ABSENT:
        detail = _times(ratio(result, reference, column.measure))
    return Cell(said, Tone.BEST if winner else tone, detail)


def _words(result: Result, first: Result | None, column: Column) -> Cell:
    if result.failure is not None:
        return Cell("FAILED", Tone.FAILED)
    if result.allocator == FLOOR:
        return Cell("floor", Tone.ASIDE)
    if result is first:
        return Cell("reference" if result.rounds else ABSENT)
    return _ratio_in_words(time_ratio(result, first, column.name) if first else None)


def _ratio_in_words(compared: Ratio | None) -> Cell:
    if compared is None:
        return Cell(ABSENT)
    tone = Tone.PLAIN if not compared.differs else Tone.SLOWER if compared.value > 1 else Tone.FASTER
    return Cell(in_words(compared), tone, interval_in_words(compared))


def _mean_block(comparison: Comparison, columns: Sequence[Column]) -> Block:
    names = labels(comparison.allocators)
    rows = []
    for spec in comparison.allocators:
        cells = [Cell(names[spec])]
        for column in columns:
            if column.timed:
                compared = mean_time_ratio(comparison, spec, timed=column.name)
                is_first = compared is not None and spec == comparison.allocators[0]
                shown = Ratio(1 / compared.value) if compared and column.name == SPEED else compared
                cells += [Cell(_times(shown)), Cell("reference") if is_first else _ratio_in_words(compared)]
            else:
                cells.append(Cell(_times(mean_ratio(comparison, spec, column.measure))))
        rows.append(cells)
    return Block(MEANS, [""] * (len(rows[0]) - 1), rows)


def _times(value: Ratio | None) -> str:
    return times(value.value) if value else ABSENT
