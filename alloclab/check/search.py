"""The property search: Hypothesis looks for a failure of a malloc, which is then told in the fewest steps that show
it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import ClassVar

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from alloclab.allocators import Allocator
from alloclab.check.apart import DeathError, Journal, apart
from alloclab.check.machine import MallocMachine, class_edges
from alloclab.check.model import Block, RuleError
from alloclab.check.shrink import replayed, shrunk
from alloclab.check.steps import MOST_FAILURES, Failure, Fault, Step
from alloclab.check.subject import BrokenError, GlassSubject, Server, Subject, how_it_ended

PATIENCE = 1.0
"""Seconds for a call while a failure that is a hang is made smaller."""


class _Found(BaseException):
    """Ends Hypothesis's run at once: it would go on with an Exception."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class _Searching(MallocMachine):
    begun: ClassVar[int]
    """Examples so far."""

    def __init__(self) -> None:
        type(self).begun += 1
        super().__init__()

    def do(self, name: str, *numbers: int, block: Block | None = None, thread: int = 0, fails: int = 0) -> Block | None:
        try:
            return super().do(name, *numbers, block=block, thread=thread, fails=fails)
        except RuleError as broken:
            raise _Found(broken.failure) from None

    def teardown(self) -> None:
        try:
            super().teardown()
        except RuleError as broken:
            raise _Found(broken.failure) from None


def search(
    allocator: Allocator, *, examples: int, steps: int, seed: int, inside: bool = True, seconds: float = 20.0
) -> Failure | None:
    """The first failure, shrunk; None if there is none in so many examples of so many steps. The same seed tries the
    same, in a program that has loaded the same modules (Hypothesis takes some numbers from their sources). A
    laboratory's heap is looked into, unless its drop-in library is wanted (``inside=False``). ``seconds`` is the time
    after which a call hangs. ReplayError: the library is no malloc, or no process runs on it."""
    return next(failures(allocator, examples=examples, steps=steps, seed=seed, inside=inside, seconds=seconds), None)


def failures(
    allocator: Allocator, *, examples: int, steps: int, seed: int, inside: bool = True, seconds: float = 20.0
) -> Iterator[Failure]:
    """As :func:`search`; then those that are found with these left aside, until there are no more, or MOST_FAILURES, or
    one that leaves nothing to search in: no malloc, or no exit, that does not kill."""
    with _subjects(allocator, inside, seconds) as (begin, server, journal):
        machine: type[_Searching] = type("Searching", (_Searching,), {"begin": staticmethod(begin)})
        machine.edges = _edges(begin, journal)
        for _ in range(MOST_FAILURES):
            first = _lived(lambda: _first(machine, examples, steps, seed), journal)
            if first is None:
                return
            yield _smaller(first, machine, server, journal)
            machine.known |= {first.key}
            if first.fault.deadly:
                if first.function in ("malloc", "exit"):
                    return
                machine.avoided |= {first.function}


@contextlib.contextmanager
def _subjects(
    allocator: Allocator, inside: bool, seconds: float
) -> Iterator[tuple[Callable[[], Subject], Server | None, Journal | None]]:
    """How each begins; a server has them in processes of their own, of a heap in this one there is a journal."""
    if allocator.kind == "lab" and inside:
        journal = Journal(seconds)

        def begin() -> Subject:
            journal.begin()
            subject = GlassSubject(allocator)
            subject.journal = journal
            return subject

        yield begin, None, journal
    else:
        with Server(allocator, seconds) as server:
            yield server.subject, server, None


def _lived(look: Callable[[], Failure | None], journal: Journal | None) -> Failure | None:
    """What it finds; where there is a journal, in a process that may die of it, which is a failure, too."""
    if journal is None:
        return look()
    try:
        return apart(look)
    except DeathError as death:
        steps = journal.steps()
        function = steps[-1].name if steps else "exit"
        if os.WIFSIGNALED(death.status) and os.WTERMSIG(death.status) == signal.SIGALRM:
            kind, sentence = "hang", f"{function} does not come back within {journal.seconds:g} seconds"
        else:
            said = f": {death.said}" if death.said else ""
            kind, sentence = "crash", f"{how_it_ended(death.status)} in {function}{said}"
        return Failure(kind, function, sentence, steps, Fault(kind))


def _edges(begin: Callable[[], Subject], journal: Journal | None) -> tuple[int, ...]:
    """None where measuring them kills."""

    def measured() -> tuple[int, ...]:
        subject = begin()
        edges = class_edges(subject)
        with contextlib.suppress(BrokenError):
            subject.close()
        return edges

    try:
        return measured() if journal is None else apart(measured)
    except DeathError:
        return ()


def _first(machine: type[_Searching], examples: int, steps: int, seed: int) -> Failure | None:
    """Where a malloc does not do the same each time, Hypothesis ends with an error; for what is left it begins anew."""
    machine.begun = 0
    while machine.begun < examples:
        quiet = settings(
            max_examples=examples - machine.begun,
            stateful_step_count=steps,
            database=None,
            deadline=None,
            print_blob=False,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(seeded(seed + machine.begun)(machine), settings=quiet)
        except (_Found, Flaky) as error:
            ended = _what_ended(error)
            if isinstance(ended, _Found):
                return ended.failure
            if ended is not None:
                raise ended from None
        else:
            break
    return None


def _what_ended(error: BaseException | None) -> BaseException | None:
    """What is no Exception: a failure, Ctrl-C. Hypothesis puts its own error before it where the example began as an
    earlier one that went on."""
    while isinstance(error, Exception):
        error = error.__context__
    return error


def _smaller(first: Failure, machine: type[MallocMachine], server: Server | None, journal: Journal | None) -> Failure:
    def replay(steps: tuple[Step, ...]) -> Failure | None:
        return _lived(lambda: replayed(steps, machine.begin(), machine.known, machine.avoided), journal)

    waits = server or journal
    if waits is None or first.fault.kind != "hang":
        return shrunk(first, replay, machine.shrinking)
    with _within(PATIENCE, waits):
        best = shrunk(first, replay, machine.shrinking)
    patiently = replay(best.steps)
    return patiently if patiently is not None and patiently.key == first.key else first


@contextlib.contextmanager
def _within(seconds: float, waits: Server | Journal) -> Iterator[None]:
    """It waits no longer for a call meanwhile."""
    usual, waits.seconds = waits.seconds, min(seconds, waits.seconds)
    try:
        yield
    finally:
        waits.seconds = usual
