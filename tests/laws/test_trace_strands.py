"""Strands: whatever order their threads run in, every operation meets the block that it met in the recording."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import Row, sound_rows, write
from support import budget

from alloclab.trace.compile import KINDS, OPS_PAD, CompiledTrace, compile_trace
from alloclab.trace.model import Op
from alloclab.trace.strands import Strands, take_apart

OPERATIONS = KINDS[: KINDS.index("tick")]
BIRTHS = ("malloc", "calloc", "aligned")
DEATHS = ("free", "realloc_zero")

Said = tuple[str, int, int, int]  # kind, alignment, original, size
Meeting = tuple[Said, int]  # an operation, and the number of the birth whose block it meets; 0: none


def said(entry: np.void) -> Said:
    return KINDS[entry["kind"]], int(entry["align_log2"]), int(entry["original"]), int(entry["size"])


def meetings(compiled: CompiledTrace) -> tuple[list[list[Meeting]], int]:
    """What each strand does, by the recorded order; and the edges."""
    strand_of: dict[int, int] = {}
    found: list[list[Meeting]] = []
    block: dict[int, int] = {}
    touched: dict[int, int] = {}
    births = edges = now = 0
    for entry in compiled.entries[: compiled.entry_count]:
        kind, slot = KINDS[entry["kind"]], int(entry["slot"])
        if kind == "thread":
            if strand_of.get(int(entry["size"])) is None:
                strand_of[int(entry["size"])] = len(found)
                found.append([])
            now = strand_of[int(entry["size"])]
        elif kind == "exit":
            del strand_of[int(entry["size"])]
        elif kind in OPERATIONS:
            if kind in BIRTHS:
                births += 1
                block[slot] = births
            elif slot:
                edges += touched[slot] != now
            if slot:
                touched[slot] = now
            found[now].append((said(entry), block.get(slot, 0)))
    return found, edges


class Schedule:
    """Runs strands one entry at a time, in an order drawn by chance, as far as waits and acts let it."""

    def __init__(self, strands: Strands, seed: int) -> None:
        self.strands, self.random = strands, random.Random(seed)
        self.at = [0] * len(strands)
        self.block: dict[int, int] = {}
        self.posted: set[int] = set()
        self.waited: set[int] = set()
        self.started = {0}
        self.acted = 0
        self.done: list[list[tuple[Said, int]]] = [[] for _ in range(len(strands))]

    def run(self, births: list[list[int]]) -> list[list[Meeting]]:
        left = [iter(b) for b in births]
        while movable := [i for i in range(len(self.strands)) if i in self.started and self.can_move(i)]:
            strand = self.random.choice(movable)
            self.step(strand, left[strand])
            self.act()
        self.act()
        assert all(self.ended(i) for i in range(len(self.strands))), "nobody can move, but not all are at their end"
        assert self.acted == len(self.strands.acts)
        return self.done

    def entry(self, strand: int) -> np.void:
        return self.strands.entries[int(self.strands.ranges[strand]["first"]) + self.at[strand]]

    def ended(self, strand: int) -> bool:
        return self.at[strand] == int(self.strands.ranges[strand]["count"])

    def can_move(self, strand: int) -> bool:
        if self.ended(strand):
            return False
        entry = self.entry(strand)
        return KINDS[entry["kind"]] != "wait" or int(entry["size"]) in self.posted

    def act(self) -> None:
        while self.acted < len(self.strands.acts):
            strand, exits = (int(x) for x in self.strands.acts[self.acted])
            if exits and not self.ended(strand):
                return
            self.started.add(strand)
            self.acted += 1

    def step(self, strand: int, births: object) -> None:
        entry = self.entry(strand)
        kind, slot = KINDS[entry["kind"]], int(entry["slot"])
        self.at[strand] += 1
        if kind == "post":
            assert int(entry["size"]) not in self.posted
            self.posted.add(int(entry["size"]))
        elif kind == "wait":
            assert int(entry["size"]) not in self.waited
            self.waited.add(int(entry["size"]))
        elif kind == "operand":
            assert KINDS[self.entry(strand)["kind"]] != "operand"
        else:
            assert kind in OPERATIONS
            if kind in BIRTHS:
                assert self.block.get(slot, 0) == 0, "the slot holds a block of another"
                self.block[slot] = next(births)  # type: ignore[call-overload]
            self.done[strand].append((said(entry), self.block.get(slot, 0)))
            if kind in DEATHS:
                self.block[slot] = 0


def threaded(rows: list[Row], choices: list[int]) -> list[Row]:
    """The rows, each given to one of four threads; a thread may end, and begin again."""
    found = []
    for i, row in enumerate(rows):
        thread = choices[i % len(choices)]
        if row.op < Op.THREAD_START:
            row.thread = thread % 4
            found.append(row)
        if thread >= 10:
            found.append(Row(Op.THREAD_EXIT, thread=thread % 4))
    return found


@settings(max_examples=budget(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sound_rows(), choices=st.lists(st.integers(0, 11), min_size=1, max_size=40), seed=st.integers(0, 1000))
def test_any_order_of_threads_meets_the_same_blocks(
    tmp_path: Path, rows: list[Row], choices: list[int], seed: int
) -> None:
    compiled = compile_trace(write(tmp_path / "t.parquet", threaded(rows, choices)), threads=True)
    expected, edges = meetings(compiled)
    strands = take_apart(compiled)
    assert len(strands) == len(expected)
    assert strands.edges == edges
    births = [[block for (kind, *_), block in strand if kind in BIRTHS] for strand in expected]
    assert Schedule(strands, seed).run(births) == expected
    for entries in strands.ranges:
        padding = strands.entries[int(entries["first"]) + int(entries["count"]) :][:OPS_PAD]
        assert (padding["kind"] == KINDS.index("end")).all()
        assert len(padding) == OPS_PAD


def test_two_strands_and_their_edges(tmp_path: Path) -> None:
    rows = [
        Row(Op.MALLOC, 0, 8),
        Row(Op.THREAD_START, thread=1),
        Row(Op.MALLOC, 1, 9, thread=1),
        Row(Op.FREE, 0, thread=1),
        Row(Op.REALLOC, 1, 20),
        Row(Op.THREAD_EXIT, thread=1),
        Row(Op.THREAD_START, thread=2),
        Row(Op.FREE, 1),
    ]
    strands = take_apart(compile_trace(write(tmp_path / "t.parquet", rows), threads=True))
    kinds = [
        [KINDS[kind] for kind in strands.entries["kind"][first : first + count].tolist()]
        for first, count in strands.ranges.tolist()
    ]
    assert kinds == [
        ["malloc", "post", "wait", "realloc", "operand", "free"],
        ["malloc", "post", "wait", "free"],
        [],
    ]
    assert strands.acts.tolist() == [(1, 0), (1, 1), (2, 0)]
    assert (strands.edges, strands.alive) == (2, 2)


def test_slots_of_different_strands_share_no_cache_line(tmp_path: Path) -> None:
    rows = [Row(Op.MALLOC, i, 8, thread=i % 2) for i in range(20)] + [Row(Op.FREE, None, thread=i) for i in (0, 1)]
    strands = take_apart(compile_trace(write(tmp_path / "t.parquet", rows), threads=True))
    lines = [
        set((strands.entries["slot"][first : first + count] // 8).tolist()) for first, count in strands.ranges.tolist()
    ]
    assert lines[0].isdisjoint(lines[1])
    assert 0 not in lines[0] | lines[1]
