"""Orders in which the threads of a recording may run: in one and the same, allocators are asked for the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from alloclab.trace.compile import KINDS, OP_DTYPE, OPS_PAD
from alloclab.trace.strands import Strands

WAIT, POST, OPERAND = (KINDS.index(kind) for kind in ("wait", "post", "operand"))
ENTRIES, EVENTS = 2, 12  # words of the head (csrc/trace/strands.h)
LONGEST_TURN = 12  # log2 of entries


def in_one_order(trace: Strands, seed: int) -> Strands:
    """The same, but one thread at a time: who has had its turn posts an event for which the next one waits. The order
    is one that the recording allows; the seed decides which. Only what a thread leaves as it ends is beside others."""
    places = [int(first) for first in trace.ranges["first"]]
    extra: list[list[tuple[int, int, int]]] = [[] for _ in places]  # by strand: before which entry, kind, event
    events, last = trace.edges, 0
    for strand, upto in turns(trace, random.Random(seed)):
        if strand != last:
            extra[last].append((places[last], POST, events))
            extra[strand].append((places[strand], WAIT, events))
            events += 1
        last, places[strand] = strand, upto
    parts = [woven(trace, strand, found) for strand, found in enumerate(extra)]
    ranges, head = trace.ranges.copy(), trace.head.copy()
    ranges["count"] = [len(part) - OPS_PAD for part in parts]
    ranges["first"] = np.cumsum([0, *(len(part) for part in parts[:-1])])
    head[ENTRIES], head[EVENTS] = sum(len(part) for part in parts), events
    return replace(trace, head=head, ranges=ranges, entries=np.concatenate(parts), edges=events)


def woven(trace: Strands, strand: int, extra: list[tuple[int, int, int]]) -> np.ndarray:
    """A strand's entries, padding and all, with waits and posts more."""
    first, count = (int(word) for word in trace.ranges[strand])
    new = np.zeros(len(extra), OP_DTYPE)
    new["kind"], new["size"] = [kind for _, kind, _ in extra], [event for _, _, event in extra]
    return np.insert(trace.entries[first : first + count + OPS_PAD], [place - first for place, _, _ in extra], new)


def turns(trace: Strands, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Which strand goes on, and up to which entry: some way, but not past a wait for what was not posted."""
    kinds, events = trace.entries["kind"], trace.entries["size"]
    places = [int(first) for first in trace.ranges["first"]]
    ends = [place + int(count) for place, count in zip(places, trace.ranges["count"], strict=True)]
    asides = [[place + int(at) for at in np.flatnonzero((kinds[place:end] == WAIT) | (kinds[place:end] == POST))][::-1]
              for place, end in zip(places, ends, strict=True)]  # fmt: skip
    posted: set[int] = set()
    acts, alive = [(int(act["strand"]), bool(act["exits"])) for act in trace.acts][::-1], [0]
    while True:
        while acts and (not acts[-1][1] or places[acts[-1][0]] == ends[acts[-1][0]]):
            strand, exits = acts.pop()
            alive += [] if exits else [strand]
        alive = [strand for strand in alive if places[strand] < ends[strand]]
        if not alive:
            return
        strand = rng.choice(alive)
        upto = min(places[strand] + int(2 ** rng.uniform(0, LONGEST_TURN)), ends[strand])
        upto += int(upto < ends[strand] and kinds[upto] == OPERAND)
        while asides[strand] and asides[strand][-1] < upto:
            place = asides[strand][-1]
            if kinds[place] == WAIT and int(events[place]) not in posted:
                upto = place
                break
            if kinds[place] == POST:
                posted.add(int(events[place]))
            asides[strand].pop()
        if upto > places[strand]:
            places[strand] = upto
            yield strand, upto
