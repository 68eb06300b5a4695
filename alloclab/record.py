"""Runs a program under the recorder and waits for the last of its descendants.

What comes of it is one capture for each process image (a process, between two of its execs), which
:mod:`alloclab.trace.importers.capture` reads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alloclab.launch import Image, Launched, check_preloadable, endings, find_program, launch, preloadable
from alloclab.native import built_file, ffi, lib

LIBRARY = "liballoclab-record.so"
TIME_IS_UP, ENOUGH_EVENTS = "the duration asked for is over", "there are as many events as asked for"


@dataclass(frozen=True)
class Capture:
    """One process image's capture and what it says of itself.

    ``image``: how many images the process ``pid`` was before. ``forked``: its heap came from the process ``parent``.
    ``allocator``: the library that answered malloc. ``start_ns``: its beginning, on the monotonic clock. ``lost``:
    events that could not be recorded. ``stopped``: why recording stopped early, or "". ``memory``: what the kernel said
    of its memory at its exit, in bytes, by the names of /proc/self/smaps_rollup; empty where it did not go through
    exit(). ``ended``: how the image ended, in words.
    """

    path: Path
    pid: int
    parent: int
    image: int
    forked: bool
    program: str
    command: tuple[str, ...]
    allocator: str
    libc: str
    start_ns: int
    lost: int
    stopped: str
    memory: Mapping[str, int]
    ended: str


@dataclass(frozen=True)
class Recording:
    """``status``: the target's exit code, or minus the signal that ended it. ``captures``: by pid and image.

    A recorder stops at its next look at a limit; what its captures hold beyond it is for their reader to leave out:
    what is later than ``until_ns`` on the monotonic clock, and of each capture more than ``max_events``.
    """

    status: int
    captures: tuple[Capture, ...]
    until_ns: int | None = None
    max_events: int | None = None


def record(
    command: Sequence[str],
    directory: Path,
    *,
    children: bool = True,
    env: Mapping[str, str] | None = None,
    duration: float | None = None,
    max_events: int | None = None,
) -> Recording:
    """Run ``command`` with its captures going to ``directory``; standard input and outputs are the caller's.

    Recording stops ``duration`` seconds from now, and that of an image after ``max_events``; the program runs on.

    Returns when the last descendant has ended, or on Ctrl-C or SIGTERM once the target itself has. Until then Ctrl-C is
    the target's, and SIGTERM is passed on. ``children=False`` records the target alone, and waits for no other.
    Raises LaunchError for what cannot be recorded.
    """
    program = find_program(command[0])
    check_preloadable(program)
    given = os.environ if env is None else env
    environment = {name: value for name, value in given.items() if not name.startswith("ALLOCLAB_RECORD_")}
    environment["ALLOCLAB_RECORD_DIR"] = str(directory.resolve())
    until_ns = None if duration is None else time.monotonic_ns() + round(duration * 1e9)
    limits = {"ALLOCLAB_RECORD_UNTIL": until_ns, "ALLOCLAB_RECORD_EVENTS": max_events}
    environment |= {name: str(limit) for name, limit in limits.items() if limit is not None}
    with preloadable(built_file(LIBRARY)) as library:
        environment["LD_PRELOAD"] = ":".join(filter(None, [str(library), environment.get("LD_PRELOAD")]))
        only = "" if children else "ALLOCLAB_RECORD_ONLY"
        launched = launch(program, command, environment, pid_in=only, orphans=children)
    captures = [read_header(path) for path in sorted(directory.glob("*.capture"))]
    found = _endings([c for c in captures if c is not None], launched)
    return Recording(launched.status, found, until_ns, max_events)


# --- what it left ---


def read_header(path: Path) -> Capture | None:
    """What a capture says of its image; None for a file that the recorder could not even begin."""
    header = ffi.new("al_capture_header *")
    with path.open("rb") as file:
        if not lib.al_capture_read_header(file.fileno(), header):
            return None
    command = bytes(ffi.buffer(header.command, header.command_bytes))
    return Capture(
        path=path,
        pid=header.pid,
        parent=header.parent,
        image=header.image,
        forked=bool(header.forked),
        program=os.fsdecode(ffi.string(header.program)),
        command=tuple(os.fsdecode(word) for word in command.split(b"\0")[:-1]),
        allocator=os.fsdecode(ffi.string(header.allocator)),
        libc=ffi.string(header.libc).decode(),
        start_ns=header.start_ns,
        lost=header.lost,
        stopped=_say_stopped(header.stopped),
        memory=_parse_smaps(ffi.string(header.smaps).decode()),
        ended="exit" if header.end_ns else "",
    )


def _endings(captures: list[Capture], launched: Launched) -> tuple[Capture, ...]:
    """The same by pid and image, and how each ended."""
    captures = sorted(captures, key=lambda c: (c.pid, c.image))
    images = [Image(c.pid, c.image, c.ended) for c in captures]
    ended = endings(images, launched.statuses)
    return tuple(replace(c, ended=ended[image]) for c, image in zip(captures, images, strict=True))


def _say_stopped(why: int) -> str:
    asked = {lib.AL_STOPPED_TIME: TIME_IS_UP, lib.AL_STOPPED_EVENTS: ENOUGH_EVENTS}
    return asked.get(why) or (os.strerror(why) if why else "")


def _parse_smaps(text: str) -> dict[str, int]:
    """Of lines like ``Rss:     1234 kB``."""
    words = [line.split() for line in text.splitlines()]
    return {w[0].rstrip(":"): int(w[1]) * 1024 for w in words if len(w) == 3 and w[2] == "kB"}
