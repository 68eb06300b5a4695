"""Recorded addresses held against a replay: what two processes may differ in, and what is then a difference."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replays import PAGE, churn
from rich.console import Console
from rows import Row, write
from support import budget, slow

from alloclab.allocators import lab_allocators, resolve
from alloclab.comparison.fidelity import Fidelity, fidelity
from alloclab.comparison.mappings import HEAP, NO_BLOCK, Ints, Located, locate
from alloclab.errors import TraceError, UsageError
from alloclab.replay import Settings
from alloclab.replay.places import BREAK_ALIGNMENT, Places, find_places
from alloclab.report.fidelity import print_fidelity
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Metadata, Op

SPECS = ["system", *(lab.name for lab in lab_allocators())]
UNTOUCHED = Settings(touch="none")


def rows() -> list[Row]:
    """Small blocks, and such as have mappings of their own on some allocators: made, resized, aligned, freed."""
    large = [Row(Op.MALLOC, 0, 300_000), Row(Op.MALLOC, 1, 500_000), Row(Op.REALLOC, 0, 900_000)]
    large += [Row(Op.ALIGNED, 2, 400_000, align=1 << 16), Row(Op.REALLOC, 1, 5_000_000), Row(Op.FREE, 0)]
    large += [Row(Op.MALLOC, 3, 1 << 60, failed=True), Row(Op.REALLOC, 2, 1 << 60, failed=True), Row(Op.REALLOC, 1, 0)]
    large = [replace(row, object=None) if row.failed and row.op == Op.MALLOC else row for row in large]
    small = churn(1500, seed=8, most=1 << 15)
    return [*large, *(row if row.object is None else replace(row, object=row.object + 3) for row in small)]


def replayed(spec: str, folder: Path) -> tuple[Places, Located]:
    """Where an allocator puts the blocks of the rows."""
    places = find_places(compile_trace(write(folder / "plain.parquet", rows())), resolve(spec), UNTOUCHED)
    return places, locate(places)


def held(spec: str, addresses: Ints, folder: Path, **columns: int) -> Fidelity:
    """The allocator against a recording of the rows with these addresses."""
    recorded = [replace(row, address=int(at), **columns) for row, at in zip(rows(), addresses, strict=True)]
    trace = write(folder / "recorded.parquet", recorded, Metadata(program="test", allocator="that one"))
    return fidelity(trace, spec, "recorded", settings=UNTOUCHED)


def elsewhere(places: Places, where: Located, seed: int) -> Ints:
    """The addresses in a process in which the kernel put each mapping elsewhere, but as well aligned as is asked."""
    order = np.random.default_rng(seed)
    away = {}
    for i, mapping in enumerate(np.unique(where.mapping)):
        grain = max(row.align for row, at in zip(rows(), where.mapping, strict=True) if at == mapping)
        away[mapping] = (1 << 40) * i + max(grain, PAGE) * int(order.integers(1 << 16))
    shifts = np.array([away[mapping] for mapping in where.mapping])
    moved: Ints = np.where(places.ops["address"] == 0, 0, places.ops["address"] + shifts)
    return moved


@pytest.mark.parametrize("spec", SPECS)
def test_where_mappings_went_is_no_difference(spec: str, tmp_path: Path) -> None:
    places, where = replayed(spec, tmp_path)
    for seed in range(budget(2)):
        found = held(spec, elsewhere(places, where, seed), tmp_path)
        assert found.same, f"{found.first}, after {found.before}"
        assert found.sides[1].allocator == "the recording on that one" and found.sides[1].peak_mapped is None


def a_block(where: Located, mapping: Callable[[Ints], Ints]) -> int:
    """Some operation whose block lies in such a mapping, though not the first there."""
    there = np.flatnonzero(mapping(where.mapping))
    return int(there[len(there) // 2])


@pytest.mark.parametrize("spec", ["system", "ptmalloc", "fit"])
@pytest.mark.parametrize("by", [16, -32, 3 * PAGE])
def test_a_block_that_lay_elsewhere_is_the_first_difference(spec: str, by: int, tmp_path: Path) -> None:
    places, where = replayed(spec, tmp_path)
    op = a_block(where, lambda mapping: mapping == HEAP)
    addresses = elsewhere(places, where, 1)
    addresses[op] += by
    found = held(spec, addresses, tmp_path)
    assert found.first is not None and not found.same
    assert (found.first.operation, found.first.differs) == (op, ("offset",))
    assert (found.agreeing, found.other_blocks, found.other_calls) == (found.operations - 1, 1, 0)
    ours, theirs = found.first.blocks
    assert (theirs.mapping, theirs.offset, theirs.usable) == ("heap", int(where.offset[op]) + by, None)
    assert (ours.mapping, ours.offset) == ("heap", int(where.offset[op]))
    assert found.first.calls[1] == () and (spec == "system") == (found.choices is None)


@pytest.mark.parametrize("spec", ["system", "ptmalloc", "fit"])
def test_a_block_that_had_no_mapping_of_its_own_is_found_in_the_heap(spec: str, tmp_path: Path) -> None:
    """Also where it was as far from the start of a page."""
    places, where = replayed(spec, tmp_path)
    addresses = elsewhere(places, where, 2)
    in_heap = a_block(where, lambda mapping: mapping == HEAP)
    op = int(np.flatnonzero(where.mapping > HEAP)[0])
    addresses[op] = addresses[in_heap] // PAGE * PAGE + places.ops["address"][op] % PAGE
    found = held(spec, addresses, tmp_path)
    assert found.first is not None and found.first.operation == op
    assert "mapping" in found.first.differs and found.first.blocks[1].mapping == "heap"


@pytest.mark.parametrize("spec", ["system", "fit"])
def test_a_mapping_begins_with_a_page(spec: str, tmp_path: Path) -> None:
    """So its first block lies in the page where the replayed one does."""
    places, where = replayed(spec, tmp_path)
    addresses = elsewhere(places, where, 3)
    op = int(np.flatnonzero(where.mapping > HEAP)[0])
    addresses[op] += 64
    found = held(spec, addresses, tmp_path)
    assert found.first is not None and found.first.operation == op and found.first.differs == ("offset",)


@pytest.mark.parametrize("spec", ["system", *slow("ptmalloc", "tcmalloc", "bump"), "fit"])
def test_where_the_heap_began_decides_where_aligned_blocks_fall(spec: str, tmp_path: Path) -> None:
    """It begins anywhere in a recorded process. No block here has a mapping of its own."""
    mixed = [replace(row, align=row.align and 1 << 15) for row in churn(1500, seed=9)]
    compiled = compile_trace(write(tmp_path / "plain.parquet", mixed))
    here, there = (
        find_places(compiled, resolve(spec), UNTOUCHED, break_beyond=beyond)
        for beyond in (0, BREAK_ALIGNMENT - 6 * PAGE)
    )
    assert there.heap_begins % BREAK_ALIGNMENT == BREAK_ALIGNMENT - 6 * PAGE
    assert np.any(here.ops["address"] - here.heap_begins != there.ops["address"] - there.heap_begins)
    recorded = [replace(row, address=int(at)) for row, at in zip(mixed, there.ops["address"], strict=True)]
    found = fidelity(write(tmp_path / "t.parquet", recorded), spec, "recorded", settings=UNTOUCHED)
    assert found.same, f"{found.first}, after {found.before}"


def test_a_block_of_one_side_alone_differs(tmp_path: Path) -> None:
    places, where = replayed("fit", tmp_path)
    addresses = elsewhere(places, where, 4)
    op = a_block(where, lambda mapping: mapping != NO_BLOCK)
    addresses[op] = 0
    found = held("fit", addresses, tmp_path)
    assert found.first is not None and (found.first.operation, found.first.blocks[1].mapping) == (op, "none")


def test_of_scattered_blocks_the_page_is_compared(tmp_path: Path) -> None:
    places, where = replayed("jemalloc", tmp_path)
    addresses = elsewhere(places, where, 5)
    free_to = np.array([row.align == 0 for row in rows()])
    large = np.flatnonzero((places.ops["usable"] >= 16384) & free_to)
    addresses[large] = addresses[large] // PAGE * PAGE + 64 * (np.arange(len(large)) % 64)
    assert held("jemalloc", addresses, tmp_path).same
    addresses[large[-1]] += PAGE
    found = held("jemalloc", addresses, tmp_path)
    assert found.first is not None and found.first.operation == large[-1]


# --- what is said ---


def said(found: Fidelity) -> str:
    out = io.StringIO()
    print_fidelity(found, Console(file=out, width=200))
    return out.getvalue()


def test_the_report_says_places_and_no_more(tmp_path: Path) -> None:
    places, where = replayed("ptmalloc", tmp_path)
    addresses = elsewhere(places, where, 6)
    text = said(held("ptmalloc", addresses, tmp_path))
    assert "ptmalloc against the recording on that one, " in text
    assert "The same: every operation agrees in where its block lies.\n" in text and "usable" not in text
    addresses[a_block(where, lambda mapping: mapping == HEAP)] += 16
    text = said(held("ptmalloc", addresses, tmp_path))
    assert "1 differ in their block.\n" in text and "system calls" not in text and "peak mapped" not in text


def test_threads_are_told_of(tmp_path: Path) -> None:
    places, where = replayed("fit", tmp_path)
    recorded = [replace(r, address=int(a)) for r, a in zip(rows(), elsewhere(places, where, 7), strict=True)]
    recorded[700:] = [replace(row, thread=1 + i % 2) for i, row in enumerate(recorded[700:])]
    metadata = Metadata(program="test", dropped={"events_lost": 1200}, extra={"forked": True})
    found = fidelity(write(tmp_path / "t.parquet", recorded, metadata), "fit", "recorded", settings=UNTOUCHED)
    assert found.same and found.recorded is not None
    assert (found.recorded.threads, found.recorded.second_thread, found.recorded.forked) == (3, 700, True)
    lines = said(found).splitlines()[2:]
    assert lines[0].startswith("3 threads were recorded, one replays: ") and "from operation 700 on" in lines[0]
    assert lines[1].startswith("The recorded process was forked") and lines[2] == "The recording lacks 1,200 events."
    assert lines[3:] == []


def test_a_trace_without_addresses_is_refused(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.parquet", rows())
    with pytest.raises(
        TraceError, match=r"t\.parquet: has no addresses to compare with; `alloclab record --addresses`"
    ):
        fidelity(trace, "fit", "recorded")


@pytest.mark.parametrize("fault", ["fail_call", "limit"])
def test_nothing_fails_in_what_was_recorded(fault: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="what was recorded cannot be made to fail"):
        fidelity(write(tmp_path / "t.parquet", rows()), "fit", "recorded", **{fault: 5})  # type: ignore[arg-type]


def test_variables_are_those_of_the_one_that_replays(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="variables for recorded, which is not among the allocators compared"):
        fidelity(write(tmp_path / "t.parquet", rows()), "fit", "recorded", env={"recorded": {"A": "1"}})
