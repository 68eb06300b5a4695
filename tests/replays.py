"""For tests of replay: traces of given operations, and a replay written again, plainly, in Python."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rows import Row, write
from support import ROOT, budget, slow

from alloclab.allocators import Allocator
from alloclab.native import built_file, ffi, lib
from alloclab.trace import load
from alloclab.trace.compile import KINDS, CompiledTrace, compile_trace
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.synth import Recipe, synthesize

every_recording = pytest.mark.parametrize("path", sorted((ROOT / "traces").glob("*.parquet")), ids=lambda p: p.stem)
PAGE = 4096
SIZES = ("odd", "huge", *slow("pareto", "tiny", "kilobytes", "mixed"))
LIVE = (100, *slow(1500, 5000))
CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")


def compiled(folder: Path, rows: Iterable[Row], *, threads: bool = False) -> CompiledTrace:
    return compile_trace(write(folder / "t.parquet", rows), threads=threads)


def at_rest(allocator: Allocator) -> Allocator:
    """The same, but in a process no time passes for it: what it does by the clock would hang on the machine."""
    return replace(allocator, beside=(*allocator.beside, str(built_file("liballoclab-clock.so"))))


def stress(folder: Path, sizes: str, live: int, seed: int) -> Trace:
    """120,000 operations of all kinds; the working set swells and drains four times."""
    recipe = Recipe(
        120_000, seed=seed, sizes=sizes, live=live, phases=4, reallocs=0.15, callocs=0.1, aligned=0.05, young=0.3
    )
    return synthesize(folder / f"{sizes}-{live}-{seed}.parquet", recipe)


def growing(folder: Path, sizes: str, seed: int) -> Trace:
    """60,000 operations after which 20,000 blocks live."""
    recipe = Recipe(60_000, seed=seed, sizes=sizes, live=20_000, reallocs=0.3)
    return synthesize(folder / f"{sizes}-{seed}.parquet", recipe)


class EveryTrace(ABC):
    """Tests of an allocator that does what another does; a subclass says how that is held."""

    @abstractmethod
    def hold(self, trace: Trace) -> None:
        """Fails with the first operation that differs."""

    @pytest.mark.slow
    @every_recording
    def test_recordings(self, path: Path) -> None:
        self.hold(load(path))

    @pytest.mark.slow
    def test_extra_traces(self, extra_traces: list[Path]) -> None:
        for path in extra_traces:
            self.hold(load(path))

    @pytest.mark.parametrize("live", LIVE)
    @pytest.mark.parametrize("sizes", SIZES)
    def test_generated_stress(self, sizes: str, live: int, tmp_path: Path) -> None:
        for seed in range(budget(1)):
            self.hold(stress(tmp_path, sizes, live, seed))

    @pytest.mark.slow
    @pytest.mark.parametrize("sizes", SIZES)
    def test_generated_stress_that_only_grows(self, sizes: str, tmp_path: Path) -> None:
        for seed in range(budget(1)):
            self.hold(growing(tmp_path, sizes, seed))


def churn(operations: int, seed: int, *, most: int = 1 << 12, alignments: bool = True) -> list[Row]:
    """Random rows of every kind over a heap that grows and shrinks; sizes log-uniform up to ``most``."""
    rng = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    born = 0
    for step in range(operations):
        size = int(most ** rng.random())
        grows = (step * 5 // operations) % 2 == 0
        kind = rng.random()
        if live and kind < (0.25 if grows else 0.6):
            rows.append(Row(Op.FREE, live.pop(rng.randrange(len(live)))))
        elif live and kind < (0.35 if grows else 0.7):
            rows.append(Row(Op.REALLOC, rng.choice(live), size))
        else:
            op = rng.choice([Op.MALLOC] * 6 + [Op.CALLOC] + [Op.ALIGNED] * alignments)
            align = 1 << rng.randrange(3, 13) if op == Op.ALIGNED else 0
            rows.append(Row(op, born, size, align=align))
            live.append(born)
            born += 1
    return rows


def threaded(rows: Iterable[Row], seed: int) -> list[Row]:
    """The same operations, each done by some thread of four; threads end, and come again as others of their number."""
    rng = random.Random(seed)
    found, thread = [], 0
    for row in rows:
        if rng.random() < 0.2:
            thread = rng.randrange(4)
        if rng.random() < 0.03:
            found.append(Row(Op.THREAD_EXIT, thread=rng.randrange(4)))
        found.append(replace(row, thread=thread))
    return found


@dataclass
class State:
    """What there is after an operation."""

    live: int
    mapped: int
    peak_mapped: int
    resident: int
    calls: dict[str, int]
    asked: dict[str, int]
    vmas: int
    ledger: dict[str, int]


@dataclass
class PlainReplay:
    """The operations of a compiled trace done one by one on a glass-box heap, with everything written down."""

    before: State
    after: list[State] = field(default_factory=list)
    ended: State | None = None
    drained: State | None = None
    reallocs: list[tuple[bool, int, bool]] = field(default_factory=list)
    """Per realloc of a block: whether it stayed, min(old, new) bytes, whether mremap was called."""


@contextmanager
def heap_of(name: str, options: str = "") -> Iterator[Any]:
    """A heap and a thread of it."""
    allocator = lib.al_allocator_find(name.encode())
    settings = ffi.new("al_settings *")
    lib.al_tunables_default(allocator, settings)
    assert lib.al_tunables_parse(allocator, options.encode(), settings, ffi.new("char[256]"), 256) == 0
    heap = lib.al_heap_create(allocator, settings, ffi.new("al_regions_config *"), ffi.new("int *"))
    assert heap != ffi.NULL
    try:
        yield heap, lib.al_thread_create(heap)
    finally:
        lib.al_heap_destroy(heap)


def touch(block: Any, old: int, new: int) -> None:
    """The policy "page", as the words say it."""
    address = int(ffi.cast("uintptr_t", block))
    bytes_of = ffi.cast("char *", block)
    for page in range(address // PAGE * PAGE, address + new, PAGE):
        first = max(page, address)
        if first < address + new and (page >= address + old if old else True):
            bytes_of[first - address] = b"\1"
    if new > old:
        bytes_of[new - 1] = b"\1"


def replay_plainly(trace: CompiledTrace, name: str, options: str = "", touched: bool = True) -> PlainReplay:
    slots: dict[int, tuple[Any, int]] = {}
    live = 0
    entries = trace.entries[: trace.entry_count]
    with heap_of(name, options) as (heap, thread):
        main = int(entries[0]["size"]) if len(entries) and KINDS[entries[0]["kind"]] == "thread" else 0
        threads = {main: thread}
        found = PlainReplay(_state(heap, 0))
        for index, entry in enumerate(entries):
            kind, slot, size = KINDS[entry["kind"]], int(entry["slot"]), int(entry["size"])
            align = 1 << int(entry["align_log2"])
            mremaps = _state(heap, live).calls["mremap"]
            if kind == "thread":
                thread = threads.setdefault(size, ffi.NULL)
                if thread == ffi.NULL:
                    thread = threads[size] = lib.al_thread_create(heap)
            elif kind == "exit":
                lib.al_thread_exit(threads.pop(size))
            if kind in ("tick", "thread", "exit", "operand"):
                continue
            if kind == "free":
                block, bytes_of = slots.pop(slot, (ffi.NULL, 0))
                lib.al_heap_free(thread, block)
                live -= bytes_of
            elif kind == "realloc_zero":
                block, bytes_of = slots.pop(slot)
                lib.al_heap_free(thread, lib.al_heap_realloc(thread, block, 0))
                live -= bytes_of
            elif kind == "realloc":
                block, old = slots[slot]
                moved = lib.al_heap_realloc(thread, block, size)
                slots[slot] = (moved, size)
                live += size - old
                by_mremap = _state(heap, live).calls["mremap"] > mremaps
                found.reallocs.append((moved == block, min(old, size), by_mremap))
                if touched and size > old:
                    touch(moved, old, size)
            elif kind == "failed":
                _replay_failed(thread, KINDS[entry["original"]], slots, slot, size, align)
            else:
                block = _birth(thread, kind, size, align)
                slots[slot] = (block, size)
                live += size
                if touched:
                    touch(block, 0, size)
            found.after.append(_state(heap, live))
            assert int(entries[index]["slot"]) == slot
        found.ended = _state(heap, live)
        if kind == "exit":
            thread = threads[main] if main in threads else lib.al_thread_create(heap)
        for slot in sorted(slots):
            lib.al_heap_free(thread, slots[slot][0])
        found.drained = _state(heap, 0)
    return found


def _birth(thread: Any, kind: str, size: int, align: int) -> Any:
    if kind == "calloc":
        return lib.al_heap_calloc(thread, 1, size)
    if kind == "aligned":
        return lib.al_heap_memalign(thread, max(align, 8), size)
    return lib.al_heap_malloc(thread, size)


def _replay_failed(thread: Any, kind: str, slots: dict[int, Any], slot: int, size: int, align: int) -> None:
    if kind != "realloc":
        lib.al_heap_free(thread, _birth(thread, kind, size, align))
        return
    block, known = slots.get(slot, (ffi.NULL, 0))
    moved = lib.al_heap_realloc(thread, block, size)
    if slot == 0:
        lib.al_heap_free(thread, moved)
    elif moved != ffi.NULL:
        slots[slot] = (moved, known)


def _state(heap: Any, live: int) -> State:
    counters = lib.al_regions_counters(heap.regions)
    resident = ffi.new("size_t *")
    assert lib.al_regions_resident(heap.regions, resident) == 0
    ledger = lib.al_heap_ledger(heap)
    return State(
        live=live,
        mapped=counters.mapped,
        peak_mapped=counters.peak_mapped,
        resident=resident[0],
        calls={name: counters.calls[i] for i, name in enumerate(CALLS)},
        asked={name: counters.bytes[i] for i, name in enumerate(CALLS)},
        vmas=counters.peak_vmas,
        ledger={"usable": ledger.usable, "metadata": ledger.metadata, "cached": ledger.cached, "free": ledger.free},
    )
