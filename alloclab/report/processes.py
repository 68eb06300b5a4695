"""What the processes of a run said of their heaps, for the terminal or a text file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.allocators import Allocator, lab_allocator
from alloclab.report.columns import say_bytes
from alloclab.run import Owner, Process, Run, Some, Summary

SHOWN = 20
"""Rows of the table of all processes."""
NAMED = 5
COMMAND_WIDTH, LINE_WIDTH = 28, 80
OWNERS = 4
_CONTROL = dict.fromkeys(range(32), " ")


def print_processes(ran: Run, allocator: Allocator, console: Console, details: int | None = None) -> None:
    """Print one row for each process that told of its heap, then all that the largest of them said.

    ``details``: of so many; None: of every one.
    """
    told = [(p, p.summary) for p in ran.processes if p.summary is not None]
    silent = [p for p in ran.processes if p.summary is None]
    largest = sorted(told, key=lambda each: -each[1].counters.peak_mapped)
    shown = told if details is None else sorted(largest[:SHOWN], key=lambda each: (each[0].pid, each[0].image))
    if shown:
        console.print(_overview(shown, allocator))
    if len(shown) < len(told):
        console.print(f"and {len(told) - len(shown):,} more that mapped less")
    if silent:
        console.print(_silence(silent), soft_wrap=True, markup=False)
    if not ran.processes:
        console.print("No process left a summary: the drop-in could not be loaded, or not write its files")
    for process, summary in told if details is None else largest[:details]:
        console.print()
        _print_summary(process, summary, allocator, console)
    if details is not None and len(told) > details:
        console.print("\nThe others at length: --stats FILE.txt")


def _table(*columns: str, title: str = "", left: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = Text(title, style="bold") if title else None
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def _name(process: Process, width: int = COMMAND_WIDTH) -> str:
    words = process.command or (process.program,)
    line = " ".join([Path(words[0]).name, *words[1:]]).encode(errors="backslashreplace").decode().translate(_CONTROL)
    return line if len(line) <= width else line[: width - 1] + "…"


def _overview(told: Sequence[tuple[Process, Summary]], allocator: Allocator) -> Table:
    columns = ("pid", "command", "ended", "peak mapped", "mapped", "usable", "metadata", "cached", "free", "calls")
    title = f"Heaps on {allocator.spec}: the peak, and what was there at exit"
    table = _table(*columns, title=title, left=("command", "ended"))
    for process, summary in told:
        ledger = summary.ledger
        figures = (summary.counters.peak_mapped, summary.counters.mapped)
        parts = (ledger.usable, ledger.metadata, ledger.cached, ledger.free)
        table.add_row(
            str(process.pid),
            Text(_name(process)),
            process.ended,
            *(say_bytes(figure) for figure in (*figures, *parts)),
            f"{sum(summary.counters.calls.values()):,}",
        )
    return table


def _silence(silent: Sequence[Process]) -> str:
    """Who said nothing: ``3 ended without a summary: exec 2 (sh), signal 9 1 (pid 12 worker)``."""
    ways = Counter(process.ended for process in silent)
    parts = []
    for way, count in ways.most_common():
        named = [f"{p.pid} {_name(p, 20)}" for p in silent if p.ended == way]
        more = ", …" if count > NAMED else ""
        parts.append(f"{count:,} {way} ({', '.join(named[:NAMED])}{more})")
    return f"Without a summary: {'; '.join(parts)}"


def _print_summary(process: Process, summary: Summary, allocator: Allocator, console: Console) -> None:
    begun = "forked by" if process.forked else "started by"
    title = f"{_name(process, LINE_WIDTH)}: pid {process.pid}, {begun} {process.parent}, {process.ended}"
    console.print(Text(title, style="bold cyan"), soft_wrap=True)
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(summary, allocator):
        facts.add_row(name, Text(value))
    console.print(facts)
    if summary.sizes:
        console.print(_sizes(summary))


def _facts(summary: Summary, allocator: Allocator) -> Iterator[tuple[str, str]]:
    counters, ledger = summary.counters, summary.ledger
    parts = [f"{name} {getattr(ledger, name):,}" for name in ("usable", "metadata", "cached", "free")]
    yield "mapped", f"{counters.mapped:,} = {' + '.join(parts)}"
    yield "peak", f"mapped {counters.peak_mapped:,}, reserved {counters.peak_reserved:,}, VMAs {counters.peak_vmas:,}"
    resident = "" if summary.resident is None else f", resident {summary.resident:,}"
    yield "at exit", f"reserved {counters.reserved:,}, VMAs {counters.vmas:,}{resident}, threads {summary.threads:,}"
    yield "calls", ", ".join(_call(summary, kind) for kind, count in counters.calls.items() if count) or "none"
    yield from zip(chain(["free in"], repeat("")), _kept(summary.owners), strict=False)
    yield "stats", ", ".join(f"{name} {value:,}" for name, value in summary.stats.items() if value) or "all 0"
    defaults = {tunable.name: tunable.default for tunable in lab_allocator(allocator.name).tunables}
    other = [f"{name}={value}" for name, value in summary.settings.items() if value != defaults[name]]
    yield "settings", " ".join(other) or "as by default"


def _call(summary: Summary, kind: str) -> str:
    counters = summary.counters
    failed = f", {counters.failed[kind]:,} failed" if counters.failed[kind] else ""
    return f"{kind} {counters.calls[kind]:,} ({say_bytes(counters.bytes[kind])}{failed})"


def _kept(owners: Sequence[Owner]) -> Iterator[str]:
    """One line for a kind of list: what is in them, and whose most of it is."""
    for kind in dict.fromkeys(owner.kind for owner in owners):
        rows = sorted((o for o in owners if o.kind == kind), key=lambda o: -o.kept.bytes)
        count, size = sum(o.kept.count for o in rows), sum(o.kept.bytes for o in rows)
        whose = ", ".join(f"{o.owner}: {say_bytes(o.kept.bytes)}" for o in rows[:OWNERS])
        more = ", …" if len(rows) > OWNERS else ""
        yield f"{kind} {count:,} ({say_bytes(size)})" + (f" of {len(rows):,}, {whose}{more}" if len(rows) > 1 else "")


def _sizes(summary: Summary) -> Table:
    table = _table("size up to", "live", "usable", "cached", "bytes", "free", "bytes")

    def cells(some: Some) -> tuple[str, str]:
        return (f"{some.count:,}", f"{some.bytes:,}") if some.count else ("", "")

    for size in summary.sizes:
        table.add_row(f"{size.up_to:,}", *cells(size.live), *cells(size.cached), *cells(size.free))
    return table
