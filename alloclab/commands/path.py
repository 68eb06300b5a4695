"""``alloclab path``: where a drop-in library lies."""

from __future__ import annotations

import json

import click

from alloclab.allocators import lab_allocator
from alloclab.commands._options import json_flag


@click.command()
@click.argument("name")
@json_flag
def command(name: str, as_json: bool) -> None:
    """Print where NAME's drop-in library lies.

    NAME is an allocator of the laboratory. For a line such as:

        ALLOCLAB_OPTIONS=policy=first LD_PRELOAD=$(alloclab path fit) ls -l
    """
    library = str(lab_allocator(name).library)
    click.echo(json.dumps({"schema": 1, "allocator": name, "library": library}, indent=2) if as_json else library)
