"""``alloclab check``: is this malloc correct?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alloclab.allocators import resolve
from alloclab.commands._options import output_console, output_option
from alloclab.errors import CheckError, UsageError
from alloclab.files import STDOUT, output_folder, write_whole

if TYPE_CHECKING:
    from alloclab.check.conformance import Check


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
@click.option(
    "--examples", type=click.IntRange(min=0), default=0, show_default=True, help="Also search in so many examples."
)
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help="Calls of an example.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search: the same tries the same.")
@click.option(
    "--reproducers",
    metavar="FOLDER",
    help="Write there of each finding a C program that shows it, a trace, the steps.",
)
@output_option("--json", ".json", "Write the result as JSON.")
@output_option("--markdown", ".md", "Write one table of all as Markdown.")
def command(specs: tuple[str, ...], numbers: str | None, **options: Any) -> None:
    """Try the rules of malloc, one by one, on any allocator.

    Each rule has a process of its own, into which the library is preloaded, and says in a sentence what it saw: `fail`
    where a rule is broken, `deviates` where the standards leave it open or the rule is no must, `not-applicable` where
    the library lacks what it is about, `recorded` for a figure that is not judged. Exit code 7 if a must rule fails.

    With `--examples` malloc's calls are then tried in any order, in a fresh process each time, or on a heap of the
    laboratory with a look inside after every call, and what fails is told in the fewest steps that show it, with
    exit code 7, too.
    """
    from alloclab.check.again import reproducers
    from alloclab.check.conformance import chosen, conformance, to_json
    from alloclab.report.conformance import markdown, print_check, sentence

    if options["json"] == STDOUT and options["markdown"] == STDOUT:
        raise click.UsageError("--json and --markdown cannot both go to stdout: name a file for one")
    search = _search(options)
    folder = output_folder(options["reproducers"]) if options["reproducers"] is not None else None
    rules = chosen(numbers.split(",") if numbers is not None else [])
    written = {"json": to_json, "markdown": markdown}
    on_stdout = [name for name in written if options[name] == STDOUT]
    console = output_console()
    checks = []
    for spec, prefix in _prefixes(specs):
        checks.append(search(conformance(spec, rules, seconds=options["seconds"])))
        if not on_stdout:
            print_check(checks[-1], console)
        if folder is not None:
            programs = reproducers(checks[-1], folder, prefix)
            if not on_stdout:
                click.echo(f"Reproducers: {programs} C programs in {folder}")
    for name, write in written.items():
        if options[name] == STDOUT:
            click.echo(write(checks), nl=False)
        elif options[name]:
            write_whole(Path(options[name]), write(checks).encode())
            if not on_stdout:
                click.echo(f"Result: {options[name]}")
    broken = [sentence(check) for check in checks if check.broken]
    broken += [
        f"{check.allocator}: the search found {len(check.failures)} failures" for check in checks if check.failures
    ]
    if broken:
        raise CheckError("; ".join(broken))


def _prefixes(specs: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each spec, and what the files of its reproducers begin with. UsageError, before any work, for one of none."""
    names = [resolve(spec).name for spec in specs]
    numbers = [f"-{i}" if names.count(name) > 1 else "" for i, name in enumerate(names, 1)]
    return [(spec, name + number) for spec, name, number in zip(specs, names, numbers, strict=True)]


def _search(options: dict[str, Any]) -> Callable[[Check], Check]:
    """What adds to a check what the property search finds, if one is wanted."""
    if not options["examples"]:
        return lambda check: check
    try:
        from alloclab.check.search import failures
    except ModuleNotFoundError as missing:
        raise UsageError(f"--examples needs {missing.name}: pip install 'alloclab[check]'") from None
    budget = {name: options[name] for name in ("examples", "steps", "seed")}

    def add(check: Check) -> Check:
        found = tuple(failures(resolve(check.allocator), **budget))
        return replace(check, failures=found, examples=budget["examples"])

    return add
