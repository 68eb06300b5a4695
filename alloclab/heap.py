"""One heap of a lab allocator, from Python: the same code as the drop-in library, in a window of its own.

    with Heap("fit", policy="first", mmap_threshold=65536) as heap:
        block = heap.malloc(100)
        heap.write(block, b"hello")
        block = heap.realloc(block, 4000)
        heap.ledger()      # Ledger(usable=4008, metadata=32, cached=0, free=...)
        heap.walk()        # every piece of the heap, in order of address
        heap.explain(block + 8)  # which of them holds that address, and all that is known of it

Addresses are ints; 0 is NULL, which a request gets that cannot be served. Misuse (a double free, a foreign address)
does to this process what it would do to any.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.allocators import format_bytes, lab_allocator, parse_tunables
from alloclab.errors import AlloclabError, UsageError
from alloclab.handle import Handle, to_int, to_pointer
from alloclab.native import ffi, lib
from alloclab.region import Counters, Regions, Vma, config

STATES = ("live", "free", "cached", "metadata")
CHUNK = np.dtype(
    [
        ("address", "u8"),
        ("bytes", "u8"),
        ("block", "u8"),
        ("usable", "u8"),
        ("state", "u4"),
        ("owner", "u4"),
    ]
)
"""A piece of a heap, as ``al_chunk`` in csrc/parts/walk.h; ``state`` indexes STATES."""


class HeapError(AlloclabError):
    """A heap that breaks one of its own rules: which, and where."""


@dataclass(frozen=True)
class Chunk:
    """A piece of the heap: where it lies, all its bytes, and its state, one of STATES.

    Of a live one also the address that malloc returned and the bytes usable there; of others both are 0. ``owner`` is
    the arena or the like, 0 where there is but one.
    """

    address: int
    bytes: int
    block: int
    usable: int
    state: str
    owner: int


@dataclass(frozen=True)
class Ledger:
    """Where every mapped byte is: ``mapped = usable + metadata + cached + free``, exact after every operation."""

    usable: int
    metadata: int
    cached: int
    free: int

    @property
    def mapped(self) -> int:
        return self.usable + self.metadata + self.cached + self.free


@dataclass(frozen=True)
class Bin:
    """A list of free chunks, in its order: what kind of list and which of that kind, whose it is (an arena's number; of
    a thread's cache the thread's), and the sizes, from ``least`` to ``most`` bytes, that belong there. ``print`` shows
    it in a line."""

    kind: str
    owner: int
    index: int
    least: int
    most: int
    chunks: tuple[tuple[int, int], ...]
    """Of each chunk its address and all its bytes."""

    def __str__(self) -> str:
        chunks = ", ".join(f"{address:#x} ({length})" for address, length in self.chunks)
        return f"{self.kind} {self.index}{f' of {self.owner}' if self.owner else ''}: {chunks}"


class Address(int):
    """An int that shows itself in hex."""

    def __repr__(self) -> str:
        return hex(self)


Fact = int | bool | str
_FACT_TYPES: dict[int, type[int]] = {
    lib.AL_FACT_COUNT: int,
    lib.AL_FACT_BYTES: int,
    lib.AL_FACT_ADDRESS: Address,
    lib.AL_FACT_FLAG: bool,
}


def fact_of(kind: int, value: int | str) -> Fact:
    """The value of an ``al_fact`` of that kind, from its number or its text."""
    return str(value) if kind == lib.AL_FACT_TEXT else _FACT_TYPES[kind](int(value))


@dataclass(frozen=True)
class Explanation:
    """What an address is: ``offset`` bytes into ``chunk``, within ``region``; and what the allocator itself knows of
    that piece, in its own words. ``print`` shows it line by line."""

    address: int
    chunk: Chunk
    offset: int
    region: Vma
    facts: dict[str, Fact]

    def __str__(self) -> str:
        chunk, region = self.chunk, self.region
        lines = {"chunk": f"{chunk.address:#x}, {chunk.bytes} bytes, {chunk.state}"}
        if chunk.block:
            lines["block"] = f"{chunk.block:#x}, {chunk.usable} bytes usable"
        lines["region"] = f"{region.start:#x} to {region.end:#x}, {'the break' if region.heap else 'mapped'}"
        lines |= {
            name: ("no", "yes")[value] if isinstance(value, bool) else str(value) for name, value in self.facts.items()
        }
        width = max(map(len, lines))
        head = f"{self.address:#x} lies {self.offset} bytes into a chunk"
        return "\n".join([head, *(f"  {name:{width}}  {text}" for name, text in lines.items())])


class Thread:
    """A thread's context in a heap. Which OS thread uses it is of no account."""

    def __init__(self, heap: Heap) -> None:
        self.heap = heap
        self._pointer = lib.al_thread_create(heap.pointer)
        if self._pointer == ffi.NULL:
            raise MemoryError("no memory for a thread's context")

    @property
    def pointer(self) -> Any:
        """The ``al_thread *``."""
        if self._pointer == ffi.NULL or self.heap.closed:
            raise UsageError("this thread has exited, or its heap is closed")
        return self._pointer

    def exit(self) -> None:
        """Hands the context back to the heap; what the thread had cached goes with it. Twice is once."""
        if self._pointer != ffi.NULL and not self.heap.closed:
            lib.al_thread_exit(self._pointer)
        self._pointer = ffi.NULL

    def malloc(self, size: int) -> int:
        return to_int(lib.al_heap_malloc(self.pointer, _size(size)))

    def calloc(self, count: int, size: int) -> int:
        return to_int(lib.al_heap_calloc(self.pointer, _size(count), _size(size)))

    def memalign(self, alignment: int, size: int) -> int:
        """0 also for an alignment that is not a power of two."""
        return to_int(lib.al_heap_memalign(self.pointer, _size(alignment), _size(size)))

    def realloc(self, block: int, size: int) -> int:
        """Where the block is now; 0 leaves it as it was, but for size 0, which frees it."""
        return to_int(lib.al_heap_realloc(self.pointer, to_pointer(block), _size(size)))

    def free(self, block: int) -> None:
        lib.al_heap_free(self.pointer, to_pointer(block))

    def control(self, name: str, value: int | None = None) -> int:
        """As :meth:`Heap.control`, asked by this thread."""
        cell = ffi.new("uint64_t *", (value or 0) % (1 << 64))
        error = lib.al_heap_control(self.heap.pointer, self.pointer, name.encode(), cell, value is not None)
        if error:
            raise UsageError(f"{self.heap.allocator.name}: {_refusal(error, name, value)}")
        return int(cell[0])


class Heap(Handle):
    """An instance of a lab allocator.

    ``tunables`` are the allocator's own (``alloclab list``): ints, bools or text such as ``"64KiB"``. ``limit`` refuses
    to map more bytes than that, ``fail_call`` makes the n-th system call from now fail, ``log`` keeps :meth:`events`;
    ``regions`` holds further settings of the region manager, by name (see :class:`alloclab.region.Regions`).
    """

    _pieces = 256  # room for a walk

    def __init__(
        self,
        allocator: str,
        *,
        limit: int = 0,
        fail_call: int = 0,
        log: bool = False,
        regions: dict[str, int | bool] | None = None,
        **tunables: int | bool | str,
    ) -> None:
        self.allocator = lab_allocator(allocator)
        settings, self.options = parse_tunables(allocator, _settings_text(tunables))
        fields = {"limit_bytes": limit, "fail_call": fail_call, "log": log, **(regions or {})}
        space = config("window", **fields)
        error = ffi.new("int *")
        self._pointer = lib.al_heap_create(lib.al_allocator_find(allocator.encode()), settings, space, error)
        if self.closed:
            raise OSError(error[0], os.strerror(error[0]), f"heap of {allocator}")
        self.regions = Regions.of(self._pointer.regions)
        self._main = Thread(self)

    def _give_back(self) -> None:
        """Its blocks and threads are gone with it."""
        lib.al_heap_destroy(self._pointer)
        self.regions.close()

    def thread(self) -> Thread:
        """One more context. The heap's own methods use the first."""
        return Thread(self)

    # --- malloc and its family, in the first thread's context ---

    def malloc(self, size: int) -> int:
        return self._main.malloc(size)

    def calloc(self, count: int, size: int) -> int:
        return self._main.calloc(count, size)

    def memalign(self, alignment: int, size: int) -> int:
        return self._main.memalign(alignment, size)

    def realloc(self, block: int, size: int) -> int:
        return self._main.realloc(block, size)

    def free(self, block: int) -> None:
        self._main.free(block)

    def usable_size(self, block: int) -> int:
        return int(lib.al_heap_usable_size(self.pointer, to_pointer(block)))

    def trim(self, pad: int = 0) -> bool:
        """Gives free memory back, but ``pad`` bytes; whether any was."""
        return bool(lib.al_heap_trim(self.pointer, _size(pad)))

    def advance(self, nanoseconds: int) -> None:
        """Lets time pass: moves the heap's clock, and does what the allocator would have done in the background, each
        thing at its moment."""
        lib.al_heap_advance(self.pointer, nanoseconds)

    # --- contents ---

    def write(self, block: int, data: bytes) -> None:
        self.regions.write(block, data)

    def read(self, block: int, length: int) -> bytes:
        return self.regions.read(block, length)

    # --- looking inside ---

    def chunks(self) -> npt.NDArray[np.void]:
        """The walk as an array with dtype CHUNK: every mapped byte once, in order of address."""
        while True:
            found = np.zeros(self._pieces, CHUNK)
            count = lib.al_heap_chunks(self.pointer, ffi.cast("al_chunk *", ffi.from_buffer(found)), self._pieces)
            if count <= self._pieces:
                return found[:count]
            self._pieces = count + count // 8  # the next walk may find some more

    def walk(self) -> list[Chunk]:
        """The walk as objects."""
        return [_chunk(row) for row in self.chunks().tolist()]

    def ledger(self) -> Ledger:
        held = lib.al_heap_ledger(self.pointer)
        return Ledger(held.usable, held.metadata, held.cached, held.free)

    def counters(self) -> Counters:
        """System calls and bytes, by the region manager."""
        return self.regions.counters()

    def events(self) -> npt.NDArray[np.void]:
        """The log of system calls; empty unless the heap was made with ``log=True``."""
        return self.regions.events()

    def stats(self) -> dict[str, int]:
        """The allocator's own figures."""
        return {_text(s.name): int(s.value) for s in _array("al_stat[]", lib.al_heap_stats, self.pointer)}

    def bins(self) -> list[Bin]:
        """Every list that holds free chunks, in the allocator's order; of an allocator that shows none, none."""
        entries = _array("al_binned[]", lib.al_heap_binned, self.pointer)
        lists = groupby(entries, lambda e: (_text(e.kind), e.owner, e.index, e.least, e.most))
        return [Bin(*what, tuple((e.address, e.bytes) for e in held)) for what, held in lists]

    def explain(self, address: int) -> Explanation:
        """Which piece holds the address, where in it, and all that is known of it. UsageError: none does."""
        chunk = self._chunk_at(address)
        region = next(v for v in self.regions.vmas() if v.start <= address < v.end)
        facts = _array("al_fact[]", lib.al_heap_explain, self.pointer, address)
        return Explanation(
            Address(address), chunk, address - chunk.address, region, {_text(f.name): _fact(f) for f in facts}
        )

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the allocator's own tables."""
        return self.allocator.views

    def view(self, name: str) -> list[dict[str, int | bool | str]]:
        """The rows of one of the allocator's own tables, each with the same columns. UsageError lists the tables."""
        if name not in self.views:
            known = ", ".join(self.views) or "none"
            raise UsageError(f"unknown view {name!r} of {self.allocator.name}: there is {known}")
        rows: list[dict[str, int | bool | str]] = []
        first = None
        for fact in _array("al_fact[]", lib.al_heap_viewed, self.pointer, name.encode()):
            column = _text(fact.name)
            first = first or column
            if column == first:
                rows.append({})
            rows[-1][column] = _fact(fact)
        return rows

    def _chunk_at(self, address: int) -> Chunk:
        chunks = self.chunks()
        if 0 <= address < 1 << 64:
            at = int(np.searchsorted(chunks["address"], np.uint64(address), side="right")) - 1
            if at >= 0:
                found = _chunk(chunks[at].item())
                if address < found.address + found.bytes:
                    return found
        raise UsageError(f"{address:#x} is no address of this heap")

    # --- the real library's questions ---

    def control(self, name: str, value: int | None = None) -> int:
        """A figure by the name that the real library has for it, such as ``"stats.allocated"`` of jemalloc's
        ``mallctl`` or ``"generic.heap_size"`` of tcmalloc's ``MallocExtension``, or one of :meth:`stats`; with a
        ``value`` sets it, or does what the name says. A negative one stands for itself plus 2**64. UsageError: there
        is no such name, it cannot be read or not be set, or not to that value."""
        return self._main.control(name, value)

    # --- glibc's questions ---

    def mallopt(self, parameter: int, value: int) -> bool:
        """glibc's call of that name: whether it was done. False of an allocator that sets nothing this way."""
        return bool(lib.al_heap_mallopt(self.pointer, _c_int(parameter), _c_int(value)))

    def mallinfo(self) -> dict[str, int]:
        """The fields of ``mallinfo2``."""
        info = lib.al_heap_mallinfo(self.pointer)
        return {name: int(getattr(info, name)) for name, _ in ffi.typeof(info).fields}

    def report(self, *, xml: bool = False) -> str:
        """What ``malloc_stats`` prints, or with ``xml`` what ``malloc_info`` does."""
        room = lib.al_heap_report_text(self.pointer, xml, ffi.NULL, 0)
        text = ffi.new("char[]", room)
        length = lib.al_heap_report_text(self.pointer, xml, text, room)
        return bytes(ffi.buffer(text, min(length, room))).decode()

    # --- checks ---

    def validate(self) -> None:
        """The full self-check: the allocator's own rules; the walk goes over every mapped byte once and sums up to the
        ledger; the ledger is what is mapped. HeapError: the first rule that is broken."""
        flaw = ffi.new("al_flaw *")
        if not lib.al_heap_validate(self.pointer, flaw):
            raise HeapError(f"{self.allocator.name}: {_text(flaw.what)}, at {flaw.address:#x}")

    def fail_call(self, nth: int) -> int:
        """The n-th system call from now, counting from 1, fails with ENOMEM; 0 is none. Returns what was left of the
        count before: 0 if the call that was to fail has."""
        return self.regions.fail_call(nth)


def _settings_text(tunables: dict[str, int | bool | str]) -> str:
    def text(value: int | bool | str) -> str:
        return value if isinstance(value, str) else str(value).lower()

    return ",".join(f"{name}={text(value)}" for name, value in tunables.items())


def _text(c: Any) -> str:
    return bytes(ffi.string(c)).decode()


def _chunk(row: tuple[int, ...]) -> Chunk:
    address, length, block, usable, state, owner = row
    return Chunk(address, length, block, usable, STATES[state], owner)


def _array(kind: str, fill: Callable[..., int], *arguments: Any) -> Iterator[Any]:
    """What a function of C's writes that says how many there are and fills a room. Each is good until the next."""
    room = fill(*arguments, ffi.NULL, 0)
    found = ffi.new(kind, room)
    for i in range(min(fill(*arguments, found, room), room)):
        yield found[i]


def _fact(fact: Any) -> Fact:
    return fact_of(fact.kind, _text(fact.text) if fact.kind == lib.AL_FACT_TEXT else fact.value)


def _refusal(error: int, name: str, value: int | None) -> str:
    if error == errno.ENOENT:
        return f"nothing is called {name!r}"
    if value is None:
        return f"{name!r} cannot be read"
    return f"{name!r} cannot be set" if error == errno.EPERM else f"{name!r} cannot be {value}"


def _size(value: int) -> int:
    if not 0 <= value < 1 << 64:
        raise UsageError(f"a size is from 0 to {format_bytes((1 << 64) - 1)}, not {value}")
    return value


def _c_int(value: int) -> int:
    if not -(1 << 31) <= value < 1 << 31:
        raise UsageError(f"what mallopt takes is a number from {-(1 << 31)} to {(1 << 31) - 1}, not {value}")
    return value
