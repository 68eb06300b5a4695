"""A short program of malloc, realloc and free, written while it runs on a heap: what comes next may hang on where
blocks lie, as an adversary would have it. What is left is a trace, the same for every replay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloclab.allocators import format_bytes
from alloclab.errors import UsageError
from alloclab.heap import Heap
from alloclab.trace.model import Events, Op


@dataclass(frozen=True)
class Limits:
    """At most so many ``operations``, blocks of ``least`` to ``most`` bytes, at most ``live`` bytes at a time. Every
    program comes within ``least`` of those, so that ratios to the peak of live compare. UsageError: it cannot."""

    operations: int
    live: int
    least: int
    most: int

    def __post_init__(self) -> None:
        said = f"{format_bytes(self.least)}..{format_bytes(self.most)}"
        if not 1 <= self.least <= self.most <= self.live:
            raise UsageError(f"sizes {said}: expected 1 or more, and no more than the {format_bytes(self.live)} live")
        if self.to_fill > self.operations:
            raise UsageError(
                f"{self.operations} operations with blocks of {said} never have {format_bytes(self.live)} live: "
                f"expected {self.to_fill} or more"
            )

    @property
    def to_fill(self) -> int:
        """Operations that it takes to have ``live`` bytes."""
        return -(-self.live // self.most)


@dataclass(frozen=True)
class Block:
    """``address``: counted from where the heap's window begins. Where that is differs from process to process, and a
    program that looked at it would, too."""

    address: int
    size: int


class Program:
    """Sizes are counted in units: of ``n`` units is a block of ``n * (least + slack) - slack`` bytes, so that with the
    right slack for an allocator's headers, n neighbours of one unit make room for one of n, to the byte."""

    def __init__(self, heap: Heap, limits: Limits, slack: int = 0) -> None:
        self.limits = limits
        self.unit = limits.least + slack
        self.units = (limits.most + slack) // self.unit
        self.blocks: dict[int, Block] = {}
        self.story: list[str] = []
        self._heap, self._base, self._slack = heap, heap.regions.base, slack
        self._rows: list[tuple[Op, int, int]] = []
        self._live = self._peak = self._births = 0

    def bytes_of(self, units: int) -> int:
        """Of the nearest number of units that there is."""
        return min(max(units, 1), self.units) * self.unit - self._slack

    @property
    def filled(self) -> bool:
        return self._peak > self.limits.live - self.limits.least

    @property
    def operations(self) -> int:
        """So far."""
        return len(self._rows)

    @property
    def room(self) -> int:
        """Operations that are left, but for those that fill the heap at the end."""
        return self.limits.operations - self.operations - (0 if self.filled else self.limits.to_fill)

    def malloc(self, units: int) -> int | None:
        """The new block's number; None where the limits leave no room, or the heap no memory."""
        size = self.bytes_of(units)
        return self._malloc(size) if self.room > 0 and self._live + size <= self.limits.live else None

    def _malloc(self, size: int) -> int | None:
        address = self._heap.malloc(size)
        if address == 0:
            return None
        number, self._births = self._births, self._births + 1
        self._put(Op.MALLOC, number, Block(address - self._base, size))
        return number

    def free(self, number: int | None) -> None:
        """Of a block that there is, if there is room."""
        if number in self.blocks and self.room > 0:
            assert number is not None
            block = self.blocks.pop(number)
            self._heap.free(self._base + block.address)
            self._live -= block.size
            self._rows.append((Op.FREE, number, 0))

    def realloc(self, number: int | None, units: int) -> None:
        """Of a block that there is, if there is room."""
        block, size = self.blocks.get(-1 if number is None else number), self.bytes_of(units)
        if block is None or self.room <= 0 or self._live - block.size + size > self.limits.live:
            return
        address = self._heap.realloc(self._base + block.address, size)
        if address:
            assert number is not None
            self._live -= block.size
            self._put(Op.REALLOC, number, Block(address - self._base, size))

    def _put(self, op: Op, number: int, block: Block) -> None:
        self.blocks[number] = block
        self._live += block.size
        self._peak = max(self._peak, self._live)
        self._rows.append((op, number, block.size))

    def in_order(self) -> list[int]:
        """The numbers of all blocks, in order of address."""
        return sorted(self.blocks, key=lambda number: self.blocks[number].address)

    def fill(self) -> None:
        """Blocks as large as may be, where the peak of live is not what it should be."""
        before = self.operations
        while not self.filled and self.limits.live - self._live >= self.limits.least:
            if self._malloc(min(self.limits.most, self.limits.live - self._live)) is None:
                break
        if self.operations > before:
            self.tell(f"{self.operations - before} operations: allocates blocks as large as may be")

    def tell(self, what: str) -> None:
        self.story.append(what)

    def events(self) -> Events:
        """The rows of the trace."""
        rows = len(self._rows)
        table = np.array(self._rows, np.int64).reshape(rows, 3)
        return Events(
            op=table[:, 0].astype(np.uint8),
            thread=np.zeros(rows, np.uint32),
            object=table[:, 1].copy(),
            size=table[:, 2].astype(np.uint64),
            count=np.ones(rows, np.uint64),
            align=np.zeros(rows, np.uint64),
            time_ns=np.full(rows, -1, np.int64),
            failed=np.zeros(rows, np.bool_),
        )
