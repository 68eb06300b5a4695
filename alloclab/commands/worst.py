"""``alloclab worst``: how bad can it get?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from alloclab.allocators import parse_bytes, resolve
from alloclab.commands._options import output_console, output_option, progress_bar
from alloclab.errors import UsageError
from alloclab.files import STDOUT, check_output, write_whole


@click.command()
@click.option("-a", "--allocator", "specs", required=True, multiple=True, metavar="SPEC", help="A lab allocator.")
@click.option(
    "--measure",
    default="fragmentation",
    show_default=True,
    help="What to drive as far as it goes: fragmentation (fragmentation_4), moves, calls, or any of `alloclab list`.",
)
@click.option(
    "--operations", type=click.IntRange(min=1), default=200, show_default=True, help="A trace has no more than these."
)
@click.option("--live", default="512KiB", show_default=True, metavar="BYTES", help="Live at a time, and once at least.")
@click.option(
    "--sizes",
    default="4KiB..120KiB",
    show_default=True,
    metavar="LEAST..MOST",
    help="Of blocks; they are multiples of the least.",
)
@click.option("--reallocs", is_flag=True, help="With realloc, too; measures of reallocs imply it.")
@click.option("--examples", type=click.IntRange(min=1), default=3000, show_default=True, help="Traces to try.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Or as many as this time is enough for.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="The same finds the same trace, with the same install, unless --seconds ends the search.",
)
@click.option(
    "-o", "--output", default="worst.parquet", show_default=True, metavar="TRACE", help="The trace that was found."
)
@output_option("--json", ".json", "Write what was found as JSON.")
def command(specs: tuple[str, ...], **options: Any) -> None:
    """Search for a short trace on which an allocator does as badly as can be.

    Traces are tried on a lab allocator's heap in this process, and Hypothesis climbs from those that are worst. What it
    finds is shown beside the bounds that are known, and `alloclab replay` measures the trace again.
    """
    if len(specs) > 1:
        raise click.UsageError("worst takes one allocator: what is worst for one is not for others")
    try:
        from alloclab.check.worst import Budget, replayed, search
        from alloclab.commands._hypothesis import nothing_left_behind
    except ModuleNotFoundError as missing:
        raise UsageError(f"worst needs {missing.name}: pip install 'alloclab[check]'") from None
    from alloclab.check.bounds import bounds
    from alloclab.check.program import Limits
    from alloclab.report.worst import print_worst, to_json

    if options["output"] == STDOUT:
        raise click.UsageError("a trace does not go to stdout: name a file for it")
    check_output(options["output"], [".parquet"])
    allocator = resolve(specs[0])
    limits = Limits(options["operations"], parse_bytes(options["live"]), *_sizes(options["sizes"]))
    budget = Budget(options["examples"], options["seconds"], options["seed"])
    with nothing_left_behind(), progress_bar() as progress:
        worst = search(allocator, limits, options["measure"], budget, reallocs=options["reallocs"], progress=progress)
    trace = worst.save(options["output"])
    value = replayed(worst, trace)
    known = bounds(allocator, limits, worst.metric.name, reallocs=worst.reallocs)
    text = to_json(worst, value, known, options["output"])
    if options["json"] == STDOUT:
        click.echo(text, nl=False)
        return
    print_worst(worst, value, known, output_console())
    if options["json"]:
        write_whole(Path(options["json"]), text.encode())
        click.echo(f"Result: {options['json']}")
    click.echo(f"Trace: {options['output']}")
    click.echo(f"Next: alloclab replay {shlex.quote(options['output'])} -a {shlex.quote(allocator.spec)}")


def _sizes(text: str) -> tuple[int, int]:
    least, dots, most = text.partition("..")
    if not dots:
        raise UsageError(f"--sizes: found {text!r}, expected LEAST..MOST such as 4KiB..64KiB")
    return parse_bytes(least), parse_bytes(most)
