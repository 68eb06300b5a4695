"""The command ``alloclab``: finds the subcommands, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

import alloclab.commands
from alloclab.errors import AlloclabError


class Commands(click.Group):
    """Every module of :mod:`alloclab.commands` is a subcommand of its own name, imported only when asked for.

    A module NAME has a click command ``command``; a trailing underscore in NAME is dropped (``import_``).
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name.rstrip("_") for m in pkgutil.iter_modules(alloclab.commands.__path__))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        modules = {m.name.rstrip("_"): m.name for m in pkgutil.iter_modules(alloclab.commands.__path__)}
        if name not in modules:
            return None
        command = importlib.import_module(f"alloclab.commands.{modules[name]}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show a traceback for errors.")
@click.version_option(package_name="alloclab")
@click.pass_context
def alloclab_command(ctx: click.Context, debug: bool) -> None:
    """Record a program's heap traffic, replay it on any allocator, see where every byte went."""
    ctx.obj = {"debug": debug}


def main() -> None:
    """Entry point."""
    debug = "--debug" in sys.argv[1:2]
    try:
        status = alloclab_command(prog_name="alloclab", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("alloclab: interrupted", file=sys.stderr)
        sys.exit(130)
    except (AlloclabError, OSError) as error:
        if debug:
            raise
        print(f"alloclab: {error}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, AlloclabError) else 1)
