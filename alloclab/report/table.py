"""The table of a comparison for the terminal: one row per trace and allocator, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from alloclab.report import sentences
from alloclab.report.columns import DEFAULT_COLUMNS, Column, best, labels, say
from alloclab.report.grid import Block, Cell, Kind, Tone, lay_out
from alloclab.result import FLOOR, Comparison

_NAME_WIDTH = 25
_WORDS_WIDTH = 14
_GAP = 2
"""Blanks between columns."""
_UNLIMITED = 10_000
_STYLE = {
    Tone.PLAIN: "",
    Tone.BEST: "bold green",
    Tone.FASTER: "green",
    Tone.SLOWER: "red",
    Tone.FAILED: "bold red",
    Tone.ASIDE: "dim",
}


def print_table(comparison: Comparison, console: Console, columns: Sequence[Column] = DEFAULT_COLUMNS) -> None:
    """Print the table, what is to be known of it, and the verdict. Columns that do not fit are named below."""
    shown = list(columns)
    while (table := _table(comparison, shown, console.width)) is None and len(shown) > 1:
        shown.remove(min(shown, key=lambda column: column.importance))
    console.print(table or _table(comparison, shown, _UNLIMITED))
    _print_notes(comparison, console, shown, [column.title for column in columns if column not in shown])


def print_transposed(comparison: Comparison, console: Console, columns: Sequence[Column]) -> None:
    """Print, for each trace, one row per column and one column per allocator; in several tables where they are many."""
    for trace in comparison.traces:
        rest = [*comparison.allocators, FLOOR]
        while rest:
            count = len(rest)
            table = _transposed(comparison, trace, rest, columns)
            while count > 1 and _narrowest(console, table) > console.width:
                count -= 1
                table = _transposed(comparison, trace, rest[:count], columns)
            console.print(table)
            rest = rest[count:]
    _print_notes(comparison, console, columns, [])


def _narrowest(console: Console, table: Table) -> int:
    """Characters the table needs at least, whatever the width of the terminal."""
    return Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).minimum


def _print_notes(comparison: Comparison, console: Console, shown: Sequence[Column], hidden: Sequence[str]) -> None:
    if hidden:
        console.print(Text(f"Left out for width: {', '.join(hidden)}.", style="dim"))
    for line in (sentences.legend(comparison, shown), sentences.method(comparison), sentences.machine_line(comparison)):
        console.print(Text(line, style="dim"))
    for line in sentences.not_measured(comparison, shown):
        console.print(Text(line, style="yellow"))
    for line in sentences.failures(comparison):
        console.print(Text(line, style="bold red"))
    if verdict := sentences.verdict(comparison):
        console.print()
        console.print(Text(verdict, style="bold"))


def _table(comparison: Comparison, columns: Sequence[Column], width: int) -> Table | None:
    """All blocks in one table, None where it does not fit. Figures keep their width; names, words and headings are
    folded where the terminal is narrow."""
    grid = lay_out(comparison, columns)
    kinds = [kind for _, kind in grid.headings]
    blocks = [
        [_lead(block), *([_text(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in block.rows)]
        for block in grid.blocks
    ]
    titles = [f"trace, {heading}" if kind == Kind.NAME else heading for heading, kind in grid.headings]
    widest = [max(_width(row[i]) for rows in blocks for row in rows) for i in range(len(kinds))]
    least = [_least(*column) for column in zip(titles, kinds, widest, strict=True)]
    most = [max(len(title), cells) for title, cells in zip(titles, widest, strict=True)]
    spare = width - sum(least) - (_GAP * len(least) - 1)
    if spare < 0:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for title, kind, wide in zip(titles, kinds, _share_out(spare, least, most), strict=True):
        justify: JustifyMethod = "right" if kind == Kind.FIGURE else "left"
        table.add_column(title, justify=justify, width=wide, overflow="fold")
    for rows in blocks:
        for row in rows:
            table.add_row(*row, end_section=row is rows[-1])
    return table


def _least(title: str, kind: Kind, widest: int) -> int:
    """Characters below which a column is not folded."""
    folded = {Kind.NAME: _NAME_WIDTH, Kind.WORDS: _WORDS_WIDTH, Kind.FIGURE: widest}[kind]
    return max(min(widest, folded), *map(len, title.split()))


def _share_out(spare: int, least: Sequence[int], most: Sequence[int]) -> list[int]:
    """Widths: a character each in turn, until none is left or all have what they can use."""
    widths = list(least)
    while spare > 0 and any(width < enough for width, enough in zip(widths, most, strict=True)):
        for i, enough in enumerate(most):
            if widths[i] < enough and spare > 0:
                widths[i] += 1
                spare -= 1
    return widths


def _lead(block: Block) -> list[Text]:
    return [Text(block.title, style="bold cyan"), *(Text(fact, style="dim") for fact in block.facts)]


def _text(cell: Cell, kind: Kind) -> Text:
    """The best is marked by a star as well, which survives where there is no colour. Long names break at commas."""
    if kind == Kind.NAME:
        name = cell.text if len(cell.text) < _NAME_WIDTH else cell.text.replace(",", ",\n    ")
        return Text(f"  {name}", style=_STYLE[cell.tone])
    text = Text(("*" if cell.tone == Tone.BEST else "") + cell.text, style=_STYLE[cell.tone])
    if cell.detail:
        # ratios line up under each other whatever their length
        text.append(cell.detail.rjust(6) if kind == Kind.FIGURE else f" {cell.detail}", style="not bold dim")
    return text


def _width(text: Text) -> int:
    return max((len(line) for line in text.plain.splitlines()), default=0)


def _transposed(comparison: Comparison, trace: str, specs: Sequence[str], columns: Sequence[Column]) -> Table:
    names = labels(comparison.allocators)
    table = Table(title=trace, title_justify="left", title_style="bold cyan", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("unit", style="dim")
    for spec in specs:
        name = names.get(spec, spec).replace(":", ":\n", 1).replace(",", ",\n")
        table.add_column(name, justify="right", min_width=max(9, _width(Text(name))), overflow="fold")
    results = {spec: comparison.find(trace, spec) for spec in specs}
    for column in columns:
        winners = best(comparison, trace, column)
        values = {spec: column.measure(result) if result else None for spec, result in results.items()}
        unit = next((value.unit for value in values.values() if value), "")
        cells = [
            _text(Cell(say(value), Tone.BEST if spec in winners else Tone.PLAIN), Kind.FIGURE)
            for spec, value in values.items()
        ]
        table.add_row(column.name, unit, *cells)
    return table
