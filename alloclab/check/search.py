"""The property search: Hypothesis looks for a failure of a malloc, and shrinks it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from alloclab.allocators import Allocator
from alloclab.check.machine import MallocMachine, RuleError, class_edges
from alloclab.check.steps import Failure
from alloclab.check.subject import BrokenError, GlassSubject, Server, Subject

MOST_ROUNDS = 12


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
    with _subjects(allocator, inside, seconds) as begin:
        edges = _edges(begin())
        known: set[tuple[str, str, str]] = set()
        avoided: set[str] = set()
        for _ in range(MOST_ROUNDS):
            found = _round(begin, edges, frozenset(known), frozenset(avoided), (examples, steps, seed))
            if found is None:
                return
            yield found
            if found.key in known or (found.fault.kind == "crash" and found.function in ("malloc", "exit")):
                return
            known.add(found.key)
            if found.fault.kind == "crash":
                avoided.add(found.function)


@contextlib.contextmanager
def _subjects(allocator: Allocator, inside: bool, seconds: float) -> Iterator[Callable[[], Subject]]:
    if allocator.kind == "lab" and inside:
        yield lambda: GlassSubject(allocator)
    else:
        with Server(allocator, seconds) as server:
            yield server.subject


def _edges(subject: Subject) -> tuple[int, ...]:
    edges = class_edges(subject)
    with contextlib.suppress(BrokenError):
        subject.close()
    return edges


def _round(
    begin: Callable[[], Subject],
    edges: tuple[int, ...],
    known: frozenset[tuple[str, str, str]],
    avoided: frozenset[str],
    budget: tuple[int, int, int],
) -> Failure | None:
    examples, steps, seed = budget
    members = {"begin": staticmethod(begin), "edges": edges, "known": known, "avoided": avoided}
    machine: type[MallocMachine] = seeded(seed)(type("Searching", (MallocMachine,), members))
    quiet = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    with contextlib.suppress(RuleError, Flaky):  # flaky: not every time, or there was no more time to see it again
        run_state_machine_as_test(machine, settings=quiet)
    return machine.failure
