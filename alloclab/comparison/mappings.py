"""Addresses as (mapping, offset): what two processes can have in common, for the kernel chooses where mappings go.

    mapping   HEAP, the heap of the break; 1, 2, ... what mmap gave, numbered in the order in which they first hold a
              block of the trace, so that an allocator's own bookkeeping does not count; ELSEWHERE, none of these
    offset    from where the heap begins; from where a mapping began when it first held a block, so that what was cut
              off its front before, to align it, does not count; from the first block that lies elsewhere

A mapping keeps its number while it is moved, cut, protected, or mapped again in its midst (MAP_FIXED). A log of calls
says all that; between two of them nothing changes, so all operations there are looked up at once. What a call names is
an address, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alloclab.replay.places import CALLS, Places

HEAP, ELSEWHERE, NO_BLOCK = 0, -1, -2
PAGE = 4096

_START, _END, _MAPPING, _SHIFT = range(4)
_BRK, _MMAP, _MUNMAP, _MREMAP = (CALLS.index(name) for name in ("brk", "mmap", "munmap", "mremap"))

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Located:
    """Per operation: ``mapping`` and ``offset`` of the block it gave, and whether that mapping was made by a call of
    this very operation (``fresh``). NO_BLOCK where it gave none.

    Per call but brk: ``call_mapping`` and ``call_offset`` of the address it names; NO_BLOCK where no block has been."""

    mapping: Ints
    offset: Ints
    fresh: npt.NDArray[np.bool_]
    call_mapping: Ints
    call_offset: Ints


def locate(places: Places) -> Located:
    """Where the block of every operation lies."""
    return _follow(places, len(places.ops)).located


def address_of(places: Places, operation: int, mapping: int, offset: int) -> int | None:
    """What has been located so before the operation; None: nothing is there yet."""
    return _follow(places, operation).address_of(mapping, offset)


def _follow(places: Places, until: int) -> _Space:
    """Addresses as they are before the operation ``until``."""
    space = _Space(places)
    done = 0
    for at, event in enumerate(places.events):
        if event["op"] >= until:
            break
        if event["op"] > done:
            space.look_up(done, int(event["op"]))
            done = int(event["op"])
        if event["call"] != _BRK:
            space.look_up_call(at, int(event["address"]))
        if event["error"] == 0 and event["call"] <= _MREMAP:
            space.apply(event)
    space.look_up(done, until)
    return space


class _Space:
    """Pieces of mappings, ordered and disjoint: rows of start, end, mapping, shift.

    A piece that was moved by mremap is shifted: its virtual addresses are where it would lie, had it not moved.
    """

    def __init__(self, places: Places) -> None:
        self.address = places.ops["address"]
        count, calls = len(self.address), len(places.events)
        self.located = Located(
            np.full(count, NO_BLOCK),
            np.zeros(count, np.int64),
            np.zeros(count, np.bool_),
            np.full(calls, NO_BLOCK),
            np.zeros(calls, np.int64),
        )
        self.pieces = np.empty((0, 4), np.int64)
        made = 1 + len(places.held) + int(np.count_nonzero(places.events["call"] == _MMAP))
        self.number = np.full(made, NO_BLOCK)
        self.origin = np.zeros(made, np.int64)
        self.made_in = np.full(made, -1)
        self.count = 1
        self.numbered = 0
        self.number[0], self.origin[0] = HEAP, places.heap_begins
        self.elsewhere: int | None = None
        for event in places.held:
            self.apply(event)
        self.made_in[:] = -1

    # --- calls ---

    def apply(self, event: np.void) -> None:
        call, address, length, result = (int(event[name]) for name in ("call", "address", "bytes", "result"))
        if call == _BRK:
            self._move_break(address, result)
        elif call == _MMAP:
            self._map(address, _page_up(address + length), int(event["op"]))
        elif call == _MUNMAP:
            self._cut(address, _page_up(address + length))
        else:
            self._remap(address, _page_up(length), result, _page_up(int(event["extra"])))

    def _move_break(self, old: int, new: int) -> None:
        self._cut(min(old, new), max(old, new))
        below = self._overlap(old - 1, old)
        if new > old and len(below) and below[0, _MAPPING] == 0:
            below[0, _END] = new
        elif new > old:
            self._put(np.array([[old, new, 0, 0]]))

    def _map(self, start: int, end: int, op: int) -> None:
        within = self._overlap(start, end)
        if len(within) == 1 and within[0, _START] <= start and end <= within[0, _END]:
            return
        self._cut(start, end)
        self._put(np.array([[start, end, self.count, 0]]))
        self.made_in[self.count] = op
        self.count += 1

    def _remap(self, start: int, old: int, to: int, new: int) -> None:
        moved = self._cut(start, start + old)
        if len(moved) == 0:
            return
        moved[:, [_START, _END, _SHIFT]] += to - start
        moved[-1, _END] = max(moved[-1, _END], to + new)
        moved[:, _END] = np.minimum(moved[:, _END], to + new)
        self._cut(to, to + new)
        self._put(moved[moved[:, _START] < moved[:, _END]])

    # --- pieces ---

    def _range(self, start: int, end: int) -> tuple[int, int]:
        """The pieces that overlap [start, end), by index: first, and one after the last."""
        first = int(np.searchsorted(self.pieces[:, _END], start, side="right"))
        return first, max(first, int(np.searchsorted(self.pieces[:, _START], end, side="left")))

    def _overlap(self, start: int, end: int) -> Ints:
        """A view of them."""
        first, last = self._range(start, end)
        view: Ints = self.pieces[first:last]
        return view

    def _cut(self, start: int, end: int) -> Ints:
        """Takes [start, end) out; returns what lay there."""
        first, last = self._range(start, end)
        taken: Ints = self.pieces[first:last].copy()
        if len(taken):
            left, right = taken[:1].copy(), taken[-1:].copy()
            left[0, _END], right[0, _START] = start, end
            kept = [side for side in (left, right) if side[0, _START] < side[0, _END]]
            self.pieces = np.concatenate([self.pieces[:first], *kept, self.pieces[last:]])
            taken[0, _START] = max(taken[0, _START], start)
            taken[-1, _END] = min(taken[-1, _END], end)
        return taken

    def _put(self, rows: Ints) -> None:
        """Adds pieces that lie side by side, where none are."""
        if len(rows):
            at = int(np.searchsorted(self.pieces[:, _START], rows[0, _START]))
            self.pieces = np.concatenate([self.pieces[:at], rows, self.pieces[at:]])

    # --- addresses ---

    def look_up_call(self, at: int, address: int) -> None:
        """What the call ``at`` names, before it is made."""
        for _, _, mapping, shift in self._overlap(address, address + 1):
            if self.number[mapping] != NO_BLOCK:
                self.located.call_mapping[at] = self.number[mapping]
                self.located.call_offset[at] = address - shift - self.origin[mapping]

    def address_of(self, mapping: int, offset: int) -> int | None:
        if mapping == ELSEWHERE:
            return None if self.elsewhere is None else self.elsewhere + offset
        for start, end, made, shift in self.pieces:
            address = int(self.origin[made] + offset + shift)
            if self.number[made] == mapping and start <= address < end:
                return address
        return None

    def look_up(self, first: int, last: int) -> None:
        """The operations [first, last), between which the pieces stay as they are."""
        address = self.address[first:last]
        ops = np.flatnonzero(address)
        if len(ops) == 0:
            return
        address = address[ops]
        piece = np.searchsorted(self.pieces[:, _START], address, side="right") - 1
        inside = piece >= 0
        inside[inside] = address[inside] < self.pieces[piece[inside], _END]
        self._look_inside(first + ops[inside], address[inside], self.pieces[piece[inside]])
        self._look_elsewhere(first + ops[~inside], address[~inside])

    def _look_inside(self, ops: Ints, address: Ints, pieces: Ints) -> None:
        mapping = pieces[:, _MAPPING]
        for at in np.flatnonzero(self.number[mapping] == NO_BLOCK):
            if self.number[mapping[at]] == NO_BLOCK:
                self.numbered += 1
                self.number[mapping[at]] = self.numbered
                self.origin[mapping[at]] = pieces[at, _START] - pieces[at, _SHIFT]
        self.located.mapping[ops] = self.number[mapping]
        self.located.offset[ops] = address - pieces[:, _SHIFT] - self.origin[mapping]
        self.located.fresh[ops] = self.made_in[mapping] == ops

    def _look_elsewhere(self, ops: Ints, address: Ints) -> None:
        if len(ops) == 0:
            return
        if self.elsewhere is None:
            self.elsewhere = int(address[0]) // PAGE * PAGE
        self.located.mapping[ops] = ELSEWHERE
        self.located.offset[ops] = address - self.elsewhere


def _page_up(n: int) -> int:
    return -(-n // PAGE) * PAGE
