"""Any one system call for memory may fail: for every n the n-th does. The call of malloc that made it fails and changes
nothing, or is served all the same; all that comes after works, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from heaps import QUICK, SLOW, spec_of
from programs import compile_c, run
from support import ROOT, budget

from alloclab.allocators import resolve
from alloclab.check.model import Model
from alloclab.check.steps import Step
from alloclab.check.subject import GlassSubject, Server, Subject

pytestmark = pytest.mark.slow
SETTINGS = [spec_of(*setting) for setting in [*QUICK, *SLOW]]
SEEDS = range(budget(2))
STEPS, THREADS = 40, 3
FAR = 1 << 30  # more calls than any step makes


def some_steps(seed: int) -> list[Step]:
    """Of every kind that asks the system for something, or gives it back, by threads that come with a block and go."""
    rng = random.Random(seed)
    found: list[Step] = []
    live: list[int] = []
    threads = [0]

    def birth(thread: int) -> Step:
        size = int(2 ** rng.uniform(4, rng.choice([12, 23])))
        name, numbers = rng.choice(
            [("malloc", (size,)), ("calloc", (1, size)), ("memalign", (1 << rng.randrange(5, 21), size))]
        )
        live.append(len(found) + 1)
        return Step(name, numbers, result=live[-1], thread=thread)

    while len(found) < STEPS:
        kind, thread = rng.random(), rng.choice(threads)
        if kind < 0.1 and len(threads) < THREADS:
            threads.append(max(threads) + 1)
            found.append(birth(threads[-1]))
        elif kind < 0.15 and thread > 0:
            threads.remove(thread)
            found.append(Step("thread_exit", thread=thread))
        elif kind < 0.2:
            found.append(Step("trim", (0,)))
        elif live and kind < 0.45:
            found.append(Step("free", block=live.pop(rng.randrange(len(live))), thread=thread))
        elif live and kind < 0.65:
            block, size = live.pop(rng.randrange(len(live))), int(2 ** rng.uniform(4, 23))
            live.append(len(found) + 1)
            found.append(Step("realloc", (size,), block, live[-1], thread))
        else:
            found.append(birth(thread))
    return found


def take(steps: list[Step], subject: Subject, failing: int = -1, nth: int = 0) -> list[int]:
    """Takes them, and frees everything; how many calls each made. In step ``failing`` the ``nth`` fails. What is asked
    of a block that is not there is left out."""
    model = Model(subject)
    now: dict[int, int] = {}
    made = []
    for at, step in enumerate(steps):
        block = now.get(step.block or 0)
        if step.block is not None and block not in model.live:
            continue
        fails = nth if at == failing else 0
        exits = step.name == "thread_exit"
        if fails == 0 or exits:
            subject.fail_call(fails or FAR)
        born = model.do(replace(step, block=block, result=None, fails=0 if exits else fails))
        if born is not None and step.result is not None:
            now[step.result] = born.number
        made.append(FAR - subject.fail_call(0) if fails == 0 else fails)
    model.end()
    return made


def any_one_fails(begin: Callable[[], Subject], seed: int) -> int:
    """How many calls there are to fail."""
    steps = some_steps(seed)
    calls = take(steps, begin())
    assert len(calls) == len(steps)
    for failing, count in enumerate(calls):
        for nth in range(1, count + 1):
            take(steps, begin(), failing, nth)
    return sum(calls)


@pytest.mark.parametrize("spec", SETTINGS)
def test_of_a_heap(spec: str) -> None:
    assert sum(any_one_fails(lambda: GlassSubject(resolve(spec)), seed) for seed in SEEDS) > 5


@pytest.mark.parametrize("spec", [*SETTINGS, "system"])
def test_of_a_drop_in(spec: str) -> None:
    with Server(resolve(spec)) as server:
        assert sum(any_one_fails(server.subject, seed) for seed in SEEDS) > 5


@pytest.fixture(scope="module")
def need_beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(ROOT / "tests/need_beside.c", tmp_path_factory.mktemp("need") / "need_beside")


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("spec", [*SETTINGS, "system"])
def test_of_threads_side_by_side(spec: str, need_beside: Path) -> None:
    """On the modern tcmalloc none need fail: it has its memory in advance, by the gigabyte."""
    done = run(spec, need_beside)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0 or spec.startswith("tcmalloc-hpaa")
