"""The property machine: any order of the calls of malloc's family, held against the model.

Of an allocator of your own it asks a :class:`alloclab.check.subject.Subject`, fresh for each example; what that lacks
is not called. Hypothesis tells what fails, in few steps (without the ``max`` of this one, that two blocks of 0 bytes
have one address):

    import mmap

    from alloclab.check.machine import MallocMachine
    from alloclab.check.subject import Answer, LocalSubject, MissingError
    from hypothesis import settings

    class Stack(LocalSubject):
        '''Cuts blocks off a buffer, one after the other; only the last can be taken back.'''

        def __init__(self):
            self.buffer = mmap.mmap(-1, 1 << 30)
            self.top = self.address_of(self.buffer)
            self.end = self.top + len(self.buffer)

        def call(self, name, *arguments, thread=0):
            if name == "malloc":
                start = -(-self.top // 16) * 16
                if arguments[0] > self.end - start:
                    return Answer(0)
                self.top = start + max(arguments[0], 1)
                return Answer(start)
            if name == "free":
                return Answer(0)
            raise MissingError

    class StackMachine(MallocMachine):
        begin = Stack

    TestStack = StackMachine.TestCase
    TestStack.settings = settings(max_examples=10, stateful_step_count=20)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from alloclab.check.model import Block, Key, Model, SpentError
from alloclab.check.steps import PAGE, Step
from alloclab.check.subject import BrokenError, MissingError, Subject

SMALL, LARGEST = 1 << 10, 8 << 20
LARGE = 128 << 10
"""From here on a block may have a mapping of its own."""
THREADS = 4
IMPOSSIBLE = ((1 << 63), (1 << 63) + 1, (1 << 64) - 1, (1 << 64) - PAGE, (1 << 64) - 64)
OVERFLOWS = ((1 << 32, 1 << 32), (1 << 33, 1 << 31), (3, 1 << 63), ((1 << 64) - 1, 2))
POWERS = tuple(1 << n for n in range(24))
ALIGNED = ("memalign", "aligned_alloc", "posix_memalign")


@lru_cache
def sizes(edges: tuple[int, ...] = ()) -> st.SearchStrategy[int]:
    """Small ones; of any magnitude; powers of two, and ``edges`` (largest sizes of the classes of an allocator), and
    one more and less than each; glibc's threshold for mappings."""
    near = sorted({max(e + d, 0) for e in (*POWERS, *edges, LARGE) for d in (-1, 0, 1)})
    magnitude = st.integers(0, LARGEST.bit_length() - 1).flatmap(lambda n: st.integers(0, 1 << n))
    return st.one_of(st.integers(0, SMALL), magnitude, st.sampled_from([n for n in near if n <= LARGEST]))


def _size(machine: MallocMachine) -> st.SearchStrategy[int]:
    """Also one that was asked for before: what was freed serves the next of its size."""
    drawn, asked = sizes(type(machine).edges), tuple(machine.asked)
    return st.one_of(drawn, drawn, st.sampled_from(asked)) if asked else drawn


_SIZE = st.runner().flatmap(_size)
_THREAD = st.integers(0, THREADS - 1)
_PICK = st.integers(0, 1 << 16)
_POWER = st.integers(3, 22)
_NTH = st.integers(1, 4)


class MallocMachine(RuleBasedStateMachine):
    """Subclass it, and say how to ``begin``: a fresh :class:`alloclab.check.subject.Subject` for each example."""

    begin: ClassVar[Callable[[], Subject]]
    edges: ClassVar[tuple[int, ...]] = ()
    known: ClassVar[frozenset[Key]] = frozenset()
    """Keys of failures that are passed over: see :attr:`alloclab.check.steps.Failure.key`."""
    avoided: ClassVar[frozenset[str]] = frozenset()
    """Functions that are not called."""
    shrinking: ClassVar[float] = 30.0
    """Seconds that :func:`alloclab.check.search.search` takes to make a failure smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(type(self).begin(), self.known, self.avoided)
        self.asked: dict[int, None] = {}  # sizes of blocks, in order

    # --- births ---

    @rule(size=_SIZE, thread=_THREAD)
    def malloc(self, size: int, thread: int) -> None:
        self.do("malloc", size, thread=thread)

    @rule(count=st.integers(0, 50), size=_SIZE, thread=_THREAD)
    def calloc(self, count: int, size: int, thread: int) -> None:
        self.do("calloc", min(count, LARGEST // max(size, 1)), size, thread=thread)

    @rule(name=st.sampled_from(ALIGNED), power=_POWER, size=_SIZE, thread=_THREAD)
    def aligned(self, name: str, power: int, size: int, thread: int) -> None:
        self.do(name, 1 << power, size, thread=thread)

    @rule(name=st.sampled_from(ALIGNED), power=_POWER, times=st.integers(0, 4), thread=_THREAD)
    def aligned_whole(self, name: str, power: int, times: int, thread: int) -> None:
        self.do(name, 1 << power, times << power, thread=thread)

    @rule(name=st.sampled_from(ALIGNED), power=st.integers(3, 12), size=st.sampled_from([0, 1, 8]), thread=_THREAD)
    def aligned_tiny(self, name: str, power: int, size: int, thread: int) -> None:
        self.do(name, 1 << power, size, thread=thread)

    @rule(name=st.sampled_from(["valloc", "pvalloc"]), size=_SIZE, thread=_THREAD)
    def pages(self, name: str, size: int, thread: int) -> None:
        self.do(name, size, thread=thread)

    @rule(size=_SIZE, thread=_THREAD)
    def realloc_null(self, size: int, thread: int) -> None:
        self.do("realloc", size, thread=thread)

    @rule(size=_SIZE, count=st.integers(2, 40), thread=_THREAD)
    def crowd(self, size: int, count: int, thread: int) -> None:
        for _ in range(min(count, 2 + LARGEST // max(size, 1))):
            self.do("malloc", size, thread=thread)

    # --- those that live ---

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, size=_SIZE.filter(bool), thread=_THREAD, array=st.booleans())
    def realloc(self, pick: int, size: int, thread: int, array: bool) -> None:
        if array:
            self.do("reallocarray", 1, size, block=self.picked(pick), thread=thread)
        else:
            self.do("realloc", size, block=self.picked(pick), thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, delta=st.integers(-17, 17), thread=_THREAD)
    def realloc_near_usable(self, pick: int, delta: int, thread: int) -> None:
        block = self.picked(pick)
        self.do("realloc", max(block.usable + delta, 1), block=block, thread=thread)

    @precondition(lambda self: self._aligned())
    @rule(pick=_PICK, size=_SIZE.filter(bool), thread=_THREAD)
    def realloc_aligned(self, pick: int, size: int, thread: int) -> None:
        aligned = self._aligned()
        self.do("realloc", size, block=aligned[pick % len(aligned)], thread=thread)

    @precondition(lambda self: self._large())
    @rule(pick=_PICK, size=st.integers(LARGE // 2, LARGEST), thread=_THREAD)
    def realloc_large(self, pick: int, size: int, thread: int) -> None:
        large = self._large()
        self.do("realloc", size, block=large[pick % len(large)], thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(
        pick=_PICK,
        steps=st.integers(2, 12),
        factor=st.sampled_from([0.5, 1.1, 1.5, 2.0]),
        thread=_THREAD,
        across=st.booleans(),
    )
    def chain(self, pick: int, steps: int, factor: float, thread: int, across: bool) -> None:
        """Grows, or shrinks, step by step, in one thread or in each in turn."""
        block: Block | None = self.picked(pick)
        for step in range(steps):
            size = int(block.size * factor) + 1 if block is not None else 0
            if block is None or size > LARGEST:
                return
            block = self.do("realloc", size, block=block, thread=(thread + across * step) % THREADS)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, size=_SIZE.filter(bool), thread=_THREAD)
    def there_and_back(self, pick: int, size: int, thread: int) -> None:
        """Shrinks and grows again, or the other way round."""
        block = self.picked(pick)
        between = self.do("realloc", size, block=block, thread=thread)
        if between is not None:
            self.do("realloc", max(block.size, 1), block=between, thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, thread=_THREAD)
    def realloc_to_zero(self, pick: int, thread: int) -> None:
        self.do("realloc", 0, block=self.picked(pick), thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, thread=_THREAD, sized=st.booleans())
    def free(self, pick: int, thread: int, sized: bool) -> None:
        block = self.picked(pick)
        name = "free"
        if sized and block.origin in ALIGNED:
            name = "free_aligned_sized"
        elif sized and not block.alignment:
            name = "free_sized"
        self.do(name, block=block, thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, count=st.integers(2, 40), thread=_THREAD, backward=st.booleans())
    def free_several(self, pick: int, count: int, thread: int, backward: bool) -> None:
        """Neighbours in age."""
        first = pick % len(self.model.live)
        blocks = list(self.model.live.values())[first : first + count]
        for block in reversed(blocks) if backward else blocks:
            self.do("free", block=block, thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, thread=_THREAD)
    def free_and_calloc(self, pick: int, thread: int) -> None:
        """As many bytes: what was freed last may serve."""
        block = self.picked(pick)
        self.do("free", block=block, thread=thread)
        self.do("calloc", 1, block.size, thread=thread)

    @rule(thread=_THREAD)
    def free_null(self, thread: int) -> None:
        self.do("free", thread=thread)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK)
    def usable_size(self, pick: int) -> None:
        self.do("usable_size", block=self.picked(pick))

    @rule(pad=st.sampled_from([0, PAGE, 1 << 20]))
    def trim(self, pad: int) -> None:
        self.do("trim", pad)

    @rule(thread=st.integers(1, THREADS - 1))
    def thread_exits(self, thread: int) -> None:
        self.do("thread_exit", thread=thread)

    # --- what must fail, and what may ---

    @rule(
        name=st.sampled_from(["malloc", "calloc", "realloc", *ALIGNED]),
        size=st.sampled_from(IMPOSSIBLE),
        power=st.sampled_from([3, 6, 12, 21]),
    )
    def impossible_birth(self, name: str, size: int, power: int) -> None:
        self.do(name, *([1 << power] if name in ALIGNED else [1] if name == "calloc" else []), size)

    @rule(name=st.sampled_from(["valloc", "pvalloc"]), size=st.sampled_from(IMPOSSIBLE))
    def impossible_pages(self, name: str, size: int) -> None:
        self.do(name, size)

    @rule(name=st.sampled_from(ALIGNED), power=st.sampled_from([62, 63]), size=st.sampled_from([0, 1, 1 << 20]))
    def impossible_alignment(self, name: str, power: int, size: int) -> None:
        self.do(name, 1 << power, size)

    @rule(counts=st.sampled_from(OVERFLOWS))
    def overflow(self, counts: tuple[int, int]) -> None:
        self.do("calloc", *counts)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, size=st.sampled_from(IMPOSSIBLE))
    def impossible_resize(self, pick: int, size: int) -> None:
        self.do("realloc", size, block=self.picked(pick))

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, counts=st.sampled_from(OVERFLOWS))
    def overflowing_resize(self, pick: int, counts: tuple[int, int]) -> None:
        self.do("reallocarray", *counts, block=self.picked(pick))

    @rule(name=st.sampled_from(["malloc", "memalign"]), size=_SIZE, nth=_NTH)
    def birth_in_need(self, name: str, size: int, nth: int) -> None:
        self.do(name, *([PAGE] if name == "memalign" else []), size, fails=nth)

    @precondition(lambda self: self.model.live)
    @rule(pick=_PICK, size=_SIZE.filter(bool), nth=_NTH)
    def resize_in_need(self, pick: int, size: int, nth: int) -> None:
        self.do("realloc", size, block=self.picked(pick), fails=nth)

    @precondition(lambda self: self.model.live and self.model.subject.heap is not None)
    @rule(nth=_NTH)
    def free_in_need(self, nth: int) -> None:
        """The largest, which may have a mapping. In a heap: no program that shows it could have a munmap fail."""
        block = max(self.model.live.values(), key=lambda block: block.usable)
        self.do("free", block=block, fails=nth)

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            self.model.drop()
            return
        try:
            self.model.end()
        except SpentError:
            reject()
        except BaseException:
            self.model.drop()
            raise

    # --- for rules of your own ---

    def do(self, name: str, *numbers: int, block: Block | None = None, thread: int = 0, fails: int = 0) -> Block | None:
        """A step; returns the block that it made."""
        try:
            made = self.model.do(Step(name, numbers, None if block is None else block.number, None, thread, fails))
        except SpentError:
            reject()
        if made is not None:
            self.asked[made.size] = None
        return made

    def picked(self, pick: int) -> Block:
        """One that lives."""
        return list(self.model.live.values())[pick % len(self.model.live)]

    def _aligned(self) -> list[Block]:
        return [block for block in self.model.live.values() if block.alignment]

    def _large(self) -> list[Block]:
        return [block for block in self.model.live.values() if block.size >= LARGE]


def class_edges(subject: Subject, most: int = 64 << 10) -> tuple[int, ...]:
    """Largest sizes of an allocator's classes, as its own usable sizes tell them; as far as it can tell them."""
    edges: list[int] = []
    size = 1
    try:
        while size <= most:
            block = subject.call("malloc", size).value
            usable = subject.call("usable_size", block).value if block else 0
            edges.append(min(usable, most))
            size = max(edges[-1], size) + max(1, size // 16)
    except (BrokenError, MissingError):
        pass
    return tuple(sorted(set(edges)))
