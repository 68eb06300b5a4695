"""``alloclab fidelity``: does one allocator do exactly what another does?"""

from __future__ import annotations

from typing import Any

import click

from alloclab.commands._options import env_of, env_option, output_console, output_option, touch_option
from alloclab.errors import UsageError
from alloclab.files import STDOUT, write_whole

DIFFERENT = 1


class Bytes(click.ParamType[int]):
    """A size such as 65536 or 64KiB, not 0."""

    name = "size"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        from alloclab.allocators import parse_bytes

        try:
            size = value if isinstance(value, int) else parse_bytes(value)
        except UsageError as error:
            self.fail(str(error), parameter, context)
        return size or self.fail("found 0, expected at least 1", parameter, context)


@click.command()
@click.argument("trace")
@click.option("-a", "--allocator", "specs", required=True, multiple=True, metavar="SPEC", help="As in `compare`.")
@click.option(
    "--against",
    default="system",
    show_default=True,
    metavar="SPEC|recorded",
    help="The one it is held against, likewise; or where the trace says that its blocks lay.",
)
@env_option
@touch_option
@click.option(
    "--fail-call",
    type=click.IntRange(min=1),
    metavar="N",
    help="On both sides, fail the N-th system call for memory from the first operation on, of any kind.",
)
@click.option(
    "--limit",
    type=Bytes(),
    metavar="SIZE",
    help="On both sides, fail what would make more than so many bytes readable and writable.",
)
@output_option("--json", ".json", "Write the result as JSON.")
def command(trace: str, specs: tuple[str, ...], against: str, **options: Any) -> int:
    """Compare what two allocators do, operation by operation.

    Both replay the trace in a process of their own, where time passes as it was recorded. Where each block lies (in
    which mapping, at which offset), its usable size and the system calls of every operation are compared; the first
    difference is shown with what led to it, and where a lab allocator is among them, with what its heap had in both
    places. `--against recorded` compares where blocks lie with where they lay as `record --addresses` saw them, nothing
    else. What chance has a part in need not agree, as when jemalloc looks at the clock: dirty_decay_ms=-1 on both
    sides switches that off. Exit code 1 if they differ.
    """
    from alloclab.comparison.fidelity import fidelity
    from alloclab.replay import Settings
    from alloclab.report.fidelity import print_fidelity

    if len(specs) > 1:
        raise click.UsageError(f"-a names one of the two; name the other with --against {specs[1]}")
    found = fidelity(
        trace,
        specs[0],
        against,
        settings=Settings(touch=options["touch"]),
        fail_call=options["fail_call"] or 0,
        limit=options["limit"] or 0,
        env=env_of(options),
    )
    if options["json"] not in (None, STDOUT):
        write_whole(options["json"], found.to_json().encode())
    if options["json"] == STDOUT:
        click.echo(found.to_json(), nl=False)
    else:
        print_fidelity(found, output_console())
        if options["json"]:
            click.echo(f"Result: {options['json']}")
    return 0 if found.same else DIFFERENT
