"""The compiler against one written here in plain Python, from the words of csrc/trace/ops.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rows import Row, sound_rows, write
from support import budget

from alloclab.errors import TraceError
from alloclab.trace.compile import KINDS, OPS_PAD, CompiledTrace, compile_trace
from alloclab.trace.model import Op

SIZE_MAX = (1 << 64) - 1
MILLISECOND = 1_000_000

Entry = tuple[str, int, int, str, int]  # kind, slot, align_log2, original, size


@dataclass
class Naive:
    """Lists and dicts; quadratic where that is plainer."""

    entries: list[Entry] = field(default_factory=list)
    slot_of: dict[int, int] = field(default_factory=dict)
    size_of: dict[int, int] = field(default_factory=dict)
    free_slots: list[int] = field(default_factory=list)
    slots: int = 1
    clock: int | None = None
    threads: bool = False
    thread: int | None = None
    numbers: dict[int, int] = field(default_factory=dict)
    operations: int = 0
    peak: int = 0
    peak_op: int = 0
    largest: int = 0

    def add(self, row: Row) -> None:
        number = self.numbers.setdefault(row.thread, len(self.numbers))
        if self.threads and self.thread != row.thread:
            self.entries.append(("thread", 0, 0, "malloc", number))
            self.thread = row.thread
        if self.threads and row.op == Op.THREAD_EXIT:
            self.entries.append(("exit", 0, 0, "malloc", number))
            self.thread = None
        if row.op in (Op.THREAD_START, Op.THREAD_EXIT):
            return
        if row.time is not None:
            if self.clock is None:
                self.clock = row.time
            if row.time - self.clock >= MILLISECOND:
                self.entries.append(("tick", 0, 0, "malloc", row.time - self.clock))
                self.clock = row.time
        self.call(row)
        live = sum(self.size_of.values())
        if live > self.peak:
            self.peak, self.peak_op = live, self.operations
        self.largest = max([self.largest, *self.size_of.values()])
        self.operations += 1

    def call(self, row: Row) -> None:
        size = min(row.size * row.count, SIZE_MAX) if row.op == Op.CALLOC else row.size
        align = max(row.align - 1, 0).bit_length() if row.op == Op.ALIGNED else 0
        if row.op == Op.FREE:
            slot, old = self.end(row.object)
            self.entries.append(("free", slot, 0, "malloc", old))
        elif row.op == Op.REALLOC and row.object is not None:
            self.resize(row)
        elif row.failed:
            original = "malloc" if row.op == Op.REALLOC else row.op.label
            self.entries.append(("failed", 0, align, original, size))
        else:
            slot = self.free_slots.pop() if self.free_slots else self.slots
            self.slots = max(self.slots, slot + 1)
            assert row.object is not None
            self.slot_of[row.object], self.size_of[row.object] = slot, size
            self.entries.append((row.op.label, slot, align, "malloc", size))

    def resize(self, row: Row) -> None:
        assert row.object is not None
        if row.size == 0:
            slot, old = self.end(row.object)
            self.entries.append(("realloc_zero", slot, 0, "malloc", old))
            return
        slot, old = self.slot_of[row.object], self.size_of[row.object]
        kind, original = ("failed", "realloc") if row.failed else ("realloc", "malloc")
        self.entries.append((kind, slot, 0, original, row.size))
        self.entries.append(("operand", slot, 0, "malloc", old))
        if not row.failed:
            self.size_of[row.object] = row.size

    def end(self, obj: int | None) -> tuple[int, int]:
        if obj is None:
            return 0, 0
        slot = self.slot_of.pop(obj)
        self.free_slots.append(slot)
        return slot, self.size_of.pop(obj)


def entries_of(compiled: CompiledTrace) -> list[Entry]:
    return [
        (KINDS[e["kind"]], int(e["slot"]), int(e["align_log2"]), KINDS[e["original"]], int(e["size"]))
        for e in compiled.entries[: compiled.entry_count]
    ]


@settings(max_examples=budget(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sound_rows(), threads=st.booleans())
@example(rows=[Row(Op.MALLOC, 0, 8), Row(Op.REALLOC, 0, 0, failed=True)], threads=False)
@example(rows=[Row(Op.THREAD_EXIT), Row(Op.MALLOC, 0, 8), Row(Op.THREAD_START, thread=1)], threads=True)
def test_compiler_equals_the_naive_one(tmp_path: Path, rows: list[Row], threads: bool) -> None:
    naive = Naive(threads=threads)
    for row in rows:
        naive.add(row)
    compiled = compile_trace(write(tmp_path / "t.parquet", rows), threads=threads)
    assert entries_of(compiled) == naive.entries
    assert compiled.operations == naive.operations == sum(r.op < Op.THREAD_START for r in rows)
    assert compiled.slots == naive.slots
    assert (compiled.peak_live_bytes, compiled.peak_live_op) == (naive.peak, naive.peak_op)
    assert compiled.end_live_bytes == sum(naive.size_of.values())
    assert compiled.end_live_blocks == len(naive.size_of)
    assert compiled.largest == naive.largest
    counts = compiled.counts()
    assert sum(counts.values()) == compiled.entry_count
    assert compiled.operations == sum(counts[kind] for kind in KINDS[: KINDS.index("tick")])
    assert (compiled.entries["kind"][compiled.entry_count :] == KINDS.index("end")).all()
    assert len(compiled.entries) == compiled.entry_count + OPS_PAD


def test_slots_are_used_again_latest_first(tmp_path: Path) -> None:
    M, F = Op.MALLOC, Op.FREE  # noqa: N806
    rows = [Row(M, 0, 8), Row(M, 1, 8), Row(M, 2, 8), Row(F, 0), Row(F, 2), Row(M, 3, 8), Row(M, 4, 8), Row(M, 5, 8)]
    compiled = compile_trace(write(tmp_path / "t.parquet", rows))
    assert compiled.entries["slot"][: compiled.entry_count].tolist() == [1, 2, 3, 1, 3, 3, 1, 4]


def test_an_unnamed_birth_lives_to_the_end(tmp_path: Path) -> None:
    rows = [Row(Op.REALLOC, None, 100), Row(Op.MALLOC, 0, 10), Row(Op.FREE, 0)]
    compiled = compile_trace(write(tmp_path / "t.parquet", rows))
    assert compiled.counts()["malloc"] == 2
    assert (compiled.end_live_bytes, compiled.end_live_blocks, compiled.peak_live_bytes) == (100, 1, 110)


def test_alignments_are_rounded_up_to_powers_of_two(tmp_path: Path) -> None:
    aligns = [0, 1, 2, 3, 16, 24, 4096, 4097, 1 << 63, (1 << 63) + 1, SIZE_MAX]
    rows = [Row(Op.ALIGNED, None, 8, align=a, failed=True) for a in aligns]
    compiled = compile_trace(write(tmp_path / "t.parquet", rows))
    expected = [0, 0, 1, 2, 4, 5, 12, 13, 63, 63, 63]
    assert compiled.entries["align_log2"][: len(aligns)].tolist() == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([Row(Op.MALLOC, 0, 8), Row(Op.FREE, 0), Row(Op.FREE, 0)], "row 2: double free: object 0 is already dead"),
        ([Row(Op.FREE, 7)], "row 0: free of object 7, which was never born"),
        (
            [Row(Op.MALLOC, 0, 8), Row(Op.FREE, 0), Row(Op.REALLOC, 0, 9)],
            "row 2: realloc of object 0, which is already",
        ),
        ([Row(Op.REALLOC, 3, 9, failed=True)], "row 0: realloc of object 3, which was never born"),
        ([Row(Op.MALLOC, 0, 8), Row(Op.MALLOC, 0, 8)], "row 1: object 0 born twice"),
        ([Row(Op.CALLOC, 0, 1 << 40, 1 << 40)], "row 0: impossible size"),
        ([Row(Op.MALLOC, 0, 1 << 63)], "row 0: impossible size"),
    ],
)
def test_a_contradiction_is_named_with_its_row(tmp_path: Path, rows: list[Row], message: str) -> None:
    path = tmp_path / "t.parquet"
    write(path, rows)
    from alloclab.trace.parquet import Trace

    with pytest.raises(TraceError) as caught:
        compile_trace(Trace.open(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_the_file_is_head_entries_and_padding(tmp_path: Path) -> None:
    rows = [Row(Op.MALLOC, 0, 8), Row(Op.REALLOC, 0, 100), Row(Op.MALLOC, 1, 5), Row(Op.FREE, 0)]
    compiled = compile_trace(write(tmp_path / "t.parquet", rows))
    compiled.write(tmp_path / "t.ops")
    raw = (tmp_path / "t.ops").read_bytes()
    assert raw[:8] == b"ALLBAPS1"
    assert struct.unpack("<8Q", raw[8:72]) == (5, 4, 3, 105, 2, 5, 1, 100)
    assert np.array_equal(np.frombuffer(raw[72:], compiled.entries.dtype), compiled.entries)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
