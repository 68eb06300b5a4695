"""One heap of a lab allocator, from Python: the same code as the drop-in library, in a window of its own.

    with Heap("fit", policy="first", mmap_threshold=65536) as heap:
        block = heap.malloc(100)
        heap.write(block, b"hello")
        block = heap.realloc(block, 4000)
        heap.ledger()      # Ledger(usable=4008, metadata=32, cached=0, free=...)
        heap.walk()        # every piece of the heap, in order of address

Addresses are ints; 0 is NULL, which a request gets that cannot be served. Misuse (a double free, a foreign address)
does to this process what it would do to any.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.allocators import format_bytes, lab_allocator, parse_tunables
from alloclab.errors import AlloclabError, UsageError
from alloclab.handle import Handle, to_int, to_pointer
from alloclab.native import ffi, lib
from alloclab.region import Counters, Regions, config

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


class Heap(Handle):
    """An instance of a lab allocator.

    ``tunables`` are the allocator's own (``alloclab list``): ints, bools or text such as ``"64KiB"``. ``limit`` refuses
    to map more bytes than that, ``fail_call`` makes the n-th system call from now fail, ``log`` keeps :meth:`events`;
    ``regions`` holds further settings of the region manager, by name (see :class:`alloclab.region.Regions`).
    """

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

    # --- contents ---

    def write(self, block: int, data: bytes) -> None:
        self.regions.write(block, data)

    def read(self, block: int, length: int) -> bytes:
        return self.regions.read(block, length)

    # --- looking inside ---

    def chunks(self) -> npt.NDArray[np.void]:
        """The walk as an array with dtype CHUNK: every mapped byte once, in order of address."""
        room = lib.al_heap_chunks(self.pointer, ffi.NULL, 0)
        found = np.zeros(room, CHUNK)
        lib.al_heap_chunks(self.pointer, ffi.cast("al_chunk *", ffi.from_buffer(found)), room)
        return found

    def walk(self) -> list[Chunk]:
        """The walk as objects."""
        return [
            Chunk(a, n, block, usable, STATES[s], owner) for a, n, block, usable, s, owner in self.chunks().tolist()
        ]

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
        room = lib.al_heap_stats(self.pointer, ffi.NULL, 0)
        found = ffi.new("al_stat[]", room)
        lib.al_heap_stats(self.pointer, found, room)
        return {bytes(ffi.string(s.name)).decode(): int(s.value) for s in found}

    def validate(self) -> None:
        """The full self-check: the allocator's own rules; the walk goes over every mapped byte once and sums up to the
        ledger; the ledger is what is mapped. HeapError: the first rule that is broken."""
        flaw = ffi.new("al_flaw *")
        if not lib.al_heap_validate(self.pointer, flaw):
            raise HeapError(f"{self.allocator.name}: {bytes(ffi.string(flaw.what)).decode()}, at {flaw.address:#x}")

    def fail_call(self, nth: int) -> None:
        """The n-th system call from now, counting from 1, fails with ENOMEM; 0 is none."""
        self.regions.fail_call(nth)


def _settings_text(tunables: dict[str, int | bool | str]) -> str:
    def text(value: int | bool | str) -> str:
        return value if isinstance(value, str) else str(value).lower()

    return ",".join(f"{name}={text(value)}" for name, value in tunables.items())


def _size(value: int) -> int:
    if not 0 <= value < 1 << 64:
        raise UsageError(f"a size is from 0 to {format_bytes((1 << 64) - 1)}, not {value}")
    return value
