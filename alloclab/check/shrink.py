"""Fewer and simpler steps to the same failure: each attempt does them on a fresh subject, and sees what fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from alloclab.check.model import Key, Model, RuleError, SpentError
from alloclab.check.steps import BIRTHS, DEATHS, RESIZES, Failure, Step
from alloclab.check.subject import Subject

BEYOND = 1 << 64
"""What no number of a step is."""

Steps = tuple[Step, ...]


def replayed(
    steps: Steps, subject: Subject, known: frozenset[Key] = frozenset(), avoided: frozenset[str] = frozenset()
) -> Failure | None:
    """What fails when the steps are done and everything is freed; None if nothing does. A step on a block that is not
    there is left out; what a block is numbered with, and whether a call makes one, may be another than before."""
    model = Model(subject, known, avoided)
    now: dict[int, int] = {}
    try:
        for step in steps:
            block = None if step.block is None else now.get(step.block, 0)
            if block is not None and block not in model.live:
                continue
            made = model.do(replace(step, block=block, result=None))
            if made is not None and step.result is not None:
                now[step.result] = made.number
        model.end()
    except RuleError as broken:
        model.drop()
        return broken.failure
    except SpentError:
        model.drop()
    return None


def shrunk(failure: Failure, replay: Callable[[Steps], Failure | None], seconds: float) -> Failure:
    """The failure with the same key in the fewest and simplest steps that so much time finds."""
    search = _Search(failure, replay, time.monotonic() + seconds)
    while search.pass_over():
        pass
    return search.best


class _Search:
    def __init__(self, failure: Failure, replay: Callable[[Steps], Failure | None], until: float) -> None:
        self.best = failure
        self._replay, self._until = replay, until
        self._tried: set[Steps] = set()

    def pass_over(self) -> bool:
        """Whether anything became simpler."""
        before = self.best
        self._by_halves(lambda start, end: _without(self.best.steps, start, end))
        for plainer in _PLAINER:
            self._by_halves(partial(self._plain, plainer))
        for at in range(len(self.best.steps)):
            for number in range(2):
                self._lower(at, number)
        return self.best is not before and time.monotonic() < self._until

    def _by_halves(self, other: Callable[[int, int], Steps]) -> None:
        """Everything at once, each half, each quarter, down to each step; the last ones first, for what was done late
        is needed least."""
        size = len(self.best.steps)
        while size:
            end = len(self.best.steps)
            while end > 0:
                self._better(other(max(end - size, 0), end))
                end = min(end - size, len(self.best.steps))
            size //= 2

    def _plain(self, plainer: Callable[[Step], Step], start: int, end: int) -> Steps:
        steps = self.best.steps
        return (*steps[:start], *map(plainer, steps[start:end]), *steps[end:])

    def _lower(self, at: int, number: int) -> None:
        """The least that still fails, as far as halving finds it."""
        least = 0
        while at < len(self.best.steps):
            step = self.best.steps[at]
            if number >= len(step.numbers) or step.numbers[number] <= least:
                return
            value = step.numbers[number]
            power = number == 0 and step.name in ("memalign", "aligned_alloc", "posix_memalign")
            tried = value // 2 if power else (least + value) // 2
            if power and tried < 8:
                return
            numbers = (*step.numbers[:number], tried, *step.numbers[number + 1 :])
            if not self._better(self._with(at, replace(step, numbers=numbers))):
                if power:
                    return
                least = tried + 1

    def _with(self, at: int, step: Step) -> Steps:
        return (*self.best.steps[:at], step, *self.best.steps[at + 1 :])

    def _better(self, steps: Steps) -> bool:
        """Whether they show it, too, and are simpler."""
        if steps in self._tried or time.monotonic() >= self._until:
            return False
        self._tried.add(steps)
        found = self._replay(steps)
        if found is None or found.key != self.best.key or found.length >= self.best.length:
            return False
        self.best = found
        return True


def _without(steps: Steps, start: int, end: int) -> Steps:
    """What a resize made, when that is left out, is the block that it was given; what is not made is not used."""
    instead: dict[int, int | None] = {}
    rest = list(steps[:start])
    for at, step in enumerate(steps[start:], start):
        block = None if step.block is None else instead.get(step.block, step.block)
        lost = block is None and step.block is not None
        if not lost and at >= end:
            rest.append(replace(step, block=block))
        elif step.result is not None:
            instead[step.result] = block
    return tuple(rest)


def _of_no_block(step: Step) -> Step:
    if step.name in (*BIRTHS, *RESIZES) and 0 < step.bytes < BEYOND:
        return replace(step, name="malloc", numbers=(step.bytes,), block=None)
    return step


def _of_the_usual_name(step: Step) -> Step:
    if step.name in DEATHS:
        return replace(step, name="free", numbers=())
    if step.name in (*BIRTHS, *RESIZES) and step.bytes < BEYOND:
        return replace(step, name="malloc" if step.block is None else "realloc", numbers=(step.bytes,))
    return step


def _of_a_byte(step: Step) -> Step:
    return replace(step, numbers=(*step.numbers[:-1], min(step.numbers[-1], 1))) if step.numbers else step


_PLAINER: tuple[Callable[[Step], Step], ...] = (
    lambda step: replace(step, thread=0) if step.name != "thread_exit" else step,
    lambda step: replace(step, fails=0),
    lambda step: replace(step, fails=min(step.fails, 1)),
    _of_no_block,
    _of_the_usual_name,
    _of_a_byte,
)
"""What makes a step plainer, where it is not yet."""
