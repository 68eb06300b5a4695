"""tcmalloc against libtcmalloc_minimal 2.10: every block in the same place, every operation with the same system
calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from programs import with_equal_start
from replays import EveryTrace
from rows import Row, write
from support import ROOT, budget, slow

from alloclab.comparison.fidelity import Fidelity, Step, fidelity
from alloclab.errors import ReplayError
from alloclab.replay import Settings
from alloclab.replay.places import find_places
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.synth import Recipe, synthesize

pytestmark = pytest.mark.needs("libtcmalloc_minimal")

UNTOUCHED = Settings(touch="none")
OURS, THEIRS = "tcmalloc", "libtcmalloc_minimal"


def variables(setting: str) -> dict[str, str]:
    """Of "RELEASE_RATE=2 SKIP_SBRK=1"."""
    pairs = (word.partition("=") for word in setting.split())
    return {f"TCMALLOC_{name}": value for name, _, value in pairs}


def held(trace: str | Path | Trace, setting: str = "", **faults: int) -> Fidelity:
    """Both sides with the same variables."""
    env: Mapping[str, Mapping[str, str]] = {name: variables(setting) for name in (OURS, THEIRS)} if setting else {}
    return fidelity(trace, OURS, THEIRS, settings=UNTOUCHED, env=env, **faults)


def same(trace: str | Path | Trace, setting: str = "", **faults: int) -> Fidelity:
    """Fails with the first operation that differs."""
    found = held(trace, setting, **faults)
    assert found.first is None, f"{found.trace}: {found.first}, after {found.before}, {found.choices}"
    one, other = found.sides
    assert found.same and one.calls == other.calls and one.failed_calls == other.failed_calls
    assert one.usable_bytes == other.usable_bytes
    return found


class TestTraces(EveryTrace):
    hold = staticmethod(same)


# --- large blocks ---


def large_blocks(folder: Path, sizes: str, events: int, live: int, seed: int) -> Trace:
    """Untouched: neither cleared nor copied."""
    recipe = Recipe(events, seed=seed, sizes=sizes, live=live, phases=4, reallocs=0, callocs=0, aligned=0.1)
    return synthesize(folder / f"{sizes}-{live}-{seed}.parquet", recipe)


@pytest.mark.parametrize("setting", ["", *slow("RELEASE_RATE=10"), "AGGRESSIVE_DECOMMIT=1"])
@pytest.mark.parametrize("live", [30, *slow(3)])
def test_blocks_of_mebibytes(live: int, setting: str, tmp_path: Path) -> None:
    """More pages are freed than may be before something is released."""
    for seed in range(budget(2)):
        found = same(large_blocks(tmp_path, "mebibytes", 10_000, live, seed), setting)
        assert found.sides[0].calls["madvise"] > 0


@pytest.mark.parametrize("setting", ["", *slow("SKIP_SBRK=1")])
def test_many_gibibytes(setting: str, tmp_path: Path) -> None:
    """Metadata fills several chunks: there is a leaf of the map for each two gibibytes."""
    for seed in range(budget(1)):
        found = same(large_blocks(tmp_path, "mebibytes", 10_000, 2500, seed), setting)
        assert found.sides[0].peak_mapped > 16 << 30 and found.sides[0].calls["madvise"] > 0


# --- settings, given to both sides ---

SETTINGS = (
    *("AGGRESSIVE_DECOMMIT=1", "SKIP_SBRK=1", "HEAP_LIMIT_MB=60 RELEASE_RATE=1000", "TRANSFER_NUM_OBJ=33"),
    *slow("RELEASE_RATE=0.3", "RELEASE_RATE=1000000", "SKIP_MMAP=1"),
    *slow("HEAP_LIMIT_MB=20", "HEAP_LIMIT_MB=20 DISABLE_MEMORY_RELEASE=1"),
    *slow("MAX_TOTAL_THREAD_CACHE_BYTES=0", *(f"TRANSFER_NUM_OBJ={count}" for count in (1, 7, 1024))),
    *slow("RELEASE_RATE=0", "RELEASE_RATE=1000", "DISABLE_MEMORY_RELEASE=1 RELEASE_RATE=1000", "HEAP_LIMIT_MB=60"),
    *slow("AGGRESSIVE_DECOMMIT=1 RELEASE_RATE=100", "HEAP_LIMIT_MB=20 AGGRESSIVE_DECOMMIT=1"),
    *slow("SKIP_SBRK=1 AGGRESSIVE_DECOMMIT=1", "SKIP_SBRK=1 SKIP_MMAP=1"),
    *slow(*(f"TRANSFER_NUM_OBJ={count}" for count in (2, 3, 16, 31, 64, 100, 500, 4000, 8192))),
    *slow(*(f"MAX_TOTAL_THREAD_CACHE_BYTES={count}" for count in (600000, 2097152, 1073741824))),
)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_do_what_theirs_do(setting: str, tmp_path: Path) -> None:
    for sizes in ("huge", "kilobytes"):
        recipe = Recipe(20_000, sizes=sizes, live=300, phases=3, reallocs=0.2, callocs=0.1, aligned=0.05)
        same(synthesize(tmp_path / f"{sizes}.parquet", recipe), setting)


# --- faults ---


def all_calls() -> list[Row]:
    """Growth of the heap and of its metadata, by one page and by gibibytes; spans given back, alignment."""
    m, g = 1 << 20, 1 << 30
    rows = [Row(Op.MALLOC, 0, 100), Row(Op.MALLOC, 1, 3_000_000), Row(Op.CALLOC, 2, 5 * m), Row(Op.MALLOC, 3, 800_000)]
    rows += [Row(Op.MALLOC, 4, 3 * g), Row(Op.FREE, 3), Row(Op.REALLOC, 2, 9 * m), Row(Op.FREE, 1)]
    rows += [Row(Op.CALLOC, 5, 2_000_000), Row(Op.ALIGNED, 6, 3 * m, align=4 * m), Row(Op.REALLOC, 5, 6 * m)]
    rows += [Row(Op.MALLOC, 7 + i, 200_000) for i in range(20)]
    rows += [Row(Op.FREE, i) for i in (2, 4, 6, *range(7, 27, 2))]
    rows += [Row(Op.MALLOC, 27, 2 * g), Row(Op.MALLOC, 28, 5 * g), Row(Op.FREE, 27), Row(Op.CALLOC, 29, 8 * m)]
    rows += [Row(Op.MALLOC, 30 + i, 1 << (4 + i)) for i in range(16)]
    rows += [Row(Op.REALLOC, 40 + i, 1 << (14 + i)) for i in range(6)]
    rows += [Row(Op.FREE, i) for i in (*range(29, 46), 0, 28, 5)]
    return [*rows, Row(Op.CALLOC, 46, 5000), Row(Op.MALLOC, 47, 30 * m), Row(Op.MALLOC, 48, 4 * g)]


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return write(tmp_path / "t.parquet", all_calls())


GROWTH = ("brk", "mmap")
CHUNK = 8 << 20
"""What is asked of the system for metadata at a time."""


def enters_what_it_got(step: Step) -> bool:
    """Memory was got, but none for the records of it. Ours asks for that again, where theirs has lost the memory."""
    ours, theirs = ([call.bytes for call in side if call.kind in GROWTH] for side in step.calls)
    return ours[:1] == [CHUNK] and theirs[:1] != [CHUNK]


def same_but_for_losses(trace: Trace, setting: str, **faults: int) -> bool:
    """Whether they are the same to the end."""
    found = held(trace, setting, **faults)
    assert found.first is None or enters_what_it_got(found.first), f"{found.first}, after {found.before}, {faults}"
    assert found.sides[0].failed_calls > 0
    return found.first is None


def any_one_call_fails(trace: Trace, setting: str) -> None:
    whole = same(trace, setting)
    calls = sum(whole.sides[0].calls.values())
    alike = [same_but_for_losses(trace, setting, fail_call=nth) for nth in range(1, calls + 1)]
    assert len(alike) > 5 and alike.count(False) <= 1


FAULTED = (
    "",
    *slow(
        "SKIP_SBRK=1", "AGGRESSIVE_DECOMMIT=1", "SKIP_SBRK=1 AGGRESSIVE_DECOMMIT=1", "RELEASE_RATE=10000", "SKIP_MMAP=1"
    ),
    *slow("HEAP_LIMIT_MB=20", "HEAP_LIMIT_MB=6000"),
)


@pytest.mark.parametrize("setting", FAULTED)
def test_any_one_call_fails(setting: str, trace: Trace) -> None:
    any_one_call_fails(trace, setting)


@pytest.mark.parametrize("setting", FAULTED)
def test_a_limit_is_reached(setting: str, trace: Trace) -> None:
    whole = same(trace, setting).sides[0]
    limits = range(whole.mapped_before + 1, whole.peak_mapped, (whole.peak_mapped - whole.mapped_before) // 12)
    alike = [same_but_for_losses(trace, setting, limit=limit) for limit in limits]
    assert alike.count(False) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(budget(2)))
def test_any_one_call_of_a_generated_trace_fails(seed: int, tmp_path: Path) -> None:
    recipe = Recipe(60, seed=seed, sizes="mebibytes", live=10, phases=2, reallocs=0.1, callocs=0, aligned=0.2)
    trace = synthesize(tmp_path / "t.parquet", recipe)
    for setting in ("AGGRESSIVE_DECOMMIT=1", "HEAP_LIMIT_MB=60", "SKIP_SBRK=1"):
        any_one_call_fails(trace, setting)


def many_spans() -> list[Row]:
    """Leaves of the map take most of the first chunk of metadata, and records of spans the rest of it."""
    small = range(1, 80_001)
    rows = [Row(Op.MALLOC, 0, 3 << 30), *(Row(Op.MALLOC, i, 8192) for i in small)]
    return [*rows, *(Row(Op.FREE, i) for i in small), *(Row(Op.MALLOC, i + len(small), 8192) for i in small)]


@pytest.mark.slow
def test_where_there_is_no_memory_for_records(tmp_path: Path) -> None:
    """Theirs ends the process. Ours has no memory, until some is free."""
    ours, theirs = (with_equal_start(name, THEIRS) for name in (OURS, THEIRS))
    compiled = compile_trace(write(tmp_path / "t.parquet", many_spans()))
    whole = find_places(compiled, ours, UNTOUCHED)
    calls = [call for call in whole.events if call["op"] > 0]
    first = next(i for i, call in enumerate(calls) if call["bytes"] == CHUNK)
    limit = int(whole.peak_mapped - sum(call["bytes"] for call in calls[first:]))
    with pytest.raises(ReplayError, match="FATAL ERROR: Out of memory trying to allocate internal tcmalloc data"):
        find_places(compiled, theirs, UNTOUCHED, limit=limit)
    blocks = find_places(compiled, ours, UNTOUCHED, limit=limit).ops["address"]
    denied = np.flatnonzero(blocks[:80_001] == 0)
    assert denied[0] == calls[first]["op"] and denied[-1] == 80_000
    assert np.flatnonzero(blocks[160_001:] == 0).tolist() == np.flatnonzero(blocks[1:80_001] == 0).tolist()


@pytest.mark.parametrize("size", [1 << 40, (1 << 47) + 1, (1 << 62) + 5])
def test_what_no_system_has(size: int, tmp_path: Path) -> None:
    """Which calls are made in vain, and what comes after. (Beyond PTRDIFF_MAX no allocator here is asked.)"""
    rows = [Row(Op.MALLOC, 0, 5000), Row(Op.MALLOC, 1, size, failed=True), Row(Op.CALLOC, 2, size, failed=True)]
    rows += [Row(Op.ALIGNED, 3, size, align=1 << 14, failed=True), Row(Op.REALLOC, 0, size, failed=True)]
    rows += [Row(Op.ALIGNED, 4, size, align=64, failed=True), Row(Op.MALLOC, 5, 3_000_000), Row(Op.FREE, 0)]
    trace = write(tmp_path / "t.parquet", rows)
    for setting in ("", "SKIP_SBRK=1", "HEAP_LIMIT_MB=20"):
        same(trace, setting)


# --- the comparison is able to fail ---


@pytest.mark.parametrize(
    "setting", ["transfer_num_obj=31", "max_total_thread_cache_bytes=512KiB", "skip_sbrk=true", "heap_limit_mb=12"]
)
def test_another_setting_is_seen(setting: str) -> None:
    assert not fidelity(ROOT / "traces" / "cc1.parquet", f"tcmalloc:{setting}", THEIRS, settings=UNTOUCHED).same
