"""What was measured of scaling, as a table for the terminal and as Markdown: a block for each workload."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from scaling.runs import Measured

from alloclab.comparison.statistics import ENOUGH_ROUNDS, Ratio, paired_ratio, times
from alloclab.machine import one_line
from alloclab.report.columns import ABSENT, labels, say_bytes, say_count
from alloclab.report.grid import Cell, Tone
from alloclab.result import FLOOR

_STYLE = {Tone.BEST: "bold green", Tone.FASTER: "green", Tone.SLOWER: "red", Tone.FAILED: "bold red", Tone.ASIDE: "dim"}
_WIDE_ENOUGH = 10_000


def headings(measured: Measured) -> list[str]:
    counted = [f"{n} thread{'s' * (n > 1)}" for n in measured.plan.threads]
    return ["allocator", *counted, *(f"eff. {n}" for n in _several(measured)), f"peak, {measured.plan.threads[-1]}"]


def rows(measured: Measured, workload: str) -> list[list[Cell]]:
    """A row for each allocator; the first one's has operations a second, the others' have ratios to it."""
    plan = measured.plan
    names = labels(plan.specs)
    best = {n: _best(measured, workload, n) for n in plan.threads}
    found = []
    for spec in (*plan.specs, FLOOR):
        aside = Tone.ASIDE if spec == FLOOR else Tone.PLAIN
        cells = [Cell(names.get(spec, spec), aside)]
        cells += [_throughput(measured, workload, spec, n, spec in best[n]) for n in plan.threads]
        cells += [_efficiency(measured, workload, spec, n) for n in _several(measured)]
        cells.append(_peak(measured, workload, spec))
        found.append(cells)
    return found


def _several(measured: Measured) -> list[int]:
    """Numbers of threads of which efficiency is told: as many as cores, and the most."""
    threads = measured.plan.threads
    if threads[0] != 1:
        return []
    return sorted({n for n in (measured.machine["cores"], threads[-1]) if n in threads and n > 1})


def _throughput(measured: Measured, workload: str, spec: str, threads: int, winner: bool) -> Cell:
    if (workload, spec, threads) in measured.failures:
        return Cell("FAILED", Tone.FAILED)
    if spec == measured.plan.specs[0]:
        said = say_count(statistics.median(measured.throughput(workload, spec, threads)))
        return Cell(f"{said}/s", Tone.BEST if winner else Tone.PLAIN)
    ratio = measured.ratio(workload, spec, threads)
    if ratio is None:
        return Cell(ABSENT)
    return Cell(times(ratio.value), Tone.BEST if winner else _tone(spec, ratio), _interval(ratio))


def _tone(spec: str, ratio: Ratio) -> Tone:
    if spec == FLOOR:
        return Tone.ASIDE
    return Tone.PLAIN if not ratio.differs else Tone.FASTER if ratio.value > 1 else Tone.SLOWER


def _interval(ratio: Ratio) -> str:
    return "" if ratio.low is None or ratio.high is None else f"{ratio.low:.2f}-{ratio.high:.2f}"


def _best(measured: Measured, workload: str, threads: int) -> set[str]:
    """All that are not told apart from the fastest, unless they all are; the floor does not compete."""
    found = {spec: measured.throughput(workload, spec, threads) for spec in measured.plan.specs}
    rivals = {spec: rounds for spec, rounds in found.items() if rounds}
    if len(rivals) < 2:
        return set()
    leader = max(rivals.values(), key=statistics.median)
    compared = {spec: paired_ratio(rounds, leader) for spec, rounds in rivals.items()}
    winners = {spec for spec, ratio in compared.items() if ratio is not None and not ratio.differs}
    return winners if len(winners) < len(rivals) else set()


def _efficiency(measured: Measured, workload: str, spec: str, threads: int) -> Cell:
    share = measured.efficiency(workload, spec, threads)
    return Cell(ABSENT if share is None else f"{share:.0%}", Tone.ASIDE if spec == FLOOR else Tone.PLAIN)


def _peak(measured: Measured, workload: str, spec: str) -> Cell:
    peak = measured.peak(workload, spec, measured.plan.threads[-1])
    first = measured.peak(workload, measured.plan.specs[0], measured.plan.threads[-1])
    if peak is None or spec == FLOOR:
        return Cell(ABSENT, Tone.ASIDE if spec == FLOOR else Tone.PLAIN)
    return Cell(say_bytes(peak), detail=times(peak / first) if first else "")


# --- the terminal ---


def print_table(measured: Measured, console: Console) -> None:
    """Where the terminal is narrow, without intervals."""
    limits = console.options.update(max_width=_WIDE_ENOUGH)
    fits = Measurement.get(console, limits, _table(measured, True)).maximum <= console.width
    console.print(_table(measured, fits))
    if not fits:
        console.print(Text("Left out for width: intervals.", style="dim"))
    for line in notes(measured, "*"):
        console.print(Text(line, style="dim"))


def _table(measured: Measured, with_intervals: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    titles = headings(measured)
    for title in titles:
        table.add_column(title, justify="left" if title == titles[0] else "right", no_wrap=True)
    for workload in measured.plan.workloads:
        table.add_row(Text(workload, style="bold cyan"))
        found = rows(measured, workload)
        for row in found:
            name, *others = row
            last = len(others) - 1
            cells = [_text(cell, with_intervals or i == last) for i, cell in enumerate(others)]
            table.add_row(Text(f"  {name.text}", style=_STYLE.get(name.tone, "")), *cells, end_section=row is found[-1])
    return table


def _text(cell: Cell, with_detail: bool) -> Text:
    text = Text(("*" if cell.tone == Tone.BEST else "") + cell.text, style=_STYLE.get(cell.tone, ""))
    return text.append(f" {cell.detail}", style="not bold dim") if with_detail and cell.detail else text


def notes(measured: Measured, best: str) -> list[str]:
    plan, cores = measured.plan, measured.machine["cores"]
    first = labels(plan.specs)[plan.specs[0]]
    few = "" if plan.rounds >= ENOUGH_ROUNDS else ", of which there are too few"
    return [
        f"Operations a second of {first}; of the others: times that of {first} with as many threads, median of "
        f"{plan.rounds} interleaved rounds with its 95 % interval{few}; {best}: not told apart from the best.",
        f"eff.: throughput to its own with one thread, of what {cores} cores could give at most; peak: resident, "
        f"with {plan.threads[-1]} threads, and times {first}'s; {FLOOR}: the workload without a malloc.",
        f"Every thread does the same work, {plan.percent} % of the usual; the clock's time. "
        f"{one_line(measured.machine)}.",
    ]


def failures(measured: Measured) -> list[str]:
    return [
        f"{workload}, {spec}, {threads} thread{'s' * (threads > 1)}: {why}"
        for (workload, spec, threads), why in measured.failures.items()
    ]


# --- Markdown ---


def markdown(measured: Measured) -> str:
    titles = headings(measured)
    lines = []
    for workload in measured.plan.workloads:
        lines += [f"### {workload}", "", _line(titles), _line([":--", *["--:"] * (len(titles) - 1)])]
        lines += [_line([_words(cell) for cell in row]) for row in rows(measured, workload)]
        lines.append("")
    lines += [f"{note}  " for note in (*notes(measured, "bold"), *failures(measured))]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(cell: Cell) -> str:
    said = f"**{cell.text}**" if cell.tone in (Tone.BEST, Tone.FAILED) else cell.text
    return f"{said} ({cell.detail})" if cell.detail else said
