"""The region manager from Python: what a heap can ask of the system, in a window of its own or in this process.

    with Regions(window_bytes=1 << 30, log=True) as regions:
        block = regions.mmap(1 << 20)
        regions.write(block, b"x")
        regions.resident()          # 4096
        regions.counters().calls    # {'brk': 0, 'mmap': 1, ...}

A call that is refused raises OSError with the errno value of the system call (ENOMEM for a limit, an injected failure
or a full window), and has changed nothing but the counter of failures. UsageError is for arguments that make no call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from alloclab.errors import UsageError
from alloclab.handle import Handle, to_int, to_pointer
from alloclab.native import ffi, lib

CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
SPACES = {"window": lib.AL_SPACE_WINDOW, "process": lib.AL_SPACE_PROCESS}
RIGHTS = {"none": lib.AL_PROT_NONE, "rw": lib.AL_PROT_READ_WRITE}
PLACEMENTS = {
    "anywhere": lib.AL_PLACE_ANYWHERE,
    "hint": lib.AL_PLACE_HINT,
    "noreplace": lib.AL_PLACE_NOREPLACE,
    "fixed": lib.AL_PLACE_FIXED,
}
ADVICE = {
    "dontneed": lib.AL_ADVISE_DONTNEED,
    "free": lib.AL_ADVISE_FREE,
    "hugepage": lib.AL_ADVISE_HUGEPAGE,
    "nohugepage": lib.AL_ADVISE_NOHUGEPAGE,
}

EVENT = np.dtype(
    [
        ("op", "u8"),
        ("address", "u8"),
        ("bytes", "u8"),
        ("result", "u8"),
        ("extra", "u8"),
        ("call", "u4"),
        ("error", "u4"),
    ]
)
"""One row of the event log, as ``al_event`` in csrc/region/region.h; ``call`` indexes CALLS."""


class Page(IntFlag):
    """What is known of a page."""

    MAPPED = lib.AL_PAGE_MAPPED
    COMMITTED = lib.AL_PAGE_COMMITTED
    RESIDENT = lib.AL_PAGE_RESIDENT
    ZERO = lib.AL_PAGE_ZERO


@dataclass(frozen=True)
class Vma:
    """[start, end) in absolute addresses; ``prot`` is "rw" or "none"; ``heap``: the break's own."""

    start: int
    end: int
    prot: str
    heap: bool


@dataclass(frozen=True)
class Counters:
    """Calls by kind: all, failed, and the bytes asked for by those that succeeded. Then what is held, and its peaks:
    readable and writable bytes, all bytes, VMAs."""

    calls: dict[str, int]
    failed: dict[str, int]
    bytes: dict[str, int]
    mapped: int
    peak_mapped: int
    reserved: int
    peak_reserved: int
    vmas: int
    peak_vmas: int


def _choice(what: str, table: Mapping[str, int], name: str) -> int:
    if name not in table:
        raise UsageError(f"{what} {name!r}: there is {', '.join(table)}")
    return table[name]


def config(space: str = "window", **settings: int | bool) -> Any:
    """An ``al_regions_config``. The settings are its other fields; whatever is left out is 0."""
    made = ffi.new("al_regions_config *")
    made.space = _choice("space", SPACES, space)
    known = [name for name, _ in ffi.typeof(made[0]).fields if name not in ("os", "space")]
    for name, value in settings.items():
        if name not in known:
            raise UsageError(f"setting {name!r} of a region manager: there is {', '.join(known)}")
        try:
            setattr(made, name, value)
        except (OverflowError, TypeError):
            raise UsageError(f"setting {name} of a region manager: {value!r} is out of its range") from None
    return made


def probe_thp_align() -> int:
    """What the setting ``thp_align`` must be for a window to place as a process on this kernel does: 0, no mapping is
    aligned to 2 MiB; 1, those whose length is a multiple of it; 2, those at least that long."""
    return int(lib.al_regions_probe_thp_align(ffi.NULL))


class Regions(Handle):
    """A region manager. Its settings are those of ``al_regions_config`` in csrc/region/region.h: window_bytes,
    break_offset, break_room, limit_bytes, fail_call, overcommit, cpus, thp_align, real_clock, log."""

    _borrowed = False

    def __init__(self, space: str = "window", **settings: int | bool) -> None:
        error = ffi.new("int *")
        self._pointer = lib.al_regions_create(config(space, **settings), error)
        if self.closed:
            raise OSError(error[0], os.strerror(error[0]), "region manager")

    @classmethod
    def of(cls, pointer: Any) -> Regions:
        """The manager of someone else, a heap for example, who outlives this view and closes it."""
        made = cls.__new__(cls)
        made._pointer = pointer
        made._borrowed = True
        return made

    def _give_back(self) -> None:
        """A window; of a process, the mappings."""
        if not self._borrowed:
            lib.al_regions_destroy(self._pointer)

    # --- the calls: addresses are absolute, lengths in bytes ---

    def brk(self, delta: int) -> int:
        """Moves the break by ``delta`` bytes; returns where it was."""
        out = ffi.new("void **")
        self._done("brk", lib.al_regions_brk(self.pointer, delta, out))
        return to_int(out[0])

    def mmap(self, length: int, *, at: int = 0, prot: str = "rw", placement: str = "") -> int:
        """Maps anonymous memory; returns its address. ``placement`` is "hint" if ``at`` is given, else "anywhere"."""
        rights = _choice("prot", RIGHTS, prot)
        place = _choice("placement", PLACEMENTS, placement or ("hint" if at else "anywhere"))
        out = ffi.new("void **")
        self._done("mmap", lib.al_regions_mmap(self.pointer, to_pointer(at), length, rights, place, out))
        return to_int(out[0])

    def munmap(self, address: int, length: int) -> None:
        self._done("munmap", lib.al_regions_munmap(self.pointer, to_pointer(address), length))

    def mremap(self, address: int, old_length: int, new_length: int, *, may_move: bool = True) -> int:
        """Resizes a mapping, or part of one; returns where it is now."""
        out = ffi.new("void **")
        args = (to_pointer(address), old_length, new_length, may_move, out)
        self._done("mremap", lib.al_regions_mremap(self.pointer, *args))
        return to_int(out[0])

    def mprotect(self, address: int, length: int, prot: str) -> None:
        rights = _choice("prot", RIGHTS, prot)
        self._done("mprotect", lib.al_regions_mprotect(self.pointer, to_pointer(address), length, rights))

    def madvise(self, address: int, length: int, advice: str) -> None:
        value = _choice("advice", ADVICE, advice)
        self._done("madvise", lib.al_regions_madvise(self.pointer, to_pointer(address), length, value))

    def _done(self, call: str, error: int) -> None:
        if error:
            raise OSError(error, os.strerror(error), call)

    # --- contents ---

    def write(self, address: int, data: bytes) -> None:
        """Stores into memory the heap may write to, and so makes its pages resident."""
        self._check_committed(address, len(data))
        ffi.memmove(to_pointer(address), data, len(data))

    def read(self, address: int, length: int) -> bytes:
        self._check_committed(address, length)
        return bytes(ffi.buffer(to_pointer(address), length))

    def _check_committed(self, address: int, length: int) -> None:
        first = address - address % self.page_size
        pages = -(-(address + length - first) // self.page_size)
        if not np.all(self.pages(first, pages) & Page.COMMITTED):
            raise UsageError(f"[{address:#x}, {address + length:#x}) is not all readable and writable")

    # --- questions ---

    @property
    def page_size(self) -> int:
        return int(lib.al_regions_page_size(self.pointer))

    @property
    def base(self) -> int:
        """The window's first address, a multiple of 1 GiB; 0 in a process."""
        return to_int(lib.al_regions_base(self.pointer))

    @property
    def overcommit(self) -> int:
        return int(lib.al_regions_overcommit(self.pointer))

    @property
    def cpus(self) -> int:
        return int(lib.al_regions_cpus(self.pointer))

    def counters(self) -> Counters:
        c = lib.al_regions_counters(self.pointer)
        calls, failed, asked = (
            dict(zip(CALLS, map(int, by_kind), strict=True)) for by_kind in (c.calls, c.failed, c.bytes)
        )
        return Counters(calls, failed, asked, c.mapped, c.peak_mapped, c.reserved, c.peak_reserved, c.vmas, c.peak_vmas)

    def vmas(self) -> list[Vma]:
        """In order of address."""
        count = lib.al_regions_vmas(self.pointer, ffi.NULL, 0)
        found = ffi.new("al_vma[]", count)
        lib.al_regions_vmas(self.pointer, found, count)
        names = {value: name for name, value in RIGHTS.items()}
        return [Vma(v.start, v.end, names[v.prot], v.heap) for v in found]

    def events(self, since: int = 0) -> npt.NDArray[np.void]:
        """Rows ``since`` and later of the log, copied, with dtype EVENT. In a window addresses are relative to base."""
        count, dropped = ffi.new("size_t *"), ffi.new("uint64_t *")
        rows = lib.al_regions_events(self.pointer, count, dropped)
        if since >= count[0]:
            return np.empty(0, EVENT)
        view = ffi.buffer(rows + since, (count[0] - since) * EVENT.itemsize)
        return np.array(np.frombuffer(view, EVENT))

    def dropped_events(self) -> int:
        """How many rows the log could not keep for want of memory."""
        count, dropped = ffi.new("size_t *"), ffi.new("uint64_t *")
        lib.al_regions_events(self.pointer, count, dropped)
        return int(dropped[0])

    def resident(self) -> int:
        """Bytes of the readable and writable VMAs that have a physical page of their own."""
        out = ffi.new("size_t *")
        self._done("resident", lib.al_regions_resident(self.pointer, out))
        return int(out[0])

    def pages(self, address: int, pages: int) -> npt.NDArray[np.uint8]:
        """The Page flags of each of ``pages`` pages from ``address`` on."""
        flags = np.zeros(pages, np.uint8)
        self._done("pages", lib.al_regions_pages(self.pointer, to_pointer(address), pages, ffi.from_buffer(flags)))
        return flags

    # --- settings ---

    def now(self) -> int:
        """Nanoseconds: of the injected clock, or the system's where real_clock is set."""
        return int(lib.al_regions_now(self.pointer))

    def advance(self, nanoseconds: int) -> None:
        lib.al_regions_advance(self.pointer, nanoseconds)

    def foreign_brk(self, delta: int) -> None:
        """In a window: someone else moves the break up, as a library that calls sbrk does; the pages are his."""
        self._done("brk", lib.al_regions_foreign_brk(self.pointer, delta))

    def set_op(self, op: int) -> None:
        """The index of the operation under way, for the log."""
        lib.al_regions_set_op(self.pointer, op)

    def set_limit(self, length: int) -> None:
        """Refuse what would make ``mapped`` larger than this; 0 is no limit."""
        lib.al_regions_set_limit(self.pointer, length)

    def fail_call(self, nth: int) -> int:
        """The n-th call from now, counting from 1, fails with ENOMEM; 0 is none. Returns what was left of the count
        before: 0 if the call that was to fail has."""
        return int(lib.al_regions_set_fail_call(self.pointer, nth))
