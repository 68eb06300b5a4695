"""Synthetic traces for tests and studies: seeded, so that the same recipe gives the same trace.

Real recordings decide which allocator serves a program; these answer what-if questions, one knob at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from alloclab.errors import UsageError
from alloclab.native import ffi, lib
from alloclab.trace.model import Events, Metadata
from alloclab.trace.parquet import ROW_GROUP, Trace, TraceWriter

Draw = Callable[[np.random.Generator, int], npt.NDArray[np.int64]]


def _pareto(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    sizes = np.minimum(16 * (1 + rng.pareto(1.2, count)), 1 << 24)
    return sizes.astype(np.int64)


def _tiny(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    small = rng.integers(8, 129, count)
    large = rng.integers(1 << 17, 1 << 22, count)
    sizes: npt.NDArray[np.int64] = np.where(rng.random(count) < 0.001, large, small)
    return sizes


def _huge(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    drawn = rng.random(count)
    exponents = np.select(
        [drawn < 0.85, drawn < 0.99, drawn < 0.9998],
        [rng.uniform(0, 12, count), rng.uniform(12, 18, count), rng.uniform(18, 23, count)],
        rng.uniform(23, 26, count),
    )
    sizes: npt.NDArray[np.int64] = np.exp2(exponents).astype(np.int64)
    return sizes


def _mixed(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    sizes: npt.NDArray[np.int64] = np.exp2(rng.normal(6.0, 2.0, count).clip(0, 22)).astype(np.int64)
    return sizes


ODD = (1, 13, 24, 25, 40, 57, 88, 120, 121, 136, 250, 377, 504, 1000, 1001, 1032, 1033, 1500, 2999, 4097)

SIZES: dict[str, Draw] = {
    "fixed": lambda rng, count: rng.choice(np.array([16, 32, 48, 64, 128, 256, 1024]), count),
    "odd": lambda rng, count: rng.choice(np.array(ODD), count),
    "pareto": _pareto,
    "tiny": _tiny,
    "kilobytes": lambda rng, count: rng.integers(1000, 20_001, count),
    "mixed": _mixed,
    "huge": _huge,
    "mebibytes": lambda rng, count: np.exp2(rng.uniform(20, 20 + np.log2(40), count)).astype(np.int64),
}
"""Size mixes, in bytes.

fixed      seven sizes from 16 to 1024, equally often
odd        twenty from 1 to 4097, many just below or above what a size class holds, equally often
pareto     16 and up, heavy-tailed (shape 1.2), at most 16 MiB
tiny       8 to 128, and one in a thousand from 128 KiB to 4 MiB
kilobytes  1,000 to 20,000, equally likely
mixed      2^x with x normal around 6 (64 bytes), deviation 2, at most 4 MiB
huge       2^x with x evenly spread: below 4 KiB (85 %), to 256 KiB (14 %), to 8 MiB (1 %), to 64 MiB (one in 5,000)
mebibytes  2^x with x evenly spread, 1 to 40 MiB
"""


@dataclass(frozen=True)
class Recipe:
    """What to make.

    ``events``: rows. ``sizes``: a name of SIZES. ``live``: blocks that live at a time, reached as births outnumber
    deaths two to one. ``phases``: how often the working set swells from a tenth of ``live`` to all of it and drains
    again; 0 keeps it. ``reallocs``: share of all calls. ``callocs``, ``aligned``: shares of births. ``young``: share
    of deaths that take the latest birth, the others take any block. ``threads`` take turns of 64 calls, and free what
    they find. ``ns_per_event``: mean time between calls; 0 leaves times out.
    """

    events: int
    seed: int = 0
    sizes: str = "mixed"
    live: int = 10_000
    phases: int = 0
    reallocs: float = 0.05
    callocs: float = 0.05
    aligned: float = 0.01
    young: float = 0.5
    threads: int = 1
    ns_per_event: int = 100

    def __post_init__(self) -> None:
        if self.sizes not in SIZES:
            raise UsageError(f"size mix {self.sizes!r}: there are {', '.join(SIZES)}")
        if self.events < 0 or self.live < 1 or self.threads < 1 or self.phases < 0 or self.ns_per_event < 0:
            raise UsageError("a synthetic trace needs events >= 0, live >= 1, threads >= 1, phases >= 0")
        if not (0 <= self.reallocs <= 1 and 0 <= self.young <= 1 and 0 <= self.callocs + self.aligned <= 1):
            raise UsageError("shares of a synthetic trace lie between 0 and 1")


def generate(recipe: Recipe) -> Iterator[Events]:
    """The rows, at most ROW_GROUP at a time, in memory that follows ``live``."""
    rng = np.random.default_rng(recipe.seed)
    synth = ffi.new("al_synth *")
    synth.live_target = recipe.live
    synth.phase_events = recipe.events // recipe.phases if recipe.phases else 0
    synth.reallocs, synth.callocs, synth.aligned = recipe.reallocs, recipe.callocs, recipe.aligned
    synth.young, synth.threads, synth.rng.state = recipe.young, recipe.threads, recipe.seed & (1 << 64) - 1
    synth = ffi.gc(synth, lib.al_synth_destroy)
    now = 0
    for start in range(0, recipe.events, ROW_GROUP):
        count = min(ROW_GROUP, recipe.events - start)
        times = np.full(count, -1, np.int64)
        if recipe.ns_per_event:
            times = now + np.cumsum(rng.integers(0, 2 * recipe.ns_per_event + 1, count), dtype=np.int64)
            now = int(times[-1])
        sizes = SIZES[recipe.sizes](rng, count).astype(np.uint64)
        events = Events(
            op=np.empty(count, np.uint8),
            thread=np.empty(count, np.uint32),
            object=np.empty(count, np.int64),
            size=np.empty(count, np.uint64),
            count=np.empty(count, np.uint64),
            align=np.empty(count, np.uint64),
            time_ns=times,
            failed=np.zeros(count, np.bool_),
        )
        _fill(synth, sizes, events)
        yield events


def _fill(synth: object, sizes: npt.NDArray[np.uint64], events: Events) -> None:
    rows = ffi.new("al_synth_rows *")
    rows.rows = len(events)
    rows.sizes = ffi.from_buffer("uint64_t[]", sizes)
    rows.op = ffi.from_buffer("uint8_t[]", events.op)
    rows.thread = ffi.from_buffer("uint32_t[]", events.thread)
    rows.object = ffi.from_buffer("int64_t[]", events.object)
    rows.size = ffi.from_buffer("uint64_t[]", events.size)
    rows.count = ffi.from_buffer("uint64_t[]", events.count)
    rows.align = ffi.from_buffer("uint64_t[]", events.align)
    if not lib.al_synth_add(synth, rows):
        raise MemoryError("no memory for a synthetic trace's live blocks")


def synthesize(path: str | os.PathLike[str], recipe: Recipe) -> Trace:
    """Writes the trace of a recipe; the recipe goes into its metadata."""
    metadata = Metadata(
        program="synthetic",
        source="alloclab synth",
        clock="synthetic" if recipe.ns_per_event else "",
        extra={"recipe": asdict(recipe)},
    )
    with TraceWriter(path, metadata) as writer:
        for events in generate(recipe):
            writer.write(events)
    return Trace.open(path)
