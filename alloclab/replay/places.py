"""Where the blocks of a replay lie, operation by operation, and the system calls for memory made meanwhile.

Out of process; csrc/replay/places.h says what the pass writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alloclab.errors import ReplayError, UsageError
from alloclab.heap import Fact, fact_of
from alloclab.replay import process
from alloclab.replay.run import Lines, Settings

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.trace.compile import CompiledTrace

CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
"""Words for ``al_call``, by value."""

RIGHTS = ("none", "rw")
"""Words for ``al_prot``, by value."""

ADVICE = ("dontneed", "free", "hugepage", "nohugepage", "wipeonfork")
"""Words for ``al_advice``, by value."""

BREAK_ALIGNMENT = 2 << 20
"""``AL_BREAK_ALIGNMENT``: the break's heap begins at a multiple of it."""

FOREIGN_ADVICE = 256
"""``AL_FOREIGN_ADVICE``: from here on the kernel's own values for what is none of these."""

PLACE_DTYPE = np.dtype([("address", "<i8"), ("usable", "<i8"), ("calls", "<i8")])
"""An ``al_place``. User addresses fit."""

EVENT_DTYPE = np.dtype(
    [
        ("op", "<i8"),
        ("address", "<i8"),
        ("bytes", "<u8"),
        ("result", "<i8"),
        ("extra", "<u8"),
        ("call", "<u4"),
        ("error", "<u4"),
    ]
)
"""An ``al_event`` (csrc/region/region.h); ``op`` is the operation that made the call."""


@dataclass(frozen=True)
class Places:
    """``ops``: one PLACE_DTYPE per operation. ``held``: EVENT_DTYPE, calls that would get what the allocator held
    before the first operation. ``events``: EVENT_DTYPE, the calls made since, in order.

    ``heap_begins``: where the break's heap begins. ``sized``: usable sizes are known. ``mapped_before``: readable and
    writable bytes held before the first operation; ``peak_mapped``: the largest such sum ever. ``random``: its
    addresses are others in every process.
    """

    ops: npt.NDArray[np.void]
    held: npt.NDArray[np.void]
    events: npt.NDArray[np.void]
    heap_begins: int
    sized: bool
    mapped_before: int
    peak_mapped: int
    random: bool = False


@dataclass(frozen=True)
class Piece:
    """What a glass box has at an address: the piece of its walk that holds it, and what else it knows of that."""

    state: str
    address: int
    bytes: int
    facts: Mapping[str, Fact]


def find_places(
    compiled: CompiledTrace,
    allocator: Allocator,
    settings: Settings,
    *,
    fail_call: int = 0,
    limit: int = 0,
    break_beyond: int = 0,
) -> Places:
    """Replay out of process. ``fail_call``: the n-th system call for memory from the first operation on fails with
    ENOMEM. ``limit``: what would make more bytes readable and writable fails likewise. 0: none. ``break_beyond``: by so
    much the break's heap begins beyond a multiple of BREAK_ALIGNMENT.

    Raises ReplayError, also where the calls of a foreign library cannot be seen; UsageError for the null allocator, and
    for numbers out of range.
    """
    terms = {"fail_call": fail_call, "limit": limit, "break_beyond": break_beyond}
    with _replayed(compiled, allocator, settings, terms) as (file, lines):
        return _read(file, lines.numbers)


def explain_places(
    compiled: CompiledTrace,
    allocator: Allocator,
    settings: Settings,
    addresses: Sequence[int],
    *,
    stop: int,
    fail_call: int = 0,
    limit: int = 0,
    break_beyond: int = 0,
) -> list[Piece | None]:
    """Replay so many operations as :func:`find_places` does on a lab allocator; what holds these addresses then, of
    which there are two at most. None: nothing. Raises as it does."""
    options = ["--stop", str(stop), *chain.from_iterable(("--explain", str(a)) for a in addresses)]
    terms = {"fail_call": fail_call, "limit": limit, "break_beyond": break_beyond}
    with _replayed(compiled, allocator, settings, terms, options) as (_, lines):
        return [_piece(lines, index) for index in range(len(addresses))]


@contextmanager
def _replayed(
    compiled: CompiledTrace,
    allocator: Allocator,
    settings: Settings,
    terms: Mapping[str, int],
    options: Sequence[str] = (),
) -> Iterator[tuple[Path, Lines]]:
    """The file of the pass, which is gone afterwards, and its lines."""
    for name, number in terms.items():
        if not 0 <= number < 2**63:
            raise UsageError(f"{name} is a number from 0 to {2**63 - 1}, not {number}")
    if allocator.kind == "null":
        raise UsageError("the null allocator only counts: its blocks overlap, so they have no places to compare")
    with tempfile.TemporaryDirectory(prefix="alloclab-") as folder:
        file = Path(folder) / "places"
        words = chain.from_iterable((f"--{name.replace('_', '-')}", str(number)) for name, number in terms.items())
        try:
            lines = process.run_pass("places", compiled, allocator, settings, ["--places", str(file), *words, *options])
        except process.CrashError as crash:
            raise ReplayError(f"{allocator.spec}: on {compiled.name} it {crash}") from crash
        yield file, lines


def _piece(lines: Lines, index: int) -> Piece | None:
    if index not in lines.pieces:
        return None
    state, address, length = lines.pieces[index].split(" ")
    facts = [fact for number, *fact in (line.split("\t") for line in lines.facts) if int(number) == index]
    return Piece(state, int(address), int(length), {name: fact_of(int(kind), value) for kind, name, value in facts})


def _read(file: Path, numbers: dict[str, Any]) -> Places:
    with file.open("rb") as source:
        ops = np.fromfile(source, PLACE_DTYPE, numbers["operations"])
        held = np.fromfile(source, EVENT_DTYPE, numbers["held"])
        events = np.fromfile(source, EVENT_DTYPE, numbers["calls"])
    events["op"] = np.searchsorted(ops["calls"], np.arange(len(events)), side="right")
    return Places(
        ops,
        held,
        events,
        heap_begins=numbers["heap_begins"],
        sized="sized" in numbers,
        mapped_before=numbers["mapped_before"],
        peak_mapped=numbers["peak_mapped"],
        random="random" in numbers,
    )
