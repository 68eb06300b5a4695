"""Synthetic traces: sound, repeatable, and as their recipe says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rows import rows_of

from alloclab.errors import UsageError
from alloclab.trace.model import Op
from alloclab.trace.stats import summarize
from alloclab.trace.synth import SIZES, Recipe, synthesize
from alloclab.trace.validate import validate

BOUNDS = {
    "fixed": (16, 1024),
    "odd": (1, 4097),
    "pareto": (16, 1 << 24),
    "tiny": (8, 1 << 22),
    "kilobytes": (1000, 20_000),
    "huge": (1, 1 << 26),
    "mebibytes": (1 << 20, 40 << 20),
}


@pytest.mark.parametrize("sizes", SIZES)
def test_every_mix_is_sound_and_keeps_its_bounds(tmp_path: Path, sizes: str) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(30_000, sizes=sizes, live=400, threads=3, phases=2))
    assert validate(trace) == [] and len(trace) == 30_000
    born = np.concatenate([b.size[(b.op != Op.FREE) & (b.op != Op.REALLOC)] for b in trace.blocks()])
    low, high = BOUNDS.get(sizes, (1, 1 << 22))
    assert low <= born.min() and born.max() <= high


def test_the_same_recipe_gives_the_same_trace_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (synthesize(tmp_path / f"{i}.parquet", Recipe(3000, seed=s)) for i, s in enumerate([7, 7, 8]))
    assert rows_of(first) == rows_of(again) != rows_of(other)


def test_the_working_set_stays_at_its_mark(tmp_path: Path) -> None:
    stats = summarize(synthesize(tmp_path / "t.parquet", Recipe(50_000, live=1000, reallocs=0)))
    assert 1000 <= stats.most_blocks < 1050
    assert 950 < stats.survivors < 1050


def test_phases_drain_to_a_tenth(tmp_path: Path) -> None:
    stats = summarize(synthesize(tmp_path / "t.parquet", Recipe(50_000, live=1000, phases=1, reallocs=0)))
    assert stats.most_blocks > 900 and stats.survivors < 150


def test_shares_are_met(tmp_path: Path) -> None:
    recipe = Recipe(100_000, reallocs=0.3, callocs=0.2, aligned=0.1, threads=4)
    stats = summarize(synthesize(tmp_path / "t.parquet", recipe))
    assert abs(stats.kinds["realloc"].calls / 100_000 - 0.3) < 0.01
    assert abs(stats.kinds["calloc"].calls / stats.births - 0.2) < 0.01
    assert abs(stats.kinds["aligned"].calls / stats.births - 0.1) < 0.01
    assert [thread.thread for thread in sorted(stats.threads, key=lambda t: t.thread)] == [0, 1, 2, 3]
    assert stats.cross_share is not None and stats.cross_share > 0.1


def test_times_can_be_left_out(tmp_path: Path) -> None:
    assert summarize(synthesize(tmp_path / "t.parquet", Recipe(1000, ns_per_event=0))).clock is None


def test_the_huge_mix_reaches_every_order_of_size(tmp_path: Path) -> None:
    trace = synthesize(tmp_path / "t.parquet", Recipe(120_000, sizes="huge", live=100, reallocs=0))
    born = np.concatenate([b.size[b.op != Op.FREE] for b in trace.blocks()])
    shares = np.histogram(born, [1, 1 << 12, 1 << 18, 1 << 23, 1 << 26])[0] / len(born)
    assert np.allclose(shares, [0.85, 0.14, 0.01, 0.0002], atol=[0.01, 0.01, 0.002, 0.0002]) and (shares > 0).all()


@pytest.mark.parametrize("wrong", [{"sizes": "vast"}, {"live": 0}, {"reallocs": 1.5}, {"callocs": 0.6, "aligned": 0.6}])
def test_an_impossible_recipe_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Recipe(10, **wrong)  # type: ignore[arg-type]
