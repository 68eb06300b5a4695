"""``alloclab import``: another tool's trace to Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import click

from alloclab.commands._options import json_flag, next_step, progress_bar
from alloclab.files import check_output


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: FILE's name with .parquet, here.")
@click.option("--format", "format_name", metavar="NAME", help="What FILE is, where its content does not tell.")
@click.option("--lenient", is_flag=True, help="Drop what cannot be replayed, and say how much.")
@json_flag
def command(file: Path, output: Path | None, format_name: str | None, lenient: bool, as_json: bool) -> None:
    """Turn FILE, a trace of another tool, into a Parquet trace.

    The format is told by FILE's content; `alloclab list` names those that are known. Files in gzip and zip are read as
    they are.
    """
    from alloclab.trace.importers import import_file

    out = output if output is not None else Path(_stem(file) + ".parquet")
    check_output(str(out), [".parquet"])
    with progress_bar() as progress:
        report = import_file(file, out, lenient=lenient, format=format_name, progress=progress)
    kinds = {kind: n for kind, n in report.by_kind.items() if n}
    if as_json:
        figures = {
            "schema": 1,
            "output": str(out),
            "format": report.format,
            "events": report.events,
            "by_kind": kinds,
            "births_by_realloc": report.births_by_realloc,
            "threads": report.threads,
            "live_blocks": report.live_blocks,
            "live_bytes": report.live_bytes,
            "peak_live_bytes": report.peak_live_bytes,
            "dropped": report.dropped,
        }
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(f"{out}: {report.events:,} events from {file} ({report.format})")
    click.echo("  " + ", ".join(f"{kind} {n:,}" for kind, n in kinds.items()))
    if report.births_by_realloc:
        click.echo(f"  {report.births_by_realloc:,} of the mallocs are realloc(NULL, size)")
    if report.peak_live_bytes is not None:
        click.echo(f"  peak live {report.peak_live_bytes:,} bytes, {report.threads:,} threads")
        click.echo(f"  live at the end {report.live_bytes:,} bytes in {report.live_blocks:,} blocks")
    for reason, n in report.dropped.items():
        click.echo(f"  dropped: {n:,} {reason}")
    click.echo(next_step(out))


def _stem(file: Path) -> str:
    """The name without its endings: ``x.trace.gz`` gives ``x``."""
    name = file.name
    for ending in (".gz", ".zip"):
        name = name.removesuffix(ending)
    return Path(name).stem or name
