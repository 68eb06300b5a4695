"""``alloclab cut``: a prefix or a part of a trace."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click

from alloclab.commands._options import json_flag
from alloclab.errors import UsageError
from alloclab.files import check_output
from alloclab.trace import load
from alloclab.trace.cut import cut


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--first", type=click.IntRange(min=1), metavar="N", help="The first N rows.")
@click.option("--from", "start", type=click.IntRange(min=0), metavar="A", help="Rows from A on, counted from 0.")
@click.option("--to", "stop", type=click.IntRange(min=1), metavar="B", help="Rows before B; without it, to the end.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new trace, a Parquet file.")
@json_flag
def command(trace: Path, first: int | None, start: int | None, stop: int | None, output: Path, as_json: bool) -> None:
    """Write a part of TRACE as a trace of its own.

    --first N takes a prefix, --from A --to B a part. What is live at the end of the part stays live. A part that does
    not begin at row 0 opens with one birth for every block that is live at A, with the size it has then, so that the
    heap starts in the same state. The new trace's metadata says what it was cut from.
    """
    if (first is None) == (start is None and stop is None):
        raise UsageError("cut: give either --first N or --from A and/or --to B")
    check_output(str(output), [".parquet"])
    source = load(trace)
    report = cut(source, output, start or 0, first or stop or len(source))
    if as_json:
        click.echo(json.dumps({"schema": 1, "output": str(output), **dataclasses.asdict(report)}, indent=2))
        return
    before = f", {report.born_before:,} births first for what was live" if report.born_before else ""
    click.echo(f"{output}: rows {report.start:,} to {report.stop:,} of {len(source):,}{before}: {report.rows:,} events")
    click.echo(f"Next: alloclab info {shlex.quote(str(output))}")
