"""What must be true of a malloc: a model of what is live takes step after step on it, and tells the first rule broken.

    model = Model(GlassSubject(resolve("fit")))
    block = model.do(Step("malloc", (100,)))
    model.do(Step("realloc", (5000,), block.number))
    model.end()

Rules are numbered as in the conformance list (C..) and among the invariants (I..):

    C01                       only no bytes may be NULL, or a block of its own
    C05 C06 C09 C16 C17 C27   failure is NULL, ENOMEM, and leaves everything as it was
    C02 C12 C15 C27           alignment                        C18   usable size >= request, stable
    I3                        live blocks are disjoint         I4    the whole usable range keeps what was written
    C08                       realloc keeps min(old, new)      C04   calloc is zero
    C10                       realloc(p, 0)                    C11   free leaves errno alone
    I9                        a heap that can be looked into is sound after every step, and has the live blocks
    I14                       in place only into what nobody had
    I15 I17                   where a style promises that a realloc stays, or gives the rest back, it does
    I16                       of a thread that has exited no cache is left
    I18                       a trim changes no byte of a live block
    I22                       a system call that fails

All that a program may count on is known to it, and checked. So a block that comes and goes changes no content that is
looked at later (I20), and two mallocs that take the same steps without a failure hold the same (I21).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from alloclab.check.steps import DEATHS, PAGE, RESIZES, TAKE_A_BLOCK, Failure, Fault, Step
from alloclab.check.subject import UNSET, UNTOUCHED, Answer, BrokenError, HangError, MissingError, Subject
from alloclab.errors import ReplayError
from alloclab.heap import STATES, Heap
from alloclab.region import CALLS

MOST = 1 << 63
"""From here on bytes are more than a block may have."""
FARTHEST = 1 << 62
"""From here on no address but 0 is aligned."""
AGAIN = (100, 5000, 200 << 10, 64 << 20)
"""Sizes that are asked for, and freed, again and again."""
CACHES = ("tcache", "thread")
"""What a thread's own lists are called in :meth:`alloclab.heap.Heap.bins`."""
_LIVE, _FREE = STATES.index("live"), STATES.index("free")
_IMPOSSIBLE = {
    "malloc": "C06",
    "realloc": "C06",
    "calloc": "C05",
    "valloc": "C27",
    "pvalloc": "C27",
    "reallocarray": "C17",
}

Key = tuple[str, str, str]
_T = TypeVar("_T")


class RuleError(AssertionError):
    """A rule is broken. Failures of different keys have classes of their own: what tells failures apart by what was
    raised, as Hypothesis does, tells these."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.rule}: {failure.sentence}")
        self.failure = failure


class SpentError(Exception):
    """What is known to be broken was met, and nothing more can be said after it."""


@lru_cache
def _error_of(key: Key) -> type[RuleError]:
    return type("_".join(("RuleError", *key)), (RuleError,), {})


@dataclass
class Block:
    """A live block: filled with the pattern of its number over its usable bytes. ``origin``: the function that made it;
    ``alignment``: what that was asked for, 0 for nothing."""

    number: int
    address: int
    size: int
    usable: int
    alignment: int
    origin: str


def _natural(size: int) -> int:
    """The alignment that any object of the size may need."""
    return min(16, 1 << max(size.bit_length() - 1, 0))


class Model:
    """``known``: keys of failures that are passed over; ``avoided``: functions that are not called."""

    def __init__(
        self, subject: Subject, known: frozenset[Key] = frozenset(), avoided: frozenset[str] = frozenset()
    ) -> None:
        self.subject = subject
        self.known, self.avoided = known, avoided
        self.steps: list[Step] = []
        """What was done."""
        self.live: dict[int, Block] = {}
        self.threads: set[int] = set()
        """Those that have done something, and have not exited."""
        self._births = 0
        self._missing: set[str] = set()
        self._zero_gives: bool | None = None  # whether realloc(p, 0) returns a block
        self._chunks: Any = None  # of the last look

    def do(self, step: Step) -> Block | None:
        """Takes the step; returns the block that it made. Nothing is done where it cannot be: of a function that is
        missing or avoided. Raises RuleError, SpentError."""
        block = None if step.block is None else self.live[step.block]
        if step.name in DEATHS and step.name in self._missing:
            step = replace(step, name="free")
        if not self._has(step.name):
            return None
        made = None
        try:
            match step.name:
                case "thread_exit":
                    self._exit(step)
                case "trim":
                    self._trim(step)
                case "usable_size":
                    self._usable(step, block)
                case name if name in DEATHS:
                    self._free(step, block)
                case name if step.bytes >= MOST or step.alignment >= FARTHEST:
                    self._refused(step, block)
                case name if name in RESIZES and block is not None:
                    made = self._resize(step, block) if step.bytes else self._to_zero(step, block)
                case _:
                    made = self._birth(step)
        except MissingError:
            self._missing.add(step.name)
            return self.do(step) if step.name in ("free_sized", "free_aligned_sized") else None
        self._look()
        return made

    def end(self) -> None:
        """Everything is looked at and, if it can be, freed; every thread exits; then the process ends as it should."""
        for block in self.live.values():
            self._intact(block)
        while self.live and self._has("free"):
            self.do(Step("free", block=list(self.live)[len(self.live) // 2]))
        if self._has("free"):
            self._emptied()
        self._blame(self.subject.close)

    def drop(self) -> None:
        """The end of an example that is not judged any more."""
        with contextlib.suppress(BrokenError, ReplayError):
            self.subject.close()

    def _has(self, function: str) -> bool:
        return function not in self.avoided and function not in self._missing

    # --- each kind of step ---

    def _birth(self, step: Step) -> Block | None:
        answer = self._call(step)
        if answer.value not in (0, UNTOUCHED):
            return self._born(answer.value, step.bytes, step.alignment)
        whole = step.name != "aligned_alloc" or step.bytes % step.alignment == 0  # else EINVAL will do
        self._nothing(answer, None, may=step.fails > 0 or step.bytes == 0 or not whole)
        return None

    def _born(self, address: int, size: int, alignment: int, kept: Block | None = None) -> Block:
        """A block is there: where it may be, as large as it must be, with what it must hold."""
        self._births += 1
        self.steps[-1] = replace(self._last, result=self._births)
        block = Block(self._births, address, size, size, alignment, self._last.name)
        self._placed(block)
        block.usable = self._usable_now(block)
        if block.usable < size:
            what = f"malloc_usable_size is {block.usable} after {self._last.call}"
            self._broken("C18", what, Fault("usable", block.number, size), block)
            block.usable = size
        self._apart(block)
        if self._last.name == "calloc":
            self._zero(block)
        if kept is not None:
            self._kept(kept, block)
        self.live[block.number] = block
        self._blame(lambda: self.subject.fill(address, block.usable, block.number))
        return block

    def _usable_now(self, block: Block) -> int:
        if "usable_size" not in self._missing:
            try:
                return self._blame(lambda: self.subject.call("usable_size", block.address)).value
            except MissingError:
                self._missing.add("usable_size")
        return block.usable

    def _resize(self, step: Step, old: Block) -> Block | None:
        self._intact(old)
        before = self._inside()
        answer = self._call(step, old)
        if answer.value == 0:
            self._nothing(answer, old, may=step.fails > 0)
            return None
        del self.live[old.number]
        new = self._born(answer.value, step.bytes, 0, kept=old)
        if self.subject.gives_back and not step.fails and new.usable > 2 * new.size + PAGE:
            what = f"{self._last.call} leaves {new.usable} usable bytes, of {old.usable}"
            self._broken("I15", what, Fault("inside"), old)
        if new.address == old.address:
            if before is not None:
                self._grown(before, old, new)
        elif not step.fails and self.subject.stays(old.usable, step.bytes):
            rule = "I17" if step.bytes == old.usable else "I15"
            self._broken(rule, f"{self._last.call} moved a block of {old.usable} usable bytes", Fault("inside"), old)
        return new

    def _to_zero(self, step: Step, old: Block) -> Block | None:
        self._intact(old)
        answer = self._call(step, old)
        del self.live[old.number]
        gives = answer.value != 0
        if self._zero_gives not in (None, gives):
            self._broken("C10", "realloc(p, 0) sometimes returns a block, and sometimes NULL", Fault("unlike"), old)
        self._zero_gives = gives
        return self._born(answer.value, 0, 0) if gives else None

    def _free(self, step: Step, block: Block | None) -> None:
        if block is not None:
            self._intact(block)
            of_origin = {"free_sized": (block.size,), "free_aligned_sized": (block.alignment, block.size)}
            step = replace(step, numbers=of_origin.get(step.name, ()))
        answer = self._call(step, block)
        if block is not None:
            del self.live[block.number]
        if answer.error not in (None, UNSET):
            error = errno.errorcode.get(answer.error, str(answer.error))
            self._broken("C11", f"{self._last.name} sets errno to {error}", Fault("kept"), block)

    def _usable(self, step: Step, block: Block | None) -> None:
        usable = self._call(step, block).value
        if block is not None and usable != block.usable:
            what = f"malloc_usable_size was {block.usable}, and is {usable} later"
            self._broken("C18", what, Fault("stable", block.number, block.usable), block)
        if block is None and usable != 0:
            self._broken("C18", f"malloc_usable_size(NULL) is {usable}", Fault("stable"))

    def _trim(self, step: Step) -> None:
        self._call(step)
        for block in self.live.values():
            self._intact(block, "I18")

    def _exit(self, step: Step) -> None:
        if step.thread not in self.threads:
            return
        self.threads.remove(step.thread)
        self.steps.append(step)
        self.subject.note(self.steps)
        self._blame(lambda: self.subject.exit_thread(step.thread))
        heap = self.subject.heap
        if heap is None:
            return
        owners = {listed.owner for listed in heap.bins() if listed.kind in CACHES}
        if len(owners) > len(self.threads):
            what = f"{len(owners)} threads have caches, and there are {len(self.threads)} threads"
            self._broken("I16", what, Fault("inside"))

    def _refused(self, step: Step, block: Block | None) -> None:
        """It cannot be served."""
        rule = "C09" if block is not None and step.name == "realloc" else _IMPOSSIBLE.get(step.name, "C16")
        if block is not None:
            self._intact(block)
        answer = self._call(step, block)
        if answer.value not in (0, UNTOUCHED):
            self._broken(rule, f"{self._last.call} returned a block", Fault("served"), block)
            raise SpentError
        self._nothing(answer, block, may=True, rule=rule)

    def _nothing(self, answer: Answer, block: Block | None, *, may: bool, rule: str = "I22") -> None:
        """The call returned none. A failure says why, and changes nothing."""
        step = self._last
        if not may:
            self._broken("C01", f"{step.call} returned NULL", Fault("null"), block)
        served = answer.error is not None
        if step.name == "posix_memalign" and served and answer.error != 0 and answer.value != UNTOUCHED:
            self._broken("C12", f"{step.call} failed, and stored a pointer", Fault("touched"), block)
        wanted = [errno.ENOMEM]
        if step.name == "aligned_alloc" and (step.bytes % step.alignment or step.alignment >= FARTHEST):
            wanted.append(errno.EINVAL)
        if served and step.bytes and answer.error not in wanted:
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
        """A block of no bytes, too, is one of its own."""
        end = block.address + max(block.usable, 1)
        for other in self.live.values():
            if block.address < other.address + max(other.usable, 1) and other.address < end:
                what = f"{self._last.call} returned {block.usable} bytes that overlap a block of {other.usable} bytes"
                fault = Fault("overlap", block.number, other=other.number)
                rule = "C01" if block.size == other.size == 0 else "I3"
                self._broken(rule, f"{what} that is live", fault, block)
                raise SpentError

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

    def _intact(self, block: Block, rule: str = "I4") -> None:
        at = self._blame(lambda: self.subject.wrong(block.address, block.usable, block.number))
        if at < block.usable:
            what = f"byte {at} of {block.usable} of a live block is no longer what was written"
            self._broken(rule, what, Fault("contents", block.number, block.usable, block.number), block)
            raise SpentError

    def _inside(self) -> Any:
        """The walk as it is between steps; None where there is none."""
        if self._chunks is None and self.subject.heap is not None:
            self._chunks = self.subject.heap.chunks()
        return self._chunks

    def _look(self) -> None:
        """Inside, where that can be seen."""
        if self.subject.heap is None:
            return
        self._blame(self.subject.validate)
        self._chunks = None
        chunks = self._inside()
        chunks = chunks[chunks["state"] == _LIVE]
        seen = dict(zip(chunks["block"].tolist(), chunks["usable"].tolist(), strict=True))
        if seen != {block.address: block.usable for block in self.live.values()}:
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
        if heap is None:
            return
        if heap.ledger().usable != 0:
            self._broken("I9", f"{heap.ledger().usable} bytes are usable with every block freed", Fault("inside"))
        for thread in sorted(self.threads):
            self.do(Step("thread_exit", thread=thread))
        if self.subject.gives_back:
            self._settled(heap)
        self._counted(heap)

    def _settled(self, heap: Heap) -> None:
        """What was freed serves again, or has gone back."""
        for size in AGAIN:
            held = []
            for _ in range(3):
                self.subject.call("free", self.subject.call("malloc", size).value)
                held.append(heap.counters().reserved)
            if held[2] > held[1]:
                self._broken("I8", f"malloc({size}) and free take {held[2] - held[1]} bytes each time", Fault("inside"))

    def _counted(self, heap: Heap) -> None:
        """Each system call is in the log, and in the counters."""
        counters, events = heap.counters(), heap.events()
        for number, name in enumerate(CALLS):
            logged = int((events["call"] == number).sum())
            if counters.calls[name] != logged:
                what = f"{counters.calls[name]} calls of {name} are counted, and {logged} are in the log"
                self._broken("I9", what, Fault("inside"))

    # --- calling ---

    @property
    def _last(self) -> Step:
        return self.steps[-1]

    def _call(self, step: Step, block: Block | None = None) -> Answer:
        self.steps.append(replace(step, result=None))
        self.subject.note(self.steps)
        self.threads.add(step.thread)
        given = [block.address if block is not None else 0] if step.name in TAKE_A_BLOCK else []
        try:
            if step.fails:
                self._blame(lambda: self.subject.fail_call(step.fails))
            answer = self._blame(lambda: self.subject.call(step.name, *given, *step.numbers, thread=step.thread), block)
            if step.fails and self._blame(lambda: self.subject.fail_call(0)):
                self.steps[-1] = replace(self._last, fails=0)  # there were fewer system calls
        except MissingError:
            self.steps.pop()
            raise
        return answer

    def _blame(self, do: Callable[[], _T], block: Block | None = None) -> _T:
        """What breaks the process, or a heap's own rules, is the malloc's failure."""
        try:
            return do()
        except BrokenError as broken:
            if self.subject.heap is not None:
                rule, fault = "I9", Fault("inside")
            else:
                rule = "hang" if isinstance(broken, HangError) else "crash"
                fault = Fault(rule)
            self._broken(rule, str(broken), fault, block)
            raise SpentError from broken

    def _broken(self, rule: str, sentence: str, fault: Fault, block: Block | None = None) -> None:
        """Raises, unless it is known. ``block`` is whose function is at fault where the process dies of it."""
        function = self._last.name if self.steps else "exit"
        if fault.deadly and block is not None:
            function = block.origin
        elif rule == "I4":
            function = ""  # it is seen when the block is looked at, whatever is called then
        failure = Failure(rule, function, sentence, tuple(self.steps), fault)
        if failure.key not in self.known:
            raise _error_of(failure.key)(failure)
