"""Runs a program on an allocator, all its processes or it alone, and reads what each said of its heap as it ended.

A drop-in library writes that in lines of ``name value`` (csrc/shim/summary.c): who it is as it begins, the rest as it
exits, so a process that was killed, or went on to another program, is known as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from alloclab.allocators import LIBC, Allocator, lab_allocators, say_setting
from alloclab.errors import UsageError
from alloclab.heap import Ledger
from alloclab.launch import Image, check_preloadable, endings, find_program, launch
from alloclab.record import LIBRARY as RECORDER
from alloclab.region import Counters


@dataclass(frozen=True)
class Some:
    """So many pieces, and their bytes: of live blocks those that they offer, of free chunks all."""

    count: int
    bytes: int


@dataclass(frozen=True)
class Size:
    """Pieces by size, four sizes to a doubling: those of at most ``up_to`` bytes and of more than the size before."""

    up_to: int
    live: Some
    cached: Some
    free: Some


@dataclass(frozen=True)
class FreeList:
    """Free chunks by the list that keeps them, as in :class:`alloclab.heap.Bin`; of all owners."""

    kind: str
    index: int
    least: int
    most: int
    kept: Some


@dataclass(frozen=True)
class Owner:
    """Free chunks by whose they are, an arena's or a thread's; of all lists of that kind."""

    kind: str
    owner: int
    kept: Some


@dataclass(frozen=True)
class Summary:
    """A heap as its process exits, with ``status``. ``threads``: that have a context of their own then. In a fork's
    child ``counters`` begin with the child, and its peaks with what it had from its parent."""

    status: int
    ledger: Ledger
    counters: Counters
    resident: int | None
    threads: int
    settings: Mapping[str, str]
    stats: Mapping[str, int]
    sizes: tuple[Size, ...]
    owners: tuple[Owner, ...]
    lists: tuple[FreeList, ...]


@dataclass(frozen=True)
class Process:
    """A process image, between two of its execs; fields as in :class:`alloclab.record.Capture`. ``summary`` is None
    where it did not come to its exit handlers, or could not write."""

    pid: int
    parent: int
    image: int
    forked: bool
    program: str
    command: tuple[str, ...]
    ended: str
    summary: Summary | None


@dataclass(frozen=True)
class Run:
    """``exit_code``: the program's, as a shell has it. ``processes``: by pid and image; empty unless asked for."""

    exit_code: int
    processes: tuple[Process, ...]


def run(
    command: Sequence[str],
    allocator: Allocator,
    *,
    children: bool = True,
    stats: bool = False,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run ``command`` on the allocator; signals and standard streams are as in :func:`alloclab.launch.launch`.

    ``children=False``: what it starts runs as it would without us. ``stats``: wait for its last descendant, and tell
    what each process said. Raises LaunchError for a program that cannot be run so, and UsageError for an allocator.
    """
    _check(allocator, children, stats)
    program = find_program(command[0])
    check_preloadable(program)
    before = dict(os.environ if env is None else env)
    environment = environment_on(allocator, before)
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="alloclab-"))) if stats else None
        if folder is not None:
            environment["ALLOCLAB_STATS_DIR"] = str(folder.resolve())
        if not children:
            environment = _for_one(before, environment)
        launched = launch(program, command, environment, orphans=stats and children)
        processes = [] if folder is None else read_processes(folder)
    images = [Image(p.pid, p.image, p.ended) for p in processes]
    ended = endings(images, launched.statuses)
    told = (dataclasses.replace(p, ended=ended[image]) for p, image in zip(processes, images, strict=True))
    return Run(launched.exit_code, tuple(told))


def _check(allocator: Allocator, children: bool, stats: bool) -> None:
    if stats and allocator.kind != "lab":
        raise UsageError(f"--stats: {allocator.spec} is no allocator of the laboratory, and tells nothing of its heap")
    if not children and allocator.kind != "lab" and allocator.environment():
        raise UsageError(
            f"--no-children: {allocator.spec} is no allocator of the laboratory, and stays in the environment"
        )


# --- the environment ---


def environment_on(allocator: Allocator, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, changed so that a program runs on that allocator.

    Of what LD_PRELOAD holds all stays but our drop-ins. The recorder stays in front: it takes each call and hands it to
    the allocator behind it; other libraries come after, should one of them bring a malloc. Raises UsageError for the
    null allocator.
    """
    if allocator.kind == "null":
        raise UsageError("null: is the replay loop's own, no malloc that a program could run on")
    drop_ins = {lab.library.name for lab in lab_allocators()}
    listed = [entry for entry in re.split("[ :]", environment.get("LD_PRELOAD", "")) if entry]
    kept = [entry for entry in listed if Path(entry).name not in drop_ins]
    recorders = [entry for entry in kept if Path(entry).name == RECORDER]
    others = [entry for entry in kept if entry not in recorders]
    changed = {**environment, **allocator.environment()}
    own = [str(allocator.preload)] if allocator.preload else [LIBC] if others else []
    changed["LD_PRELOAD"] = ":".join([*recorders, *own, *others])
    if not changed["LD_PRELOAD"]:
        del changed["LD_PRELOAD"]
    return changed


def _for_one(before: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The drop-in puts the environment back as it was (csrc/shim/alone.c)."""
    changed = [name for name, value in environment.items() if before.get(name) != value]
    was = {f"ALLOCLAB_WAS_{name}": before[name] for name in changed if name in before}
    return {**environment, **was, "ALLOCLAB_ALONE": " ".join([*changed, "ALLOCLAB_ALONE"])}


# --- what the processes left ---


def read_processes(folder: Path) -> list[Process]:
    """By pid and image; of how they ended, what they said themselves."""
    read = (_lines(path.read_text()) for path in folder.glob("*.stats"))
    return sorted((_process(lines) for lines in read if "command" in lines), key=lambda p: (p.pid, p.image))


Lines = dict[str, list[list[str]]]
"""By name: of each line the words after it."""


def _lines(text: str) -> Lines:
    found: Lines = {}
    for line in text.splitlines():
        name, *words = line.split(" ")
        found.setdefault(name, []).append(words)
    return found


def _number(lines: Lines, name: str) -> int:
    return int(lines[name][0][0])


def _word(escaped: str) -> str:
    return os.fsdecode(unquote_to_bytes(escaped))


def _process(lines: Lines) -> Process:
    summary = _summary(lines) if "complete" in lines else None
    return Process(
        pid=_number(lines, "pid"),
        parent=_number(lines, "parent"),
        image=_number(lines, "image"),
        forked=bool(_number(lines, "forked")),
        program=_word(lines["program"][0][0]),
        command=tuple(map(_word, lines["command"][0])),
        ended=f"exit {summary.status}" if summary else "",
        summary=summary,
    )


def _summary(lines: Lines) -> Summary:
    allocator = lines["allocator"][0][0]
    return Summary(
        status=_number(lines, "status"),
        ledger=Ledger(*(_number(lines, name) for name in ("usable", "metadata", "cached", "free"))),
        counters=_counters(lines),
        resident=_number(lines, "resident") if "resident" in lines else None,
        threads=_number(lines, "threads"),
        settings={name: say_setting(allocator, name, _word(value)) for name, value in lines.get("setting", [])},
        stats={name: int(value) for name, value in lines.get("stat", [])},
        sizes=tuple(_size(*map(int, words)) for words in lines.get("size", [])),
        owners=tuple(_owner(*words) for words in lines.get("owner", [])),
        lists=tuple(_list(*words) for words in lines.get("list", [])),
    )


def _counters(lines: Lines) -> Counters:
    calls = {kind: [int(figure) for figure in figures] for kind, *figures in lines["call"]}
    held = ("mapped", "peak_mapped", "reserved", "peak_reserved", "vmas", "peak_vmas")
    return Counters(
        **{  # type: ignore[arg-type]
            name: {kind: figures[i] for kind, figures in calls.items()}
            for i, name in enumerate(("calls", "failed", "bytes"))
        },
        **{name: _number(lines, name) for name in held},  # type: ignore[arg-type]
    )


def _size(up_to: int, *figures: int) -> Size:
    live, cached, free = (Some(*figures[i : i + 2]) for i in (0, 2, 4))
    return Size(up_to, live, cached, free)


def _owner(kind: str, *figures: str) -> Owner:
    owner, count, size = map(int, figures)
    return Owner(kind, owner, Some(count, size))


def _list(kind: str, *figures: str) -> FreeList:
    index, least, most, count, size = map(int, figures)
    return FreeList(kind, index, least, most, Some(count, size))


# --- as JSON ---


def to_dict(allocator: Allocator, ran: Run) -> dict[str, Any]:
    """What there is of a run, for JSON."""
    return {
        "schema": 1,
        "allocator": allocator.spec,
        "status": ran.exit_code,
        "processes": [_process_dict(process) for process in ran.processes],
    }


def _process_dict(process: Process) -> dict[str, Any]:
    named = dataclasses.asdict(process)
    if process.summary is not None:
        named["summary"] = {
            **named["summary"],
            "ledger": {"mapped": process.summary.ledger.mapped, **named["summary"]["ledger"]},
        }
    return named
