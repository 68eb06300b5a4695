"""``alloclab replay``: one trace on one allocator, with all its measures."""

from __future__ import annotations

from typing import Any

import click

from alloclab.commands._options import (
    output_console,
    output_option,
    progress_bar,
    raise_failures,
    running_options,
    running_settings,
)
from alloclab.files import STDOUT


@click.command()
@click.argument("trace")
@click.option("-a", "--allocator", "specs", required=True, multiple=True, metavar="SPEC", help="As in `compare`.")
@running_options
@output_option("--json", ".json", "Write all figures as JSON.")
def command(trace: str, specs: tuple[str, ...], **options: Any) -> None:
    """Print every measure of a trace on one allocator.

    Each with what it means. Allocator and trace are named as in `alloclab compare`.
    """
    if len(specs) > 1:
        raise click.UsageError("replay takes one allocator; `alloclab compare` takes several")
    from alloclab import result
    from alloclab.comparison.run import compare
    from alloclab.report.measures import print_measures

    with progress_bar() as progress:
        comparison = compare(trace, specs, progress=progress, **running_settings(options))
    if options["json"] == STDOUT:
        click.echo(result.to_json(comparison), nl=False)
    else:
        if options["json"]:
            result.save(comparison, options["json"])
        print_measures(comparison, output_console())
        if options["json"]:
            click.echo(f"Figures: {options['json']}")
    raise_failures(comparison)
