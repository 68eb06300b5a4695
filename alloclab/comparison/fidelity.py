"""Do two allocators do the same? Both replay a trace as drop-ins, out of process; every operation is held against its
counterpart:

    block     the mapping it lies in and its offset there (:mod:`alloclab.comparison.mappings`), and its usable size by
              each side's own malloc_usable_size
    calls     the system calls for memory that the operation made: kinds, lengths, rights and advice, which failed, and
              what they name, in a mapping that holds blocks

Where in a mapping of its own an aligned block lies, and how large it is, depends on where the mapping happened to land:
where that was unlike on the two sides, only the mapping and the alignment are compared, and when the block is resized
or freed, not the lengths of mremap and munmap. What aligning cuts off depends on it, too: of several munmaps only the
sum is compared.

Where blocks of a lab allocator are scattered, that is begin at a random place within their first page, the page is
compared in place of the offset; but not against a lab allocator that scatters none.

Clocks stand still on both sides but for the recorded time that passes between operations.

Instead of another allocator a trace's own addresses may be the other side (:mod:`alloclab.comparison.recorded`): then
blocks alone are compared, and of these the place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.allocators import Allocator, lab_allocator, libraries_needed, resolve
from alloclab.comparison.choices import Choices, choices
from alloclab.comparison.mappings import ELSEWHERE, HEAP, NO_BLOCK, PAGE, Ints, Located, address_of, locate
from alloclab.comparison.recorded import Recorded, break_beyond, locate_recorded, read_recorded
from alloclab.errors import TraceError, UsageError
from alloclab.native import built_file
from alloclab.replay import SERIAL, Settings
from alloclab.replay.places import ADVICE, CALLS, FOREIGN_ADVICE, RIGHTS, Places, explain_places, find_places
from alloclab.trace import load
from alloclab.trace.compile import KINDS, CompiledTrace, compile_trace
from alloclab.trace.parquet import Trace

FIDELITY_SCHEMA = 1
RECORDED = "recorded"
"""Against this: the addresses that the trace itself says."""
STEPS = 6
"""Operations shown before the first difference."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """Where a block lies. ``mapping``: "heap", "mapping 1", "elsewhere", or "none" where the operation gave no block.
    ``usable``: None where nobody can tell."""

    mapping: str
    offset: int | None = None
    usable: int | None = None


@dataclass(frozen=True)
class Call:
    """A system call. ``bytes``: by how much the break moved, or the length; ``new_bytes``: of mremap. ``how``: the
    rights or the advice. ``mapping``, ``offset``: what it names; None where that is no mapping that holds blocks."""

    kind: str
    bytes: int
    new_bytes: int | None = None
    how: str | None = None
    mapping: str | None = None
    offset: int | None = None
    failed: bool = False


@dataclass(frozen=True)
class Step:
    """One operation on both sides. ``born``: the operation that gave the block which it frees or resizes. ``differs``:
    what does, of "mapping", "offset", "alignment", "usable size" and "calls"."""

    operation: int
    kind: str
    bytes: int
    alignment: int | None
    born: int | None
    blocks: tuple[Block, Block]
    calls: tuple[tuple[Call, ...], tuple[Call, ...]]
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Totals of one allocator. ``mapped_before``: readable and writable bytes that it held before the first operation,
    for what libraries allocate as they start; ``peak_mapped``: the largest such sum ever. ``usable_bytes``: summed over
    the blocks of all operations; None without a malloc_usable_size. Of a recording nothing is known but the name."""

    allocator: str
    calls: Mapping[str, int] = field(default_factory=dict)
    failed_calls: int | None = None
    mapped_before: int | None = None
    peak_mapped: int | None = None
    usable_bytes: int | None = None


@dataclass(frozen=True)
class Fidelity:
    """``agreeing`` of ``operations`` do the same on both sides; in ``other_blocks`` the block differs, in
    ``other_calls`` the system calls do, in some both. ``first`` is the first that differs, ``before`` the last ones
    before it. ``random_addresses``: the kernel did not let them be the same in every process. ``recorded``: what is
    known of the recording, where its addresses are the other side.
    """

    trace: str
    operations: int
    agreeing: int
    other_blocks: int
    other_calls: int
    sides: tuple[Side, Side]
    first: Step | None
    before: tuple[Step, ...]
    choices: Choices | None
    scattered_from: int
    random_addresses: bool
    mode: str = SERIAL
    recorded: Recorded | None = None

    @property
    def same(self) -> bool:
        """Every operation agrees, and so do the totals of mapped bytes where both are known."""
        mapped = [(side.mapped_before, side.peak_mapped) for side in self.sides]
        return self.agreeing == self.operations and (self.recorded is not None or mapped[0] == mapped[1])

    def to_json(self) -> str:
        """The document as text, ending in a newline."""
        document = {"schema": FIDELITY_SCHEMA, "same": self.same, **dataclasses.asdict(self)}
        return json.dumps(document, indent=1, allow_nan=False) + "\n"


def fidelity(
    trace: str | Path | Trace,
    spec: str | Allocator,
    against: str | Allocator = "system",
    *,
    settings: Settings | None = None,
    fail_call: int = 0,
    limit: int = 0,
    env: Mapping[str, Mapping[str, str]] | None = None,
) -> Fidelity:
    """Replay the trace on both allocators and compare what they do, operation by operation.

    ``fail_call``: the n-th system call for memory, of any kind, from the first operation on fails with ENOMEM, on both
    sides. ``limit``: what would make more bytes readable and writable fails likewise. 0: none. ``env``: spec ->
    variables. Against "recorded" one allocator alone replays, and nothing can fail on the other side.

    Raises UsageError, TraceError and ReplayError as :func:`alloclab.compare` does, and ReplayError where the system
    calls of a foreign library cannot be seen.
    """
    settings = settings or Settings()
    if settings.in_process:
        raise UsageError("each allocator is compared in a process of its own, never in this one")
    if against == RECORDED and (fail_call or limit):
        raise UsageError("what was recorded cannot be made to fail; hold two allocators against each other")
    if settings.mode != SERIAL:
        raise UsageError(f"operations are compared in recorded order: replay is serial, not {settings.mode}")
    allocators = _with_equal_start(_resolve(spec, against, env or {}))
    opened = trace if isinstance(trace, Trace) else load(trace)
    compiled = compile_trace(opened)
    if compiled.operations == 0:
        raise TraceError(f"{opened.path}: no operations to replay")
    ops = _operations(compiled)
    recording = read_recorded(opened, ops) if against == RECORDED else None
    terms = {"fail_call": fail_call, "limit": limit}

    def compare() -> _Comparison:
        places = [find_places(compiled, a, settings, **terms) for a in allocators]
        return _Comparison(compiled.name, ops, places, _scattered_from(allocators), recording)

    comparison = compare()
    if beyond := comparison.break_beyond():  # blocks of large alignments fall as they did if the heap begins as it did
        terms["break_beyond"] = beyond
        comparison = compare()
    found = comparison.result(allocators)
    glass = next((side for side, a in enumerate(allocators) if a.kind == "lab"), None)
    if glass is None or found.first is None or found.random_addresses:
        return found
    op, asked = found.first.operation, found.first.bytes
    addresses = comparison.chosen(glass, op)
    if addresses is None:
        return found
    pieces = explain_places(compiled, allocators[glass], settings, addresses, stop=op, **terms)
    return dataclasses.replace(found, choices=choices(allocators[glass].spec, pieces, asked))


def _resolve(spec: str | Allocator, against: str | Allocator, env: Mapping[str, Mapping[str, str]]) -> list[Allocator]:
    """Those that replay. A spec given twice gets its variables the second time, as in a comparison."""
    unused = set(env).difference(s for s in (spec, against) if isinstance(s, str) and s != RECORDED)
    if unused:
        raise UsageError(f"variables for {', '.join(sorted(unused))}, which is not among the allocators compared")
    if isinstance(spec, str):
        spec = resolve(spec, None if spec == against else env.get(spec))
    if against == RECORDED:
        return [spec]
    if isinstance(against, str):
        against = resolve(against, env.get(against))
    return [spec, against]


def _with_equal_start(allocators: list[Allocator]) -> list[Allocator]:
    """What a library needs may allocate as it starts, before the trace (libstdc++ does): both sides load it. And to
    both time is what was recorded."""
    clock = str(built_file("liballoclab-clock.so"))
    beside = [[clock] if a.preload is None else [*libraries_needed(a.preload), clock] for a in allocators]
    return [dataclasses.replace(a, beside=tuple(b)) for a, b in zip(allocators, reversed(beside), strict=True)]


def _operations(compiled: CompiledTrace) -> npt.NDArray[np.void]:
    """The entries that count."""
    entries = compiled.entries[: compiled.entry_count]
    kept: npt.NDArray[np.void] = entries[~np.isin(entries["kind"], [KINDS.index("tick"), KINDS.index("operand")])]
    return kept


def _scattered_from(allocators: Sequence[Allocator]) -> int:
    """From which usable size on blocks are scattered on both sides; of a library it is not known, and may be so."""
    sizes = [lab_allocator(a.name).scattered_from for a in allocators if a.kind == "lab"]
    return max(sizes, default=0) if all(sizes) else 0


class _Comparison:
    """Both replays of one trace, as arrays with one entry per operation."""

    def __init__(
        self,
        name: str,
        ops: npt.NDArray[np.void],
        replayed: Sequence[Places],
        scattered_from: int,
        recording: tuple[Recorded, Places] | None,
    ) -> None:
        self.name = name
        self.ops = ops
        self.before = _operation_before(ops)
        self.recorded = None if recording is None else recording[0]
        one, other = self.places = (replayed[0], replayed[1] if recording is None else recording[1])
        self.scattered_from = scattered_from
        self.scattered = self._scattered()
        mine = locate(one)
        self.located = (mine, locate(other) if recording is None else locate_recorded(other, one, mine, self._unit()))
        self.asked = np.int64(1) << self.ops["align_log2"].astype(np.int64)
        self.loose = self._loose(self.located[0]) | self._loose(self.located[1])
        self.stretched = (self.before >= 0) & self.loose[self.before]
        self.sized = one.sized and other.sized
        self.unlike = {
            "mapping": self._unequal([where.mapping for where in self.located]),
            "offset": ~self.loose & self._unequal([self._offset(where) for where in self.located]),
            "alignment": self._unequal([self._aligned(side) for side in self.places]),
            "usable size": ~self.loose & self._unequal([side.ops["usable"] for side in self.places]) & self.sized,
            "calls": self._unlike_calls(),
        }

    @staticmethod
    def _unequal(sides: list[npt.NDArray[Any]]) -> Flags:
        flags: Flags = sides[0] != sides[1]
        return flags

    def _aligned(self, places: Places) -> Flags:
        """True where nothing was asked."""
        flags: Flags = places.ops["address"] % self.asked == 0
        return flags

    def _loose(self, located: Located) -> Flags:
        """Aligned blocks whose own mappings landed unlike, and what reallocs make of them there."""
        landed = [
            (side.ops["address"] - where.offset) % self.asked
            for side, where in zip(self.places, self.located, strict=True)
        ]
        loose: Flags = located.fresh & (located.mapping != HEAP) & self._unequal(landed)
        after = np.full(len(self.ops), -1)
        resized = np.flatnonzero((self.before >= 0) & (self.ops["kind"] == KINDS.index("realloc")))
        after[self.before[resized]] = resized
        for op in np.flatnonzero(loose):
            at = after[op]
            while at >= 0 and located.mapping[at] in (located.mapping[op], NO_BLOCK):
                loose[at] = True
                at = after[at]
        return loose

    def _scattered(self) -> Flags:
        """What a failed call got and gave back has no usable size."""
        usable = np.maximum(
            *(np.maximum(side.ops["usable"], self.ops["size"].astype(np.int64)) for side in self.places)
        )
        flags: Flags = (usable >= self.scattered_from) & (self.scattered_from > 0)
        return flags

    def _unit(self) -> Ints:
        """What places are compared in."""
        return np.where(self.scattered, PAGE, 1)

    def _offset(self, where: Located) -> Ints:
        unit = self._unit()
        offsets: Ints = where.offset // unit * unit
        return offsets

    # --- calls ---

    def _unlike_calls(self) -> Flags:
        """Operations whose calls are not the same ones in the same order; a recording does not say."""
        if self.recorded is not None:
            return np.zeros(len(self.ops), np.bool_)
        made = [side.events["op"] for side in self.places]
        counts = [np.bincount(ops, minlength=len(self.ops)) for ops in made]
        unlike: Flags = counts[0] != counts[1]
        kept = [~unlike[ops] for ops in made]
        op = made[0][kept[0]]
        for one, other in zip(self._comparable(0), self._comparable(1), strict=True):
            unlike[op[one[kept[0]] != other[kept[1]]]] = True
        unmapped = [self._unmapped(side) for side in self.places]
        return unlike | (~self.stretched & self._unequal(unmapped))

    def _comparable(self, side: int) -> list[npt.NDArray[Any]]:
        """What two calls must have in common."""
        events, where = self.places[side].events, self.located[side]
        kind = events["call"]
        length = np.where(kind == CALLS.index("brk"), events["bytes"], _pages(events))
        told = (kind != CALLS.index("munmap")) & ~((kind == CALLS.index("mremap")) & self.stretched[events["op"]])
        lengths = [np.where(told, length, 0), np.where(told, events["extra"], 0)]
        return [kind, *lengths, events["error"] != 0, where.call_mapping, where.call_offset]

    def _unmapped(self, places: Places) -> npt.NDArray[np.uint64]:
        """Pages that each operation wanted unmapped."""
        events = places.events[places.events["call"] == CALLS.index("munmap")]
        pages = np.zeros(len(self.ops), np.uint64)
        np.add.at(pages, events["op"], _pages(events))
        return pages

    # --- the outcome ---

    def break_beyond(self) -> int:
        """Where the recorded heap of the break began, if that may be why there are differences; else 0."""
        if self.recorded is None or not np.any(self._other_blocks()):
            return 0
        one, other = self.places
        return break_beyond(other, one, self.located[0], self._unit())

    def _other_blocks(self) -> Flags:
        flags: Flags = np.logical_or.reduce([flags for name, flags in self.unlike.items() if name != "calls"])
        return flags

    def result(self, allocators: Sequence[Allocator]) -> Fidelity:
        blocks, calls = self._other_blocks(), self.unlike["calls"]
        different = np.flatnonzero(blocks | calls)
        first = int(different[0]) if len(different) else None
        sides = [self._side(a, side) for a, side in zip(allocators, self.places, strict=False)]
        if self.recorded is not None:
            sides.append(Side(self.recorded.side))
        return Fidelity(
            trace=self.name,
            operations=len(self.ops),
            agreeing=len(self.ops) - len(different),
            other_blocks=int(np.count_nonzero(blocks)),
            other_calls=int(np.count_nonzero(calls)),
            sides=(sides[0], sides[1]),
            first=None if first is None else self._step(first),
            before=() if first is None else tuple(self._step(op) for op in range(max(first - STEPS, 0), first)),
            choices=None,
            scattered_from=self.scattered_from,
            random_addresses=any(side.random for side in self.places),
            recorded=self.recorded,
        )

    def chosen(self, side: int, op: int) -> list[int] | None:
        """Addresses on this side: where it put the block of an operation, and where the other did. None: they put it in
        the same place, or one nowhere."""
        mine, theirs = self.located[side], self.located[1 - side]
        placed = mine.mapping[op] != NO_BLOCK and theirs.mapping[op] != NO_BLOCK
        if not placed or not (self.unlike["mapping"][op] or self.unlike["offset"][op]):
            return None
        own = int(self.places[side].ops["address"][op])
        other = address_of(self.places[side], op, int(theirs.mapping[op]), int(theirs.offset[op]))
        unit = PAGE if self.scattered[op] else 1
        return [address // unit * unit for address in (own, other or 0)]

    def _side(self, allocator: Allocator, places: Places) -> Side:
        counts = np.bincount(places.events["call"], minlength=len(CALLS))
        return Side(
            allocator=allocator.spec,
            calls={kind: int(count) for kind, count in zip(CALLS, counts, strict=True)},
            failed_calls=int(np.count_nonzero(places.events["error"])),
            mapped_before=places.mapped_before,
            peak_mapped=places.peak_mapped,
            usable_bytes=int(places.ops["usable"].sum()) if places.sized else None,
        )

    def _step(self, op: int) -> Step:
        entry = self.ops[op]
        kind = KINDS[entry["kind"]]
        return Step(
            operation=op,
            kind=f"failed {KINDS[entry['original']]}" if kind == "failed" else kind,
            bytes=int(entry["size"]),
            alignment=1 << int(entry["align_log2"]) if entry["align_log2"] else None,
            born=int(self.before[op]) if self.before[op] >= 0 else None,
            blocks=(self._block(op, 0), self._block(op, 1)),
            calls=(self._calls(op, 0), self._calls(op, 1)),
            differs=tuple(name for name, flags in self.unlike.items() if flags[op]),
        )

    def _block(self, op: int, side: int) -> Block:
        where, places = self.located[side], self.places[side]
        mapping = int(where.mapping[op])
        if mapping == NO_BLOCK:
            return Block("none")
        usable = int(places.ops["usable"][op])
        return Block(_mapping_word(mapping), int(where.offset[op]), usable if places.sized else None)

    def _calls(self, op: int, side: int) -> tuple[Call, ...]:
        first, last = np.searchsorted(self.places[side].events["op"], [op, op + 1])
        return tuple(self._call(at, side) for at in range(first, last))

    def _call(self, at: int, side: int) -> Call:
        event, where = self.places[side].events[at], self.located[side]
        kind = CALLS[event["call"]]
        length, extra, mapping = int(event["bytes"]), int(event["extra"]), int(where.call_mapping[at])
        return Call(
            kind=kind,
            bytes=-length if kind == "brk" and extra == 1 else length,
            new_bytes=extra if kind == "mremap" else None,
            how=_how(kind, extra),
            mapping=None if mapping == NO_BLOCK else _mapping_word(mapping),
            offset=None if mapping == NO_BLOCK else int(where.call_offset[at]),
            failed=bool(event["error"]),
        )


def _operation_before(ops: npt.NDArray[np.void]) -> Ints:
    """Per operation, the one that left in its slot the block that it finds there; -1: it finds none."""
    order = np.argsort(ops["slot"], kind="stable")
    slots = ops["slot"][order]
    finds = np.isin(ops["kind"], [KINDS.index(name) for name in ("realloc", "realloc_zero", "free", "failed")])
    known = finds[order[1:]] & (slots[1:] == slots[:-1]) & (slots[1:] != 0)
    before = np.full(len(ops), -1)
    before[order[1:][known]] = order[:-1][known]
    return before


def _pages(events: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    pages: npt.NDArray[np.uint64] = (events["bytes"] + np.uint64(PAGE - 1)) // np.uint64(PAGE)
    return pages


def _mapping_word(mapping: int) -> str:
    return {HEAP: "heap", ELSEWHERE: "elsewhere"}.get(mapping, f"mapping {mapping}")


def _how(kind: str, extra: int) -> str | None:
    if kind in ("mmap", "mprotect"):
        return RIGHTS[extra]
    if kind == "madvise":
        return ADVICE[extra] if extra < len(ADVICE) else f"advice {extra - FOREIGN_ADVICE}"
    return None
