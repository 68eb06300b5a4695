"""What a window of the region manager should do, said again in Python as plainly as possible: one entry per page, every
search from the top page by page. Lengths and addresses are pages, but for the break, which is bytes; addresses are
relative to the window's first page."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")


class RefusedError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.errno = number


@dataclass
class Page:
    prot: str
    heap: bool
    content: int = 0  # the byte written to it; 0: nothing was, and there is no physical page

    @property
    def kind(self) -> tuple[str, bool]:
        return self.prot, self.heap


def zeros() -> dict[str, int]:
    return dict.fromkeys(CALLS, 0)


@dataclass
class WindowModel:
    page: int  # bytes
    size: int
    first: int  # the first break
    limit: int = 0  # bytes
    fail_in: int = 0
    pages: dict[int, Page] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)  # pages by which others moved the break
    calls: dict[str, int] = field(default_factory=zeros)
    failed: dict[str, int] = field(default_factory=zeros)
    asked: dict[str, int] = field(default_factory=zeros)
    peaks: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.at = self.first * self.page

    # --- what can be seen ---

    def vmas(self) -> list[tuple[int, int, str, bool]]:
        """Maximal runs of pages of one kind, as (start, end, prot, heap)."""
        runs: list[tuple[int, int, str, bool]] = []
        for number, page in sorted(self.pages.items()):
            start = number
            if runs and runs[-1][1:] == (number, *page.kind):
                start = runs.pop()[0]
            runs.append((start, number + 1, *page.kind))
        return runs

    def held(self) -> tuple[int, int, int]:
        """Bytes mapped, bytes reserved, VMAs."""
        writable = sum(page.prot == "rw" for page in self.pages.values())
        return writable * self.page, len(self.pages) * self.page, len(self.vmas())

    # --- calls ---

    def call(self, kind: str, asked: int, act: Callable[[], int]) -> int:
        """Counts the call and lets it fail if it is its turn; returns its result, or raises RefusedError."""
        self.calls[kind] += 1
        try:
            if self.fail_in:
                self.fail_in -= 1
                if self.fail_in == 0:
                    raise RefusedError(errno.ENOMEM)
            result = act()
        except RefusedError:
            self.failed[kind] += 1
            raise
        self.asked[kind] += asked
        now = self.held()
        self.peaks = (max(self.peaks[0], now[0]), max(self.peaks[1], now[1]), max(self.peaks[2], now[2]))
        return result

    def brk(self, delta: int) -> int:
        old, new = self.at, self.at + delta
        if new < self.first * self.page:
            raise RefusedError(errno.EINVAL)
        if new > self.size * self.page:
            raise RefusedError(errno.ENOMEM)
        old_end, new_end = -(-old // self.page), -(-new // self.page)
        if new_end > old_end:
            self._check_limit(new_end - old_end, 0)
            self._check_room(old_end, new_end)
        for number in range(old_end, new_end):
            self.pages[number] = Page("rw", True)
        self._drop(new_end, old_end)
        self.at = new
        return old

    def foreign_brk(self, delta: int) -> None:
        new = self.at + delta
        if new > self.size * self.page:
            raise RefusedError(errno.ENOMEM)
        old_end, new_end = -(-self.at // self.page), -(-new // self.page)
        self._check_room(old_end, new_end)
        self.foreign.update(range(old_end, new_end))
        self.at = new

    def mmap(self, count: int, at: int, prot: str, placement: str) -> int:
        if count == 0:
            raise RefusedError(errno.EINVAL)
        if placement in ("fixed", "noreplace") and not self._inside(at, count):
            raise RefusedError(errno.ENOMEM)
        replaced = self._writable(at, count) if placement == "fixed" else 0
        self._check_limit(count if prot == "rw" else 0, replaced)
        if placement == "noreplace" and not self._free(at, count):
            raise RefusedError(errno.EEXIST)
        if placement == "anywhere" or (placement == "hint" and not self._free(at, count)):
            at = self._first_gap(count)
        self._drop(at, at + count)
        for number in range(at, at + count):
            self.pages[number] = Page(prot, False)
        return at

    def munmap(self, at: int, count: int) -> int:
        if count == 0 or not self._inside(at, count):
            raise RefusedError(errno.EINVAL)
        self._drop(at, at + count)
        return 0

    def mremap(self, at: int, old: int, new: int, may_move: bool) -> int:
        if old == 0 or new == 0 or not self._inside(at, old):
            raise RefusedError(errno.EINVAL)
        kinds = {self.pages[n].kind if n in self.pages else None for n in range(at, at + old)}
        if len(kinds) > 1 or None in kinds:
            raise RefusedError(errno.EFAULT)
        prot, heap = self.pages[at].kind
        if prot == "rw":
            self._check_limit(new, old)
        if new <= old:
            for number in range(at + new, at + old):
                del self.pages[number]
            return at
        if self._free(at + old, new - old):
            to = at
        elif may_move:
            to, heap = self._first_gap(new), False
        else:
            raise RefusedError(errno.ENOMEM)
        contents = [self.pages.pop(n).content for n in range(at, at + old)]
        for i, content in enumerate(contents + [0] * (new - old)):
            self.pages[to + i] = Page(prot, heap, content)
        return to

    def mprotect(self, at: int, count: int, prot: str) -> int:
        self._check_held(at, count)
        if prot == "rw":
            self._check_limit(count, self._writable(at, count))
        for number in range(at, at + count):
            self.pages[number].prot = prot
        return 0

    def purge(self, at: int, count: int) -> int:
        self._check_held(at, count)
        for number in range(at, at + count):
            self.pages[number].content = 0
        return 0

    # --- rules ---

    def _inside(self, at: int, count: int) -> bool:
        return self.first <= at and at + count <= self.size

    def _free(self, at: int, count: int) -> bool:
        return self._inside(at, count) and not any(n in self.pages or n in self.foreign for n in range(at, at + count))

    def _drop(self, start: int, end: int) -> None:
        for number in range(start, end):
            self.pages.pop(number, None)
            self.foreign.discard(number)

    def _check_room(self, old_end: int, new_end: int) -> None:
        """The break needs one free page more than it takes, but for the end of the window."""
        if new_end > old_end and not self._free(old_end, min(new_end + 1, self.size) - old_end):
            raise RefusedError(errno.ENOMEM)

    def _writable(self, at: int, count: int) -> int:
        return sum(n in self.pages and self.pages[n].prot == "rw" for n in range(at, at + count))

    def _first_gap(self, count: int) -> int:
        for at in range(self.size - count, self.first - 1, -1):
            if self._free(at, count):
                return at
        raise RefusedError(errno.ENOMEM)

    def _check_limit(self, more: int, less: int) -> None:
        if self.limit and more > less and self.held()[0] + (more - less) * self.page > self.limit:
            raise RefusedError(errno.ENOMEM)

    def _check_held(self, at: int, count: int) -> None:
        if not self._inside(at, count):
            raise RefusedError(errno.EINVAL)
        if not all(n in self.pages for n in range(at, at + count)):
            raise RefusedError(errno.ENOMEM)
