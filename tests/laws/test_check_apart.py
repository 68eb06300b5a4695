"""What a search does in a fork of its process answers, dies, or ends with who waits for it, whenever Ctrl-C comes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alloclab.check.apart import DeathError, apart


def test_what_is_done_apart_answers_or_dies() -> None:
    assert apart(lambda: [1, "two"]) == [1, "two"]
    with pytest.raises(ZeroDivisionError):
        apart(lambda: 1 // 0)
    with pytest.raises(DeathError) as caught:
        apart(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert (caught.value.status, caught.value.said) == (signal.SIGKILL, "")


def test_what_is_done_apart_ends_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    """Also where Ctrl-C comes right after the fork: what comes apart is sooner, or the signal, from time to time."""
    numbers = tmp_path / "numbers"

    def sleep() -> None:
        with numbers.open("a") as file:
            print(os.getpid(), file=file)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)

    gc.disable()  # in Hypothesis's callback of the collector the exception would be lost
    try:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                apart(sleep)
    finally:
        gc.enable()
    begun = numbers.read_text().split()
    assert begun and not any(Path(f"/proc/{pid}").exists() for pid in begun)


@contextlib.contextmanager
def beside_another_thread() -> Iterator[None]:
    """Which is told of signals in place of the first: they interrupt no system call of that, and it may block them."""
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        over.set()
        other.join()


def test_ctrl_c_that_comes_right_before_the_wait_is_not_lost(tmp_path: Path) -> None:
    late = tmp_path / "late"

    def interrupts() -> None:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
        late.touch()

    with beside_another_thread(), pytest.raises(KeyboardInterrupt):
        apart(interrupts)
    assert not late.exists()


def test_ctrl_c_that_comes_just_as_it_forks_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[int] = []
    usual = os.fork

    def fork() -> int:
        pid = usual()
        if pid:
            forked.append(pid)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return pid

    monkeypatch.setattr(os, "fork", fork)
    with beside_another_thread(), pytest.raises(KeyboardInterrupt):
        apart(lambda: time.sleep(60))
    left = [pid for pid in forked if Path(f"/proc/{pid}").exists()]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(forked) == 1 and left == []
