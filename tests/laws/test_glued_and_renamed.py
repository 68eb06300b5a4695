"""What a trace says of an allocator hangs on sizes and order alone: not on what objects are called, nor on the slots
that hold them; and where nothing lives, a trace may be cut and glued."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heaps import QUICK, SLOW, spec_of
from replays import PAGE, churn, compiled
from rows import Row, write
from support import budget

from alloclab.allocators import resolve
from alloclab.replay import Settings, examine
from alloclab.replay.run import group_of
from alloclab.trace import load
from alloclab.trace.compile import CompiledTrace, compile_trace
from alloclab.trace.cut import cut
from alloclab.trace.model import Op

SEEDS = range(budget(3))
LABS = [spec_of(*setting) for setting in [*QUICK, *SLOW]]
REAL = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("libjemalloc", "libtcmalloc_minimal")]
SERIAL, IN_PROCESS = Settings(), Settings(in_process=True)


def whole(seed: int, bits: int) -> list[Row]:
    """Nothing lives at its end."""
    rows = churn(700, seed, most=1 << bits)
    live = {row.object for row in rows} - {row.object for row in rows if row.op == Op.FREE}
    return [*rows, *(Row(Op.FREE, each) for each in random.Random(seed).sample(sorted(filter(None, live)), len(live)))]


def glued(first: list[Row], second: list[Row]) -> list[Row]:
    return [*first, *(replace(row, object=(row.object or 0) + len(first)) for row in second)]


def renamed(rows: list[Row], seed: int) -> list[Row]:
    """Objects are numbered as they are born; how, is nothing to anybody."""
    objects = sorted(random.Random(seed).sample(range(1 << 40), len(rows)))
    return [replace(row, object=objects[row.object or 0]) for row in rows]


def in_other_slots(trace: CompiledTrace, seed: int) -> CompiledTrace:
    """Slot 0 stays that of NULL."""
    others = np.array([0, *random.Random(seed).sample(range(1, trace.slots), trace.slots - 1)])
    entries = trace.entries.copy()
    entries["slot"] = others[entries["slot"]]
    return replace(trace, entries=entries)


def same_trace(a: CompiledTrace, b: CompiledTrace) -> bool:
    return a.entries.tobytes() == b.entries.tobytes() and a.head().tolist() == b.head().tolist()


def peaks(spec: str, folder: Path, *traces: list[Row]) -> list[int]:
    """Mapped bytes at their most."""
    runs = [examine(compiled(folder, rows), resolve(spec), IN_PROCESS) for rows in traces]
    assert all(run.verified for run in runs)
    return [int(run.figure("peak_mapped")) for run in runs]


@pytest.mark.parametrize("seed", SEEDS)
def test_names_are_nothing_to_a_replay(seed: int, tmp_path: Path) -> None:
    rows = churn(2000, seed)
    assert same_trace(compiled(tmp_path, rows), compiled(tmp_path, renamed(rows, seed)))


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*LABS, "system", *REAL])
def test_slots_are_nothing_to_a_measure(spec: str, tmp_path: Path) -> None:
    trace = compiled(tmp_path, whole(1, 17))  # what lives on is freed by slots
    settings = SERIAL if resolve(spec).kind != "lab" else IN_PROCESS
    figures, others = (examine(t, resolve(spec), settings).figures for t in (trace, in_other_slots(trace, 2)))
    measured = {name for name in figures if group_of(name) in ("trace", "calls", "ledger", "realloc")}
    assert len(measured) > 20 and {name: others[name] for name in measured} == {
        name: figures[name] for name in measured
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_cut_where_nothing_lives_a_trace_is_its_parts(seed: int, tmp_path: Path) -> None:
    first, second = whole(seed, 12), whole(seed + 100, 16)
    both = write(tmp_path / "both.parquet", glued(first, second))
    bounds = (0, len(first)), (len(first), len(first) + len(second))
    parts = []
    for part, (start, stop) in enumerate(bounds):
        cut(both, tmp_path / f"{part}.parquet", start, stop)
        parts.append(compile_trace(load(tmp_path / f"{part}.parquet")))
    assert same_trace(parts[0], compiled(tmp_path, first)) and same_trace(parts[1], compiled(tmp_path, second))
    assert compile_trace(both).peak_live_bytes == max(part.peak_live_bytes for part in parts)


def is_as_new(name: str, tunables: dict[str, int | str]) -> bool:
    """With nothing live the heap is what it was before the first call, or one free run: every free block is merged at
    once with its neighbours, and none is kept for its size or its thread."""
    return name == "buddy" or (name == "fit" and tunables.get("coalesce", "immediate") == "immediate")


def pad_of(name: str, tunables: dict[str, int | str]) -> int:
    """Growth is rounded to pages, the first by another page, and asks for so much more than is needed."""
    return 0 if name == "buddy" else 2 * PAGE + int(tunables.get("top_pad", 128 << 10))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [9, 13, 17])
@pytest.mark.parametrize(("name", "tunables"), [*QUICK, *SLOW], ids=LABS)
def test_glued_traces_need_what_their_parts_do(
    name: str, tunables: dict[str, int | str], bits: int, tmp_path: Path
) -> None:
    """The more of them, on a heap that is as new where they meet, but for how its last growth was rounded. On one that
    uses nothing twice the needs add up. Others keep small blocks apart for the next of their size (quick lists, caches,
    runs of a class, no merging): what is kept may serve the second part, or be in its way."""
    for seed in SEEDS:
        first, second = whole(seed, bits), whole(seed + 100, bits)
        alone, after, together = peaks(spec_of(name, tunables), tmp_path, first, second, glued(first, second))
        assert together >= alone
        if is_as_new(name, tunables):
            assert abs(together - max(alone, after)) <= pad_of(name, tunables)
        elif name == "bump":
            assert abs(together - alone - after) <= pad_of(name, tunables)
