"""``alloclab path``: where a drop-in library lies."""

from __future__ import annotations

import click

from alloclab.allocators import lab_allocator


@click.command()
@click.argument("name")
def command(name: str) -> None:
    """Print the file of lab allocator NAME's drop-in library.

    For a line such as:  ALLOCLAB_OPTIONS=policy=first LD_PRELOAD=$(alloclab path fit) ls -l
    """
    click.echo(lab_allocator(name).library)
