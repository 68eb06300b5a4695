"""What an example does: calls on numbered blocks, in words that every way of telling it again takes."""

from __future__ import annotations

from dataclasses import dataclass

BIRTHS = ("malloc", "calloc", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc")
RESIZES = ("realloc", "reallocarray")
DEATHS = ("free", "free_sized", "free_aligned_sized")
PAGE = 4096
TAKE_A_BLOCK = (*RESIZES, *DEATHS, "usable_size")


@dataclass(frozen=True)
class Step:
    """A call: its name, the block it is given (None: none, or NULL), the block it makes (None: it made none; of a
    resize it is a new number, too), its numbers in C's order, the thread, and which system call for memory was made to
    fail in it (0: none)."""

    name: str
    numbers: tuple[int, ...] = ()
    block: int | None = None
    result: int | None = None
    thread: int = 0
    fails: int = 0

    @property
    def alignment(self) -> int:
        """What is asked for; 0 for nothing."""
        if self.name in ("memalign", "aligned_alloc", "posix_memalign"):
            return self.numbers[0]
        return PAGE if self.name in ("valloc", "pvalloc") else 0

    @property
    def bytes(self) -> int:
        """How many a block is to have, as many as they may be."""
        match self.name:
            case "calloc" | "reallocarray":
                return self.numbers[0] * self.numbers[1]
            case "pvalloc":
                return -(-self.numbers[0] // PAGE) * PAGE
            case _:
                return self.numbers[-1] if self.numbers else 0

    @property
    def call(self) -> str:
        """As C has it."""
        given = ["NULL" if self.block is None else f"b{self.block}"] if self.name in TAKE_A_BLOCK else []
        name = {"usable_size": "malloc_usable_size", "trim": "malloc_trim"}.get(self.name, self.name)
        return f"{name}({', '.join([*given, *map(str, self.numbers)])})"

    def __str__(self) -> str:
        if self.name == "thread_exit":
            return f"thread {self.thread} exits"
        result = f"b{self.result} = " if self.result is not None else ""
        where = f" in thread {self.thread}" if self.thread else ""
        return f"{result}{self.call}{where}{f', system call {self.fails} failing' if self.fails else ''}"


@dataclass(frozen=True)
class Fault:
    """What is to be seen after the last step, for a program to look for it:

    ``aligned``    ``block`` is not aligned to ``number``
    ``null``       the call returned NULL
    ``served``     the call returned a block
    ``errno``      it failed, and errno is not ``number``; 0: it was not set
    ``touched``    it failed, and posix_memalign stored something
    ``overlap``    ``block`` and ``other`` overlap
    ``contents``   the first ``number`` bytes of ``block`` are not as block ``other`` was filled
    ``zero``       the first ``number`` bytes of ``block`` are not all zero
    ``usable``     fewer than ``number`` bytes of ``block`` are usable
    ``stable``     no longer ``number`` bytes of ``block`` are usable
    ``kept``       it changed errno
    ``unlike``     it returned a block, and the same call before NULL, or the other way round
    ``foreign``    functions are not there, or are another library's than malloc; there are no steps
    ``crash``      the process does not live to its end, or does not end well
    ``dies``       likewise, though nothing is written to any block
    ``hang``       the last call does not come back
    ``starved``    blocks of the calls' sizes are allocated until there is no memory, and freed; what follows fails
    ``fork``       a child forked while threads allocate cannot allocate
    ``handler``    a fork handler that is registered before malloc's own cannot allocate
    ``rule``       what only the whole rule shows, in its own process; there are no steps
    ``inside``     what only a heap that can be looked into shows
    """

    kind: str
    block: int | None = None
    number: int = 0
    other: int | None = None

    @property
    def deadly(self) -> bool:
        """The process is lost."""
        return self.kind in ("crash", "hang", "dies")


MOST_FAILURES = 12
"""A search looks for no more than these."""


@dataclass(frozen=True)
class Failure:
    """A rule that was broken: which, by which of malloc's functions, in a sentence, and the shortest way to it that was
    found; the last step shows it."""

    rule: str
    function: str
    sentence: str
    steps: tuple[Step, ...]
    fault: Fault

    @property
    def key(self) -> tuple[str, str, str]:
        """Failures with the same are one."""
        return self.rule, self.function, self.fault.kind

    @property
    def length(self) -> tuple[int, int, int]:
        """The less, the better it is read."""
        numbers = sum(sum(step.numbers) for step in self.steps)
        return len(self.steps), sum(len(str(step)) for step in self.steps), numbers
