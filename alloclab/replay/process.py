"""Passes out of process: ``alloclab-replay`` with the allocator preloaded.

The process inherits nothing of this one's environment but LD_LIBRARY_PATH: whatever steers an allocator (MALLOC_*,
GLIBC_TUNABLES, LD_PRELOAD and the like) comes from the allocator's spec alone. All passes but time run with the same
addresses every time, so that they repeat; time does not, for a fixed layout may be a lucky one.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alloclab.errors import ReplayError
from alloclab.launch import bare_environment, last_line, passed_on
from alloclab.native import built_file
from alloclab.replay.run import Lines, Pass, Settings, UnmeasuredError

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.trace.compile import CompiledTrace
    from alloclab.trace.strands import Replayable

NOT_A_MALLOC = 4


class CrashError(Exception):
    """The process died, or gave up, in the middle of a pass; the text says how."""


def run_pass(
    name: Pass, compiled: Replayable, allocator: Allocator, settings: Settings, options: Sequence[str] = ()
) -> Lines:
    """One pass in a fresh process; ``options`` are the program's, for passes that want some of their own.

    Raises CrashError, or ReplayError for what is no malloc or cannot be run.
    """
    with tempfile.TemporaryFile() as answers:  # standard output is the library's
        with passed_on(answers.fileno()) as own:
            command = [*_command(name, compiled, allocator, settings), *options, "--answers", str(own)]
            done = _execute(command, allocator, pass_fds=[own])
        answers.seek(0)
        lines = Lines.parse(answers.read().decode(errors="replace"))
    said = last_line(done.stderr)
    if done.returncode == NOT_A_MALLOC:
        raise ReplayError(f"{allocator.spec}: not a malloc: {said or lines.words.get('not_malloc')}")
    if "trouble" in lines.words:
        raise ReplayError(f"{allocator.spec}: cannot be replayed on: {lines.words['trouble']}")
    if done.returncode != 0 or lines.numbers.pop("complete", None) is None:
        raise CrashError(_how_it_ended(done.returncode, lines) + (f": {said}" if said else ""))
    return lines


def count_instructions(compiled: CompiledTrace, allocator: Allocator, settings: Settings) -> int:
    """Instructions of one pass of the loop and all it calls, counted by callgrind. Raises UnmeasuredError."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise UnmeasuredError("needs valgrind, which is not installed")
    loop = "al_loop_null" if allocator.kind == "null" else "al_loop_process"
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={loop}"]
    command += _command("time", compiled, allocator, replace(settings, thp=True, warm=0))
    done = _execute(command, allocator)
    counted = re.search(rb"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or counted is None:
        raise UnmeasuredError("does not run under valgrind")
    return int(counted.group(1))


def _execute(
    command: list[str], allocator: Allocator, pass_fds: Sequence[int] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Runs it to its end; whatever interrupts us kills it first."""
    environment = bare_environment(allocator)
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, pass_fds=pass_fds
    )


def _command(name: Pass, compiled: Replayable, allocator: Allocator, settings: Settings) -> list[str]:
    arguments = [
        str(built_file("alloclab-replay")),
        "--pass",
        name,
        "--touch",
        settings.touch,
        "--samples",
        str(settings.samples),
    ]
    arguments += ["--warm", str(settings.warm)] if name == "time" else ["--no-aslr"]
    flags = {
        "--no-thp": not settings.thp,
        "--null": allocator.kind == "null",
        "--preloaded": allocator.preload is not None,
    }
    return [*arguments, *(flag for flag, wanted in flags.items() if wanted), str(_file_of(compiled))]


def _how_it_ended(status: int, lines: Lines) -> str:
    how = f"crashed ({signal.Signals(-status).name})" if status < 0 else f"ended the process (exit status {status})"
    operation = lines.numbers.get("operation")
    return how if operation is None else f"{how} in operation {operation}"


_files: dict[int, Path] = {}


def _file_of(compiled: Replayable) -> Path:
    """The compiled trace as a file, written once and removed with it."""
    path = _files.get(id(compiled))
    if path is None:
        folder = tempfile.mkdtemp(prefix="alloclab-")
        weakref.finalize(compiled, _forget, id(compiled), folder)
        path = Path(folder) / "trace.ops"
        compiled.write(path)
        _files[id(compiled)] = path
    return path


def _forget(key: int, folder: str) -> None:
    _files.pop(key, None)
    shutil.rmtree(folder, ignore_errors=True)
