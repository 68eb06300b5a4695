"""``alloclab record``: a program's heap calls, as one trace for each of its process images."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from json import dumps
from pathlib import Path
from shlex import quote
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab import machine
from alloclab.allocators import Allocator
from alloclab.commands._options import allocator_of, env_of, env_option, next_step, output_option
from alloclab.errors import RecordError, UsageError
from alloclab.files import STDOUT, check_output, write_whole
from alloclab.record import ENOUGH_EVENTS, TIME_IS_UP, Capture, Recording, record
from alloclab.report.columns import say_bytes
from alloclab.run import environment_on
from alloclab.trace.importers.capture import CaptureReader, Counts
from alloclab.trace.model import Metadata
from alloclab.trace.parquet import TraceWriter

SHOWN = 12
COMMAND_WIDTH = 32
_CONTROL = dict.fromkeys(range(32), " ")
LONGEST_SECONDS, EVENTS_MOST = 10**9, 10**18
"""Limits beyond these are mistakes; 64 bits hold them, in nanoseconds, too."""
CLOCK = "CLOCK_MONOTONIC, read once in 64 words of a thread, interpolated between"


@dataclass(frozen=True)
class Saved:
    """A process image and the trace that was made of it."""

    path: Path
    capture: Capture
    counts: Counts


def _check_duration(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= LONGEST_SECONDS:  # nan is neither
        raise click.BadParameter(f"{value:g} is not a time of more than 0 and at most {LONGEST_SECONDS:g} seconds")
    return value


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The trace of the process image with most events; the others go to FILE.PID.N.  [default: PROGRAM.parquet]",
)
@click.option(
    "-a",
    "--allocator",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="Run it on that allocator, as `run` does.  [default: the one it would have without us]",
)
@env_option
@click.option("--no-children", is_flag=True, help="Record the program alone, not the processes it starts.")
@click.option(
    "--addresses", is_flag=True, help="Keep the address of every block too; a trace gets about twice as large."
)
@click.option(
    "--duration",
    metavar="SECONDS",
    type=float,
    callback=_check_duration,
    help="Stop recording after that time; the program runs on.",
)
@click.option(
    "--max-events",
    metavar="N",
    type=click.IntRange(min=1, max=EVENTS_MOST),
    help="Stop recording a process image after its first N events; the program runs on.",
)
@output_option("--json", ".json", "Write what was recorded as JSON; to stdout after all that the program writes there.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    output: str | None,
    specs: tuple[str, ...],
    no_children: bool,
    addresses: bool,
    duration: float | None,
    max_events: int | None,
    json: str | None,
    command: tuple[str, ...],
    **options: Any,
) -> int:
    """Run COMMAND and record its heap traffic.

    Threads, children, and what happens before and after main are in it. The exit code is COMMAND's; 128 + n where
    signal n ended it. Ctrl-C goes to the program, and what was recorded until then is kept. Recording ends with the
    last descendant. A child that is static or setuid, or that clears LD_PRELOAD, is not seen; nor are allocators that
    a program brings along under names of their own.
    """
    path = Path(output or f"{Path(command[0]).name}.parquet")
    check_output(str(path), [".parquet"])
    allocator = _allocator(specs, options)
    env = None if allocator is None else environment_on(allocator, os.environ)
    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        captures = captures_folder(Path(folder))
        recording = record(
            command, captures, children=not no_children, env=env, duration=duration, max_events=max_events
        )
        if allocator is not None:
            recording = _by_spec(recording, allocator)
        try:
            with console.status("writing traces"):
                saved = save(recording, path, addresses=addresses)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror}; nothing was kept") from error
    if json is not None:
        _write_json(json, recording, saved)
    show(console, saved)
    console.print(_next(path, allocator if addresses else None), soft_wrap=True)
    sys.stderr.flush()
    return recording.status if recording.status >= 0 else 128 - recording.status


def _allocator(specs: tuple[str, ...], options: dict[str, Any]) -> Allocator | None:
    if specs:
        return allocator_of(specs, options)
    for spec in env_of(options):
        raise UsageError(f"--env {spec}: expected an allocator to run the program on, -a {spec}")
    return None


def _next(path: Path, allocator: Allocator | None) -> str:
    """What to type next. ``allocator``: on which a replay's blocks may be compared with the recorded ones."""
    if allocator is None or allocator.env:
        return next_step(path)
    return f"Next: alloclab fidelity {quote(str(path))} -a {quote(allocator.spec)} --against recorded"


def _by_spec(recording: Recording, allocator: Allocator) -> Recording:
    """Images that ran on the allocator name it as it was named to us, with its settings."""

    def ran_on_it(capture: Capture) -> bool:
        return allocator.preload is not None and Path(capture.allocator).resolve() == allocator.preload.resolve()

    captures = (replace(c, allocator=allocator.spec) if ran_on_it(c) else c for c in recording.captures)
    return replace(recording, captures=tuple(captures))


def captures_folder(folder: Path) -> Path:
    """A folder for captures in ours. What root starts may go on as another user, and needs to write there, too."""
    captures = folder / "captures"
    captures.mkdir()
    if os.geteuid() == 0:
        folder.chmod(0o711)
        captures.chmod(0o1733)  # a user finds there no file but by its name, and removes no other's
    return captures


def _write_json(path: str, recording: Recording, saved: list[Saved]) -> None:
    traces = [
        {
            "trace": str(s.path),
            "pid": s.capture.pid,
            "command": s.capture.command,
            "events": s.counts.events,
            "peak_live_bytes": s.counts.peak_live_bytes,
            "live_bytes": s.counts.live_bytes,
            "ended": s.capture.ended,
            "stopped": s.capture.stopped,
            "lost": s.capture.lost,
            "dropped": s.counts.dropped(),
        }
        for s in saved
    ]
    text = dumps({"schema": 1, "status": recording.status, "traces": traces}, indent=2)
    if path == STDOUT:
        click.echo(text)
    else:
        write_whole(path, f"{text}\n".encode())


def save(recording: Recording, path: Path, *, addresses: bool = False) -> list[Saved]:
    """Turn captures into traces: ``path`` for the one with most events, ``path.PID.N`` for the others.

    Returns them by number of events, most first; images without events leave none. Raises RecordError where none has.
    """
    if not recording.captures:
        late = "" if recording.until_ns is None else f", or {TIME_IS_UP} before the program began"
        raise RecordError(
            f"{path}: nothing was recorded: the recorder could not be loaded, or not write its files{late}"
        )
    facts = machine.describe()
    folder = recording.captures[0].path.parent.parent
    made = [_convert(capture, recording, folder, facts, addresses) for capture in recording.captures]
    full = sorted((s for s in made if s.counts.events > 1), key=lambda s: -s.counts.events)
    if not full:
        for s in made:
            if s.capture.stopped:
                raise RecordError(f"{path}: nothing could be recorded: {s.capture.stopped}")
        raise RecordError(
            f"{recording.captures[0].program}: made no call of the C library's malloc; does it bring its own allocator?"
        )
    named = [Saved(path, full[0].capture, full[0].counts)]
    named += [
        Saved(path.with_name(f"{path.name}.{s.capture.pid}.{s.capture.image}"), s.capture, s.counts) for s in full[1:]
    ]
    for old, new in zip(full, named, strict=True):
        old.path.replace(new.path)
    return named


def _convert(capture: Capture, recording: Recording, folder: Path, facts: dict[str, object], addresses: bool) -> Saved:
    """The trace of a capture, in ``folder``; the capture goes as the trace grows, for the disk may be full."""
    path = folder / f"{capture.path.stem}.parquet"
    reader = CaptureReader(
        capture.path,
        max_events=recording.max_events,
        until_ns=None if recording.until_ns is None else max(0, recording.until_ns - capture.start_ns),
        consume=True,
    )
    with reader, TraceWriter(path, Metadata(), address=addresses) as writer:
        for events in reader:
            writer.write(events)
        counts = reader.counts()
        if counts.cut:
            why = ENOUGH_EVENTS if counts.events == recording.max_events else TIME_IS_UP
            capture = replace(capture, stopped=why)
        writer.metadata = _metadata(capture, counts, reader.thread_names(), facts)
    capture.path.unlink()
    return Saved(path, capture, counts)


def _name(capture: Capture) -> str:
    """As it was called, which says more than the file where a program has several names."""
    return Path(capture.command[0] if capture.command else capture.program).name


def _metadata(capture: Capture, counts: Counts, names: dict[int, str], facts: dict[str, object]) -> Metadata:
    glibc = Path(capture.allocator).name.startswith("libc.so")
    return Metadata(
        program=_name(capture),
        command=capture.command,
        allocator=f"glibc {capture.libc}" if glibc else capture.allocator,
        machine=facts,
        clock=CLOCK,
        clock_resolution_ns=counts.clock_resolution_ns,
        source=f"alloclab record {version('alloclab')}",
        ended=capture.ended,
        dropped=counts.dropped() | ({"events_lost": capture.lost} if capture.lost else {}),
        extra={
            "executable": capture.program,
            "pid": capture.pid,
            "parent": capture.parent,
            "image": capture.image,
            "forked": capture.forked,
            "stopped": capture.stopped,
            "peak_live_bytes": counts.peak_live_bytes,
            "live_bytes_at_end": counts.live_bytes,
            "thread_names": {str(thread): name for thread, name in names.items()},
            "memory_at_exit": dict(capture.memory),
        },
    )


def show(console: Console, saved: list[Saved]) -> None:
    """What was recorded, and what is missing. On standard error: the rest is the target's."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trace", "pid", "command", "events", "peak live", "ended"):
        table.add_column(name, justify="right" if name in ("pid", "events", "peak live") else "left", no_wrap=True)
    for s in saved[:SHOWN]:
        line = " ".join([_name(s.capture), *s.capture.command[1:]]).translate(_CONTROL)
        table.add_row(
            Text(str(s.path)),
            str(s.capture.pid),
            Text(line if len(line) <= COMMAND_WIDTH else line[: COMMAND_WIDTH - 1] + "…"),
            f"{s.counts.events:,}",
            say_bytes(s.counts.peak_live_bytes),
            s.capture.ended,
        )
    console.print(table)
    if len(saved) > SHOWN:
        console.print(f"and {len(saved) - SHOWN} more: {saved[0].path}.PID.N")
    for s in saved:
        if s.capture.stopped:
            full = " (the disk is full?)" if s.capture.stopped == os.strerror(errno.ENOSPC) else ""
            console.print(f"{s.path}: recording stopped early: {s.capture.stopped}{full}; the program ran on")
        if s.capture.lost:
            console.print(f"{s.path}: {s.capture.lost} events could not be recorded")
