"""Running a comparison: every trace on every allocator, timed side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alloclab import machine
from alloclab.allocators import Allocator, resolve
from alloclab.comparison.statistics import TIMED, timed_value
from alloclab.errors import ReplayError, TraceError, UsageError
from alloclab.measure import METRICS
from alloclab.replay import RECORDED_THREADS, SERIAL, Settings, check, examine, time_once
from alloclab.result import FLOOR, Comparison, Result, Value
from alloclab.trace import load
from alloclab.trace.compile import CompiledTrace, compile_trace
from alloclab.trace.parquet import Trace

ROUNDS = 10

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next in a few words."""


def compare(
    traces: str | Path | Trace | Iterable[str | Path | Trace],
    specs: str | Allocator | Iterable[str | Allocator],
    *,
    settings: Settings | None = None,
    rounds: int = ROUNDS,
    env: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Replay every trace on every allocator; the first allocator is what the others are held against.

    Per trace: each allocator is verified and measured by itself, then ``rounds`` timed rounds go over all allocators,
    every other round backwards, so that a drift of the machine meets all alike. Time is CPU time of a fresh process.
    ``rounds=0`` times nothing. ``env``: spec -> variables for a library.

    The floor (allocator ``null``) is added last to every trace. An allocator that fails on a trace gets no figures
    there, and the comparison goes on: see ``Comparison.failed``. Everything but time repeats exactly.

    Raises UsageError for unknown allocators, twins, or nothing to compare; TraceError for a trace that cannot be read
    or holds no operation.
    """
    allocators = resolve_all([specs] if isinstance(specs, (str, Allocator)) else specs, env or {})
    opened = open_traces([traces] if isinstance(traces, (str, Path, Trace)) else traces)
    plan = _Plan(allocators, settings or Settings(), rounds)
    plan.check()
    facts = machine.describe({a.spec: a.preload for a in allocators if a.kind in ("library", "system")})
    if not plan.settings.thp:
        facts["transparent_huge_pages"] = "off for the replays"
    steps = _Steps(len(opened) * (1 + (len(allocators) + 1) * (plan.weight + rounds)), progress)
    results = [result for trace in opened for result in _compare_one(trace, plan, steps)]
    steps.finish()
    return Comparison(facts, tuple(results))


def resolve_all(specs: Iterable[str | Allocator], env: Mapping[str, Mapping[str, str]]) -> list[Allocator]:
    """Allocators in the order given, without the floor. A spec given twice gets its variables the second time, so that
    a library can be held against itself. Raises UsageError for unknown allocators and twins."""
    given = list(specs)
    unused = set(env).difference(spec for spec in given if isinstance(spec, str))
    if unused:
        raise UsageError(f"variables for {', '.join(sorted(unused))}, which is not among the allocators compared")
    allocators = []
    for i, spec in enumerate(given):
        if isinstance(spec, str):
            spec = resolve(spec, None if spec in given[i + 1 :] else env.get(spec))
        if spec.kind != "null":
            allocators.append(spec)
    if not allocators:
        raise UsageError("no allocator to compare: name one with -a")
    _refuse_twins([a.spec for a in allocators], "allocator")
    return allocators


def open_traces(traces: Iterable[str | Path | Trace]) -> list[Trace]:
    """Traces in the order given. Raises TraceError for one that cannot be read, UsageError for two of one name."""
    opened = [trace if isinstance(trace, Trace) else load(trace) for trace in traces]
    if not opened:
        raise UsageError("no trace to compare on")
    _refuse_twins([trace.name for trace in opened], "trace")
    return opened


def _refuse_twins(names: Sequence[str], kind: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{kind} {name} is given twice: results are told apart by this name")


@dataclasses.dataclass(frozen=True)
class _Plan:
    allocators: list[Allocator]
    settings: Settings
    rounds: int

    @property
    def weight(self) -> int:
        """Steps of progress for one examination: verifying and measuring take as long as some timed runs."""
        return 40 if self.settings.instructions else 3

    def settings_for(self, allocator: Allocator) -> Settings:
        """The floor is always a process of its own: it is no allocator that a heap could be made of."""
        if allocator.kind == "lab" or not self.settings.in_process:
            return self.settings
        return dataclasses.replace(self.settings, mode=SERIAL, in_process=False)

    def check(self) -> None:
        for allocator in self.allocators:
            check(allocator, self.settings)


class _Steps:
    """Steps done out of all."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self.progress = total, 0, progress

    def begin(self, what: str) -> None:
        if self.progress:
            self.progress(self.done, self.total, what)

    def advance(self, steps: int = 1) -> None:
        self.done += steps

    def finish(self) -> None:
        self.done = self.total
        self.begin("done")


def _compare_one(trace: Trace, plan: _Plan, steps: _Steps) -> list[Result]:
    steps.begin(f"{trace.name}: compiling")
    job = _Job(trace, compile_trace(trace, threads=plan.settings.mode == RECORDED_THREADS), plan)
    if job.compiled.operations == 0:
        raise TraceError(f"{trace.path}: no operations to replay")
    steps.advance()
    field = [*plan.allocators, resolve(FLOOR)]
    results = {}
    for allocator in field:
        steps.begin(f"{trace.name} on {allocator.spec}: verifying and measuring")
        results[allocator.spec] = job.examine(allocator)
        steps.advance(plan.weight)
    if any(results[a.spec].failure is None for a in plan.allocators):  # the floor alone tells nothing
        _time(job, field, results, steps)
    return list(results.values())


def _time(job: _Job, field: list[Allocator], results: dict[str, Result], steps: _Steps) -> None:
    """Timed rounds A B C, C B A, ... over all that have not failed; puts what was taken into ``results``."""
    taken: dict[str, list[float]] = {a.spec: [] for a in field}
    for number in range(job.plan.rounds):
        for allocator in field if number % 2 == 0 else reversed(field):
            steps.begin(f"{job.trace.name} on {allocator.spec}: timing, round {number + 1} of {job.plan.rounds}")
            if results[allocator.spec].failure is None:
                try:
                    taken[allocator.spec].append(time_once(job.compiled, allocator, job.plan.settings_for(allocator)))
                except ReplayError as error:
                    results[allocator.spec] = job.failed(allocator, str(error))
            steps.advance()
    for spec, result in results.items():
        if result.failure is None and taken[spec]:
            metrics = result.metrics | {TIMED: timed_value(taken[spec])}
            results[spec] = dataclasses.replace(result, metrics=metrics, rounds=tuple(taken[spec]))


@dataclasses.dataclass(frozen=True)
class _Job:
    """One trace, ready to be replayed."""

    trace: Trace
    compiled: CompiledTrace
    plan: _Plan

    def examine(self, allocator: Allocator) -> Result:
        """Verify and measure; whatever goes wrong with the allocator becomes the result's failure."""
        try:
            raw = examine(self.compiled, allocator, self.plan.settings_for(allocator))
        except ReplayError as error:
            return self.failed(allocator, str(error))
        if raw.failure is not None:
            return self.failed(allocator, raw.failure)
        metrics = {name: metric.compute(raw) for name, metric in METRICS.items()}
        return self._result(allocator, metrics, verified=raw.verified, timeline=raw.timeline)

    def failed(self, allocator: Allocator, failure: str) -> Result:
        metrics = {name: Value(None, metric.unit, reason="not verified") for name, metric in METRICS.items()}
        return self._result(allocator, metrics, failure=failure)

    def _result(
        self,
        allocator: Allocator,
        metrics: dict[str, Value],
        *,
        verified: bool = False,
        failure: str | None = None,
        timeline: Any = None,
    ) -> Result:
        settings = self.plan.settings
        return Result(
            trace=self.trace.name,
            program=self.trace.metadata.program,
            allocator=allocator.spec,
            mode=settings.mode_and_way,
            touch=settings.touch,
            verified=verified,
            ops=self.compiled.operations,
            metrics=metrics,
            failure=failure,
            timeline=timeline,
        )
