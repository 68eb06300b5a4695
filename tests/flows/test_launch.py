"""Waiting for a program and its descendants, whenever a signal comes and whatever else this process does."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alloclab import launch


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """Where a program says which process it leaves; that is ended afterwards."""
    file = tmp_path / "left"
    yield file
    pid = int(file.read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # it was adopted


def then_stop_us(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, and then what a SIGTERM does."""

    def called(*arguments: Any) -> Any:
        result = call(*arguments)
        handler: Any = signal.getsignal(signal.SIGTERM)
        handler(signal.SIGTERM, None)
        return result

    return called


def run(script: str) -> launch.Launched:
    return launch.launch(Path("/bin/sh"), ["sh", "-c", script], dict(os.environ))


def test_where_the_program_has_just_ended_a_signal_ends_the_wait_for_its_descendants(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "waitpid", then_stop_us(os.waitpid))
    assert run(f"sleep 600 & echo $! >{left}; exit 3").status == 3


def test_where_all_have_ended_a_signal_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "Launched", then_stop_us(launch.Launched))
    assert run("exit 3").status == 3


@pytest.mark.slow
def test_children_are_found_while_threads_of_ours_come_and_go() -> None:
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            for thread in threads:
                thread.start()
            assert all(child.pid in launch._children() for _ in range(2000))
        finally:
            over.set()
            child.kill()
