"""What is said under a table: how it was measured, what was not, and the verdict in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alloclab import machine
from alloclab.comparison.statistics import (
    ENOUGH_ROUNDS,
    Ratio,
    in_words,
    mean_ratio,
    mean_time_ratio,
    metric,
    times,
)
from alloclab.report.columns import Column, labels
from alloclab.result import FLOOR, Comparison

_MEMORY = metric("peak_resident_bytes")
_TOUCH = {
    "page": "one byte in every page of a block, and its last byte",
    "none": "blocks are not touched: resident is what the allocator itself touches",
}


def legend(comparison: Comparison, columns: Sequence[Column], mark: str = "*") -> str:
    """What the marks and titles of the table mean; ``mark`` is how it shows the best of a column."""
    first = labels(comparison.allocators)[comparison.allocators[0]]
    parts = [f"Ratios: to {first}, the first", f"{mark}: best of its column"] if len(comparison.allocators) > 1 else []
    parts += [f"{column.title}: {column.note}" for column in columns if column.note]
    return "; ".join([*parts, f"{FLOOR}: the replay loop's own floor, not a competitor"]) + "."


def method(comparison: Comparison) -> str:
    """Mode, touch policy, how often memory was measured and how time was taken; each named once."""
    rounds = sorted({len(r.rounds) for r in comparison.results if r.rounds})
    of_all = " of all threads" if any(r.speeds for r in comparison.results) else ""
    parts = [conditions(comparison), *_memory_runs(comparison), _timing(rounds, f"CPU time{of_all}")]
    return f"{'; '.join(parts)}."


def conditions(comparison: Comparison) -> str:
    """Mode and touch policy."""
    modes = dict.fromkeys(r.mode for r in comparison.results)
    touches = dict.fromkeys(r.touch for r in comparison.results)
    touched = "; ".join(f"touch policy {t} ({_TOUCH[t]})" if t in _TOUCH else f"touch policy {t}" for t in touches)
    return f"Mode {' and '.join(modes)}; {touched}"


def _memory_runs(comparison: Comparison) -> list[str]:
    runs = sorted({r.memory_runs for r in comparison.results})
    return [f"memory, calls and faults: median of {runs[-1]} runs"] if runs[-1] > 1 else []


def _timing(rounds: Sequence[int], what: str) -> str:
    if not rounds:
        return "not timed"
    if rounds[-1] == 1:
        return f"time: {what} of a single round, no interval"
    interval = "bootstrap interval, 95 %" if rounds[0] >= ENOUGH_ROUNDS else "interval of too few for 95 %"
    return f"time: {what}, median of {rounds[-1]} interleaved rounds [{interval}]"


def machine_line(comparison: Comparison) -> str:
    return f"Machine: {machine.one_line(comparison.machine)}."


def failures(comparison: Comparison) -> list[str]:
    names = labels(comparison.allocators)
    return [f"{r.trace} on {names.get(r.allocator, r.allocator)} FAILED: {r.failure}" for r in comparison.failed]


def not_measured(comparison: Comparison, columns: Sequence[Column]) -> list[str]:
    """One line per reason for figures that are absent from the columns shown; the floor and failures aside."""
    names = labels(comparison.allocators)
    missing: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for result in comparison.results:
        if result.allocator == FLOOR or result.failure is not None:
            continue
        for column in columns:
            value = column.measure(result)
            if value is not None and value.value is None and value.reason:
                titles, specs = missing.setdefault(value.reason, ({}, {}))
                titles[column.title] = None
                specs[names[result.allocator]] = None
    everyone = len(comparison.allocators)
    return [
        f"Not measured: {', '.join(titles)}{'' if len(specs) == everyone else f' of {_and(list(specs))}'}: {reason}."
        for reason, (titles, specs) in missing.items()
    ]


def verdict(comparison: Comparison) -> str:
    """For example ``libmimalloc is fastest (1.40x faster than system); system needs least memory.``

    Over several traces it goes by geometric means. Allocators that failed on a trace are not ranked.
    """
    whole = [s for s in comparison.allocators if not any(r.allocator == s for r in comparison.failed)]
    fastest, smallest = (_fastest(comparison, whole), _smallest(comparison, whole)) if len(whole) > 1 else (None, None)
    if fastest and smallest and fastest.who == smallest.who:
        said = [f"{fastest} and {smallest.what}"]
    else:
        said = [str(claim) for claim in (fastest, smallest) if claim]
    unranked = [s for s in comparison.allocators if s not in whole]
    if unranked:
        names = labels(comparison.allocators)
        said.append(f"{_and([names[s] for s in unranked])} failed and {_are(unranked)} not ranked")
    if not said:
        return ""
    text = "; ".join(said)
    if len(comparison.traces) > 1:
        return f"Over {len(comparison.traces)} traces: {text}."
    begins_with_a_name = text.startswith(tuple(labels(comparison.allocators).values()))
    return f"{text}." if begins_with_a_name else f"{text[0].upper()}{text[1:]}."


@dataclass(frozen=True)
class _Claim:
    """``who`` does ``what``."""

    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.who} {self.what}".strip()


def _fastest(comparison: Comparison, specs: Sequence[str]) -> _Claim | None:
    ratios = {s: r for s in specs if (r := mean_time_ratio(comparison, s)) is not None}
    if len(ratios) < 2:
        return None
    leader = min(ratios, key=lambda s: ratios[s].value)
    to_leader = {s: mean_time_ratio(comparison, s, leader) for s in ratios}
    tied = [s for s, r in to_leader.items() if r is not None and not r.differs]
    if len(tied) == len(ratios):
        return _Claim("no significant difference in time", "")
    names = labels(comparison.allocators)
    tells = comparison.allocators[0] not in tied
    asides = {s: _aside(comparison, s, ratios[s]) if tells else "" for s in tied}
    if len(tied) == 1:
        return _Claim(names[leader], f"is fastest{asides[leader]}")
    return _Claim(_and([names[s] + asides[s] for s in tied]), "are fastest")


def _aside(comparison: Comparison, spec: str, time: Ratio) -> str:
    """By how much the fastest beats the first allocator, and what memory that costs."""
    said = f"{in_words(time)} than {labels(comparison.allocators)[comparison.allocators[0]]}"
    memory = mean_ratio(comparison, spec, _MEMORY)
    return f" ({said}, at {times(memory.value)} its memory)" if memory and memory.value >= 1.1 else f" ({said})"


def _smallest(comparison: Comparison, specs: Sequence[str]) -> _Claim | None:
    ratios = {s: r.value for s in specs if (r := mean_ratio(comparison, s, _MEMORY)) is not None}
    if len(ratios) < 2:
        return None
    least = min(ratios.values())
    tied = [s for s, value in ratios.items() if times(value / least) == "1.00x"]
    if len(tied) == len(ratios):
        return _Claim("all need the same memory", "")
    first = comparison.allocators[0]
    names = labels(comparison.allocators)
    against = "" if first in tied else f" ({times(least)} of {names[first]}'s peak resident)"
    return _Claim(_and([names[s] for s in tied]), f"{'needs' if len(tied) == 1 else 'need'} least memory{against}")


def _are(things: Sequence[str]) -> str:
    return "is" if len(things) == 1 else "are"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
