"""The property search: Hypothesis looks for a failure of a malloc, which is then told in the fewest steps that show
it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from alloclab.allocators import Allocator
from alloclab.check.machine import MallocMachine, class_edges
from alloclab.check.model import Block, RuleError
from alloclab.check.shrink import replayed, shrunk
from alloclab.check.steps import Failure, Step
from alloclab.check.subject import BrokenError, GlassSubject, Server, Subject

MOST_ROUNDS = 12
PATIENCE = 1.0
"""Seconds for a call while a failure that is a hang is made smaller."""


class _Found(BaseException):
    """Ends Hypothesis's run at once: it would go on with an Exception."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class _Searching(MallocMachine):
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
    same. A laboratory's heap is looked into, unless its drop-in library is wanted (``inside=False``). ``seconds`` is
    the time after which a call hangs. ReplayError: the library is no malloc, or no process runs on it."""
    return next(failures(allocator, examples=examples, steps=steps, seed=seed, inside=inside, seconds=seconds), None)


def failures(
    allocator: Allocator, *, examples: int, steps: int, seed: int, inside: bool = True, seconds: float = 20.0
) -> Iterator[Failure]:
    """As :func:`search`; then those that are found with these left aside, until there are no more."""
    with _subjects(allocator, inside, seconds) as (begin, server):
        machine: type[_Searching] = type(
            "Searching", (_Searching,), {"begin": staticmethod(begin), "edges": _edges(begin())}
        )
        for _ in range(MOST_ROUNDS):
            first = _first(machine, examples, steps, seed)
            if first is None:
                return
            yield _smaller(first, machine, server)
            machine.known |= {first.key}
            if first.fault.deadly:
                if first.function in ("malloc", "exit"):
                    return
                machine.avoided |= {first.function}


@contextlib.contextmanager
def _subjects(
    allocator: Allocator, inside: bool, seconds: float
) -> Iterator[tuple[Callable[[], Subject], Server | None]]:
    if allocator.kind == "lab" and inside:
        yield lambda: GlassSubject(allocator), None
    else:
        with Server(allocator, seconds) as server:
            yield server.subject, server


def _edges(subject: Subject) -> tuple[int, ...]:
    edges = class_edges(subject)
    with contextlib.suppress(BrokenError):
        subject.close()
    return edges


def _first(machine: type[_Searching], examples: int, steps: int, seed: int) -> Failure | None:
    quiet = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        print_blob=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seeded(seed)(machine), settings=quiet)
    except _Found as found:
        return found.failure
    return None


def _smaller(first: Failure, machine: type[MallocMachine], server: Server | None) -> Failure:
    def replay(steps: tuple[Step, ...]) -> Failure | None:
        return replayed(steps, machine.begin(), machine.known, machine.avoided)

    if server is None or first.fault.kind != "hang":
        return shrunk(first, replay, machine.shrinking)
    with server.within(PATIENCE):
        best = shrunk(first, replay, machine.shrinking)
    patiently = replay(best.steps)
    return patiently if patiently is not None and patiently.key == first.key else first
