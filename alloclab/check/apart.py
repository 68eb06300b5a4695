"""What may take its process with it is done in one of its own, and keeps a journal that outlives it."""

from __future__ import annotations

import faulthandler
import io
import mmap
import os
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from alloclab.check.steps import Step

ROOM = 8 << 20
"""Bytes of a journal: more than any example's steps take."""

_T = TypeVar("_T")


class DeathError(Exception):
    """The process died: its status as waitpid gives it, and its last line on standard error."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


def apart(do: Callable[[], _T]) -> _T:
    """Does it in a fork of this process; returns what it returns, raises what it raises. DeathError: it did neither."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.dup2(said.fileno(), 2)
            faulthandler.disable()  # it may write elsewhere
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            _answer(do, writer)
        os.close(writer)
        try:
            with os.fdopen(reader, "rb") as pipe:
                answer = pipe.read()
        except BaseException:  # such as Ctrl-C
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(pid, 0)
        if status != 0:
            said.seek(0)
            raise DeathError(status, last_line(said.read()))
    good, result = pickle.loads(answer)
    if not good:
        raise result
    return result  # type: ignore[no-any-return]


def _answer(do: Callable[[], object], writer: int) -> None:
    """Nothing of the process that was forked is left to do here, whatever happens."""
    status = 1
    try:
        try:
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

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """No step takes longer meanwhile."""
        usual, self.seconds = self.seconds, min(seconds, self.seconds)
        try:
            yield
        finally:
            self.seconds = usual

    def steps(self) -> tuple[Step, ...]:
        end = int.from_bytes(self._memory[:8], "little")
        stream = io.BytesIO(self._memory[8:end])
        found: tuple[Step, ...] = ()
        while stream.tell() < end - 8:
            count, last = pickle.load(stream)
            found = (*found[: count - len(last)], *last)
        return found
