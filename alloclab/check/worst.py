"""The search for the worst: short programs of malloc and free that drive a measure as far as it goes.

Each example is played on a heap of its own, and then replayed on a fresh one in this process, where it is measured as
every replay is (:mod:`alloclab.measure`). Hypothesis draws the moves, and is told the figure as its ``target``.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings, target
from hypothesis import seed as seeded

from alloclab.allocators import Allocator, format_bytes
from alloclab.check.moves import Move, Plan, plans
from alloclab.check.program import Limits, Program
from alloclab.comparison.run import Progress, compare
from alloclab.comparison.statistics import calls, sum_of_calls
from alloclab.errors import ReplayError, UsageError
from alloclab.heap import Heap
from alloclab.measure import METRICS, Metric
from alloclab.measure.calls import KINDS
from alloclab.replay import RawRun, Settings, examine_unverified
from alloclab.result import Value
from alloclab.trace.compile import compile_events
from alloclab.trace.model import Events, Metadata
from alloclab.trace.parquet import Trace, TraceWriter

SHORT_NAMES = {"fragmentation": "fragmentation_4", "moves": "realloc_moves"}
"""Of measures, for those who type."""
DONORS = 40
"""How many of the worst that were drawn lend their moves to others."""


class _OutOfTimeError(Exception):
    pass


@dataclass(frozen=True)
class Worst:
    """What was found: ``value`` of the measure on the trace of ``events``, by example ``found_at`` of ``tried``, and in
    words what the program does. ``plain``: the value where as many bytes are allocated and kept, in blocks as large as
    may be."""

    allocator: Allocator
    metric: Metric
    limits: Limits
    reallocs: bool
    seed: int
    value: Value
    plain: Value
    events: Events
    story: tuple[str, ...]
    tried: int
    found_at: int

    def save(self, path: str | os.PathLike[str]) -> Trace:
        """As a trace; what was sought and found goes into its metadata."""
        metadata = Metadata(
            program=f"worst {self.metric.name} of {self.allocator.spec}", source="alloclab worst", extra=self.facts()
        )
        with TraceWriter(path, metadata) as writer:
            writer.write(self.events)
        return Trace.open(path)

    def facts(self) -> dict[str, Any]:
        """All but the trace, as JSON has it."""
        return {
            "allocator": self.allocator.spec,
            "measure": self.metric.name,
            "unit": self.metric.unit,
            "value": self.value.value,
            "plain": self.plain.value,
            "operations": len(self.events),
            "limits": asdict(self.limits),
            "reallocs": self.reallocs,
            "seed": self.seed,
            "tried": self.tried,
            "found_at": self.found_at,
            "story": list(self.story),
        }


def metric_named(name: str) -> Metric:
    """By its own name, a short one, or ``calls``, of all kinds. UsageError lists what there is."""
    if name == "calls":
        return Metric(name, "calls", "System calls for memory, of all kinds together.", "lower", _calls)
    metric = METRICS.get(SHORT_NAMES.get(name, name))
    if metric is None:
        raise UsageError(f"unknown measure {name!r}; there are calls {' '.join([*SHORT_NAMES, *METRICS])}")
    return metric


def _calls(run: RawRun) -> Value:
    found = sum_of_calls({name: METRICS[name].compute(run) for name in (f"calls_{kind}" for kind in KINDS)})
    assert found is not None
    return found


@dataclass(frozen=True)
class Budget:
    """So many ``examples``, or those that are tried in ``seconds``. The same seed tries the same, as far as it comes,
    with the same version of Hypothesis and the same modules loaded, from whose source that draws numbers. Without
    ``climb`` it is search at random."""

    examples: int = 3000
    seconds: float | None = None
    seed: int = 0
    climb: bool = True


def search(
    allocator: Allocator,
    limits: Limits,
    measure: str = "fragmentation",
    budget: Budget = Budget(),
    *,
    reallocs: bool = False,
    progress: Progress | None = None,
) -> Worst:
    """The worst that the budget finds. Measures of reallocs imply ``reallocs``.

    UsageError: no lab's allocator, an unknown measure, or one that a replay in this process does not take."""
    if allocator.kind != "lab":
        raise UsageError(f"{allocator.spec}: only lab allocators can be searched: the search looks where blocks lie")
    if allocator.env:
        raise UsageError(f"{allocator.spec}: variables do not reach a heap in this process; its tunables do")
    metric = metric_named(measure)
    search = _Search(allocator, limits, metric, reallocs or metric.name.startswith("realloc_"))
    search.refuse_unmeasured()
    return search.run(budget, progress)


def replayed(worst: Worst, trace: Trace) -> Value:
    """The figure of the trace in a process of its own, where it is verified, too. ReplayError: that failed."""
    result = compare(trace, worst.allocator, rounds=0).results[0]
    if result.failure is not None:
        raise ReplayError(f"{result.trace} on {result.allocator}: {result.failure}")
    value = calls(result) if worst.metric.name == "calls" else result.metrics[worst.metric.name]
    assert value is not None
    return value


@dataclass(frozen=True)
class _Tried:
    """``score``: the larger the worse. ``kind`` of the moves that did most of it. ``number`` of the example."""

    score: float
    value: Value
    plan: Plan
    kind: type[Move] | None
    operations: int
    number: int

    @property
    def rank(self) -> tuple[float, int]:
        """Of two that are as bad the shorter is better to read."""
        return self.score, -self.operations


class _Search:
    """A third of the examples are drawn and climbed by Hypothesis. The others vary the worst of these: for a third that
    of each kind, as what looks best early may not be in the end; then mostly the worst of all."""

    def __init__(self, allocator: Allocator, limits: Limits, metric: Metric, reallocs: bool) -> None:
        self.allocator, self.limits, self.metric, self.reallocs = allocator, limits, metric, reallocs
        touched = metric.name == "minor_faults" or "resident" in metric.name
        self._settings = Settings(in_process=True, touch="page" if touched else "none", samples=50 if touched else 1)
        self._tried: list[_Tried] = []
        self._count = 0

    def run(self, budget: Budget, progress: Progress | None) -> Worst:
        ends = math.inf if budget.seconds is None else time.monotonic() + budget.seconds

        def look(plan: Plan) -> _Tried | None:
            if self._count and time.monotonic() > ends:
                raise _OutOfTimeError
            if progress is not None:
                progress(self._count, budget.examples, self.metric.name)
            return self._try(plan)

        with contextlib.suppress(_OutOfTimeError):
            self._draw(look, budget)
            if budget.climb and self._tried:
                self._vary(look, budget)
        return self._found(budget.seed)

    def _draw(self, look: Callable[[Plan], _Tried | None], budget: Budget) -> None:
        quiet = settings(
            max_examples=-(-budget.examples // 3) if budget.climb else budget.examples,
            derandomize=False,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate, Phase.target) if budget.climb else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )

        @seeded(budget.seed)
        @quiet
        @given(plans(self.limits, self.reallocs))
        def example(plan: Plan) -> None:
            tried = look(plan)
            if tried is not None:
                target(tried.score, label=self.metric.name)

        example()

    def _vary(self, look: Callable[[Plan], _Tried | None], budget: Budget) -> None:
        random = Random(budget.seed)
        ranked = sorted(self._tried, key=lambda tried: tried.rank)
        islands = list({tried.kind: tried for tried in ranked}.values())
        others = [move for tried in ranked[-DONORS:] for move in tried.plan.moves]
        early = (self._count + budget.examples) // 2
        while self._count < budget.examples and others:
            islands.sort(key=lambda tried: tried.rank, reverse=True)
            at = random.randrange(len(islands)) if self._count < early or random.random() < 0.2 else 0
            tried = look(islands[at].plan.varied(random, others))
            if tried is not None and tried.score >= islands[at].score:  # sideways, too: there are plains
                islands[at] = tried

    def _try(self, plan: Plan) -> _Tried | None:
        """None where it has no value."""
        self._count += 1
        program, acting, kind = self._played(plan)
        value = self._measured(program)
        if value.value is None:
            return None
        score = float(value.value if self.metric.better == "lower" else -value.value)
        self._tried.append(_Tried(score, value, acting, kind, program.operations, self._count))
        return self._tried[-1]

    def _played(self, plan: Plan) -> tuple[Program, Plan, type[Move] | None]:
        with Heap(self.allocator.name, **self.allocator.tunables()) as heap:
            return plan.play(heap, self.limits)

    def _measured(self, program: Program) -> Value:
        compiled = compile_events([program.events()], "worst", Path("worst"))
        return self.metric.compute(examine_unverified(compiled, self.allocator, self._settings))

    def refuse_unmeasured(self) -> None:
        """Also where a heap cannot have as much. A block that is reallocated has every figure that there is."""
        with Heap(self.allocator.name, **self.allocator.tunables()) as heap:
            program = Program(heap, replace(self.limits, operations=self.limits.to_fill + 1))
            program.fill()
            if not program.filled:
                raise UsageError(f"{self.allocator.spec}: a heap has no room for {format_bytes(self.limits.live)}")
            program.realloc(0, 1)
        value = self._measured(program)
        if value.value is None:
            raise UsageError(f"{self.metric.name} cannot be searched for, in process it has no value: {value.reason}")

    def _found(self, seed: int) -> Worst:
        if not self._tried:
            raise UsageError(f"{self.metric.name}: no example of {self._count} had a value; try more")
        worst = max(self._tried, key=lambda tried: tried.rank)
        program, _, _ = self._played(worst.plan)
        return Worst(
            allocator=self.allocator,
            metric=self.metric,
            limits=self.limits,
            reallocs=self.reallocs,
            seed=seed,
            value=worst.value,
            plain=self._measured(self._played(Plan(0, ()))[0]),
            events=program.events(),
            story=tuple(program.story),
            tried=self._count,
            found_at=worst.number,
        )
