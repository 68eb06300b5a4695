"""What several commands share: options, and what they do before and after their work."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alloclab.errors import ReplayError, UsageError
from alloclab.files import STDOUT
from alloclab.result import Comparison

if TYPE_CHECKING:
    from rich.console import Console

    from alloclab.allocators import Allocator
    from alloclab.comparison.run import Progress

PIPE_WIDTH = 120
"""Characters a line may have where the output is no terminal and COLUMNS is not set."""

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
"""Of commands whose words go to stdout; those that have a report to keep take a file (:func:`output_option`)."""

F = TypeVar("F", bound=Callable[..., Any])

env_option = click.option(
    "--env",
    nargs=2,
    multiple=True,
    metavar="SPEC NAME=VALUE",
    help="Set a variable for one allocator, such as libjemalloc MALLOC_CONF=narenas:1. Repeats.",
)
touch_option = click.option(
    "--touch",
    type=click.Choice(["page", "none"]),
    default="page",
    show_default=True,
    help="Touch a byte in every page of a block and its last byte, or nothing.",
)


def running_options(command: F) -> F:
    """How to replay: --env --in-process --threads --concurrent --memory-runs --no-thp --touch --rounds --no-time
    --instructions."""
    options = [
        env_option,
        click.option("--in-process", is_flag=True, help="Replay lab allocators inside this process; no libraries."),
        click.option(
            "--threads",
            type=click.Choice(["one", "recorded"]),
            default="one",
            show_default=True,
            help="One thread does all, or lab allocators see every recorded thread as one of its own, from its start "
            "to its exit (implies --in-process).",
        ),
        click.option(
            "--concurrent",
            is_flag=True,
            help="Every recorded thread in a thread of its own, side by side; one waits only for a block that another "
            "has yet to leave.",
        ),
        click.option(
            "--memory-runs",
            type=click.IntRange(min=1),
            help="Memory and calls are medians of so many runs: by default 1, but 5 with --concurrent, as they vary.",
        ),
        click.option("--no-thp", is_flag=True, help="Without transparent huge pages."),
        touch_option,
        click.option(
            "--rounds",
            type=click.IntRange(min=1),
            default=10,
            show_default=True,
            help="Timed rounds over all allocators. Intervals need 6, differences below 5 % need 10.",
        ),
        click.option(
            "--no-time", is_flag=True, help="Measure memory and calls only; but in concurrent replays, those repeat."
        ),
        click.option("--instructions", is_flag=True, help="Count instructions too, with callgrind (slow)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def running_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments for ``compare`` from the options of :func:`running_options`."""
    from alloclab.replay import CONCURRENT, RECORDED_THREADS, SERIAL, Settings

    recorded = options["threads"] == "recorded"
    if options["concurrent"] and recorded:
        raise click.UsageError("--concurrent and --threads recorded exclude each other: side by side, or in order")
    settings = Settings(
        mode=CONCURRENT if options["concurrent"] else RECORDED_THREADS if recorded else SERIAL,
        touch=options["touch"],
        thp=not options["no_thp"],
        in_process=options["in_process"],
        instructions=options["instructions"],
    )
    rounds = 0 if options["no_time"] else options["rounds"]
    return {"settings": settings, "rounds": rounds, "memory_runs": options["memory_runs"], "env": env_of(options)}


def env_of(options: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Spec -> variables, from --env."""
    env: dict[str, dict[str, str]] = {}
    for spec, assignment in options["env"]:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--env {spec}: found {assignment!r}, expected NAME=VALUE")
        env.setdefault(spec, {})[name] = value
    return env


def allocator_of(specs: tuple[str, ...], options: dict[str, Any]) -> Allocator:
    """The one that a program is to run on, with its variables."""
    from alloclab.allocators import resolve

    env = env_of(options)
    if len(specs) != 1:
        raise click.UsageError("a program runs on one allocator")
    [spec] = specs
    others = sorted(set(env) - {spec})
    if others:
        raise UsageError(f"--env {others[0]}: expected the allocator that the program runs on, {spec}")
    return resolve(spec, env.get(spec))


def output_option(flag: str, ending: str, help: str) -> Callable[[F], F]:
    """An option with a file's name, or ``-`` for stdout, which is also what the bare flag means."""

    def check(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        from alloclab.files import check_output

        if value is not None:
            check_output(value, [ending])
        return value

    return click.option(flag, is_flag=False, flag_value=STDOUT, metavar=f"[FILE{ending}|-]", callback=check, help=help)


def output_console() -> Console:
    """stdout; in a pipe a line may be long, for no one folds what a program reads."""
    import os

    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def next_step(trace: str | Path) -> str:
    """What to do with a new trace."""
    return f"Next: alloclab compare {shlex.quote(str(trace))} -a system -a ptmalloc -a fit"


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on stderr while it is a terminal; None elsewhere. It is gone when the work is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(
        *columns, TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def raise_failures(comparison: Comparison) -> None:
    """Raises ReplayError where an allocator failed: figures of the others stand, but the command did not do all."""
    failed = comparison.failed
    if failed:
        named = "; ".join(f"{r.trace} on {r.allocator}: {r.failure}" for r in failed)
        raise ReplayError(f"{len(failed)} of {len(comparison.results)} replays failed: {named}")
