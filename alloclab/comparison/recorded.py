"""Where the blocks of a recorded program lay, as (mapping, offset): what a replay on its allocator is held against.

A recording says addresses, and nothing of mappings. Each block is looked for in the mapping where the replay has it, at
the same offset; where in the recorded process that mapping began is what the first block in it says, and that was the
same distance from the start of a page. Two processes have no more in common: the kernel chose where mappings went, and
where the heap of the break began. For the same reason a mapping begins anew where mremap may have moved it.

Where blocks of large alignments fall, and with them all others, hangs on where the heap began: a second replay begins
as the recorded one did (:func:`break_beyond`). Four things remain by which an allocator may differ from itself, and
that no recording shows: others who moved the break; whether two mappings touched; where a mapping landed of which an
aligned block took a part (how much room that leaves for a realloc, and from its size glibc learns what to map from then
on); and where a heap began whose very first block is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alloclab.comparison.mappings import ELSEWHERE, HEAP, NO_BLOCK, PAGE, Ints, Located
from alloclab.errors import TraceError
from alloclab.replay.places import BREAK_ALIGNMENT, CALLS, EVENT_DTYPE, PLACE_DTYPE, Places
from alloclab.trace.compile import KINDS
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace


@dataclass(frozen=True)
class Recorded:
    """What of a recording a replay by one thread cannot have.

    ``allocator``: what it was recorded on, "" where it does not say. ``threads``: how many made calls;
    ``second_thread``: the first operation of another than the first. ``forked``: the heap came from another process.
    ``lost``: events that are not in it.
    """

    allocator: str
    threads: int
    second_thread: int | None
    forked: bool
    lost: int

    @property
    def side(self) -> str:
        """What to call it."""
        return f"the recording on {self.allocator}" if self.allocator else "the recording"


def read_recorded(trace: Trace, ops: npt.NDArray[np.void]) -> tuple[Recorded, Places]:
    """What the trace says of itself, and the addresses of its blocks, for the operations ``ops`` that it was compiled
    to. Raises TraceError where it has none."""
    if "address" not in trace.columns:
        raise TraceError(f"{trace.path}: has no addresses to compare with; `alloclab record --addresses` keeps them")
    addresses, callers = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)]
    for events in trace.blocks(("op", "thread", "address")):
        calls = events.op < Op.THREAD_START
        assert events.address is not None
        addresses.append(events.address[calls].astype(np.int64))
        callers.append(events.thread[calls])
    thread = np.concatenate(callers)
    places = np.zeros(len(ops), PLACE_DTYPE)
    gives = ~np.isin(ops["kind"], [KINDS.index(kind) for kind in ("free", "failed")])
    places["address"] = np.where(gives, np.concatenate(addresses), 0)
    others = np.flatnonzero(thread != thread[0])
    about = Recorded(
        allocator=trace.metadata.allocator,
        threads=len(np.unique(thread)),
        second_thread=int(others[0]) if len(others) else None,
        forked=bool(trace.metadata.extra.get("forked")),
        lost=sum(trace.metadata.dropped.values()),
    )
    none = np.zeros(0, EVENT_DTYPE)
    return about, Places(places, none, none, heap_begins=0, sized=False, mapped_before=0, peak_mapped=0)


def locate_recorded(recorded: Places, replayed: Places, where: Located, unit: Ints) -> Located:
    """Where the recorded blocks lay, given ``where`` the replayed ones lie.

    ``unit``: per operation, a page where a block's place within its first page is random, else 1.
    """
    address, count = recorded.ops["address"], len(recorded.ops)
    both = np.flatnonzero((address != 0) & (where.mapping != NO_BLOCK))
    begins, room, heap = _mappings(both, address // unit * unit, replayed, where, unit)
    mapping, offset = np.full(count, NO_BLOCK), np.zeros(count, np.int64)
    mapping[both], offset[both] = where.mapping[both], address[both] - begins

    inside = (offset[both] >= 0) & (offset[both] < room)
    inside &= (where.mapping[both] == HEAP) | (begins < heap.start) | (begins >= heap.stop)
    inside |= where.mapping[both] == ELSEWHERE
    strays = np.concatenate([both[~inside], np.flatnonzero((address != 0) & (where.mapping == NO_BLOCK))])
    in_heap = (address[strays] >= heap.start) & (address[strays] < heap.stop)
    elsewhere = address[strays].min(initial=np.iinfo(np.int64).max, where=~in_heap) // PAGE * PAGE
    mapping[strays] = np.where(in_heap, HEAP, ELSEWHERE)
    offset[strays] = address[strays] - np.where(in_heap, heap.start, elsewhere)
    none = np.zeros(0, np.int64)
    return Located(mapping, offset, np.zeros(count, np.bool_), none, none)


def break_beyond(recorded: Places, replayed: Places, where: Located, unit: Ints) -> int:
    """By how much the recorded heap of the break began beyond a multiple of BREAK_ALIGNMENT."""
    address = recorded.ops["address"]
    both = np.flatnonzero((address != 0) & (where.mapping != NO_BLOCK))
    return _mappings(both, address // unit * unit, replayed, where, unit)[2].start % BREAK_ALIGNMENT


def _mappings(ops: Ints, address: Ints, replayed: Places, where: Located, unit: Ints) -> tuple[Ints, Ints, range]:
    """For each of these operations, of its block's mapping: where in the recorded process it began, and how far the
    replayed blocks reach in it. And the recorded heap of the break."""
    moves = _moves(replayed, where)[ops]
    key = where.mapping[ops] * (moves.max(initial=0) + 1) + moves
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    leading = ops[first]
    there = replayed.ops["address"][leading]
    apart = address[leading] - there // unit[leading] * unit[leading]
    begins = there - where.offset[leading] + apart // PAGE * PAGE
    room = np.zeros(len(first), np.int64)
    np.maximum.at(room, number, (where.offset[ops] // PAGE + 1) * PAGE)
    heap = range(0)
    for at in np.flatnonzero(where.mapping[leading] == HEAP):
        heap = range(int(begins[at]), int(begins[at] + room[at]))
    return begins[number], room[number], heap


def _moves(replayed: Places, where: Located) -> Ints:
    """Per operation, how often by then mremap was called for the mapping that its block lies in."""
    count = len(where.mapping)
    calls = (replayed.events["call"] == CALLS.index("mremap")) & (replayed.events["error"] == 0)
    made = np.sort(where.call_mapping[calls] * count + replayed.events["op"][calls])
    from_first = np.searchsorted(made, where.mapping * count)
    moves: Ints = np.searchsorted(made, where.mapping * count + np.arange(count), side="right") - from_first
    return moves
