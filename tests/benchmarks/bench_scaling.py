"""How allocators fare as threads are added: six workloads, one thread to twice the cores, every allocator found here.

    python tests/benchmarks/bench_scaling.py [--quick] [-a SPEC...] [--workload NAME...] [--figure FILE.png]
        [--json FILE.json] [--markdown FILE.md]

The workloads are our own, written from the published descriptions of those whose names they have: programs/scaling.
Each thread does the same work, so with twice the threads twice as much is done. Allocators take turns within a round;
every figure is told as a ratio to the first allocator in the same round. Each block is checked as it is freed, and an
allocator that lost one gets no figure. The whole takes a quarter of an hour on two cores that have nothing else to do,
and figures of several threads are worth little where they have.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
from scaling import figure
from scaling.report import failures, markdown, print_table
from scaling.runs import WORKLOADS, Plan, as_json, build, measure, usual_threads

from alloclab import machine
from alloclab.allocators import lab_allocators, libraries_found, resolve
from alloclab.commands._options import output_console, output_option
from alloclab.errors import AlloclabError, ReplayError
from alloclab.files import STDOUT, check_output, write_whole

ROUNDS, QUICK_ROUNDS = 6, 3
QUICK_PERCENT = 20


def _threads(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    try:
        counts = sorted({int(word) for word in value.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise click.UsageError(f"--threads: found {value!r}, expected numbers such as 1,2,4")
    return tuple(counts)


def _figure(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        check_output(value, [".png", ".svg"])
    return value


def _plan(options: dict[str, Any]) -> Plan:
    cores = machine.describe()["cores"]
    quick = options["quick"]
    specs = options["specs"] or ("system", *(lab.name for lab in lab_allocators()), *libraries_found())
    return Plan(
        workloads=options["workloads"] or WORKLOADS,
        specs=tuple(resolve(spec).spec for spec in dict.fromkeys(specs)),
        threads=options["threads"] or (tuple(sorted({1, cores, 2 * cores})) if quick else usual_threads(cores)),
        rounds=options["rounds"] or (QUICK_ROUNDS if quick else ROUNDS),
        percent=options["percent"] or (QUICK_PERCENT if quick else 100),
    )


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--quick", is_flag=True, help="A fifth of the work, 3 rounds; 1 thread, the cores, twice the cores.")
@click.option("-a", "--allocator", "specs", multiple=True, metavar="SPEC", help="As for compare; first: the baseline.")
@click.option("--workload", "workloads", multiple=True, type=click.Choice(WORKLOADS), help="Repeats; without: all.")
@click.option("--threads", callback=_threads, metavar="N,...", help="Numbers of threads.")
@click.option("--rounds", type=click.IntRange(min=1), help=f"Interleaved rounds, {ROUNDS}; intervals need 6.")
@click.option("--percent", type=click.IntRange(min=1), help="Of a thread's usual work.")
@output_option("--json", ".json", "Write every round.")
@output_option("--markdown", ".md", "Write the tables as Markdown.")
@click.option("--figure", metavar="FILE.png|svg", callback=_figure, help="Draw throughput over threads.")
def main(**options: Any) -> None:
    plan = _plan(options)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(plan, build(Path(folder)), lambda said: click.echo(said, err=True))
    texts = {"json": json.dumps(as_json(measured), indent=1) + "\n", "markdown": markdown(measured)}
    for name, text in texts.items():
        if options[name] == STDOUT:
            click.echo(text, nl=False)
        elif options[name]:
            write_whole(options[name], text.encode())
    if options["figure"]:
        figure.write(measured, Path(options["figure"]))
    if STDOUT not in (options["json"], options["markdown"]):
        print_table(measured, output_console())
    if measured.failures:
        raise ReplayError("; ".join(failures(measured)))


if __name__ == "__main__":
    try:
        main()
    except AlloclabError as error:
        click.echo(f"bench_scaling: {error}", err=True)
        raise SystemExit(error.exit_code) from None
