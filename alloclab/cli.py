"""The command ``alloclab``: finds the subcommands, and turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import signal
import sys
import threading
from typing import Any, NoReturn

import click

import alloclab.commands
from alloclab.errors import AlloclabError

INTERRUPTED = 130
TERMINATED = 128 + signal.SIGTERM


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM. Like Ctrl-C, and unlike SystemExit, nobody on the way out takes it for a failure of a test."""


class Commands(click.Group):
    """Every module of :mod:`alloclab.commands` is a subcommand of its own name, imported only when asked for.

    A module NAME has a click command ``command``; a trailing underscore in NAME is dropped (``import_``).
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_modules())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        module = _modules().get(name)
        if module is None:
            return None
        command = importlib.import_module(f"alloclab.commands.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _modules() -> dict[str, str]:
    """Command -> module. A leading underscore marks what commands share."""
    names = [m.name for m in pkgutil.iter_modules(alloclab.commands.__path__)]
    return {name.rstrip("_"): name for name in names if not name.startswith("_")}


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show a traceback for errors.")
@click.version_option(package_name="alloclab")
@click.pass_context
def alloclab_command(ctx: click.Context, debug: bool) -> None:
    """Record a program's heap traffic, replay it on any allocator, see where every byte went."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point. SIGTERM ends the command as Ctrl-C does: children end, unfinished and temporary files go."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _raise_again
    sys.exit(run(sys.argv[1:]))


def _terminate(number: int, frame: object) -> NoReturn:
    raise _TerminatedError


def _raise_again(lost: Any) -> None:
    """In a callback of the garbage collector, as Hypothesis has one, Python drops what a signal raises: the signal
    comes again once that is over."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(lost.exc_value, _TerminatedError) else signal.SIGINT
        with contextlib.suppress(RuntimeError):  # no thread begins any more: the process ends anyway
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(lost)


def run(arguments: list[str]) -> int:
    """Run the command line; returns its exit code. Errors are one line on stderr."""
    debug = False
    try:
        with alloclab_command.make_context("alloclab", arguments) as context:
            debug = context.params["debug"]
            status = alloclab_command.invoke(context)
            if sys.stdout is not None:  # None where it was closed before we began
                sys.stdout.flush()
            return status if isinstance(status, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(_with_help(error), error.exit_code)
    except _TerminatedError:
        return TERMINATED
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _leave_broken_pipe()
    except (AlloclabError, OSError, MemoryError) as error:
        if debug:
            raise
        return _fail(_one_line(error), error.exit_code if isinstance(error, AlloclabError) else 1)


def _fail(message: str, exit_code: int) -> int:
    print(f"alloclab: {message}", file=sys.stderr)
    return exit_code


def _with_help(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message.rstrip('.')} (see {context.command_path} --help)" if context else message


def _one_line(error: Exception) -> str:
    """``No space left on device: FILE`` for the system's errors; the message of ours."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _leave_broken_pipe() -> int:
    """Whoever read our output has gone, which is no error of ours; keep the interpreter from flushing into the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
