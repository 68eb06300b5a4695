"""What allocator fit does, said as plainly as possible: a list of chunks in order of address, every search linear.

Addresses are offsets from the first break. The real one must give the same, for every policy, order and coalesce.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 4096
SEGMENT_HEAD = 24
TAG = 8
LEAST = 32
TOP_LEAST = 24


def round_up(value: int, to: int) -> int:
    return -(-value // to) * to


def need(size: int) -> int:
    return max(LEAST, round_up(size + TAG, 16))


@dataclass
class Chunk:
    at: int
    size: int
    live: bool = True
    entered: int = 0

    @property
    def end(self) -> int:
        return self.at + self.size


@dataclass
class FitModel:
    policy: str
    order: str
    coalesce: str
    top_pad: int
    trim_threshold: int
    chunks: list[Chunk] = field(default_factory=list)
    top: int = 0
    end: int = 0
    unmerged: int = 0
    entries: int = 0
    taken_last: int | None = None
    """The place in order of the chunk that was taken last."""

    # --- search ---

    def place(self, chunk: Chunk) -> int:
        return {"address": chunk.at, "fifo": chunk.entered, "lifo": -chunk.entered}[self.order]

    def find(self, size: int) -> Chunk | None:
        fitting = sorted((c for c in self.chunks if not c.live and c.size >= size), key=self.place)
        if not fitting:
            return None
        if self.policy == "best":
            return min(fitting, key=lambda c: c.size)
        if self.policy == "worst":
            return max(fitting, key=lambda c: c.size)
        if self.policy == "first" or self.taken_last is None:
            found = fitting[0]
        else:
            found = next((c for c in fitting if self.place(c) > self.taken_last), fitting[0])
        self.taken_last = self.place(found)
        return found

    # --- chunks ---

    def enter(self, chunk: Chunk) -> None:
        self.entries += 1
        chunk.entered = self.entries

    def split(self, chunk: Chunk, size: int) -> Chunk | None:
        if chunk.size - size < LEAST:
            return None
        rest = Chunk(chunk.at + size, chunk.size - size, live=chunk.live)
        chunk.size = size
        self.chunks.insert(self.chunks.index(chunk) + 1, rest)
        return rest

    def room(self) -> int:
        return self.end - self.top - TOP_LEAST if self.end else 0

    def take_free(self, size: int) -> Chunk | None:
        chunk = self.find(size)
        if chunk is None:
            return None
        rest = self.split(chunk, size)
        if rest is not None:
            self.enter(rest)
        chunk.live = True
        return chunk

    def take_top(self, size: int) -> Chunk | None:
        if self.room() < size:
            return None
        self.chunks.append(Chunk(self.top, size))
        self.top += size
        return self.chunks[-1]

    def ensure_top(self, size: int) -> None:
        if self.end == 0:
            self.top = SEGMENT_HEAD
            self.end = round_up(SEGMENT_HEAD + size + self.top_pad + TOP_LEAST, PAGE)
        elif self.room() < size:
            self.end += round_up(size + self.top_pad - self.room(), PAGE)

    def take(self, size: int) -> Chunk:
        chunk = self.take_free(size) or self.take_top(size)
        due = self.coalesce == "deferred" and self.unmerged >= max(1, len(self.chunks) // 8)
        if chunk is None and due:
            self.merge_all()
            chunk = self.take_free(size)
        if chunk is None:
            self.ensure_top(size)
            chunk = self.take_top(size)
        assert chunk is not None
        return chunk

    # --- merging ---

    def merge_all(self) -> None:
        at = 0
        while at < len(self.chunks):
            first = run = at
            while run < len(self.chunks) and not self.chunks[run].live:
                run += 1
            free = self.chunks[first:run]
            if free and free[-1].end == self.top:
                del self.chunks[first:run]
                self.top = free[0].at
            elif len(free) > 1:
                free[0].size = free[-1].end - free[0].at
                del self.chunks[first + 1 : run]
                self.enter(free[0])
                at = first + 1
            else:
                at = max(run, first + 1)
        self.unmerged = 0

    def give(self, chunk: Chunk) -> None:
        chunk.live = False
        if self.coalesce != "immediate":
            self.unmerged += 1
            self.enter(chunk)
            return
        at = self.chunks.index(chunk)
        if at + 1 < len(self.chunks) and not self.chunks[at + 1].live:
            chunk.size += self.chunks.pop(at + 1).size
        if at > 0 and not self.chunks[at - 1].live:
            self.chunks.pop(at)
            self.chunks[at - 1].size += chunk.size
            chunk = self.chunks[at - 1]
        if chunk.end != self.top:
            self.enter(chunk)
            return
        self.top = chunk.at
        self.chunks.remove(chunk)
        if self.end - self.top >= self.trim_threshold:
            self.trim(self.top_pad)

    def trim(self, pad: int) -> None:
        if self.room() > pad:
            self.end -= (self.room() - pad) // PAGE * PAGE

    # --- malloc ---

    def at(self, block: int) -> Chunk:
        return next(c for c in self.chunks if c.at + TAG == block)

    def malloc(self, size: int) -> int:
        return self.take(need(size)).at + TAG

    def free(self, block: int) -> None:
        self.give(self.at(block))

    def realloc(self, block: int, size: int) -> int:
        chunk = self.at(block)
        wanted = need(size)
        if wanted > chunk.size and not self.grow(chunk, wanted):
            moved = self.malloc(size)
            self.free(block)
            return moved
        rest = self.split(chunk, wanted)
        if rest is not None:
            self.give(rest)
        return block

    def grow(self, chunk: Chunk, wanted: int) -> bool:
        above = self.chunks.index(chunk) + 1
        run = above
        while run < len(self.chunks) and not self.chunks[run].live and self.chunks[run - 1].end < chunk.at + wanted:
            run += 1
        end = self.chunks[run - 1].end
        if end < chunk.at + wanted:
            if end != self.top:
                return False
            self.ensure_top(chunk.at + wanted - end)
            self.top = end = chunk.at + wanted
        del self.chunks[above:run]
        chunk.size = end - chunk.at
        return True
