"""``alloclab run``: a program on an allocator, and what its processes say of their heaps."""

from __future__ import annotations

from io import StringIO
from json import dumps
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from alloclab.commands._options import allocator_of, env_option, output_console, output_option
from alloclab.errors import UsageError
from alloclab.files import STDOUT, check_output, write_whole

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.run import Run

DETAILS = 1
"""So many processes are told of at length on stdout, those that mapped most; in a file all are."""
FILE_WIDTH = 160


def _check_stats(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    endings = [".txt", ".json"]
    if value is not None and Path(value).suffix not in endings and which(value) is not None:
        raise UsageError(f"--stats {value}: is a program; write --stats -- {value}, or name a file for what is told")
    if value is not None:
        check_output(value, endings)
    return value


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-a",
    "--allocator",
    "specs",
    required=True,
    multiple=True,
    metavar="SPEC",
    help="A lab allocator with tunables (fit:policy=best), system, a library's short name (libjemalloc) or its path.",
)
@env_option
@click.option(
    "--no-children",
    is_flag=True,
    help="The program alone: what it starts, or execs in its own place as env does, runs as it would without us.",
)
@click.option(
    "--stats",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE.txt|FILE.json|-]",
    callback=_check_stats,
    help="Write what each process's heap was at its exit; to stdout after all that the program writes there.",
)
@output_option("--json", ".json", "Write the same as JSON.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    specs: tuple[str, ...],
    no_children: bool,
    stats: str | None,
    json: str | None,
    command: tuple[str, ...],
    **options: Any,
) -> int:
    """Run COMMAND on an allocator, and all processes that it starts.

    The exit code is COMMAND's; 128 + n where signal n ended it. Ctrl-C and SIGTERM go to the program. With --stats or
    --json it ends with the last descendant, and each process tells of its heap as it exits: the ledger, peaks, system
    calls, sizes, what is cached. One that is killed, or calls _exit, is named. A child that is static or setuid, or
    that clears LD_PRELOAD, runs on the system's malloc.
    """
    from alloclab.run import run

    if stats == STDOUT and json == STDOUT:
        raise click.UsageError("--stats and --json cannot both go to stdout: name a file for one")
    allocator = allocator_of(specs, options)
    outputs = [output for output in (stats, json) if output is not None]
    ran = run(command, allocator, children=not no_children, stats=bool(outputs))
    for output in outputs:
        _write(output, ran, allocator, as_json=output is json or output.endswith(".json"))
    return ran.exit_code


def _write(path: str, ran: Run, allocator: Allocator, *, as_json: bool) -> None:
    from alloclab.report.processes import print_processes
    from alloclab.run import to_dict

    if as_json:
        text = f"{dumps(to_dict(allocator, ran), indent=2)}\n"
    else:
        console = output_console() if path == STDOUT else Console(file=StringIO(), width=FILE_WIDTH, emoji=False)
        with console.capture() as captured:
            print_processes(ran, allocator, console, details=DETAILS if path == STDOUT else None)
        text = captured.get()
    if path == STDOUT:
        click.echo(text, nl=False)
    else:
        write_whole(path, text.encode())
