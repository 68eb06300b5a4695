"""The validator: is this a trace of something that can have happened?

Problems are a block freed twice, freed or resized though it was never born, born twice or out of order; an event of a
thread after its exit, or a second start; a call that succeeded though its size is above PTRDIFF_MAX or its calloc
product overflows, with an alignment that is no power of two, or without saying which block it made; an object from a
call that failed; negative objects and times.

No problem: times that step back. Rows are ordered by what happened first, times are read per thread and interpolated
between readings, so neighbours may differ the other way (:mod:`alloclab.trace.stats` counts them). Nor is realloc(p, 0)
marked as failed: the block is gone all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alloclab.native import ffi, lib
from alloclab.trace.columns import NAMES, Fault, borrowed
from alloclab.trace.parquet import Trace

LIMIT = 20


@dataclass(frozen=True)
class Problem:
    """``row`` counts from 0 as data frames do; ``kind`` is the label of a :class:`Fault`."""

    row: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.text}"


class Problems(list[Problem]):
    """The first problems of a trace, in order, and in ``counts`` how many of each kind there are in all."""

    def __init__(self, problems: Iterable[Problem], counts: dict[str, int]) -> None:
        super().__init__(problems)
        self.counts = counts

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def validate(trace: Trace, limit: int = LIMIT) -> Problems:
    """Reads the whole trace, in memory that follows its live blocks. Empty where the trace is sound.

    Raises TraceError only where the file itself cannot be read.
    """
    checker = ffi.new("al_checker *")
    if not lib.al_checker_init(checker):
        raise MemoryError("no memory to validate a trace")
    checker = ffi.gc(checker, lib.al_checker_destroy)
    found: list[Problem] = []
    buffer = ffi.new("al_finding[]", limit)
    first = 0
    for events in trace.blocks(NAMES):
        with borrowed(events) as block:
            if not lib.al_checker_add(checker, block, buffer, limit - len(found)):
                raise MemoryError(f"{trace.path}: no memory to validate rows from {first}")
        for problem in buffer[0 : checker.found]:
            fault = Fault(problem.fault)
            found.append(Problem(first + problem.row, fault.label, fault.describe(events, problem.row)))
        first += len(events)
    return Problems(found, {fault.label: checker.counts[fault] for fault in Fault if checker.counts[fault]})
