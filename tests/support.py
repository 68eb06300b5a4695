"""What several tests use."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

PRINT_PEAK_KIB = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
"""At the end of a program: prints its peak of resident memory. (getrusage's has that of the parent, too.)"""


def budget(examples: int) -> int:
    """How many examples a property test runs: its own number, times pytest's ``--budget``."""
    return examples * int(os.environ.get("ALLOCLAB_TEST_BUDGET", "1"))


def slow(*values: Any) -> list[Any]:
    """Of a parameter: values that only the whole run tries."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@contextlib.contextmanager
def started(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, of which nothing is left afterwards, whatever the test finds."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"waited in vain for {what}")


def children_of(pid: int) -> dict[int, str]:
    """The children of a process, and the names of their programs."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found[int(child)] = Path(f"/proc/{child}/comm").read_text().strip()
    return found
