"""The same trace twice gives the same calls, mapped bytes and ledger, each way, and the same both ways."""

from __future__ import annotations

import numpy as np
import pytest
from replays import at_rest, churn, compiled
from support import ROOT, slow

from alloclab.allocators import lab_allocators, resolve
from alloclab.replay import RawRun, Settings, examine
from alloclab.replay.run import group_of
from alloclab.trace import load
from alloclab.trace.compile import CompiledTrace, compile_trace

SPECS = [
    *(lab.name for lab in lab_allocators()),
    *slow("fit:policy=first", "fit:policy=best,order=address,coalesce=deferred"),
    *slow("fit:policy=next,mmap_threshold=32KiB", "fit:policy=worst,coalesce=never,top_pad=64KiB"),
]
EXACT = {"trace", "calls", "ledger", "realloc"}
BY_PLACE = {"jemalloc": {"peak_vmas"}}
"""What depends on where the address space ends: with mappings aligned to 2 MiB, whether two touch, and are one VMA."""


def exact(run: RawRun) -> dict[str, float]:
    assert run.verified, run.failure
    return {name: value for name, value in run.figures.items() if group_of(name) in EXACT}


@pytest.fixture(scope="module", params=[2, *slow(1, "sed")])
def trace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CompiledTrace:
    if isinstance(request.param, str):
        return compile_trace(load(ROOT / "traces" / f"{request.param}.parquet"))
    most = 1 << (12 if request.param == 1 else 19)
    return compiled(tmp_path_factory.mktemp("trace"), churn(6000 // request.param**2, request.param, most=most))


@pytest.mark.parametrize("spec", SPECS)
def test_replays_repeat_each_way_and_agree_both_ways(trace: CompiledTrace, spec: str) -> None:
    runs = [examine(trace, at_rest(resolve(spec)), Settings(in_process=way)) for way in (False, False, True, True)]
    first = exact(runs[0])
    assert {group_of(name) for name in first} == EXACT
    by_place = BY_PLACE.get(spec, set())
    assert exact(runs[1]) == first and exact(runs[2]) == exact(runs[3])
    for run in runs[1:]:
        assert {**exact(run), **dict.fromkeys(by_place)} == {**first, **dict.fromkeys(by_place)}
        assert run.timeline is not None and runs[0].timeline is not None
        assert run.timeline.mapped is not None and runs[0].timeline.mapped is not None
        assert np.array_equal(run.timeline.operation, runs[0].timeline.operation)
        assert np.array_equal(run.timeline.mapped, runs[0].timeline.mapped)


def test_system_malloc_repeats(trace: CompiledTrace) -> None:
    assert exact(examine(trace, resolve("system"))) == exact(examine(trace, resolve("system")))
