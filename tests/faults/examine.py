"""Examines a variant as ``alloclab check`` does: by the search, in a process of its own, and by a rule.

    examine.py heap    MODULE  SPEC EXAMPLES SEED     the search, on the heap of an extension module
    examine.py drop-in LIBRARY SPEC EXAMPLES SEED     the search, on a library

The process prints a dot for each example that begins, and then the failure as JSON; nothing where none was found.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES, STEPS, SEED = 40, 50, 1
SECONDS = 10
"""After which a call hangs."""


@dataclass(frozen=True)
class Found:
    """The first failure of a search: the rule, "crash" where the process died of it; the example, counted from 1."""

    rule: str
    example: int
    sentence: str


def searched(way: str, file: Path, spec: str, examples: int = EXAMPLES, seed: int = SEED) -> Found | None:
    """What a search finds."""
    command = [sys.executable, __file__, way, str(file), spec, str(examples), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    dots = len(done.stdout) - len(done.stdout.lstrip("."))
    example = dots - 1  # the first is looked at for its size classes
    if done.returncode < 0:
        return Found("crash", max(example, 1), f"{signal.Signals(-done.returncode).name} {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told = done.stdout.lstrip(".")
    return Found(example=example, **json.loads(told)) if told else None


def _load(module: str) -> None:
    """As the extension of the laboratory, before anything imports that."""
    spec = importlib.util.spec_from_file_location("alloclab._core", module)
    assert spec is not None and spec.loader is not None
    sys.modules["alloclab._core"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["alloclab._core"])


def _counted(begin: Callable[..., Any]) -> Callable[..., Any]:
    def count(*arguments: Any) -> Any:
        print(end=".", flush=True)
        return begin(*arguments)

    return count


def _search(way: str, file: str, spec: str, examples: str, seed: str) -> None:
    if way == "heap":
        _load(file)
    from alloclab.allocators import resolve
    from alloclab.check import search

    search.GlassSubject = _counted(search.GlassSubject)  # type: ignore[misc, assignment]
    search.Server.subject = _counted(search.Server.subject)  # type: ignore[method-assign]
    search._smaller = lambda first, *_: first  # as it was found
    allocator = resolve(spec)
    if way == "drop-in":
        allocator = resolve(file, {"ALLOCLAB_OPTIONS": allocator.options})
    found = search.search(allocator, examples=int(examples), steps=STEPS, seed=int(seed), seconds=SECONDS)
    if found is not None:
        print(json.dumps({"rule": found.rule, "sentence": found.sentence}))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _search(*sys.argv[1:])
