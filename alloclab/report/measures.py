"""Every measure of one trace on one allocator, each with its definition."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.measure import METRICS
from alloclab.report import sentences
from alloclab.report.columns import ABSENT
from alloclab.result import FLOOR, Comparison, Value


def print_measures(comparison: Comparison, console: Console) -> None:
    """Print the first competitor's figures in full digits; where one is null, the reason instead of its definition."""
    result = next(r for r in comparison.results if r.allocator != FLOOR)
    floor = comparison.find(result.trace, FLOOR)
    console.print(Text(f"{result.trace} on {result.allocator}: {result.ops:,} operations", style="bold cyan"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True, style="dim")
    table.add_column("what it is", overflow="fold")
    for name, metric in METRICS.items():
        value = result.metrics[name]
        if value.value is None:
            table.add_row(name, ABSENT, value.unit, Text(f"not measured: {value.reason}", style="dim"))
        else:
            table.add_row(name, _in_full(value), value.unit, Text(metric.help))
    if result.failure is None:
        console.print(table)
    if floor is not None and (ns := floor.metrics["ns_per_op"]).value is not None:
        console.print(Text(f"Of ns_per_op the replay loop itself takes about {ns.value:.1f}.", style="dim"))
    for line in (sentences.method(comparison), sentences.machine_line(comparison)):
        console.print(Text(line, style="dim"))
    for line in sentences.failures(comparison):
        console.print(Text(line, style="bold red"))


def _in_full(value: Value) -> str:
    bounded = value.low is not None and value.high is not None
    digits = 0 if isinstance(value.value, int) or value.unit == "ops/s" else 2 if bounded else 3
    interval = f" [{value.low:,.{digits}f}-{value.high:,.{digits}f}]" if bounded else ""
    return f"{value.value:,.{digits}f}{interval}"
