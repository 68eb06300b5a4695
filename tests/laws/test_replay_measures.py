"""Every measure equals what a plain replay in Python, written down after each operation, says it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import CALLS, PlainReplay, churn, compiled, replay_plainly, threaded
from rows import Row, sound_rows
from support import budget, slow

from alloclab.allocators import lab_allocators, resolve
from alloclab.measure import METRICS, measure
from alloclab.replay import RECORDED_THREADS, SERIAL, Settings, examine
from alloclab.trace.compile import CompiledTrace
from alloclab.trace.model import Op

SPECS = [
    *(lab.name for lab in lab_allocators()),
    *slow("fit:policy=first", "fit:policy=best,coalesce=deferred"),
    *slow("fit:policy=next,mmap_threshold=32KiB", "fit:policy=worst,coalesce=never,trim_threshold=16KiB"),
]

THREADED = ["ptmalloc", "tcmalloc-hpaa", *slow("jemalloc", "tcmalloc", "fit", "buddy", "bump")]
"""Allocators to try threads on."""

# fmt: off
NAMES = [
    "peak_live_bytes", "peak_mapped_bytes", "peak_resident_bytes", "end_resident_bytes", "drained_resident_bytes",
    "fragmentation_1", "fragmentation_2", "fragmentation_3", "fragmentation_4", "fragmentation_resident_1",
    "fragmentation_resident_2", "fragmentation_resident_3", "fragmentation_resident_4", "utilization", "calls_brk",
    "calls_mmap", "calls_munmap", "calls_mremap", "calls_madvise", "calls_mprotect", "minor_faults", "bytes_brk",
    "bytes_mmap", "bytes_munmap", "bytes_madvise", "peak_vmas", "realloc_in_place_share", "realloc_moves",
    "realloc_bytes_copied", "ns_per_op", "instructions_per_op", "threads", "threads_alive", "edges", "ops_per_second",
    "waits", "waited_ns_per_op", "ledger_live", "ledger_rounding", "ledger_metadata", "ledger_cached",
    "ledger_free",
]
# fmt: on


def test_the_measures_are_these() -> None:
    assert list(METRICS) == NAMES
    assert all(m.help.endswith(".") and m.unit for m in METRICS.values())


def expected(trace: CompiledTrace, plain: PlainReplay, samples: int) -> dict[str, float | None]:
    """The measures from the definitions, None where there is nothing to divide by."""
    after = plain.after
    peak = max(range(len(after)), key=lambda i: after[i].live)
    every = max(len(after) // samples, 1)
    sampled = sorted({*range(every - 1, len(after), every), peak, len(after) - 1})
    top = next(i for i, s in enumerate(after) if s.peak_mapped == after[-1].peak_mapped)
    fullest = max(sampled, key=lambda i: after[i].resident)
    ratios = [s.mapped / s.live for s in after if s.live]
    resident_ratios = [after[i].resident / after[i].live for i in sampled if after[i].live]
    peak_live, peak_mapped = after[peak].live, after[-1].peak_mapped
    assert plain.ended is not None and plain.drained is not None
    values: dict[str, float | None] = {
        "peak_live_bytes": peak_live,
        "peak_mapped_bytes": peak_mapped,
        "peak_resident_bytes": after[fullest].resident,
        "end_resident_bytes": plain.ended.resident,
        "drained_resident_bytes": plain.drained.resident,
        "fragmentation_1": sum(ratios) / len(ratios) if ratios else None,
        "fragmentation_2": after[peak].mapped / peak_live if peak_live else None,
        "fragmentation_3": peak_mapped / after[top].live if after[top].live else None,
        "fragmentation_4": peak_mapped / peak_live if peak_live else None,
        "fragmentation_resident_1": sum(resident_ratios) / len(resident_ratios) if resident_ratios else None,
        "fragmentation_resident_2": after[peak].resident / peak_live if peak_live else None,
        "fragmentation_resident_3": after[fullest].resident / after[fullest].live if after[fullest].live else None,
        "fragmentation_resident_4": after[fullest].resident / peak_live if peak_live else None,
        "utilization": peak_live / peak_mapped if peak_mapped else None,
        "peak_vmas": plain.ended.vmas,
        "realloc_in_place_share": (
            sum(stayed for stayed, _, _ in plain.reallocs) / len(plain.reallocs) if plain.reallocs else None
        ),
        "realloc_moves": sum(not stayed for stayed, _, _ in plain.reallocs),
        "realloc_bytes_copied": sum(size for stayed, size, mremap in plain.reallocs if not stayed and not mremap),
        "ledger_live": peak_live,
        "ledger_rounding": after[peak].ledger["usable"] - peak_live,
    }
    before = plain.before
    values |= {f"calls_{call}": plain.ended.calls[call] - before.calls[call] for call in CALLS}
    asked = ("brk", "mmap", "munmap", "madvise")
    values |= {f"bytes_{call}": plain.ended.asked[call] - before.asked[call] for call in asked}
    values |= {f"ledger_{part}": after[peak].ledger[part] for part in ("metadata", "cached", "free")}
    return values


def hold(trace: CompiledTrace, spec: str, samples: int = 7, touch: str = "page") -> None:
    mode = RECORDED_THREADS if trace.counts()["thread"] else SERIAL
    settings = Settings(mode=mode, in_process=True, samples=samples, touch=touch)  # type: ignore[arg-type]
    run = examine(trace, resolve(spec), settings)
    assert run.mode == mode
    assert run.verified, run.failure
    name, _, options = spec.partition(":")
    found = measure(run)
    for metric, want in expected(trace, replay_plainly(trace, name, options, touch == "page"), samples).items():
        got = found[metric].value
        assert got == (None if want is None else pytest.approx(want, rel=1e-8, abs=1e-8)), metric


@pytest.mark.parametrize("spec", SPECS)
@given(rows=sound_rows())
@settings(max_examples=budget(15))
def test_measures_equal_a_plain_replay(spec: str, rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = compiled(Path(folder), [*rows, Row(Op.MALLOC, sum(r.object is not None for r in rows) + 1, 40)])
        hold(trace, spec)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("touch", ["page", "none"])
def test_measures_equal_a_plain_replay_of_churn(spec: str, touch: str, tmp_path: Path) -> None:
    hold(compiled(tmp_path, churn(600, seed=4, most=1 << 17)), spec, samples=50, touch=touch)


@pytest.mark.parametrize("spec", THREADED)
@given(rows=sound_rows(), seed=st.integers(0, 99))
@settings(max_examples=budget(8))
def test_measures_of_recorded_threads_equal_a_plain_replay(spec: str, rows: list[Row], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        last = Row(Op.MALLOC, sum(r.object is not None for r in rows) + 1, 40)
        hold(compiled(Path(folder), threaded([*rows, last], seed), threads=True), spec)


@pytest.mark.parametrize("spec", THREADED)
def test_measures_of_recorded_threads_equal_a_plain_replay_of_churn(spec: str, tmp_path: Path) -> None:
    rows = [*threaded(churn(600, seed=4, most=1 << 17), seed=1), *(Row(Op.THREAD_EXIT, thread=t) for t in range(4))]
    hold(compiled(tmp_path, rows, threads=True), spec, samples=50)


@pytest.mark.parametrize("spec", THREADED)
def test_of_one_thread_both_serial_modes_say_the_same(spec: str, tmp_path: Path) -> None:
    rows = churn(600, seed=5, most=1 << 17)
    runs = [
        examine(compiled(tmp_path, rows, threads=told), resolve(spec), Settings(mode=mode, in_process=True))
        for mode, told in ((SERIAL, False), (RECORDED_THREADS, True))
    ]
    differing = {"minor_faults"}
    one, other = ({name: value for name, value in run.figures.items() if name not in differing} for run in runs)
    assert one == other


def test_the_ledger_at_peak_adds_up_to_mapped(tmp_path: Path) -> None:
    run = examine(compiled(tmp_path, churn(2000, seed=5)), resolve("fit"), Settings(in_process=True))
    parts = [measure(run)[f"ledger_{part}"].value for part in ("live", "rounding", "metadata", "cached", "free")]
    assert sum(p for p in parts if p is not None) == run.figure("at_peak_mapped")


def test_the_timeline_is_the_samples(tmp_path: Path) -> None:
    trace = compiled(tmp_path, churn(500, seed=6))
    run = examine(trace, resolve("fit"), Settings(in_process=True, samples=20))
    plain = replay_plainly(trace, "fit")
    line = run.timeline
    assert line is not None and line.mapped is not None and line.resident is not None
    assert line.operation[-1] == trace.operations and trace.peak_live_op + 1 in line.operation
    for i, done in enumerate(line.operation):
        state = plain.after[done - 1]
        assert (line.live[i], line.mapped[i], line.resident[i]) == (state.live, state.mapped, state.resident)


def test_what_is_not_measured_says_why(tmp_path: Path) -> None:
    trace = compiled(tmp_path, [Row(Op.MALLOC, 0, 100)])
    found = measure(examine(trace, resolve("fit"), Settings(in_process=True)))
    assert found["ns_per_op"].value is None and found["ns_per_op"].reason == "not timed"
    assert found["edges"].reason == "one thread did it all: not a concurrent replay" == found["waits"].reason
    assert found["realloc_in_place_share"].value is None and found["realloc_in_place_share"].reason
    empty = measure(examine(compiled(tmp_path, [Row(Op.FREE)]), resolve("fit")))
    assert empty["peak_mapped_bytes"].reason == empty["ledger_free"].reason
    assert empty["peak_mapped_bytes"].reason == "it made no heap: the trace asks for no block"
    assert empty["fragmentation_resident_1"].reason == empty["fragmentation_1"].reason == "the trace has no live bytes"
    floor = measure(examine(trace, resolve("null")))
    assert floor["peak_live_bytes"].value == 100
    assert floor["peak_mapped_bytes"].reason == "the null allocator only counts"
    assert measure(examine(trace, resolve("system")))["ledger_free"].reason == "not a glass box: it keeps no ledger"
