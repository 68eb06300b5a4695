"""How a comparison is run: order of rounds, what becomes of failures, the floor. On allocators that are made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from comparisons import timeline

from alloclab.comparison import run
from alloclab.errors import ReplayError, TraceError, UsageError
from alloclab.measure import METRICS
from alloclab.replay import CONCURRENT, Settings
from alloclab.result import FLOOR
from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import Trace, TraceWriter


@dataclass(frozen=True)
class MadeUp:
    spec: str
    kind: str = "lab"
    preload: Path | None = None
    env: dict[str, str] = field(default_factory=dict)


class Laboratory:
    """Stands for the replay: notes what is asked, fails where told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.failures: dict[str, str] = {}
        self.crashes_in_round: dict[str, int] = {}

    def resolve(self, spec: str, env: Any = None) -> MadeUp:
        if spec.startswith("no"):
            raise UsageError(f"{spec}: no such allocator")
        suffix = "".join(f" {name}={value}" for name, value in (env or {}).items())
        return MadeUp(spec + suffix, spec if spec in (FLOOR, "system") else "lab", env=dict(env or {}))

    def examine(self, compiled: Any, allocator: MadeUp, settings: Settings) -> Any:
        self.asked.append(("examine", allocator.spec))
        if allocator.spec == "raises":
            raise ReplayError("raises: not a malloc: it gave out NULL")
        failure = self.failures.get(allocator.spec)
        return SimpleNamespace(
            failure=failure,
            verified=failure is None and allocator.kind != "null",
            timeline=timeline(1000, 1.0),
        )

    def time_once(self, compiled: Any, allocator: MadeUp, settings: Settings) -> dict[str, float]:
        self.asked.append(("time", allocator.spec))
        if self.crashes_in_round.get(allocator.spec) == self.rounds(allocator.spec):
            raise ReplayError(f"{allocator.spec}: died")
        ns = 10.0 + len(self.asked)
        concurrent = {"ops_per_second": 1e9 / ns, "waits": 3, "waited_ns_per_op": 1.5}
        return {"ns_per_op": ns} | (concurrent if settings.mode == CONCURRENT else {})

    def rounds(self, spec: str) -> int:
        return self.asked.count(("time", spec))


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    made = Laboratory()
    for name in ("resolve", "examine", "time_once"):
        monkeypatch.setattr(run, name, getattr(made, name))
    computed = {
        name: SimpleNamespace(unit=m.unit, compute=lambda raw, m=m: run.Value(1, m.unit)) for name, m in METRICS.items()
    }
    monkeypatch.setattr(run, "METRICS", computed)
    return made


def small_trace(folder: Path, name: str = "small", operations: int = 4) -> Trace:
    n = operations
    events = Events(
        op=np.array([Op.MALLOC, Op.FREE] * (n // 2), np.uint8),
        thread=np.zeros(n, np.uint32),
        object=np.repeat(np.arange(n // 2), 2).astype(np.int64),
        size=np.array([100, 0] * (n // 2), np.uint64),
        count=np.ones(n, np.uint64),
        align=np.zeros(n, np.uint64),
        time_ns=np.arange(n, dtype=np.int64),
        failed=np.zeros(n, np.bool_),
    )
    with TraceWriter(folder / f"{name}.parquet", Metadata(program="prog")) as writer:
        writer.write(events)
    return Trace.open(folder / f"{name}.parquet")


def test_rounds_run_forth_and_back_over_all_allocators(laboratory: Laboratory, tmp_path: Path) -> None:
    comparison = run.compare(small_trace(tmp_path), ["a", "b"], rounds=3)
    assert [spec for what, spec in laboratory.asked if what == "examine"] == ["a", "b", FLOOR]
    assert [spec for what, spec in laboratory.asked if what == "time"] == [
        "a", "b", FLOOR, FLOOR, "b", "a", "a", "b", FLOOR,
    ]  # fmt: skip
    assert [len(r.rounds) for r in comparison.results] == [3, 3, 3]


def test_results_come_in_the_order_asked_for_with_the_floor_last(laboratory: Laboratory, tmp_path: Path) -> None:
    traces = [small_trace(tmp_path, "one"), small_trace(tmp_path, "two", 8)]
    comparison = run.compare(traces, ["b", "system", "a"], rounds=1)
    assert [(r.trace, r.allocator) for r in comparison.results] == [
        (trace, spec) for trace in ("one", "two") for spec in ("b", "system", "a", FLOOR)
    ]
    assert comparison.allocators == ["b", "system", "a"]
    assert [r.ops for r in comparison.results] == [4] * 4 + [8] * 4
    assert {r.program for r in comparison.results} == {"prog"}
    assert set(comparison.machine["libraries"]) == {"system"}
    for result in comparison.results:
        assert result.verified == (result.allocator != FLOOR) and result.failure is None


def test_time_is_the_median_of_the_rounds_with_its_interval(laboratory: Laboratory, tmp_path: Path) -> None:
    (result, _) = run.compare(small_trace(tmp_path), ["a"], rounds=5).results
    value = result.metrics["ns_per_op"]
    assert value.value == float(np.median(result.rounds))
    assert value.low is not None and value.high is not None and value.low < value.value < value.high


def test_an_allocator_that_fails_gets_null_figures_and_the_rest_goes_on(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.failures["bad"] = "operation 2: block 1 overlaps block 0"
    comparison = run.compare(small_trace(tmp_path), ["bad", "raises", "good"], rounds=2)
    bad, raises, good, floor = comparison.results
    for result, said in ((bad, "overlaps"), (raises, "not a malloc")):
        assert not result.verified and result.failure is not None and said in result.failure
        assert {(v.value, v.reason) for v in result.metrics.values()} == {(None, "not verified")}
        assert result.rounds == () and result.timeline is None
    assert laboratory.rounds("bad") == laboratory.rounds("raises") == 0
    assert good.verified and len(good.rounds) == len(floor.rounds) == 2
    assert comparison.failed == [bad, raises]


def test_where_all_fail_the_floor_is_not_timed(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.failures["bad"] = "operation 2: block 1 overlaps block 0"
    assert [r.rounds for r in run.compare(small_trace(tmp_path), ["bad"], rounds=2).results] == [(), ()]


def test_a_trace_without_operations_is_refused(laboratory: Laboratory, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"t\.parquet: no operations to replay"):
        run.compare(small_trace(tmp_path, "t", 0), ["a"])


def test_a_crash_while_timing_takes_all_figures_back(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.crashes_in_round["b"] = 2
    a, b, _ = run.compare(small_trace(tmp_path), ["a", "b"], rounds=4).results
    assert b.failure == "b: died" and not b.verified and b.rounds == ()
    assert {v.value for v in b.metrics.values()} == {None}
    assert laboratory.rounds("b") == 2
    assert len(a.rounds) == 4


def test_concurrent_figures_are_medians_of_five_runs_and_speed_is_timed(laboratory: Laboratory, tmp_path: Path) -> None:
    concurrent = Settings(mode=CONCURRENT)
    (a, _) = run.compare(small_trace(tmp_path), ["a"], rounds=2, settings=concurrent).results
    assert laboratory.asked.count(("examine", "a")) == laboratory.asked.count(("examine", FLOOR)) == 5
    assert (a.mode, a.memory_runs, len(a.rounds), len(a.speeds)) == ("concurrent", 5, 2, 2)
    assert a.metrics["waits"] == run.Value(3, "waits", 3, 3) and a.metrics["waited_ns_per_op"].value == 1.5
    assert a.metrics["ops_per_second"].value == float(np.median(a.speeds))
    run.compare(small_trace(tmp_path), ["b"], rounds=0, memory_runs=2)
    assert laboratory.asked.count(("examine", "b")) == 2


def test_one_failure_in_several_runs_is_a_failure(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.failures["a"] = "operation 2: block 1 overlaps block 0"
    (a, _) = run.compare(small_trace(tmp_path), ["a"], rounds=0, memory_runs=3).results
    assert a.failure == laboratory.failures["a"] and a.memory_runs == 3
    assert laboratory.asked.count(("examine", "a")) == 1


def test_what_threads_exclude_is_one_line() -> None:
    for given, said in (
        ({"in_process": True}, "concurrent replay excludes in-process"),
        ({"instructions": True}, "concurrent replay excludes instructions"),
        ({"warm": 1}, "concurrent replay excludes warm"),
    ):
        with pytest.raises(UsageError, match=said):
            Settings(mode=CONCURRENT, **given)  # type: ignore[arg-type]


def test_no_rounds_time_nothing(laboratory: Laboratory, tmp_path: Path) -> None:
    run.compare(small_trace(tmp_path), ["a"], rounds=0)
    assert {what for what, _ in laboratory.asked} == {"examine"}


def test_progress_counts_to_its_end(laboratory: Laboratory, tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    laboratory.failures["b"] = "bad"
    run.compare(small_trace(tmp_path), ["a", "b"], rounds=2, progress=lambda *step: steps.append(step))
    done = [step[0] for step in steps]
    assert done == sorted(done) and done[0] == 0
    assert steps[-1][0] == steps[-1][1] == steps[0][1]


def test_one_allocator_needs_no_list(laboratory: Laboratory, tmp_path: Path) -> None:
    assert run.compare(small_trace(tmp_path), "fit", rounds=0).allocators == ["fit"]


def test_a_spec_given_twice_gets_its_variables_the_second_time(laboratory: Laboratory) -> None:
    allocators = run.resolve_all(["a", "b", "a"], {"a": {"X": "1"}})
    assert [a.spec for a in allocators] == ["a", "b", "a X=1"]


def test_nothing_is_replayed_before_all_that_was_named_is_found(laboratory: Laboratory, tmp_path: Path) -> None:
    trace = small_trace(tmp_path)
    for traces, specs, options, said in [
        (trace, ["a", "none"], {}, "no such allocator"),
        (trace, ["a", "a"], {}, "given twice"),
        ([trace, trace], ["a"], {}, "given twice"),
        ([], ["a"], {}, "no trace"),
        (trace, [], {}, "no allocator"),
        (trace, [FLOOR], {}, "no allocator"),
        (trace, ["a"], {"env": {"b": {"X": "1"}}}, "variables for b"),
        (trace, ["a", "system"], {"settings": Settings(in_process=True)}, "only lab allocators"),
        (trace, ["a"], {"settings": Settings(in_process=True), "env": {"a": {"X": "1"}}}, "variables do not reach"),
    ]:
        with pytest.raises(UsageError, match=said):
            run.compare(traces, specs, **options)
    assert laboratory.asked == []
