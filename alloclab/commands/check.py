"""``alloclab check``: is this malloc correct?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alloclab.commands._options import output_console, output_option
from alloclab.errors import CheckError
from alloclab.files import STDOUT, write_whole


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC|LIB.so ...")
@click.option("--rules", "numbers", metavar="C08,C12,...", help="Only these rules, with commas between them.")
@click.option(
    "--seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Time that a rule has; longer means that the malloc hangs.",
)
@output_option("--json", ".json", "Write the result as JSON.")
@output_option("--markdown", ".md", "Write one table of all as Markdown.")
def command(specs: tuple[str, ...], numbers: str | None, **options: Any) -> None:
    """Try the rules of malloc, one by one, on any allocator.

    Each rule has a process of its own, into which the library is preloaded, and says in a sentence what it saw: `fail`
    where a rule is broken, `deviates` where the standards leave it open or the rule is no must, `not-applicable` where
    the library lacks what it is about, `recorded` for a figure that is not judged. Exit code 7 if a must rule fails.
    """
    from alloclab.check.conformance import chosen, conformance, to_json
    from alloclab.report.conformance import markdown, print_check, sentence

    if options["json"] == STDOUT and options["markdown"] == STDOUT:
        raise click.UsageError("--json and --markdown cannot both go to stdout: name a file for one")
    rules = chosen(numbers.split(",") if numbers is not None else [])
    written = {"json": to_json, "markdown": markdown}
    on_stdout = [name for name in written if options[name] == STDOUT]
    console = output_console()
    checks = []
    for spec in specs:
        checks.append(conformance(spec, rules, seconds=options["seconds"]))
        if not on_stdout:
            print_check(checks[-1], console)
    for name, write in written.items():
        if options[name] == STDOUT:
            click.echo(write(checks), nl=False)
        elif options[name]:
            write_whole(Path(options[name]), write(checks).encode())
            if not on_stdout:
                click.echo(f"Result: {options[name]}")
    broken = [sentence(check) for check in checks if check.broken]
    if broken:
        raise CheckError("; ".join(broken))
