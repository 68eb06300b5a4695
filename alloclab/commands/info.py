"""``alloclab info``: what is in a trace."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alloclab.commands._options import json_flag, output_console
from alloclab.errors import TraceError
from alloclab.report.columns import say_bytes
from alloclab.trace import load
from alloclab.trace.model import Metadata
from alloclab.trace.stats import Class, Peak, Size, Spread, Stats, summarize
from alloclab.trace.validate import Problems, validate

THREADS = 10
MEMORY = ("Rss", "Pss", "Private_Clean", "Private_Dirty", "Anonymous", "AnonHugePages", "Swap", "Locked")
LONGEST_COMMAND = 200
CONTROL = dict.fromkeys(range(32), " ")


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@json_flag
def command(trace: Path, as_json: bool) -> None:
    """Say what is in TRACE.

    Operations, sizes, lifetimes, survivors, peak, threads, reallocs. TRACE is Parquet or any format that `alloclab
    import` knows. A trace that contradicts itself gets its problems listed, with their rows, and exit code 3.

    \b
    Words:
      operation     a call: every row but thread starts and exits
      birth         a malloc, calloc, aligned call or realloc(NULL, n) that succeeded
      death         free(p) or realloc(p, 0)
      live bytes    sum of the sizes asked for of live blocks
      peak          most live bytes, after the operation that first reaches it
      lifetime      operations (or time) from a block's birth to its death
      age           of a survivor: operations from its birth to the end
      cross-thread  a death in another thread than the birth
      growth        of a realloc that enlarges: new size / old size
      chain         the reallocs of one block

    Size classes are powers of two. Percentiles are exact below 64, and at most 1/32 too low above.
    """
    source = load(trace)
    problems = validate(source)
    stats = None if problems else summarize(source)
    if as_json:
        click.echo(json.dumps(_to_json(trace, len(source), source.metadata, problems, stats), indent=2))
    else:
        console = output_console()
        _print_metadata(console, source.name, source.metadata)
        if stats is not None:
            _print_stats(console, stats, _whole(source.metadata).get("thread_names", {}))
        for problem in problems:
            console.print(f"  {problem}", markup=False, soft_wrap=True)
    if problems:
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in problems.counts.items())
        raise TraceError(f"{trace}: invalid trace, {problems.total} problems: {kinds}; first {problems[0]}")


def _to_json(path: Path, events: int, metadata: Metadata, problems: Problems, stats: Stats | None) -> dict[str, object]:
    """The figures of :class:`Stats` stand at the top, by their names; they are not there for an invalid trace."""
    return {
        "schema": 1,
        "trace": str(path),
        "events": events,
        "metadata": dataclasses.asdict(metadata),
        "valid": not problems,
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "problem_counts": problems.counts,
        **({} if stats is None else stats.to_json()),
    }


def _time(ns: int) -> str:
    value, units = float(ns), ["ns", "us", "ms", "s"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_COMMAND else line[:LONGEST_COMMAND] + " ..."


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


class Section:
    """A heading and a table below it: the first column left, figures right."""

    def __init__(self, title: str, *columns: str) -> None:
        self.title = title
        self.columns = columns
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def print(self, console: Console) -> None:
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
        for i, column in enumerate(self.columns):
            # on a narrow terminal cells fold: no digit is ever cut off
            table.add_column(column, justify="right" if i else "left", no_wrap=i == 0, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        console.print()
        console.print(self.title, style="bold", soft_wrap=True)
        if self.rows:
            console.print(table)


def _print_metadata(console: Console, name: str, metadata: Metadata) -> None:
    console.print(name, style="bold", markup=False)
    facts = {
        "program": metadata.program,
        "command": _one_line(shlex.join(metadata.command)),
        "ended": metadata.ended,
        "recorded on": metadata.allocator,
        "source": metadata.source,
        "clock": _clock(metadata),
        "stopped": _whole(metadata).get("stopped", ""),
        "dropped": ", ".join(f"{count:,} {reason}" for reason, count in metadata.dropped.items()),
    }
    memory = _whole(metadata).get("memory_at_exit", {})
    facts["at exit"] = ", ".join(f"{name} {say_bytes(memory[name])}" for name in MEMORY if memory.get(name))
    if "cut" in metadata.extra:
        part = metadata.extra["cut"]
        facts["cut"] = f"rows {part['from']:,} to {part['to']:,} of {part['of']}"
    for word, fact in facts.items():
        if fact:
            console.print(f"  {word:12} {fact}", markup=False, soft_wrap=True)
    console.print()


def _whole(metadata: Metadata) -> dict[str, Any]:
    """What the source knew of the whole trace, were this a part of it."""
    extra = metadata.extra
    while "whole" in extra:
        extra = extra["whole"]
    return extra


def _clock(metadata: Metadata) -> str:
    resolution = metadata.clock_resolution_ns
    return metadata.clock if resolution is None else f"{metadata.clock} (resolution {_time(resolution)})"


def _print_stats(console: Console, stats: Stats, names: dict[str, str]) -> None:
    for line in _summary(stats):
        console.print(line, soft_wrap=True)
    sections = [_operations(stats), _sizes(stats), _lifetimes(stats), _top_sizes(stats), _threads(stats, names)]
    if stats.reallocs.chains.count:
        sections += [_growth(stats), _chains(stats)]
    for section in sections:
        section.print(console)


def _summary(stats: Stats) -> list[str]:
    lines = [
        f"{stats.events:,} events, {stats.operations:,} operations; {stats.births:,} blocks asked for "
        f"{say_bytes(stats.born_bytes)}, {stats.distinct_sizes:,} different sizes",
        _peak_line(stats.peak, stats.most_blocks),
        f"Survivors {stats.survivor_bytes:,} bytes ({say_bytes(stats.survivor_bytes)}) in {stats.survivors:,} blocks",
        f"Deaths    {stats.deaths:,}, cross-thread {stats.cross_deaths:,} "
        f"({_share(stats.cross_deaths, stats.deaths)}); threads {len(stats.threads):,}",
        f"Lifetimes {_percentiles(stats.lifetimes)} operations",
    ]
    if stats.lifetimes_ns is not None:
        lines.append(f"          {_percentiles(stats.lifetimes_ns, timed=True)}")
    if stats.clock is not None:
        clock = stats.clock
        back = f"; steps back {clock.steps_back:,}, at most {_time(clock.largest_ns)}" if clock.steps_back else ""
        lines.append(f"Time      {_time(clock.last_ns - clock.first_ns)}{back}")
    return lines


def _peak_line(peak: Peak, most_blocks: int) -> str:
    when = "" if peak.time_ns is None else f", {_time(peak.time_ns)}"
    return (
        f"Peak live {peak.bytes:,} bytes ({say_bytes(peak.bytes)}) in {peak.blocks:,} blocks after operation "
        f"{peak.operation:,} ({100 * peak.share:.1f} %{when}); most blocks {most_blocks:,}"
    )


def _percentiles(spread: Spread, timed: bool = False) -> str:
    def say(value: int) -> str:
        return _time(value) if timed else f"{value:,}"

    if not spread.count:
        return "none died;"
    return f"median {say(spread.p50)}, 90 % {say(spread.p90)}, 99 % {say(spread.p99)}, longest {say(spread.max)}"


def _operations(stats: Stats) -> Section:
    section = Section("Operations", "kind", "calls", "share", "failed", "bytes asked", "mean")
    for kind, row in stats.kinds.items():
        if row.calls:
            served = row.calls - row.failed
            mean = f"{row.bytes / served:,.1f}" if served and row.bytes else ""
            asked = f"{row.bytes:,}" if row.bytes else ""
            share = "" if kind.startswith("thread") else _share(row.calls, stats.operations)
            section.add(kind, f"{row.calls:,}", share, f"{row.failed:,}" if row.failed else "", asked, mean)
    if stats.free_null:
        section.add("  free(NULL)", f"{stats.free_null:,}", _share(stats.free_null, stats.operations))
    if stats.reallocs.to_zero:
        section.add("  realloc(p, 0)", f"{stats.reallocs.to_zero:,}", _share(stats.reallocs.to_zero, stats.operations))
    return section


def _class_name(entry: Class) -> str:
    return f"{entry.low:,}" if entry.low == entry.high else f"{entry.low:,} - {entry.high:,}"


def _sizes(stats: Stats) -> Section:
    section = Section("Sizes", "bytes", "births", "share", "bytes asked", "share", "survivors", "their bytes")
    left = {entry.low: entry for entry in stats.survivors_by_size}
    born = {entry.low: entry for entry in stats.sizes}
    for low in sorted({*left, *born}):
        entry = born.get(low, Class(low, left[low].high if low in left else low, 0, 0))
        asked, there = entry.bytes or 0, left.get(low)
        section.add(
            _class_name(entry),
            f"{entry.blocks:,}",
            _share(entry.blocks, stats.births),
            f"{asked:,}",
            _share(asked, stats.born_bytes),
            f"{there.blocks:,}" if there else "",
            f"{there.bytes:,}" if there else "",
        )
    return section


def _lifetimes(stats: Stats) -> Section:
    section = Section(
        "Lifetimes of the dead, ages of survivors", "operations", "died", "share", "survivors", "their bytes"
    )
    died = {entry.low: entry for entry in stats.lifetimes.classes}
    old = {entry.low: entry for entry in stats.survivors_by_age}
    for low in sorted({*died, *old}):
        gone, there = died.get(low), old.get(low)
        entry = gone or there
        assert entry is not None
        section.add(
            _class_name(entry),
            f"{gone.blocks:,}" if gone else "",
            _share(gone.blocks, stats.deaths) if gone else "",
            f"{there.blocks:,}" if there else "",
            f"{there.bytes:,}" if there else "",
        )
    return section


def _top_sizes(stats: Stats) -> Section:
    section = Section("Top sizes", "by births", "births", "share", "by bytes", "bytes asked", "share")

    def half(size: Size, part: int, whole: int) -> list[str]:
        return [f"{size.size:,}", f"{part:,}", _share(part, whole)]

    for frequent, large in zip(stats.top_by_births, stats.top_by_bytes, strict=True):
        section.add(*half(frequent, frequent.births, stats.births), *half(large, large.bytes, stats.born_bytes))
    return section


def _threads(stats: Stats, names: dict[str, str]) -> Section:
    title = "Threads" if len(stats.threads) <= THREADS else f"Threads (the busiest {THREADS} of {len(stats.threads):,})"
    section = Section(
        title, "thread", "calls", "births", "bytes asked", "deaths", "cross-thread", "survivors", "their bytes"
    )
    for t in stats.threads[:THREADS]:
        figures = (t.calls, t.births, t.born_bytes, t.deaths, t.cross, t.left, t.left_bytes)
        name = escape(names.get(str(t.thread), "").translate(CONTROL))
        section.add(f"{t.thread} {name}".rstrip(), *(f"{figure:,}" for figure in figures))
    return section


def _growth(stats: Stats) -> Section:
    reallocs = stats.reallocs
    title = f"Reallocs: {reallocs.grows:,} grow, {reallocs.shrinks:,} shrink, {reallocs.same:,} keep the size"
    section = Section(title, "new / old size", "grows", "share")
    for name, count in reallocs.growth.items():
        if count:
            section.add(name, f"{count:,}", _share(count, reallocs.grows))
    return section


def _chains(stats: Stats) -> Section:
    chains = stats.reallocs.chains
    title = f"Realloc chains: {chains.count:,} blocks; reallocs {_percentiles(chains)}"
    section = Section(title, "object", "reallocs", "born with", "last size")
    for chain in stats.reallocs.longest[:5]:
        section.add(f"{chain.object:,}", f"{chain.reallocs:,}", f"{chain.born:,}", f"{chain.last:,}")
    return section
