"""A model of tcmalloc-hpaa's page allocator, as its rules are told in csrc/allocators/tcmalloc/hpaa/pages.h. Free pages
are kept as plain lists of runs, and what the heap finds by lists and trees is found here by looking at everything.

Addresses are numbers of pages, upwards from wherever; time stands still but for :meth:`Model.pass_time`, which is long
enough that what was before does not matter for the cache's limit."""

from __future__ import annotations

from dataclasses import dataclass, field

HUGE, HALF, GIB = 256, 128, 512  # pages, pages, hugepages


class Runs:
    """Free runs of a line of places: the shortest that suffices is taken, the lowest of these; of it the low end."""

    def __init__(self, *runs: tuple[int, int]) -> None:
        self.runs = list(runs)  # (start, end), in order

    def total(self) -> int:
        return sum(end - start for start, end in self.runs)

    def longest(self) -> int:
        return max((end - start for start, end in self.runs), default=0)

    def take(self, count: int) -> int | None:
        fitting = [(end - start, start) for start, end in self.runs if end - start >= count]
        if not fitting:
            return None
        length, start = min(fitting)
        self.runs.remove((start, start + length))
        if length > count:
            self.runs = sorted([*self.runs, (start + count, start + length)])
        return start

    def give(self, start: int, count: int) -> None:
        end = start + count
        for run in [r for r in self.runs if r[0] == end or r[1] == start]:
            self.runs.remove(run)
            start, end = min(start, run[0]), max(end, run[1])
        self.runs = sorted([*self.runs, (start, end)])

    def free(self) -> set[int]:
        return {page for start, end in self.runs for page in range(start, end)}


@dataclass
class Hugepage:
    """One that the filler has."""

    number: int
    runs: Runs
    blocks: int = 1
    released: set[int] = field(default_factory=set)
    donation: int = 0
    donated: bool = False
    abandoned: int = 0
    filed: int = 0

    def used(self) -> int:
        return HUGE - self.runs.total()

    def shelf(self) -> int:
        if not self.released:
            return 1 if self.donated else 0
        return 3 if self.released == self.runs.free() else 2

    def list(self) -> tuple[int, int]:
        return self.runs.longest(), 7 - min(7, self.blocks.bit_length() - 1)

    def order(self) -> tuple[int, tuple[int, int], int]:
        return self.shelf(), self.list(), -self.filed


class Model:
    def __init__(self, limit: int = 10, region_slack: int | None = None) -> None:
        self.low = 0  # the lowest hugepage there is; they have negative numbers
        self.cached, self.unbacked = Runs(), Runs()
        self.filled: dict[int, Hugepage] = {}
        self.regions: list[tuple[int, Runs]] = []
        self.region_backed: set[int] = set()
        self.region_slack = region_slack
        self.owned: dict[int, int] = {}  # blocks that begin with a hugepage of their own: pages
        self.limit = self.least_limit = limit
        self.usage = self.files = self.calls = 0
        self.clock_moved = False
        self.start_epoch()

    # --- the cache ---

    def start_epoch(self) -> None:
        self.usages, self.off_peaks, self.sizes = [self.usage], [0], [self.cached.total()]

    def pass_time(self) -> None:
        self.clock_moved = True
        self.start_epoch()

    def count_usage(self, more: int) -> None:
        self.usage += more
        self.usages.append(self.usage)
        self.off_peaks.append(max(self.usages) - self.usage)

    def shrink(self, size: int) -> int:
        before = self.cached.total()
        while (over := self.cached.total() - size) > 0:
            count = min(over, *(end - start for start, end in self.cached.runs))
            start = min((end - start, start) for start, end in self.cached.runs)[1]
            self.cached.take(1)
            self.cached.give(start, 1)
            self.cut(self.cached, start, count)
            self.unbacked.give(start, count)
            self.calls += 1
        self.sizes.append(self.cached.total())
        return before - self.cached.total()

    @staticmethod
    def cut(runs: Runs, start: int, count: int) -> None:
        run = next(r for r in runs.runs if r[0] == start)
        runs.runs.remove(run)
        if run[1] > start + count:
            runs.runs = sorted([*runs.runs, (start + count, run[1])])

    def lower_limit(self) -> None:
        self.clock_moved = False
        if min(self.sizes) >= self.limit // 5:
            self.limit = max(self.least_limit, self.limit - max(min(self.sizes) // 2, 1))

    def new_hugepages(self, count: int) -> int:
        start = self.unbacked.take(count)
        if start is not None:
            return start
        self.low -= count
        self.unbacked.give(self.low, count)
        start = self.unbacked.take(count)
        assert start is not None
        return start

    def take_hugepages(self, count: int) -> int:
        start = self.cached.take(count)
        hit = start is not None
        if start is None:
            start = self.new_hugepages(count)
        self.count_usage(count)
        if hit:
            self.sizes.append(self.cached.total())
        else:
            dip = min(max(self.off_peaks), self.usage - min(self.usages))
            self.limit = max(self.limit, dip + dip // 10)
        return start

    def give_hugepages(self, start: int, count: int) -> None:
        self.count_usage(-count)
        self.cached.give(start, count)
        self.sizes.append(self.cached.total())
        if self.clock_moved:
            self.lower_limit()
        if self.cached.total() > self.limit:
            self.shrink(self.limit)

    # --- the filler ---

    def file(self, hugepage: Hugepage) -> None:
        self.files += 1
        hugepage.filed = self.files

    def take_filled(self, pages: int) -> int | None:
        fitting = [h for h in self.filled.values() if h.runs.longest() >= pages]
        if not fitting:
            return None
        hugepage = min(fitting, key=Hugepage.order)
        page = hugepage.runs.take(pages)
        assert page is not None
        hugepage.released -= set(range(page, page + pages))
        hugepage.blocks += 1
        hugepage.donated = False
        self.file(hugepage)
        return hugepage.number * HUGE + page

    def fill(self, number: int, pages: int, *, donation: bool) -> None:
        hugepage = Hugepage(number, Runs((pages, HUGE)), donation=pages if donation else 0, donated=donation)
        self.filled[number] = hugepage
        self.file(hugepage)

    def give_filled(self, number: int, page: int, pages: int) -> bool:
        """True: the hugepage is empty, and given back but for that."""
        hugepage = self.filled[number]
        if page == 0 and hugepage.donation:
            hugepage.abandoned, hugepage.donation, hugepage.donated = hugepage.donation, 0, False
        hugepage.runs.give(page, pages)
        hugepage.blocks -= 1
        self.file(hugepage)
        if hugepage.blocks:
            return False
        del self.filled[number]
        if not hugepage.released:
            return True
        self.unback(hugepage)
        self.count_usage(-1)
        self.unbacked.give(number, 1)
        return False

    def unback(self, hugepage: Hugepage) -> int:
        pages = sorted(hugepage.runs.free() - hugepage.released)
        self.calls += sum(1 for page in pages if page - 1 not in pages)
        hugepage.released |= set(pages)
        return len(pages)

    # --- regions ---

    def slack(self) -> int:
        return sum(HUGE - h.donation for h in self.filled.values() if h.donation) + sum(
            h.abandoned for h in self.filled.values()
        )

    def take_region(self, pages: int) -> int | None:
        if self.region_slack is None:
            return None
        fitting = [(runs.longest(), i) for i, (_, runs) in enumerate(self.regions) if runs.longest() >= pages]
        if not fitting:
            if self.slack() * 8192 < self.region_slack:
                return None
            self.regions.append((self.new_hugepages(GIB), Runs((0, GIB * HUGE))))
            fitting = [(0, len(self.regions) - 1)]
        start, runs = self.regions[min(fitting)[1]]
        page = runs.take(pages)
        assert page is not None
        at = start * HUGE + page
        self.region_backed |= set(range(at // HUGE, (at + pages - 1) // HUGE + 1))
        return at

    def release_regions(self, wanted: int) -> int:
        """In hugepages."""
        released = 0
        for start, runs in self.regions:
            idle = [
                n
                for n in range(start, start + GIB)
                if n in self.region_backed
                and any(a <= (n - start) * HUGE and b >= (n - start + 1) * HUGE for a, b in runs.runs)
            ][: wanted - released]
            self.calls += sum(1 for n in idle if n - 1 not in idle)
            self.region_backed -= set(idle)
            released += len(idle)
        return released

    # --- blocks ---

    def take_own(self, pages: int) -> int:
        start = self.take_hugepages(-(-pages // HUGE))
        if pages % HUGE:
            self.fill(start + pages // HUGE, pages % HUGE, donation=True)
        self.owned[start * HUGE] = pages
        return start * HUGE

    def take(self, pages: int) -> int:
        at = self.take_filled(pages) if pages < HUGE else None
        if at is None and pages <= HALF:
            number = self.take_hugepages(1)
            self.fill(number, pages, donation=False)
            at = number * HUGE
        if at is None and pages % HUGE:
            at = self.take_region(pages)
        return self.take_own(pages) if at is None else at

    def give(self, at: int, pages: int) -> None:
        for start, runs in self.regions:
            if 0 <= at - start * HUGE < GIB * HUGE:
                runs.give(at - start * HUGE, pages)
                return
        if self.owned.pop(at, 0) == 0:
            if self.give_filled(at // HUGE, at % HUGE, pages):
                self.give_hugepages(at // HUGE, 1)
            return
        start, count = at // HUGE, pages // HUGE
        if pages % HUGE:
            count += self.give_filled(start + count, 0, pages % HUGE)
        if count:
            self.give_hugepages(start, count)

    # --- giving back ---

    def subrelease(self, shelves: tuple[int, ...], wanted: int) -> int:
        among = sorted((h for h in self.filled.values() if h.shelf() in shelves), key=Hugepage.order)
        released = 0
        for hugepage in sorted(among, key=Hugepage.used):
            if released >= wanted or hugepage.used() == HUGE:
                break
            released += self.unback(hugepage)
            self.file(hugepage)
        return released

    def release(self, pages: int) -> int:
        self.lower_limit()
        wanted, size = -(-pages // HUGE), self.cached.total()
        released = self.shrink(min(max(size - wanted, 0), self.limit)) * HUGE
        if released < pages:
            released += self.release_regions(-(-(pages - released) // HUGE)) * HUGE
        if released < pages:
            released += self.subrelease((2,), pages - released)
        if released < pages:
            released += self.subrelease((0, 1), pages - released)
        return released

    def unbacked_pages(self) -> int:
        regions = (len(self.regions) * GIB - len(self.region_backed)) * HUGE
        return self.unbacked.total() * HUGE + sum(len(h.released) for h in self.filled.values()) + regions
