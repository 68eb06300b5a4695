"""What may take its process with it is done in one of its own, and keeps a journal that outlives it."""

from __future__ import annotations

import faulthandler
import io
import mmap
import os
import pickle
import select
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from alloclab.check.steps import Step

ROOM = 8 << 20
"""Bytes of a journal: more than any example's steps take."""
_LOOKS_UP_MS = 1000
"""Between two looks at what signals came."""

_T = TypeVar("_T")


class DeathError(Exception):
    """The process died: its status as waitpid gives it, and its last line on standard error."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


def apart(do: Callable[[], _T]) -> _T:
    """Does it in a fork of this process; returns what it returns, raises what it raises. DeathError: it did neither."""
    reader, writer = os.pipe()
    pid = 0
    with tempfile.TemporaryFile() as said:
        try:
            with _uninterrupted() as go_on:
                pid = os.fork()
                if pid == 0:
                    os.dup2(said.fileno(), 2)
                    faulthandler.disable()  # it may write elsewhere
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    _answer(do, writer, go_on)
            os.close(writer)
            with os.fdopen(reader, "rb", buffering=0) as pipe:
                answer = _all_of(pipe)
        except BaseException:  # such as Ctrl-C
            if pid:
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            if pid:
                _, status = os.waitpid(pid, 0)
        if status != 0:
            said.seek(0)
            raise DeathError(status, last_line(said.read()))
    good, result = pickle.loads(answer)
    if not good:
        raise result
    return result  # type: ignore[no-any-return]


def _all_of(pipe: io.FileIO) -> bytes:
    """What is written until it is closed. A signal that comes right before a read, which then waits, would itself wait
    for the end of that: none waits here for long."""
    parts: list[bytes] = []
    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    while not parts or parts[-1]:
        if ready.poll(_LOOKS_UP_MS):
            parts.append(pipe.read(ROOM))
    return b"".join(parts)


@contextmanager
def _uninterrupted() -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM wait, here until the end, in a fork until it calls what it is given. A fork whose number is
    not known yet nobody would end. It is Python's handlers that wait: of a signal that is blocked another thread may be
    told, and they run in the first all the same."""
    came: list[int] = []
    here = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if here else {}
    usual = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's

    def go_on() -> None:
        with ExitStack() as all_of_them:
            for number, handler in usual.items():
                all_of_them.callback(signal.signal, number, handler)
        for one in came:
            os.kill(os.getpid(), one)

    try:
        for number in usual:
            signal.signal(number, lambda one, _: came.append(one))
        yield go_on
    finally:
        go_on()


def _answer(do: Callable[[], object], writer: int, go_on: Callable[[], None]) -> None:
    """Nothing of the process that was forked is left to do here, whatever happens."""
    status = 1
    try:
        try:
            go_on()
            answer = True, do()
        except BaseException as error:
            answer = False, error
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        status = 0
    finally:
        os._exit(status)


def last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


class Journal:
    """The steps of the last example, in memory that this process shares with its forks. A fork that is not at its next
    step after ``seconds`` dies of SIGALRM."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._memory = mmap.mmap(-1, ROOM)
        self._at = 8

    def begin(self) -> None:
        self._at = 8
        self._memory[:8] = bytes(8)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def add(self, steps: list[Step]) -> None:
        """The last of them has not been taken yet; of the one before it is known now what it made."""
        entry = pickle.dumps((len(steps), tuple(steps[-2:])))
        self._memory[self._at : self._at + len(entry)] = entry
        self._at += len(entry)
        self._memory[:8] = self._at.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def steps(self) -> tuple[Step, ...]:
        end = int.from_bytes(self._memory[:8], "little")
        stream = io.BytesIO(self._memory[8:end])
        found: tuple[Step, ...] = ()
        while stream.tell() < end - 8:
            count, last = pickle.load(stream)
            found = (*found[: count - len(last)], *last)
        return found
