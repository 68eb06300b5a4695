"""``alloclab check``: is this malloc correct?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alloclab.allocators import resolve
from alloclab.commands._options import output_console, output_option
from alloclab.errors import CheckError, ReplayError, UsageError
from alloclab.files import STDOUT, output_folder, write_whole

if TYPE_CHECKING:
    from alloclab.check.conformance import Check, Searched
    from alloclab.check.steps import Failure

EXAMPLES = 100
"""Of the search, unless the caller says otherwise: as many as the pytest plugin's."""


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC|LIB.so ...")
@click.option("--rules", "numbers", metavar="C08,C12,...", help="Only these rules, with commas between them.")
@click.option(
    "--seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Time that a rule has, and up to 20 a call of the search; longer means that the malloc hangs.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    show_default=f"{EXAMPLES}; with --rules 0",
    help="Then search in so many examples; 0: do not.",
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

    Then malloc's calls are tried in any order, in a fresh process each time, or on a heap of the laboratory with a look
    inside after every call, and what fails is told in the fewest steps that show it, with exit code 7, too. This search
    takes longer than the rules; where it cannot be made, a line says why, which is an error only with `--examples`. It
    needs Hypothesis: pip install 'alloclab[check]'.
    """
    from alloclab.check.again import reproducers
    from alloclab.check.conformance import chosen, conformance, to_json
    from alloclab.report.conformance import found, markdown, print_check, print_search, print_start, sentence

    if options["json"] == STDOUT and options["markdown"] == STDOUT:
        raise click.UsageError("--json and --markdown cannot both go to stdout: name a file for one")
    budget, left_out = _budget(options, named=numbers is not None)
    folder = output_folder(options["reproducers"]) if options["reproducers"] is not None else None
    rules = chosen(numbers.split(",") if numbers is not None else [])
    written = {"json": to_json, "markdown": markdown}
    on_stdout = [name for name in written if options[name] == STDOUT]
    console = output_console()
    console.quiet = bool(on_stdout)
    checks: list[Check] = []
    troubles: list[str] = []
    for spec, prefix in _prefixes(specs):
        try:
            check = conformance(spec, rules, seconds=options["seconds"])
        except ReplayError as trouble:
            troubles.append(str(trouble))
            continue
        print_check(check, console)
        if budget is not None:
            print_start(budget["examples"], console)
            searched = _searched(check, budget, options["seconds"])
            check = replace(check, search=searched)
            print_search(check.allocator, searched, console)
            if searched.trouble and options["examples"] is not None:
                troubles.append(f"{check.allocator}: {searched.trouble}")
        checks.append(check)
        if folder is not None:
            programs = reproducers(check, folder, prefix)
            console.out(f"Reproducers: {programs} C programs in {folder}")
    if checks and left_out:
        console.print(f"No search for failures: {left_out}", style="dim", markup=False, soft_wrap=True)
    for name, write in written.items() if checks else ():
        if options[name] == STDOUT:
            click.echo(write(checks), nl=False)
        elif options[name]:
            write_whole(Path(options[name]), write(checks).encode())
            console.out(f"Result: {options[name]}")
    broken = [sentence(check) for check in checks if check.broken]
    broken += [f"{check.allocator}: {found(check.search)}" for check in checks if check.search and check.failures]
    if broken:
        raise CheckError("; ".join([*broken, *troubles]))
    if troubles:
        raise ReplayError("; ".join(troubles))


def _prefixes(specs: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each spec, and what the files of its reproducers begin with. UsageError, before any work, for one of none."""
    names = [resolve(spec).name for spec in specs]
    numbers = [f"-{i}" if names.count(name) > 1 else "" for i, name in enumerate(names, 1)]
    return [(spec, name + number) for spec, name, number in zip(specs, names, numbers, strict=True)]


def _budget(options: dict[str, Any], *, named: bool) -> tuple[dict[str, Any] | None, str]:
    """Of the property search; of none None and, where nobody said that there be none, how to have one."""
    examples = options["examples"]
    if examples == 0:
        return None, ""
    if examples is None and named:
        return None, f"--examples {EXAMPLES} tries the calls in any order, too"
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError:
        how = "needs hypothesis: pip install 'alloclab[check]'"
        if examples is None:
            return None, f"it {how}"
        raise UsageError(f"--examples {how}") from None
    return {"examples": examples or EXAMPLES, "steps": options["steps"], "seed": options["seed"]}, ""


def _searched(check: Check, budget: dict[str, Any], seconds: int) -> Searched:
    from alloclab.check.conformance import Searched
    from alloclab.check.search import failures
    from alloclab.check.subject import SECONDS
    from alloclab.commands._hypothesis import nothing_left_behind

    found: list[Failure] = []
    why = ""
    try:
        with nothing_left_behind():
            found.extend(failures(resolve(check.allocator), **budget, seconds=min(SECONDS, seconds)))
    except ReplayError as trouble:
        why = str(trouble).removeprefix(f"{check.allocator}: ")
    return Searched(**budget, failures=tuple(found), trouble=why)
