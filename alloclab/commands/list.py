"""``alloclab list``: what there is to choose from, here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from alloclab.allocators import lab_allocators, libraries_found, resolve
from alloclab.commands._options import json_flag
from alloclab.measure import METRICS
from alloclab.trace.importers import importers


def inventory() -> dict[str, Any]:
    """The whole list, as JSON holds it."""
    return {
        "schema": 1,
        "allocators": [dataclasses.asdict(lab) | {"library": str(lab.library)} for lab in lab_allocators()],
        "system": "system",
        "libraries": {name: str(resolve(name).preload) for name in libraries_found()},
        "metrics": {m.name: {"unit": m.unit, "better": m.better, "help": m.help} for m in METRICS.values()},
        "importers": [
            {"name": i.name, "title": i.title, "extensions": list(i.extensions)} for i in importers().values()
        ],
    }


def _table(title: str, *columns: str) -> Table:
    """All columns but the last keep their words whole."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _tables(found: dict[str, Any]) -> Iterator[Table]:
    allocators = _table("Allocators", "name", "what")
    for lab in found["allocators"]:
        allocators.add_row(lab["name"], lab["summary"])
    allocators.add_row("system", "the malloc of this system's libc")
    for name, path in found["libraries"].items():
        allocators.add_row(name, path)
    yield allocators
    for lab in found["allocators"]:
        tunables = _table(f"Tunables of {lab['name']}", "name", "default", "help")
        for t in lab["tunables"]:
            tunables.add_row(t["name"], t["default"], f"{t['help']} ({t['range'].replace(' .. ', '..')})")
        yield tunables
    metrics = _table("Metrics", "name", "unit", "help")
    for name, metric in found["metrics"].items():
        metrics.add_row(name, metric["unit"], metric["help"])
    yield metrics
    formats = _table("Importers", "name", "title")
    for importer in found["importers"]:
        formats.add_row(importer["name"], importer["title"])
    yield formats


@click.command()
@json_flag
def command(as_json: bool) -> None:
    """List allocators, metrics and importers.

    Allocators with their tunables and the reference libraries found here.
    """
    found = inventory()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        console = Console()
        for table in _tables(found):
            console.print(table)
            console.print()
