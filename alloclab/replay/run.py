"""What a replay is asked, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from alloclab.errors import UsageError

Mode = Literal["serial", "serial, recorded threads", "concurrent"]

SERIAL: Mode = "serial"
"""Recorded order, one thread of the system, one thread context: the same for every allocator and both ways."""

RECORDED_THREADS: Mode = "serial, recorded threads"
"""The same order and one thread of the system, but a thread context for every recorded thread, from its start to its
exit: laboratory's allocators in process."""

CONCURRENT: Mode = "concurrent"
"""A thread of the system for every recorded one, from its start to its exit, which waits only where it touches a block
that another touched last. No run is quite like another: live bytes, too, are those of the order that came about."""

Pass = Literal["verify", "calls", "memory", "time", "places"]

PROCESS = "process"
IN_PROCESS = "in process"


@dataclass(frozen=True)
class Settings:
    """How to replay.

    ``mode``: one of the words above. ``touch``: "page" writes one byte in every page of a block and its last byte,
    after a realloc in the new pages only; "none" writes nothing. verify writes every byte either way. ``thp``: False
    turns transparent huge pages off, True leaves them as found. ``samples``: points of the timeline, beside the peak
    and the end. ``in_process``: in this process (laboratory's allocators only); so are recorded threads. ``warm``: 0
    times the first pass of a fresh process, page faults and system calls included; n > 0 takes the best of n passes
    that follow it. ``instructions``: count them with callgrind (slow).
    """

    mode: Mode = SERIAL
    touch: Literal["page", "none"] = "page"
    thp: bool = True
    samples: int = 200
    in_process: bool = False
    warm: int = 0
    instructions: bool = False

    def __post_init__(self) -> None:
        if self.mode == RECORDED_THREADS:
            object.__setattr__(self, "in_process", True)
        if self.mode == CONCURRENT:
            self._refuse("in_process", "it runs in processes of its own")
            self._refuse("instructions", "callgrind runs one thread at a time")
            self._refuse("warm", "its threads start once")

    def _refuse(self, name: str, why: str) -> None:
        if getattr(self, name):
            raise UsageError(f"concurrent replay excludes {name.replace('_', '-')}: {why}")

    @property
    def mode_and_way(self) -> str:
        """What results say."""
        return f"{self.mode}, in process" if self.in_process else self.mode


class UnmeasuredError(Exception):
    """A figure that was not measured; the text says why."""


@dataclass(frozen=True)
class Timeline:
    """``operation`` operations were done when ``live``, ``mapped`` and ``resident`` bytes were read.

    Arrays of equal length; None where nobody knows.
    """

    operation: npt.NDArray[np.int64]
    live: npt.NDArray[np.int64]
    mapped: npt.NDArray[np.int64] | None
    resident: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class RawRun:
    """One trace replayed on one allocator.

    ``allocator``: the full spec. ``way``: "process" or "in process". ``verified``: False with a ``failure`` where the
    allocator is no correct malloc for this trace (then there are no figures); False without one for the null
    allocator, which is not tried. ``figures``: by the names in csrc/replay/observe.h, and ``ns_per_op`` and
    ``instructions_per_op`` where asked for. ``missing``: why there are none, by name or group (:func:`group_of`).
    """

    trace: str
    allocator: str
    ops: int
    way: str
    touch: str
    verified: bool
    failure: str | None = None
    mode: Mode = SERIAL
    thp: bool = True
    figures: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    timeline: Timeline | None = field(default=None, compare=False, repr=False)

    def figure(self, name: str) -> float:
        """A figure by name. Raises UnmeasuredError with the reason that ``missing`` gives for it or its group."""
        if name in self.figures:
            return self.figures[name]
        if self.failure is not None:
            raise UnmeasuredError("not verified")
        why = (self.missing.get(kind) for kind in (name, group_of(name), "all"))
        raise UnmeasuredError(next(filter(None, why), "not measured"))


_REALLOCS = ("reallocs", "reallocs_in_place", "grows", "grows_in_place", "shrinks", "shrinks_in_place")
_GROUPS = {name: "realloc" for name in _REALLOCS} | {
    "ns_per_op": "time",
    "instructions_per_op": "instructions",
    "minor_faults": "memory",
    "mean_mapped_per_live": "calls",
    "edges": "threads",
    "threads": "threads",
    "threads_alive": "threads",
    "ops_per_second": "waits",
    "waits": "waits",
    "waited_ns_per_op": "waits",
}


def group_of(name: str) -> str:
    """Which figures are measured or missing together: trace, ledger, memory, calls, realloc, time, instructions,
    threads, waits."""
    if name in _GROUPS:
        return _GROUPS[name]
    if "_ledger_" in name:
        return "ledger"
    if "resident" in name:
        return "memory"
    return "trace" if name.endswith("_live") else "calls"


@dataclass
class Lines:
    """The "name value" lines of a pass: numbers, words, samples, and what was explained."""

    numbers: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    passes_ns: list[int] = field(default_factory=list)
    samples: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    pieces: dict[int, str] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Lines:
        found = cls()
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "sample":
                operation, live, mapped, resident = value.split(" ")
                found.samples[int(operation)] = (live, mapped, resident)
            elif name == "pass_ns":
                found.passes_ns.append(int(value))
            elif name == "piece":
                index, _, found.pieces[int(index)] = value.partition(" ")
            elif name == "fact":
                found.facts.append(value)
            elif value.isascii() and value.replace(".", "", 1).isdigit():
                found.numbers[name] = float(value) if "." in value else int(value)
            else:
                found.words[name] = value
        return found


def timeline_of(passes: Iterable[Lines]) -> Timeline | None:
    """Joins the samples of passes at the operations that all of them have."""
    sampled = [lines.samples for lines in passes if lines.samples]
    if not sampled:
        return None
    operations = sorted(set.intersection(*(set(s) for s in sampled)))

    def column(index: int) -> npt.NDArray[np.int64] | None:
        known = next((s for s in sampled if all(s[op][index] != "-" for op in operations)), None)
        return None if known is None else np.array([int(known[op][index]) for op in operations], np.int64)

    live = column(0)
    assert live is not None, "every pass knows what is live"
    return Timeline(np.array(operations, np.int64), live, column(1), column(2))
