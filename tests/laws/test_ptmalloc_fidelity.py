"""ptmalloc against the system's malloc: every block in the same place, every operation with the same system calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from replays import EveryTrace
from rows import Row, write
from support import ROOT, budget, slow

from alloclab.comparison.fidelity import Fidelity, fidelity
from alloclab.replay import Settings
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.synth import Recipe, synthesize

pytestmark = pytest.mark.needs("glibc 2.36")

UNTOUCHED = Settings(touch="none")


def same(trace: str | Path | Trace, **faults: int) -> Fidelity:
    """Fails with the first operation that differs."""
    found = fidelity(trace, "ptmalloc", "system", settings=UNTOUCHED, **faults)
    assert found.first is None, f"{found.trace}: {found.first}, after {found.before}"
    assert found.same and found.sides[0].calls == found.sides[1].calls
    assert found.sides[0].usable_bytes == found.sides[1].usable_bytes
    return found


class TestTraces(EveryTrace):
    hold = staticmethod(same)


# --- settings: ours against glibc's of the same name ---

SETTINGS = (
    *("tcache_count=0", "tcache_max=500", "tcache_unsorted_limit=3", "mxfast=160", "mmap_threshold=4096"),
    *("trim_threshold=10000", "top_pad=4096", "mmap_max=3", "perturb=1", "hugetlb=1"),
    *slow("tcache_count=1", "tcache_count=50", "tcache_max=0", "tcache_max=24"),
    *slow("tcache_unsorted_limit=1", "mxfast=0", "mxfast=64"),
    *slow("mmap_threshold=0", "mmap_threshold=131072", "mmap_threshold=100000000"),
    *slow("trim_threshold=0", "trim_threshold=1000000"),
    *slow("top_pad=0", "top_pad=1", "top_pad=1000000", "mmap_max=0"),
)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_do_what_glibcs_do(setting: str, tmp_path: Path) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(20_000, sizes="huge", live=300, phases=3, reallocs=0.2))
    env = {"system": {"GLIBC_TUNABLES": f"glibc.malloc.{setting}"}}
    found = fidelity(trace, f"ptmalloc:{setting}", "system", settings=UNTOUCHED, env=env)
    assert found.first is None and found.same, f"{found.first}, after {found.before}"


# --- faults ---


def all_calls() -> list[Row]:
    """Some dozens of system calls of every kind: growth and trimming of the break, mappings made, resized, aligned."""
    rows = [Row(Op.MALLOC, i, 30_000 + 7 * i) for i in range(20)]
    rows += [Row(Op.REALLOC, i, 50_000) for i in range(0, 20, 3)]
    rows += [Row(Op.MALLOC, 20, 300_000), Row(Op.REALLOC, 20, 600_000), Row(Op.REALLOC, 20, 200_000)]
    rows += [Row(Op.ALIGNED, 21, 70_000, align=4096), Row(Op.ALIGNED, 22, 500_000, align=1 << 16)]
    rows += [Row(Op.CALLOC, 23, 100_000), Row(Op.CALLOC, 24, 400_000), Row(Op.REALLOC, 22, 900_000)]
    rows += [Row(Op.FREE, i) for i in reversed(range(5, 20))]
    rows += [Row(Op.FREE, 20), Row(Op.MALLOC, 25, 150_000), Row(Op.MALLOC, 26, 2_000_000), Row(Op.FREE, 24)]
    rows += [Row(Op.REALLOC, 26, 3_000_000), Row(Op.MALLOC, 27, 500_000), Row(Op.CALLOC, 28, 1_000_000)]
    rows += [Row(Op.REALLOC, 26, 100_000), Row(Op.REALLOC, 27, 5_000_000), Row(Op.FREE, 26), Row(Op.FREE, 28)]
    rows += [Row(Op.MALLOC, 29 + i, 100_000 + i) for i in range(20)]
    rows += [Row(Op.REALLOC, i, 20_000) for i in range(29, 49, 2)]
    rows += [Row(Op.FREE, i) for i in (*range(0, 5), 21, 22, 23, 25, 27, *range(29, 49))]
    return [*rows, Row(Op.MALLOC, 49, 100), Row(Op.CALLOC, 50, 5000), Row(Op.ALIGNED, 51, 100, align=64)]


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return write(tmp_path / "t.parquet", all_calls())


def test_any_one_call_fails(trace: Trace) -> None:
    whole = same(trace)
    calls = whole.sides[0].calls
    assert all(calls[kind] > 0 for kind in ("brk", "mmap", "munmap", "mremap")) and sum(calls.values()) > 30
    failed = [same(trace, fail_call=nth).sides[0].failed_calls for nth in range(1, sum(calls.values()) + 2)]
    assert sum(failed) >= sum(calls.values()) - 2  # all but the questions where the break is


def test_a_limit_is_reached(trace: Trace) -> None:
    peak = same(trace).sides[0].peak_mapped
    for limit in range(1, peak, peak // 60):
        assert same(trace, limit=limit).sides[0].failed_calls > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(budget(2)))
def test_any_one_call_of_a_generated_trace_fails(seed: int, tmp_path: Path) -> None:
    recipe = Recipe(600, seed=seed, sizes="huge", live=60, phases=2, reallocs=0.2, callocs=0.1, aligned=0.1)
    trace = synthesize(tmp_path / "t.parquet", recipe)
    calls = sum(same(trace).sides[0].calls.values())
    for nth in range(1, calls + 1):
        same(trace, fail_call=nth)


# --- the comparison is able to fail ---


@pytest.mark.parametrize(
    ("setting", "recording"),
    [("tcache_count=3", "cc1"), ("mxfast=0", "cc1"), ("top_pad=4KiB", "cc1"), ("mmap_threshold=128KiB", "git")],
)
def test_another_setting_is_seen(setting: str, recording: str) -> None:
    assert not fidelity(ROOT / "traces" / f"{recording}.parquet", f"ptmalloc:{setting}", settings=UNTOUCHED).same
