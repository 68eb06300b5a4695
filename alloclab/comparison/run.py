"""Running a comparison: every trace on every allocator, timed side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alloclab import machine
from alloclab.allocators import Allocator, resolve
from alloclab.comparison.statistics import SPEED, TIMED, median_value, timed_value
from alloclab.errors import ReplayError, TraceError, UsageError
from alloclab.measure import METRICS
from alloclab.replay import CONCURRENT, SERIAL, RawRun, Settings, check, examine, prepare, time_once
from alloclab.result import FLOOR, Comparison, Result, Value
from alloclab.trace import load
from alloclab.trace.parquet import Trace
from alloclab.trace.strands import Replayable

ROUNDS = 10
CONCURRENT_RUNS = 5
"""Concurrent runs that memory is measured in, as no two are alike."""

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes next in a few words."""


def compare(
    traces: str | Path | Trace | Iterable[str | Path | Trace],
    specs: str | Allocator | Iterable[str | Allocator],
    *,
    settings: Settings | None = None,
    rounds: int = ROUNDS,
    memory_runs: int | None = None,
    env: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Replay every trace on every allocator; the first allocator is what the others are held against.

    Per trace: each allocator is verified and measured by itself, then ``rounds`` timed rounds go over all allocators,
    every other round backwards, so that a drift of the machine meets all alike. Time is CPU time of a fresh process.
    ``rounds=0`` times nothing. ``memory_runs``: memory and calls are the medians of so many runs, each verified first;
    one where they repeat, in concurrent replays five. ``env``: spec -> variables for a library.

    The floor (allocator ``null``) is added last to every trace. An allocator that fails on a trace gets no figures
    there, and the comparison goes on: see ``Comparison.failed``. In serial replays everything but time repeats exactly,
    save what an allocator does by the clock, and of the resident peak a few pages, for the kernel counts by the batch.

    Raises UsageError for unknown allocators, twins, or nothing to compare; TraceError for a trace that cannot be read
    or holds no operation.
    """
    allocators = resolve_all([specs] if isinstance(specs, (str, Allocator)) else specs, env or {})
    opened = open_traces([traces] if isinstance(traces, (str, Path, Trace)) else traces)
    settings = settings or Settings()
    plan = _Plan(allocators, settings, rounds, memory_runs or (CONCURRENT_RUNS if settings.mode == CONCURRENT else 1))
    plan.check()
    facts = machine.describe({a.spec: a.preload for a in allocators if a.kind in ("library", "system")})
    if not settings.thp:
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
    memory_runs: int

    @property
    def weight(self) -> int:
        """Steps of progress for all examinations: verifying and measuring take as long as some timed runs."""
        return (40 if self.settings.instructions else 3) * self.memory_runs

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
    job = _Job(trace, prepare(trace, plan.settings), plan)
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
    taken: dict[str, list[dict[str, float]]] = {a.spec: [] for a in field}
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
            rounds = {name: tuple(once[name] for once in taken[spec]) for name in taken[spec][0]}
            timed = {name: timed_value(found, METRICS[name].unit) for name, found in rounds.items()}
            results[spec] = dataclasses.replace(
                result, metrics=result.metrics | timed, rounds=rounds[TIMED], speeds=rounds.get(SPEED, ())
            )


@dataclasses.dataclass(frozen=True)
class _Job:
    """One trace, ready to be replayed."""

    trace: Trace
    compiled: Replayable
    plan: _Plan

    def examine(self, allocator: Allocator) -> Result:
        """Verify and measure; whatever goes wrong with the allocator becomes the result's failure."""
        runs: list[RawRun] = []
        for _ in range(self.plan.memory_runs):
            try:
                runs.append(examine(self.compiled, allocator, self.plan.settings_for(allocator)))
            except ReplayError as error:
                return self.failed(allocator, str(error))
            failure = runs[-1].failure
            if failure is not None:
                return self.failed(allocator, failure)
        metrics = {name: median_value([metric.compute(run) for run in runs]) for name, metric in METRICS.items()}
        peak = METRICS["peak_resident_bytes"]
        typical = sorted(runs, key=lambda run: peak.compute(run).value or 0)[len(runs) // 2]
        return self._result(allocator, metrics, verified=runs[0].verified, timeline=typical.timeline)

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
            memory_runs=self.plan.memory_runs,
            timeline=timeline,
        )
