"""C programs for tests: compiled here, run on an allocator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from alloclab.allocators import Allocator, libraries_needed, resolve

HERE = Path(__file__).parent


def run(spec: str, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command on the allocator, outside this environment's Python settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = clean | resolve(spec).environment() | variables
    return subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, timeout=300, check=False)


@cache
def with_equal_start(spec: str, real: str) -> Allocator:
    """The allocator of that name, beside what library `real` needs: that allocates as it starts."""
    found, library = resolve(spec), resolve(real).preload
    if library is None or found.preload == library:
        return found
    return replace(found, beside=tuple(libraries_needed(library)))


@dataclass(frozen=True)
class Said:
    """What a program said, how it ended, and what the laboratory alone has to say."""

    out: str
    errors: str
    status: int
    ours: tuple[str, ...]


def listen(spec: str, real: str, ours: str, command: Sequence[str | Path], variables: Mapping[str, str]) -> Said:
    """To the command on the allocator, started as beside library `real`; its own remarks begin with `ours`."""
    environment = dict(with_equal_start(spec, real).environment()) | variables
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stderr.splitlines(keepends=True)
    remarks = tuple(dict.fromkeys(line.rstrip() for line in lines if line.startswith(ours)))
    errors = "".join(line for line in lines if not line.startswith(ours))
    return Said(done.stdout, errors, done.returncode, remarks)


def compile_c(source: Path, program: Path, *more: str) -> Path:
    flags = ["-std=gnu17", "-O1", "-D_GNU_SOURCE", "-fno-builtin", "-w", "-pthread", *more]
    flags += ["-Wl,--export-dynamic-symbol=clock_gettime"]  # of a program with a clock of its own
    subprocess.run(["gcc", *flags, source, "-o", program, "-ldl"], check=True)
    return program


def faulty(folder: Path, fault: str, *flags: str) -> Allocator:
    """A malloc with one fault, of those that tests/faulty_malloc.c names."""
    library = folder / f"{fault.lower()}.so"
    command = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-fno-builtin", f"-DFAULT={fault}", *flags]
    subprocess.run([*command, HERE / "faulty_malloc.c", "-o", library], check=True)
    return Allocator(str(library), "library", library.stem, library)
