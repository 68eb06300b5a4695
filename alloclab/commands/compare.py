"""``alloclab compare``: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alloclab.commands._options import (
    output_console,
    output_option,
    progress_bar,
    raise_failures,
    running_options,
    running_settings,
)
from alloclab.errors import GateError
from alloclab.files import STDOUT, check_output, write_whole
from alloclab.result import Comparison

if TYPE_CHECKING:
    from alloclab.replay import Settings
    from alloclab.report.columns import Column


def _check_figure(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        check_output(value, [".png", ".svg"])
    return value


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "-a",
    "--allocator",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="A lab allocator with tunables (fit:policy=best), system, a library's short name (libjemalloc) or its path. "
    "Repeats; the first is what the others are held against. Without any: system, all lab allocators, and the "
    "libraries found here; in process, all lab allocators.",
)
@running_options
@click.option("--columns", metavar="NAME,...", help="Metrics to show instead of the usual ones; `alloclab list`.")
@click.option("--all", "every", is_flag=True, help="Show every metric, one column per allocator.")
@output_option("--json", ".json", "Write all figures as JSON.")
@output_option("--markdown", ".md", "Write the table as Markdown.")
@click.option(
    "--figure",
    metavar="FILE.png|svg",
    callback=_check_figure,
    help="Draw live, mapped and resident bytes over time.",
)
@click.option("--baseline", metavar="FILE.json", help="Earlier figures, for --fail-if.")
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="EXPR",
    help="Exit with code 6 where this holds: peak_resident_bytes>1.05x, calls_mmap>+10, minor_faults>+5%, "
    "fragmentation_4>1.5. Repeats.",
)
def command(traces: tuple[str, ...], specs: tuple[str, ...], **options: Any) -> None:
    """Replay traces on allocators, and say which serves them best.

    A trace is a file of `alloclab record`, or of another tool in a format that `alloclab import` reads. Every
    allocator is verified first; one that fails gets no figures, and the command ends with code 5.
    """
    from alloclab.comparison.run import compare, open_traces, resolve_all

    _refuse_contradictions(options)
    columns = _columns(options)
    running = running_settings(options)
    allocators = resolve_all(specs or _everything(running["settings"]), running.pop("env"))
    opened = open_traces(traces)
    gate = _Gate(options["baseline"], options["conditions"])
    gate.require([t.name for t in opened], [a.spec for a in allocators])
    with progress_bar() as progress:
        comparison = compare(opened, allocators, progress=progress, **running)
    _report(comparison, columns, options)
    raise_failures(comparison)
    gate.judge(comparison)


def _refuse_contradictions(options: dict[str, Any]) -> None:
    if options["json"] == STDOUT and options["markdown"] == STDOUT:
        raise click.UsageError("--json and --markdown cannot both go to stdout: name a file for one")
    if options["columns"] is not None and options["every"]:
        raise click.UsageError("--columns and --all exclude each other")


def _columns(options: dict[str, Any]) -> tuple[Column, ...]:
    """The columns asked for, or the usual ones that will have figures."""
    from alloclab.report.columns import (
        CONCURRENT_COLUMNS,
        DEFAULT_COLUMNS,
        INSTRUCTIONS,
        columns_named,
        every_column,
    )

    if options["every"]:
        return every_column()
    if options["columns"] is not None:
        return columns_named([name.strip() for name in options["columns"].split(",")])
    if options["no_time"]:
        usual = [column for column in DEFAULT_COLUMNS if not column.timed]
    else:
        usual = [*DEFAULT_COLUMNS, *(CONCURRENT_COLUMNS if options["concurrent"] else ())]
    return (*usual, INSTRUCTIONS) if options["instructions"] else tuple(usual)


def _everything(settings: Settings) -> list[str]:
    """What -a stands for when it is not given."""
    from alloclab.allocators import lab_allocators, libraries_found

    labs = [lab.name for lab in lab_allocators()]
    return labs if settings.in_process else ["system", *labs, *libraries_found()]


class _Gate:
    """The conditions of --fail-if, checked as far as can be before the long work."""

    def __init__(self, baseline: str | None, texts: tuple[str, ...]) -> None:
        from alloclab import result
        from alloclab.comparison.gate import parse
        from alloclab.measure import METRICS

        self.source = baseline or "baseline"
        self.conditions = [parse(text, METRICS) for text in texts]
        self.baseline = result.load(baseline) if baseline else None
        if baseline and not texts:
            raise click.UsageError("--baseline needs a condition: --fail-if 'peak_resident_bytes>1.05x'")
        relative = [c.text for c in self.conditions if c.relative]
        if relative and self.baseline is None:
            raise click.UsageError(f"--fail-if {relative[0]!r} needs --baseline FILE.json")

    def require(self, traces: list[str], allocators: list[str]) -> None:
        from alloclab.comparison.gate import require_counterparts

        if self.baseline is not None:
            require_counterparts(self.baseline, traces, allocators, self.source)

    def judge(self, comparison: Comparison) -> None:
        """Raises GateError that names every offence."""
        from alloclab.comparison.gate import offences

        found = offences(comparison, self.conditions, self.baseline, self.source)
        if found:
            raise GateError(f"{len(found)} failed: {'; '.join(map(str, found))}")


def _report(comparison: Comparison, columns: tuple[Column, ...], options: dict[str, Any]) -> None:
    """Files first, so that what is printed of them is true; then the table, unless stdout is given to another."""
    from alloclab import result
    from alloclab.report.markdown import markdown
    from alloclab.report.table import print_table, print_transposed

    written = []
    if options["json"] not in (None, STDOUT):
        result.save(comparison, options["json"])
        written.append(f"Figures: {options['json']}")
    if options["markdown"] not in (None, STDOUT):
        write_whole(options["markdown"], markdown(comparison, columns).encode())
        written.append(f"Markdown: {options['markdown']}")
    if options["figure"]:
        from alloclab.report import figure

        written += [f"Picture: {path}" for path in figure.write(comparison, options["figure"])]
    if options["json"] == STDOUT:
        click.echo(result.to_json(comparison), nl=False)
    elif options["markdown"] == STDOUT:
        click.echo(markdown(comparison, columns), nl=False)
    else:
        console = output_console()
        (print_transposed if options["every"] else print_table)(comparison, console, columns)
        for line in written:
            console.print(line, markup=False, soft_wrap=True)
