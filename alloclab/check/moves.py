"""Moves of which an adversary's program is made, how Hypothesis draws them, and how they vary.

Every number of a move is drawn by itself, and near numbers do nearly the same, so that the search can climb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, ClassVar, Protocol

from hypothesis import strategies as st

from alloclab.check.program import Limits, Program
from alloclab.heap import Heap

SLACKS = (0, 8, 16)
"""Bytes of the heads that blocks may have, and of what these are rounded up to."""
MOST_MOVES = 12


class Move(Protocol):
    """A dataclass of numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def play(self, program: Program) -> None: ...

    def say(self, program: Program) -> str: ...


@dataclass(frozen=True)
class Allocate:
    """Blocks of one size."""

    count: int
    units: int

    def play(self, program: Program) -> None:
        for _ in range(self.count):
            if program.malloc(self.units) is None:
                break

    def say(self, program: Program) -> str:
        return f"allocates blocks of {_size(program, self.units)}"


@dataclass(frozen=True)
class Thin:
    """In order of address, one in so many goes, or stays."""

    every: int
    first: int
    stays: bool

    def play(self, program: Program) -> None:
        for i, block in enumerate(program.in_order()):
            if (i % self.every == self.first % self.every) != self.stays:
                program.free(block)

    def say(self, program: Program) -> str:
        return f"frees {'all but one' if self.stays else 'one'} of {self.every}, in order of address"


@dataclass(frozen=True)
class Keep:
    """What does not reach over an address that is ``offset`` units modulo ``2**power`` units, counted from where the
    heap's window begins, goes. Robson's: what stays is too close for a block of ``2**power`` units to lie between."""

    power: int
    offset: int

    def play(self, program: Program) -> None:
        modulus, offset = program.unit << self.power, program.unit * self.offset
        for number in program.in_order():
            block = program.blocks[number]
            if (offset - block.address) % modulus >= block.size:
                program.free(number)

    def say(self, program: Program) -> str:
        modulus = 1 << self.power
        at = program.unit * (self.offset % modulus)
        return f"frees what does not reach over byte {at:,} modulo {program.unit * modulus:,} of the heap's window"


@dataclass(frozen=True)
class Drop:
    """Neighbours go."""

    first: int
    count: int

    def play(self, program: Program) -> None:
        blocks = program.in_order()
        first = self.first % max(len(blocks), 1)
        for block in blocks[first : first + self.count]:
            program.free(block)

    def say(self, program: Program) -> str:
        return "frees neighbours"


@dataclass(frozen=True)
class Wedge:
    """A block, and a second behind it; the first makes way for one a little smaller and for a small one, in what that
    leaves; both large ones go, and the small one stays far from all others. Against best fit: where sizes rise by
    ``step``, no hole that was left before is large enough for the next, or as close a fit as the one for the small."""

    times: int
    units: int
    step: int
    less: int
    small: int
    second: int

    def play(self, program: Program) -> None:
        for i in range(self.times):
            if program.room < 7:
                break
            units = self.units + i * self.step
            first, second = program.malloc(units), program.malloc(units + self.second)
            program.free(first)
            first = program.malloc(units - self.less)
            program.malloc(self.small)
            program.free(first)
            program.free(second)

    def say(self, program: Program) -> str:
        unit, less = program.unit, program.unit * self.less
        return (
            f"again and again allocates A ({_size(program, self.units)}, then {unit * self.step:+,} a round) and "
            f"B ({unit * self.second:+,}), frees A, allocates C ({-less:+,}) and {_size(program, self.small)}, "
            "frees C and B"
        )


@dataclass(frozen=True)
class Ladder:
    """A large block and a small one, of which the large one goes."""

    times: int
    units: int
    step: int
    small: int

    def play(self, program: Program) -> None:
        for i in range(self.times):
            large = program.malloc(self.units + i * self.step)
            program.malloc(self.small)
            program.free(large)

    def say(self, program: Program) -> str:
        return f"{_each_round(program, self.units, self.step)} and {_size(program, self.small)}, frees the first"


@dataclass(frozen=True)
class Swing:
    """Some blocks come and go."""

    times: int
    count: int
    units: int

    def play(self, program: Program) -> None:
        for _ in range(self.times):
            for block in [program.malloc(self.units) for _ in range(self.count)]:
                program.free(block)

    def say(self, program: Program) -> str:
        return f"again and again allocates {self.count} of {_size(program, self.units)}, frees them"


@dataclass(frozen=True)
class Shrink:
    """Blocks that are cut down as soon as they are there."""

    times: int
    units: int
    step: int
    small: int

    def play(self, program: Program) -> None:
        for i in range(self.times):
            program.realloc(program.malloc(self.units + i * self.step), self.small)

    def say(self, program: Program) -> str:
        return f"{_each_round(program, self.units, self.step)}, reallocs it to {_size(program, self.small)}"


@dataclass(frozen=True)
class Resize:
    """In order of address, one in so many becomes as large as this."""

    every: int
    first: int
    units: int

    def play(self, program: Program) -> None:
        for i, block in enumerate(program.in_order()):
            if i % self.every == self.first % self.every:
                program.realloc(block, self.units)

    def say(self, program: Program) -> str:
        return f"reallocs one of {self.every}, in order of address, to {_size(program, self.units)}"


@dataclass(frozen=True)
class Creep:
    """A block that grows, each time with a new one in its way."""

    times: int
    units: int
    step: int
    small: int

    def play(self, program: Program) -> None:
        growing = program.malloc(self.units)
        for i in range(1, self.times):
            program.malloc(self.small)
            program.realloc(growing, self.units + i * self.step)

    def say(self, program: Program) -> str:
        return (
            f"allocates {_size(program, self.units)}; again and again allocates {_size(program, self.small)}, "
            f"reallocs the first ({program.unit * self.step:+,} a round)"
        )


@dataclass(frozen=True)
class Turns:
    """Neighbours that grow in turns, so that each is in another's way."""

    times: int
    count: int
    units: int
    step: int

    def play(self, program: Program) -> None:
        blocks = [program.malloc(self.units) for _ in range(self.count)]
        for i in range(1, self.times):
            for block in blocks:
                program.realloc(block, self.units + i * self.step)

    def say(self, program: Program) -> str:
        return (
            f"allocates {self.count} of {_size(program, self.units)}; again and again reallocs each in turn "
            f"({program.unit * self.step:+,} a round)"
        )


def _size(program: Program, units: int) -> str:
    return f"{program.bytes_of(units):,} bytes"


def _each_round(program: Program, units: int, step: int) -> str:
    return f"again and again allocates {_size(program, units)} ({program.unit * step:+,} a round)"


@dataclass(frozen=True)
class Plan:
    """Moves, and the ``slack`` of the program that they are played on (:class:`alloclab.check.program.Program`)."""

    slack: int
    moves: tuple[Move, ...]

    def play(self, heap: Heap, limits: Limits) -> tuple[Program, Plan, type[Move] | None]:
        """The program, filled at last; the plan without the moves that did nothing; the kind that did most."""
        program, acting, done = Program(heap, limits, self.slack), [], dict[type[Move], int]()
        for move in self.moves:
            before = program.operations
            move.play(program)
            operations = program.operations - before
            if operations:
                acting.append(move)
                program.tell(f"{operations} operations: {move.say(program)}")
                done[type(move)] = done.get(type(move), 0) + operations
        program.fill()
        return program, Plan(self.slack, tuple(acting)), max(done, key=lambda kind: done[kind], default=None)

    def varied(self, random: Random, others: Sequence[Move]) -> Plan:
        """A number or more changed a little; a move left out, doubled, put in from ``others``, or moved."""
        slack, moves = self.slack, list(self.moves)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            what, at = random.random(), random.randrange(len(moves) + 1)
            if what < 0.03:
                slack = random.choice(SLACKS)
            elif what < 0.2 or not moves:
                moves.insert(at, random.choice(others if what < 0.12 or not moves else moves))
            elif what < 0.35:
                move = moves.pop(min(at, len(moves) - 1))
                if what < 0.25:
                    moves.insert(random.randrange(len(moves) + 1), move)
            else:
                at = min(at, len(moves) - 1)
                moves[at] = _nudged(moves[at], random)
        return Plan(slack, tuple(moves))


_LOWEST = {"first": 0, "offset": 0, "less": 0, "step": -8, "second": -8}
"""Of the numbers of moves; others are 1 or more."""


def _nudged(move: Move, random: Random) -> Move:
    name = random.choice(fields(move)).name
    value = getattr(move, name)
    if isinstance(value, bool):
        return replace(move, **{name: not value})
    near = value + random.choice((-1, 1)) * random.choice((1, 1, 1, 2, 3, 4, 8, 16))
    chosen = random.choice((near,) * 5 + (value // 2, value * 2))
    return replace(move, **{name: max(chosen, _LOWEST.get(name, 1))})


def plans(limits: Limits, reallocs: bool) -> st.SearchStrategy[Plan]:
    """Moves at random; Robson's, as sizes double; those and then others; one kind alone; wedges."""
    units = limits.most // limits.least
    size, count = st.integers(1, units), st.integers(1, limits.operations)
    times, small, step = st.integers(2, max(limits.operations // 2, 2)), st.integers(1, 4), st.integers(-2, 2)
    every, first = st.integers(2, 8), st.integers(0, 7)
    powers = max(units.bit_length() - 1, 1)
    wedge = st.builds(Wedge, times, size, step, st.integers(0, 4), small, step)
    kinds: list[st.SearchStrategy[Move]] = [
        st.builds(Allocate, count, size),
        st.builds(Thin, every, first, st.booleans()),
        st.builds(Keep, st.integers(1, powers), st.integers(0, units)),
        st.builds(Drop, st.integers(0, limits.operations), st.integers(1, 8)),
        wedge,
        st.builds(Ladder, times, size, step, small),
        st.builds(Swing, times, st.integers(1, 8), size),
    ]
    if reallocs:
        kinds += [
            st.builds(Shrink, times, size, step, small),
            st.builds(Resize, st.integers(1, 8), first, size),
            st.builds(Creep, times, size, step, small),
            st.builds(Turns, times, st.integers(2, 8), size, step),
        ]
    mixed = st.lists(st.one_of(kinds), min_size=1, max_size=MOST_MOVES)
    offsets = st.lists(st.integers(0, units), min_size=1, max_size=powers)
    doubling = st.builds(lambda start, offsets: _doubling(limits, start, offsets), st.integers(0, powers - 1), offsets)
    both = st.builds(lambda first, then: [*first, *then], doubling, mixed)
    alone = st.one_of([st.lists(kind, min_size=1, max_size=3) for kind in kinds])
    moves = st.one_of(mixed, doubling, both, alone, st.lists(wedge, min_size=1, max_size=2))
    return st.builds(lambda slack, moves: Plan(slack, tuple(moves)), st.sampled_from(SLACKS), moves)


def _doubling(limits: Limits, start: int, offsets: Sequence[int]) -> list[Move]:
    """Robson's adversary from blocks of ``2**start`` units on: all that may live, then for each power of two what lies
    too close is kept, and as much as may live is allocated in blocks of that size."""
    moves: list[Move] = [Allocate(limits.operations, 1 << start)]
    for power, offset in enumerate(offsets, start + 1):
        moves += [Keep(power, offset), Allocate(limits.operations, 1 << power)]
    return moves
