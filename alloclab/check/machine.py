"""The property machine: any order of the calls of malloc's family, held against a model that knows what must be true.

    class Mine(MallocMachine):
        begin = staticmethod(lambda: GlassSubject(resolve("fit")))

    TestMine = Mine.TestCase

Rules are numbered as in the conformance list (C..) and among the invariants (I..):

    C01 C05 C06 C09 C16 C17   failure is NULL, ENOMEM, and leaves everything as it was
    C02 C12 C15 C27           alignment                        C18   usable size >= request, stable
    I3                        live blocks are disjoint         I4    the whole usable range keeps what was written
    C08                       realloc keeps min(old, new)      C04   calloc is zero
    C10                       realloc(p, 0)                    C11   free leaves errno alone
    I9                        a heap that can be looked into is sound after every step, and has the live blocks
    I14                       in place only into what nobody had
    I22                       a system call that fails
"""

from __future__ import annotations

import contextlib
import errno
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from alloclab.check.steps import TAKE_A_BLOCK, Failure, Fault, Step
from alloclab.check.subject import UNSET, UNTOUCHED, Answer, BrokenError, MissingError, Subject
from alloclab.heap import STATES

SMALL, LARGEST = 1 << 10, 8 << 20
PAGE = 4096
THREADS = 4
IMPOSSIBLE = ((1 << 63), (1 << 63) + 1, (1 << 64) - 1, (1 << 64) - PAGE, (1 << 64) - 64)
OVERFLOWS = ((1 << 32, 1 << 32), (1 << 33, 1 << 31), (3, 1 << 63), ((1 << 64) - 1, 2))
POWERS = tuple(1 << n for n in range(24))
ALIGNED = ("memalign", "aligned_alloc", "posix_memalign")
_LIVE, _FREE = STATES.index("live"), STATES.index("free")

_T = TypeVar("_T")


class RuleError(AssertionError):
    """A rule is broken."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.rule}: {failure.sentence}")
        self.failure = failure


@lru_cache
def sizes(edges: tuple[int, ...] = ()) -> st.SearchStrategy[int]:
    """Small ones; of any magnitude; powers of two, and ``edges`` (largest sizes of the classes of an allocator), and
    one more and less than each; glibc's threshold for mappings."""
    near = sorted({max(e + d, 0) for e in (*POWERS, *edges, 128 << 10) for d in (-1, 0, 1)})
    magnitude = st.integers(0, LARGEST.bit_length() - 1).flatmap(lambda n: st.integers(0, 1 << n))
    return st.one_of(st.integers(0, SMALL), magnitude, st.sampled_from([n for n in near if n <= LARGEST]))


_SIZE = st.runner().flatmap(lambda machine: sizes(type(machine).edges))
_THREAD = st.integers(0, THREADS - 1)
_PICK = st.integers(0, 1 << 16)
_POWER = st.integers(3, 22)
_NTH = st.integers(1, 4)


@dataclass
class Block:
    """A live block as the model has it: filled with the pattern of its number over its usable bytes. ``origin``: the
    function that made it; ``alignment``: what that was asked for, 0 for nothing."""

    number: int
    address: int
    size: int
    usable: int
    alignment: int
    origin: str


def _natural(size: int) -> int:
    """The alignment that any object of the size may need."""
    return min(16, 1 << max(size.bit_length() - 1, 0))


class MallocMachine(RuleBasedStateMachine):
    """Subclass it, and say how to ``begin``: a fresh :class:`alloclab.check.subject.Subject` for each example."""

    begin: ClassVar[Callable[[], Subject]]
    edges: ClassVar[tuple[int, ...]] = ()
    known: ClassVar[frozenset[tuple[str, str, str]]] = frozenset()
    """Keys of failures that are passed over: see :attr:`alloclab.check.steps.Failure.key`."""
    avoided: ClassVar[frozenset[str]] = frozenset()
    """Functions that are not called."""
    shrinking: ClassVar[float] = 30.0
    """Seconds after the first failure in which smaller examples of it are tried."""
    failure: ClassVar[Failure | None] = None
    """The shortest so far."""
    _until: ClassVar[float] = math.inf

    def __init__(self) -> None:
        if time.monotonic() > type(self)._until:
            reject()
        super().__init__()
        self.steps: list[Step] = []
        self.live: list[Block] = []
        self.births = 0
        self.threads: set[int] = set()
        self.zero_gives: bool | None = None  # whether realloc(p, 0) returns a block
        self.subject = type(self).begin()

    # --- births ---

    @rule(size=_SIZE, thread=_THREAD)
    def malloc(self, size: int, thread: int) -> None:
        self._birth("malloc", (size,), size, thread)

    @rule(count=st.integers(0, 50), size=_SIZE, thread=_THREAD)
    def calloc(self, count: int, size: int, thread: int) -> None:
        count = min(count, LARGEST // max(size, 1))
        self._birth("calloc", (count, size), count * size, thread)

    @rule(name=st.sampled_from(ALIGNED), power=_POWER, size=_SIZE, thread=_THREAD)
    def aligned(self, name: str, power: int, size: int, thread: int) -> None:
        self._birth(name, (1 << power, size), size, thread, 1 << power)

    @rule(name=st.sampled_from(ALIGNED), power=_POWER, times=st.integers(0, 4), thread=_THREAD)
    def aligned_whole(self, name: str, power: int, times: int, thread: int) -> None:
        self._birth(name, (1 << power, times << power), times << power, thread, 1 << power)

    @rule(name=st.sampled_from(["valloc", "pvalloc"]), size=_SIZE, thread=_THREAD)
    def pages(self, name: str, size: int, thread: int) -> None:
        whole = -(-size // PAGE) * PAGE if name == "pvalloc" else size
        self._birth(name, (size,), whole, thread, PAGE)

    @rule(size=_SIZE, thread=_THREAD)
    def realloc_null(self, size: int, thread: int) -> None:
        self._birth("realloc", (size,), size, thread)

    # --- those that live ---

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, size=_SIZE.filter(bool), thread=_THREAD, array=st.booleans())
    def realloc(self, pick: int, size: int, thread: int, array: bool) -> None:
        self._resize("reallocarray" if array else "realloc", self._picked(pick), size, thread)

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, delta=st.integers(-17, 17), thread=_THREAD)
    def realloc_near_usable(self, pick: int, delta: int, thread: int) -> None:
        block = self._picked(pick)
        self._resize("realloc", block, max(block.usable + delta, 1), thread)

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, steps=st.integers(2, 12), factor=st.sampled_from([1.1, 1.5, 2.0]), thread=_THREAD)
    def chain_of_growth(self, pick: int, steps: int, factor: float, thread: int) -> None:
        block = self._picked(pick)
        for _ in range(steps):
            size = int(block.size * factor) + 1
            if size > LARGEST:
                return
            self._resize("realloc", block, size, thread)
            block = self.live[-1]

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, thread=_THREAD)
    def realloc_to_zero(self, pick: int, thread: int) -> None:
        block = self._picked(pick)
        self._intact(block)
        answer = self._call("realloc", (0,), block, thread)
        self.live.remove(block)
        gives = answer.value != 0
        if self.zero_gives not in (None, gives):
            self._broken("C10", "realloc(p, 0) sometimes returns a block, and sometimes NULL", Fault("inside"), block)
        self.zero_gives = gives
        if gives:
            self._born("realloc", answer.value, 0, 0)
        self._look()

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, thread=_THREAD, sized=st.booleans())
    def free(self, pick: int, thread: int, sized: bool) -> None:
        self._free(self._picked(pick), thread, sized)

    @precondition(lambda self: self.live)
    @rule(pick=_PICK)
    def usable_size(self, pick: int) -> None:
        block = self._picked(pick)
        usable = self._call("usable_size", (), block).value
        if usable != block.usable:
            what = f"malloc_usable_size was {block.usable}, and is {usable} later"
            self._broken("C18", what, Fault("stable", block.number, block.usable), block)

    @rule(pad=st.sampled_from([0, PAGE, 1 << 20]))
    def trim(self, pad: int) -> None:
        self._call("trim", (pad,), None)
        for block in self.live:
            self._intact(block)
        self._look()

    @rule(thread=st.integers(1, THREADS - 1))
    def thread_exits(self, thread: int) -> None:
        if thread not in self.threads:
            return
        self.threads.remove(thread)
        self.steps.append(Step("thread_exit", thread=thread))
        self._blame(lambda: self.subject.exit_thread(thread))
        self._look()

    # --- what must fail, and what may ---

    @rule(
        name=st.sampled_from(["malloc", "calloc", "memalign", "posix_memalign", "valloc", "pvalloc"]),
        size=st.sampled_from(IMPOSSIBLE),
    )
    def impossible_birth(self, name: str, size: int) -> None:
        numbers = {"calloc": (size, 1), "memalign": (64, size), "posix_memalign": (64, size)}.get(name, (size,))
        self._refused(name, numbers, None, {"malloc": "C06", "calloc": "C05", "valloc": "C27", "pvalloc": "C27"})

    @rule(counts=st.sampled_from(OVERFLOWS))
    def overflow(self, counts: tuple[int, int]) -> None:
        self._refused("calloc", counts, None, {"calloc": "C05"})

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, size=st.sampled_from(IMPOSSIBLE))
    def impossible_resize(self, pick: int, size: int) -> None:
        self._refused("realloc", (size,), self._picked(pick), {"realloc": "C09"})

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, counts=st.sampled_from(OVERFLOWS))
    def overflowing_resize(self, pick: int, counts: tuple[int, int]) -> None:
        self._refused("reallocarray", counts, self._picked(pick), {"reallocarray": "C17"})

    @rule(name=st.sampled_from(["malloc", "memalign"]), size=_SIZE, nth=_NTH)
    def birth_in_need(self, name: str, size: int, nth: int) -> None:
        self._birth(name, (size,) if name == "malloc" else (PAGE, size), size, 0, (name != "malloc") * PAGE, nth)

    @precondition(lambda self: self.live)
    @rule(pick=_PICK, size=_SIZE.filter(bool), nth=_NTH)
    def resize_in_need(self, pick: int, size: int, nth: int) -> None:
        self._resize("realloc", self._picked(pick), size, 0, nth)

    def teardown(self) -> None:
        """Everything is freed; then the process ends as it should."""
        if sys.exc_info()[0] is not None:
            self._drop()
            return
        try:
            for block in self.live:
                self._intact(block)
            while self.live:
                self._free(self.live[len(self.live) // 2], 0, sized=False)
            self._emptied()
            self._blame(self.subject.close)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """The end of an example that is not judged any more."""
        with contextlib.suppress(BrokenError):
            self.subject.close()

    # --- how each is done ---

    def _picked(self, pick: int) -> Block:
        return self.live[pick % len(self.live)]

    def _birth(
        self, name: str, numbers: tuple[int, ...], size: int, thread: int, alignment: int = 0, fails: int = 0
    ) -> None:
        if name in self.avoided:
            return
        answer = self._call(name, numbers, None, thread, fails)
        if answer.value in (0, UNTOUCHED):
            self._nothing(
                answer, None, may=fails > 0 or size == 0 or (name == "aligned_alloc" and size % alignment > 0)
            )
        else:
            self._born(name, answer.value, size, alignment, zero=name == "calloc")
        self._look()

    def _born(
        self, name: str, address: int, size: int, alignment: int, *, zero: bool = False, kept: Block | None = None
    ) -> None:
        """A block is there: where it may be, as large as it must be, with what it must hold."""
        self.births += 1
        self.steps[-1] = replace(self.steps[-1], result=self.births)
        block = Block(self.births, address, size, size, alignment, name)
        self._placed(block)
        block.usable = self._blame(lambda: self.subject.call("usable_size", address)).value
        if block.usable < size:
            what = f"malloc_usable_size is {block.usable} after {self._last.call}"
            self._broken("C18", what, Fault("usable", block.number, size), block)
            block.usable = size
        self._apart(block)
        if zero:
            self._zero(block)
        if kept is not None:
            self._kept(kept, block)
        self.live.append(block)
        self._blame(lambda: self.subject.fill(address, block.usable, block.number))

    def _resize(self, name: str, block: Block, size: int, thread: int, fails: int = 0) -> None:
        numbers = (1, size) if name == "reallocarray" else (size,)
        self._intact(block)
        before = self.subject.heap.chunks() if self.subject.heap is not None else None
        answer = self._call(name, numbers, block, thread, fails)
        if answer.value == 0:
            self._nothing(answer, block, may=fails > 0)
        else:
            self.live.remove(block)
            self._born(name, answer.value, size, 0, kept=block)
            if before is not None and answer.value == block.address:
                self._grown(before, block, self.live[-1])
        self._look()

    def _free(self, block: Block, thread: int, sized: bool) -> None:
        self._intact(block)
        name, numbers = "free", tuple[int, ...]()
        if sized and block.origin in ("memalign", "aligned_alloc", "posix_memalign"):
            name, numbers = "free_aligned_sized", (block.alignment, block.size)
        elif sized and not block.alignment:
            name, numbers = "free_sized", (block.size,)
        try:
            answer = self._call(name, numbers, block, thread)
        except MissingError:
            answer = self._call("free", (), block, thread)
        self.live.remove(block)
        if answer.error not in (None, UNSET):
            error = errno.errorcode.get(answer.error, str(answer.error))
            self._broken("C11", f"{self._last.name} sets errno to {error}", Fault("kept"), block)
        self._look()

    def _refused(self, name: str, numbers: tuple[int, ...], block: Block | None, rules: dict[str, str]) -> None:
        """It cannot be served."""
        if name in self.avoided:
            return
        rule = rules.get(name, "C16")
        answer = self._call(name, numbers, block)
        if answer.value not in (0, UNTOUCHED):
            self._broken(rule, f"{self._last.call} returned a block", Fault("served"), block)
            reject()
        self._nothing(answer, block, may=True, rule=rule)
        self._look()

    def _nothing(self, answer: Answer, block: Block | None, *, may: bool, rule: str = "I22") -> None:
        """The call returned none. A failure says why, and changes nothing."""
        step = self._last
        if not may:
            self._broken("C01", f"{step.call} returned NULL", Fault("null"), block)
        served = answer.error is not None
        if step.name == "posix_memalign" and served and answer.error != 0 and answer.value != UNTOUCHED:
            self._broken("C12", f"{step.call} failed, and stored a pointer", Fault("touched"), block)
        wanted = (errno.ENOMEM, errno.EINVAL) if step.name == "aligned_alloc" else (errno.ENOMEM,)
        if served and 0 not in step.numbers and answer.error not in wanted:
            how = "0" if answer.error in (0, UNSET) else errno.errorcode.get(answer.error or 0, str(answer.error))
            said = "returned" if step.name == "posix_memalign" else "left errno at"
            what = f"{step.call} failed, and {said} {how} instead of ENOMEM"
            self._broken(rule, what, Fault("errno", None, errno.ENOMEM), block)
        if block is not None:
            self._intact(block)

    # --- looking ---

    def _placed(self, block: Block) -> None:
        alignment = block.alignment or _natural(block.size)
        over = block.address % alignment
        if over:
            rule = {"posix_memalign": "C12", "valloc": "C27", "pvalloc": "C27"}.get(block.origin, "C15")
            what = f"{self._last.call} returned an address that is {over} modulo {alignment}"
            rule = rule if block.alignment else "C02"
            self._broken(rule, what, Fault("aligned", block.number, alignment), block)

    def _apart(self, block: Block) -> None:
        end = block.address + max(block.usable, 1)
        for other in self.live:
            if block.address < other.address + max(other.usable, 1) and other.address < end:
                what = f"{self._last.call} returned {block.usable} bytes that overlap a block of {other.usable} bytes"
                fault = Fault("overlap", block.number, other=other.number)
                self._broken("I3", f"{what} that is live", fault, block)
                reject()

    def _zero(self, block: Block) -> None:
        at = self._blame(lambda: self.subject.not_zero(block.address, block.size))
        if at < block.size:
            what = f"byte {at} of {block.size} is not zero after {self._last.call}"
            self._broken("C04", what, Fault("zero", block.number, block.size), block)

    def _kept(self, old: Block, new: Block) -> None:
        kept = min(old.size, new.size)
        at = self._blame(lambda: self.subject.wrong(new.address, kept, old.number))
        if at < kept:
            what = f"byte {at} of {kept} is not kept by {self._last.call}, which had {old.size} bytes before"
            self._broken("C08", what, Fault("contents", new.number, kept, old.number), old)

    def _intact(self, block: Block) -> None:
        at = self._blame(lambda: self.subject.wrong(block.address, block.usable, block.number))
        if at < block.usable:
            what = f"byte {at} of {block.usable} of a live block is no longer what was written"
            self._broken("I4", what, Fault("contents", block.number, block.usable, block.number), block)
            reject()

    def _look(self) -> None:
        """Inside, where that can be seen."""
        heap = self.subject.heap
        if heap is None:
            return
        self._blame(self.subject.validate)
        chunks = heap.chunks()
        chunks = chunks[chunks["state"] == _LIVE]
        seen = dict(zip(chunks["block"].tolist(), chunks["usable"].tolist(), strict=True))
        if seen != {block.address: block.usable for block in self.live}:
            what = f"the walk has {len(seen)} live blocks, and there are {len(self.live)}; or one has another size"
            self._broken("I9", what, Fault("inside"))

    def _grown(self, before: Any, old: Block, new: Block) -> None:
        """What a block took where it stood was nobody's."""
        end = new.address + new.usable
        own = before["block"] == old.address
        reached = (before["address"] < end) & (before["address"] + before["bytes"] > old.address + old.usable)
        if new.usable > old.usable and (reached & ~own & (before["state"] != _FREE)).any():
            what = f"{self._last.call} grew where it stood into bytes that were not free"
            self._broken("I14", what, Fault("inside"), old)

    def _emptied(self) -> None:
        heap = self.subject.heap
        if heap is not None and heap.ledger().usable != 0:
            self._broken("I9", f"{heap.ledger().usable} bytes are usable with every block freed", Fault("inside"))

    # --- calling ---

    @property
    def _last(self) -> Step:
        return self.steps[-1]

    def _call(
        self, name: str, numbers: tuple[int, ...], block: Block | None, thread: int = 0, fails: int = 0
    ) -> Answer:
        step = Step(name, numbers, None if block is None else block.number, None, thread, fails)
        self.steps.append(step)
        self.threads.add(thread)
        given = [block.address if block is not None else 0] if name in TAKE_A_BLOCK else []
        try:
            if fails:
                self._blame(lambda: self.subject.fail_call(fails))
            answer = self._blame(lambda: self.subject.call(name, *given, *numbers, thread=thread), block)
            if fails and self._blame(lambda: self.subject.fail_call(0)):
                self.steps[-1] = replace(step, fails=0)  # there were fewer system calls
        except MissingError:
            self.steps.pop()
            raise
        return answer

    def _blame(self, do: Callable[[], _T], block: Block | None = None) -> _T:
        """What breaks the process, or a heap's own rules, is the malloc's failure."""
        try:
            return do()
        except BrokenError as broken:
            fault = Fault("inside" if self.subject.heap is not None else "crash")
            self._broken("I9" if fault.kind == "inside" else "crash", str(broken), fault, block)
            reject()

    def _broken(self, rule: str, sentence: str, fault: Fault, block: Block | None = None) -> None:
        """Raises, unless it is known. ``block`` is whose function is at fault where the process dies of it."""
        function = block.origin if fault.kind == "crash" and block is not None else self._last_function()
        failure = Failure(rule, function, sentence, tuple(self.steps), fault)
        if failure.key in self.known:
            return
        best = type(self).failure
        if best is None:
            type(self)._until = time.monotonic() + self.shrinking
        if best is None or failure.length <= best.length:
            type(self).failure = failure
        raise RuleError(failure)

    def _last_function(self) -> str:
        return self.steps[-1].name if self.steps else "exit"


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
