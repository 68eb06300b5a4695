"""The table of a comparison as Markdown: the same figures as on the terminal, and the same words under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alloclab.report import sentences
from alloclab.report.columns import DEFAULT_COLUMNS, Column
from alloclab.report.grid import Cell, Kind, Tone, lay_out
from alloclab.result import Comparison


def markdown(comparison: Comparison, columns: Sequence[Column] = DEFAULT_COLUMNS) -> str:
    """The whole report as text, ending in a newline. The best of a column is bold."""
    grid = lay_out(comparison, columns)
    kinds = [kind for _, kind in grid.headings]
    lines = [
        row(["trace", *(escaped(heading) for heading, _ in grid.headings)]),
        row([":--", *("--:" if kind == Kind.FIGURE else ":--" for kind in kinds)]),
    ]
    for block in grid.blocks:
        for cells in block.rows:
            lines.append(row([escaped(block.title), *(_cell(c, kind) for c, kind in zip(cells, kinds, strict=True))]))
    notes = [
        sentences.legend(comparison, columns, mark="Bold"),
        sentences.method(comparison),
        sentences.machine_line(comparison),
        *sentences.not_measured(comparison, columns),
        *sentences.failures(comparison),
    ]
    # two spaces at the end of a line are Markdown's line break
    lines += ["", *(f"{escaped(note)}  " for note in notes)]
    if said := sentences.verdict(comparison):
        lines += ["", f"**{escaped(said)}**"]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, kind: Kind) -> str:
    text = escaped(cell.text)
    if cell.tone == Tone.BEST or (cell.tone == Tone.FAILED and kind == Kind.WORDS):
        text = f"**{text}**"
    detail = f"({cell.detail})" if cell.detail and kind == Kind.FIGURE else cell.detail
    return f"{text} {detail}".rstrip()


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for character in "\\`*_|<>":
        text = text.replace(character, f"\\{character}")
    return text
