"""The malloc under examination: fresh for every example, the same calls of a heap of the laboratory and of a library.

A library is examined in processes of its own, which ``alloclab-replay --serve`` forks (csrc/replay/serve.h): whatever
it does there, crash, hang, take all memory, is an answer.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from alloclab.check.apart import Journal, last_line
from alloclab.errors import ReplayError
from alloclab.handle import to_int
from alloclab.heap import Heap, HeapError, Thread
from alloclab.launch import bare_environment, passed_on
from alloclab.native import built_file, ffi, lib
from alloclab.replay.process import NOT_A_MALLOC

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.check.steps import Step

UNTOUCHED = 0xA110C1AB
"""What posix_memalign finds where it is to put its result."""
UNSET = 4095
"""errno before each call: no error of any system."""
THREADS = 64
ADDRESS_SPACE = 1 << 40
"""Bytes that a library may map: more than any mends its ways with, less than harms the machine's tables."""
SECONDS = 20.0
"""After which a call that has not come back never will."""

CALLS = (
    *("malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "posix_memalign", "valloc"),
    *("pvalloc", "free", "free_sized", "free_aligned_sized", "usable_size", "trim"),
)
_KINDS = ("begin", "end", *CALLS, "fill", "wrong", "not_zero", "thread_exit", "fail_call")
_REQUEST = struct.Struct("<II3Q")
_REPLY = struct.Struct("<IiQ")
_DONE, _ENDED, _MISSING = 0, 1, 2


class BrokenError(Exception):
    """The malloc broke a rule by what it did to its process: it crashed, hung, or found its own heap damaged."""


class HangError(BrokenError):
    """It does not come back."""


class MissingError(Exception):
    """The library has no such function."""


@dataclass(frozen=True)
class Answer:
    """What a call returned, and errno after it: UNSET if it was left alone, None where there is none to see."""

    value: int
    error: int | None = None


class Subject(ABC):
    """One malloc, as it is at the start of a process. Threads are numbered; 0 is the first. Addresses are ints."""

    @abstractmethod
    def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
        """One of CALLS, with C's arguments; posix_memalign's are alignment and size, ``value`` is what it stored and
        ``error`` what it returned. Raises BrokenError, MissingError."""

    @abstractmethod
    def fill(self, block: int, length: int, key: int) -> None:
        """Writes the pattern of ``key`` (csrc/replay/contents.h)."""

    @abstractmethod
    def wrong(self, block: int, length: int, key: int) -> int:
        """The first byte that is not as ``fill`` left it, or ``length``."""

    @abstractmethod
    def not_zero(self, block: int, length: int) -> int:
        """The first byte that is not zero, or ``length``."""

    @abstractmethod
    def exit_thread(self, thread: int) -> None: ...

    @abstractmethod
    def fail_call(self, nth: int) -> int:
        """The n-th system call for memory from now fails with ENOMEM; 0: none. Returns what was left of the count
        before: 0 if the call that was to fail has."""

    @abstractmethod
    def close(self) -> None:
        """The end of the example. Raises BrokenError where a library does not exit as a program should."""

    def stays(self, usable: int, size: int) -> bool:
        """Whether it promises that a realloc to ``size`` of a block of so many usable bytes does not move it."""
        return False

    gives_back: bool = False
    """Whether it promises that a realloc leaves no more than twice what is asked for, and a page."""

    def note(self, steps: list[Step]) -> None:
        """What was done, and as the last what is done next."""
        if self.journal is not None:
            self.journal.add(steps)

    journal: Journal | None = None
    """Where its process may not outlive a step."""

    heap: Heap | None = None
    """Where it can be looked into."""

    def validate(self) -> None:
        """Raises BrokenError where a heap that can be looked into is not sound."""
        try:
            if self.heap is not None:
                self.heap.validate()
        except HeapError as flaw:
            raise BrokenError(str(flaw)) from flaw


class LocalSubject(Subject):
    """A malloc whose blocks are this process's memory. One that only says how to :meth:`call` it has no threads, and
    no system calls."""

    _left = 0

    @staticmethod
    def address_of(buffer: bytearray | mmap.mmap) -> int:
        """Of its first byte; the buffer must be kept."""
        return to_int(ffi.from_buffer(buffer))

    def fill(self, block: int, length: int, key: int) -> None:
        lib.al_contents_fill(ffi.cast("char *", block), key, 0, length)

    def wrong(self, block: int, length: int, key: int) -> int:
        return int(lib.al_contents_wrong(ffi.cast("char *", block), key, length))

    def not_zero(self, block: int, length: int) -> int:
        return int(lib.al_contents_not_zero(ffi.cast("char *", block), length))

    def exit_thread(self, thread: int) -> None: ...

    def fail_call(self, nth: int) -> int:
        left, self._left = self._left, nth
        return left

    def close(self) -> None: ...


_STAYS: dict[str, Callable[[int, int], bool]] = {
    "bump": lambda usable, size: size <= usable,
    "fit": lambda usable, size: size <= usable,
    "buddy": lambda usable, size: size <= usable,
    "ptmalloc": lambda usable, size: size <= usable - (usable % 16 == 0) * 8,  # that of a mapped block has a word more
    "jemalloc": lambda usable, size: usable * 7 < size * 8 <= usable * 8,  # of one class: no two lie closer
    "tcmalloc": lambda usable, size: usable // 2 <= size <= usable,
    "tcmalloc-hpaa": lambda usable, size: size == usable and (usable > 1 << 18 or usable % mmap.PAGESIZE > 0),
}
"""Of a lab allocator, whether a realloc of a block of so many usable bytes to a size does not move it. Whole pages of
tcmalloc-hpaa may be an aligned block, which of a small size is of no class, and so is moved to one."""


def _stays(allocator: Allocator, usable: int, size: int) -> bool:
    return allocator.kind == "lab" and allocator.name in _STAYS and _STAYS[allocator.name](usable, size)


class GlassSubject(LocalSubject):
    """A heap of the laboratory, in a window of this process. What the drop-in's own names add to it (errno, EINVAL,
    whole pages) is not there: of those calls it makes the heap's."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self.gives_back = allocator.name != "bump"
        self._heap = self.heap = Heap(allocator.name, log=True, **allocator.tunables())
        self._threads: dict[int, Thread] = {}
        self._page = mmap.PAGESIZE

    def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
        if thread not in self._threads:
            try:
                self._threads[thread] = self._heap.thread()
            except MemoryError:  # as in a drop-in: the call fails
                return Answer(0)
        return Answer(int(getattr(self, f"_{name}")(self._threads[thread], *arguments)))

    def _malloc(self, thread: Thread, size: int) -> int:
        return thread.malloc(size)

    def _calloc(self, thread: Thread, count: int, size: int) -> int:
        return thread.calloc(count, size)

    def _realloc(self, thread: Thread, block: int, size: int) -> int:
        return thread.realloc(block, size)

    def _reallocarray(self, thread: Thread, block: int, count: int, size: int) -> int:
        return thread.realloc(block, count * size) if count * size < 1 << 64 else 0

    def _memalign(self, thread: Thread, alignment: int, size: int) -> int:
        return thread.memalign(alignment, size)

    _aligned_alloc = _posix_memalign = _memalign

    def _valloc(self, thread: Thread, size: int) -> int:
        return thread.memalign(self._page, size)

    def _pvalloc(self, thread: Thread, size: int) -> int:
        whole = -(-size // self._page) * self._page
        return thread.memalign(self._page, whole) if whole < 1 << 64 else 0

    def _free(self, thread: Thread, block: int, *_: int) -> int:
        thread.free(block)
        return 0

    _free_sized = _free_aligned_sized = _free

    def _usable_size(self, _: Thread, block: int) -> int:
        return self._heap.usable_size(block) if block else 0

    def _trim(self, _: Thread, pad: int) -> int:
        return self._heap.trim(pad)

    def stays(self, usable: int, size: int) -> bool:
        return _stays(self._allocator, usable, size)

    def exit_thread(self, thread: int) -> None:
        if thread in self._threads:
            self._threads.pop(thread).exit()

    def fail_call(self, nth: int) -> int:
        return self._heap.fail_call(nth)

    def close(self) -> None:
        self._heap.close()


class Server:
    """``alloclab-replay --serve`` on an allocator; each :meth:`subject` is a process of its own, one at a time."""

    def __init__(self, allocator: Allocator, seconds: float = SECONDS) -> None:
        self.allocator, self.seconds = allocator, seconds
        self._begun = False
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        command = [str(built_file("alloclab-replay")), "--serve"]
        command += ["--preloaded"] if allocator.preload is not None else []
        replies, answers = os.pipe()
        self._replies = os.fdopen(replies, "rb", buffering=0)
        with os.fdopen(answers, "wb"), passed_on(answers) as own:
            self._process = subprocess.Popen(
                [*command, "--answers", str(own)],
                env=bare_environment(allocator),
                stdin=subprocess.PIPE,
                stdout=self._said,  # the library's alone
                stderr=self._said,
                pass_fds=[own],
                bufsize=0,
            )
        assert self._process.stdin is not None
        self._requests = self._process.stdin

    def subject(self) -> ServedSubject:
        """A fresh process. Raises ReplayError where the library is no malloc, or cannot be run."""
        if self._begun:  # what the server itself says, it may say at once
            self._said.seek(0)
            self._said.truncate()
        self._begun = True
        return ServedSubject(self)

    def close(self) -> None:
        self._requests.close()
        self._replies.close()
        self._process.kill()
        self._process.wait()
        self._said.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, kind: str, thread: int, address: int, a: int, b: int) -> tuple[int, int, int]:
        """Mark, error and value of the reply. TimeoutError: there is none in time; EOFError: the server is gone."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(_REQUEST.pack(_KINDS.index(kind), thread, address, a, b))
        return self.reply()

    def reply(self) -> tuple[int, int, int]:
        reply = b""
        while len(reply) < _REPLY.size:
            if not select.select([self._replies], [], [], self.seconds)[0]:
                raise TimeoutError
            part = self._replies.read(_REPLY.size - len(reply))
            if not part:
                raise EOFError
            reply += part
        mark, error, value = _REPLY.unpack(reply)
        return mark, error, value

    def said(self) -> str:
        """The last line on standard error or output."""
        self._said.seek(0)
        return last_line(self._said.read())

    def gone(self) -> ReplayError:
        """Why there is no server."""
        status = self._process.wait()
        said = self.said().removeprefix("not_malloc ")
        why = said or (f"it crashed ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}")
        kind = "not a malloc" if status == NOT_A_MALLOC else "no process runs on it"
        return ReplayError(f"{self.allocator.spec}: {kind}: {why}")


class ServedSubject(Subject):
    """A library, in a process of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = False
        try:
            self.pid = server.ask("begin", 0, 0, ADDRESS_SPACE, 0)[2]
        except TimeoutError:
            raise ReplayError(f"{server.allocator.spec}: hangs as its process starts") from None
        except EOFError:
            raise server.gone() from None

    def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
        takes_block = name.startswith(("realloc", "free", "usable"))
        address, *numbers = arguments if takes_block else (0, *arguments)
        a, b = (*numbers, 0, 0)[:2]
        mark, error, value = self._ask(name, address, a, b, thread=thread)
        if mark == _MISSING:
            raise MissingError(f"there is no {name}")
        return Answer(value, error)

    def _ask(self, kind: str, address: int = 0, a: int = 0, b: int = 0, *, thread: int = 0) -> tuple[int, int, int]:
        try:
            mark, error, value = self._server.ask(kind, thread, address, a, b)
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            self._server.reply()
            self._ended = True
            raise HangError(f"{kind} does not come back within {self._server.seconds:g} seconds") from None
        except EOFError:
            raise self._server.gone() from None
        if mark == _ENDED:
            self._ended = True
            if not (kind == "end" and value == 0):
                raise BrokenError(f"{how_it_ended(value)} in {kind}{self._last_words()}")
        elif mark > _MISSING:
            raise ReplayError(f"{self._server.allocator.spec}: cannot {kind} here: {os.strerror(error)}")
        return mark, error, value

    def _last_words(self) -> str:
        said = self._server.said()
        return f": {said}" if said else ""

    def stays(self, usable: int, size: int) -> bool:
        return _stays(self._server.allocator, usable, size)

    def fill(self, block: int, length: int, key: int) -> None:
        self._ask("fill", block, length, key)

    def wrong(self, block: int, length: int, key: int) -> int:
        return self._ask("wrong", block, length, key)[2]

    def not_zero(self, block: int, length: int) -> int:
        return self._ask("not_zero", block, length)[2]

    def exit_thread(self, thread: int) -> None:
        self._ask("thread_exit", thread=thread)

    def fail_call(self, nth: int) -> int:
        return self._ask("fail_call", a=nth)[2]

    def close(self) -> None:
        if not self._ended:
            self._ask("end")


def how_it_ended(status: int) -> str:
    """In words, of what waitpid gives."""
    code = os.waitstatus_to_exitcode(status)
    return f"it crashes ({signal.Signals(-code).name})" if code < 0 else f"it ends the process (exit status {code})"
