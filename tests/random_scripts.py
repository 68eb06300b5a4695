"""Random scripts of heap calls by several threads, which come, go and fork."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

THREADS = 5


class Script:
    """Statements in the making: who runs, what lives. Thread 0 is the main one.

    ``asks``: statements that may come anywhere, ``acts``: by any thread; sizes are one of ``few``, so that bins meet,
    or up to ``2**bits``; ``refuses``: now and then the system gives no memory.
    """

    def __init__(
        self,
        rng: random.Random,
        asks: Sequence[str],
        few: Sequence[int],
        bits: int,
        refuses: bool = True,
        acts: Sequence[str] = (),
    ) -> None:
        self.rng = rng
        self.asks, self.acts, self.few, self.bits, self.refuses = asks, acts, few, bits, refuses
        self.threads = [0]
        self.live: list[str] = []
        self.born = 0
        self.started = 0
        self.refused = 0  # statements to come for which the system gives no memory

    def statements(self, count: int) -> Iterator[str]:
        for step in range(count):
            grows = (step * 6 // count) % 2 == 0
            kind = self.rng.random()
            self.refused -= 1
            if self.refused == 0:
                yield "limit 0"
            if self.refused > 0:  # only calls of the heap then: a thread's start wants memory, too
                kind = max(kind, 0.03)
            if kind < 0.01 and len(self.threads) < THREADS:
                self.started += 1
                self.threads.append(self.started)
                yield f"start {self.started}"
            elif kind < 0.015 and len(self.threads) > 2:
                yield f"exit {self.threads.pop(self.rng.randrange(1, len(self.threads)))}"
            elif kind < 0.016:
                self.threads = [0]  # the child's only one
                yield "fork"
            elif kind < 0.02 and self.refuses:
                self.refused = 15
                yield "limit 1"
            elif kind < 0.03:
                said = self.rng.choice([*self.asks, *self.acts])
                yield self.by_some_thread(said) if said in self.acts else said
            elif self.live and kind < (0.3 if grows else 0.75):
                yield self.by_some_thread(f"free {self.live.pop(self.rng.randrange(len(self.live)))}")
            elif self.live and kind < (0.4 if grows else 0.85):
                block = self.rng.choice(self.live)
                yield self.by_some_thread(f"{block} = realloc {block} {self.size()}")
            else:
                yield from self.birth()

    def by_some_thread(self, statement: str) -> str:
        thread = self.rng.choice(self.threads)
        return f"{thread}: {statement}" if thread else statement

    def birth(self) -> Iterator[str]:
        """What is born is filled with something, and what calloc gives must be all zero before."""
        self.born += 1
        name, size = f"b{self.born}", self.size()
        self.live.append(name)
        call = self.rng.choice(["malloc"] * 8 + ["calloc"] * 2 + [f"memalign {1 << self.rng.randrange(5, 13)}"])
        yield self.by_some_thread(f"{name} = {call} {size}")
        if call == "calloc":
            yield f"dirty {name} {size}"
        yield f"fill {name} 0xa5 {size}"

    def size(self) -> int:
        return self.rng.choice([*self.few, int(2 ** self.rng.uniform(0, self.bits))])
