"""What a search for the worst found, beside what is known."""

from __future__ import annotations

import json

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.allocators import format_bytes
from alloclab.check.bounds import Bound
from alloclab.check.worst import Worst
from alloclab.machine import describe
from alloclab.report.columns import say
from alloclab.result import Value

SCHEMA = 1


def print_worst(worst: Worst, replayed: Value, bounds: list[Bound], console: Console) -> None:
    """Print the figure beside the bounds, and what the program does. ``replayed``: the figure of the trace in a process
    of its own."""
    limits, name = worst.limits, worst.metric.name
    unit = "" if worst.value.unit in ("ratio", "share", "bytes") else f" {worst.value.unit}"
    head = f"{worst.allocator.spec}: {name} is {say(worst.value)}{unit} after {len(worst.events)} operations"
    console.print(Text(head, style="bold cyan"))
    sizes = f"blocks of {format_bytes(limits.least)} to {format_bytes(limits.most)}"
    console.print(Text(f"{worst.metric.help} {format_bytes(limits.live)} live at most, {sizes}.", style="dim"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(name, justify="right", no_wrap=True)
    table.add_column("of", overflow="fold")
    table.add_column("source", overflow="fold")
    tried = f"example {worst.found_at:,} of {worst.tried:,}, seed {worst.seed}"
    table.add_row(Text(say(worst.value), style="bold"), "the worst that was found", tried)
    table.add_row(say(worst.plain), "as many bytes, allocated and kept", "measured")
    for bound in bounds:
        table.add_row(f"{bound.kind} {bound.ratio:.2f}", bound.of, Text(bound.source, style="dim"))
    console.print(table)
    console.print(Text(_above(worst, bounds), style="dim"))
    for line in worst.story:
        console.print(Text(f"  {line}"))
    if replayed.value != worst.value.value:
        console.print(Text(f"Replayed in a process of its own: {say(replayed)}.", style="yellow"))


def _above(worst: Worst, bounds: list[Bound]) -> str:
    if not bounds:
        return f"No bound of {worst.metric.name} is known to us."
    words = worst.limits.live // worst.limits.least
    n = worst.limits.most // worst.limits.least
    counted = f"M = {words:,} and n = {n:,} words of the least block"
    model = f"Bounds of what an adversary can bring it to: {counted}, no headers, no pages, any number of operations."
    above = any(bound.kind == "at most" for bound in bounds)
    return model if above else f"{model} None from above is known to us for this allocator."


def to_json(worst: Worst, replayed: Value, bounds: list[Bound], trace: str) -> str:
    """The document as text, ending in a newline."""
    document = {
        "schema": SCHEMA,
        "machine": describe({worst.allocator.spec: worst.allocator.preload}),
        **worst.facts(),
        "replayed": replayed.value,
        "bounds": [vars(bound) for bound in bounds],
        "trace": trace,
    }
    return json.dumps(document, indent=1) + "\n"
