"""The window of the region manager: random sequences of calls against a plain model, page by page, and against the
kernel's own account of the same pages."""

from __future__ import annotations

import errno
import mmap
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import budget
from window_model import Page, RefusedError, WindowModel

from alloclab.errors import UsageError
from alloclab.region import CALLS, RIGHTS, Regions
from alloclab.region import Page as Flag

PAGE = mmap.PAGESIZE
MAPS_LINE = re.compile(r"^(\w+)-(\w+) (....)", re.MULTILINE)
SIZE, FIRST = 64, 3  # pages of the window; where its break begins

# A place is said by a VMA there is at that moment (its number, modulo how many there are) and an offset from its start.
place = st.tuples(st.integers(0, 9), st.integers(-1, 4))
count = st.sampled_from([1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 0, 30, SIZE])
prot = st.sampled_from(["rw", "rw", "none"])
placement = st.sampled_from(["anywhere", "anywhere", "hint", "noreplace", "fixed"])
delta = st.one_of(st.integers(-4, 6).map(lambda n: n * PAGE), st.integers(-3 * PAGE, 4 * PAGE))
write = st.tuples(st.just("write"), place, count, st.integers(1, 255))

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("brk"), delta),
        st.tuples(st.just("mmap"), count, place, prot, placement),
        st.tuples(st.just("mmap"), count, place, prot, placement),
        st.tuples(st.just("munmap"), place, count),
        st.tuples(st.just("mremap"), place, count, count, st.booleans()),
        st.tuples(st.just("mremap"), place, st.none(), count, st.just(True)),
        st.tuples(st.just("mprotect"), place, count, prot),
        st.tuples(st.just("purge"), place, count),
        write,
        write,
        st.tuples(st.just("read"), place, count),
        st.tuples(st.just("limit"), st.sampled_from([0, 0, 10, SIZE // 2])),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("foreign"), st.integers(0, 2 * PAGE)),
    ),
    min_size=30,
    max_size=60,
)


class Both:
    """A window and its model, doing the same."""

    def __init__(self) -> None:
        self.real = Regions(window_bytes=SIZE * PAGE, break_offset=FIRST * PAGE, log=True)
        self.model = WindowModel(PAGE, SIZE, FIRST)
        self.base = self.real.base

    def address(self, page: int) -> int:
        return self.base + page * PAGE

    def step(self, name: str, *args: Any) -> None:
        getattr(self, f"do_{name}")(*(self.page_at(*arg) if isinstance(arg, tuple) else arg for arg in args))

    def page_at(self, which: int, offset: int) -> int:
        vmas = self.model.vmas()
        start = vmas[which % len(vmas)][0] if vmas else SIZE // 2
        return max(0, start + offset)

    def same(self, kind: str, asked: int, real: Callable[[], int | None], model: Callable[[], int]) -> tuple[int, int]:
        """(result of the real call, result of the model's); the same errno, and (0, 0), where both refuse."""
        error = 0
        expected = 0
        result: int | None = 0
        try:
            expected = self.model.call(kind, asked, model)
        except RefusedError as refused:
            error = refused.errno
        try:
            result = real()
        except OSError as refused:
            assert refused.errno == error
        else:
            assert error == 0
        return result or 0, expected

    def do_brk(self, delta: int) -> None:
        real, model = self.same("brk", abs(delta), lambda: self.real.brk(delta), lambda: self.model.brk(delta))
        assert real == 0 or real - self.base == model

    def do_mmap(self, count: int, at: int, prot: str, placement: str) -> None:
        real, model = self.same(
            "mmap",
            count * PAGE,
            lambda: self.real.mmap(count * PAGE, at=self.address(at), prot=prot, placement=placement),
            lambda: self.model.mmap(count, at, prot, placement),
        )
        assert real == 0 or real == self.address(model)

    def do_munmap(self, at: int, count: int) -> None:
        real = lambda: self.real.munmap(self.address(at), count * PAGE)  # noqa: E731
        self.same("munmap", count * PAGE, real, lambda: self.model.munmap(at, count))

    def do_mremap(self, at: int, old: int | None, new: int, may_move: bool) -> None:
        """Of a whole VMA, or what there is of it from ``at`` on, if old is None."""
        if old is None:
            old = next((end - at for start, end, *_ in self.model.vmas() if start <= at < end), 1)
        real, model = self.same(
            "mremap",
            new * PAGE,
            lambda: self.real.mremap(self.address(at), old * PAGE, new * PAGE, may_move=may_move),
            lambda: self.model.mremap(at, old, new, may_move),
        )
        assert real == 0 or real == self.address(model)

    def do_mprotect(self, at: int, count: int, prot: str) -> None:
        real = lambda: self.real.mprotect(self.address(at), count * PAGE, prot)  # noqa: E731
        self.same("mprotect", count * PAGE, real, lambda: self.model.mprotect(at, count, prot))

    def do_purge(self, at: int, count: int) -> None:
        real = lambda: self.real.madvise(self.address(at), count * PAGE, "dontneed")  # noqa: E731
        self.same("madvise", count * PAGE, real, lambda: self.model.purge(at, count))

    def writable(self, at: int, count: int) -> list[int]:
        pages = self.model.pages
        return [n for n in range(at, min(at + count, SIZE)) if n in pages and pages[n].prot == "rw"]

    def do_write(self, at: int, count: int, content: int) -> None:
        for number in self.writable(at, count):
            self.real.write(self.address(number) + 7, bytes([content]))
            self.model.pages[number].content = content

    def do_read(self, at: int, count: int) -> None:
        for number in self.writable(at, count):
            assert self.real.read(self.address(number) + 7, 1)[0] == self.model.pages[number].content

    def do_limit(self, pages: int) -> None:
        self.model.limit = pages * PAGE
        self.real.set_limit(pages * PAGE)

    def do_fail(self, nth: int) -> None:
        self.model.fail_in = nth
        self.real.fail_call(nth)

    def do_foreign(self, delta: int) -> None:
        try:
            self.model.foreign_brk(delta)
        except RefusedError:
            with pytest.raises(OSError, match="brk"):
                self.real.foreign_brk(delta)
        else:
            self.real.foreign_brk(delta)

    # --- what both must show after each step ---

    def check_account(self) -> None:
        shown = [((v.start - self.base) // PAGE, (v.end - self.base) // PAGE, v.prot, v.heap) for v in self.real.vmas()]
        assert shown == self.model.vmas()
        c = self.real.counters()
        assert (c.calls, c.failed, c.bytes) == (self.model.calls, self.model.failed, self.model.asked)
        assert (c.mapped, c.reserved, c.vmas) == self.model.held()
        assert (c.peak_mapped, c.peak_reserved, c.peak_vmas) == self.model.peaks

    def check_maps(self) -> None:
        """All of the window is mapped, by lines that are rw-p where the model is writable and ---p elsewhere."""
        rights = dict.fromkeys(range(SIZE), "---p") | dict.fromkeys(self.writable(0, SIZE), "rw-p")
        assert maps_within(self.base, SIZE) == rights

    def check_pages(self) -> None:
        written = [n in self.model.pages and self.model.pages[n].content != 0 for n in range(SIZE)]
        assert own_pages(self.base, SIZE) == written
        assert self.real.pages(self.base, SIZE).tolist() == [flags(self.model.pages.get(n)) for n in range(SIZE)]
        writable = self.writable(0, SIZE)
        assert self.real.resident() == sum(written[n] for n in writable) * PAGE
        for number in writable:
            assert self.real.read(self.address(number), 8) == bytes([0] * 7 + [self.model.pages[number].content])


def maps_within(base: int, pages: int) -> dict[int, str]:
    """The rights of each page of a range, by /proc/self/maps."""
    found = {}
    for start, end, rights in MAPS_LINE.findall(Path("/proc/self/maps").read_text()):
        first, last = (int(start, 16) - base) // PAGE, (int(end, 16) - base) // PAGE
        if first < pages and last > 0:
            found.update(dict.fromkeys(range(max(first, 0), min(last, pages)), rights))
    return found


def own_pages(base: int, pages: int) -> list[bool]:
    """Whether each page is present and mapped by nobody else, which the zero page always is, by /proc/self/pagemap."""
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:  # noqa: PTH123
        pagemap.seek(base // PAGE * 8)
        words = struct.unpack(f"{pages}Q", pagemap.read(pages * 8))
    return [bool(word >> 63 & word >> 56 & 1) for word in words]


def flags(page: Page | None) -> int:
    if page is None:
        return 0
    backing = Flag.RESIDENT if page.content else Flag.ZERO
    return int(Flag.MAPPED | backing | (Flag.COMMITTED if page.prot == "rw" else 0))


def replayed(events: np.ndarray) -> dict[int, tuple[str, bool]]:
    """The kinds of pages held after the logged calls, from the log alone."""
    held: dict[int, tuple[str, bool]] = {}
    rights = {value: name for name, value in RIGHTS.items()}
    for event in events[events["error"] == 0]:
        address, length, result, extra = (int(event[f]) for f in ("address", "bytes", "result", "extra"))
        pages = range(address // PAGE, (address + length) // PAGE)
        match CALLS[event["call"]]:
            case "brk":
                for n in range(-(-result // PAGE), -(-address // PAGE)):
                    held.pop(n, None)
                held.update(dict.fromkeys(range(-(-address // PAGE), -(-result // PAGE)), ("rw", True)))
            case "mmap":
                held.update(dict.fromkeys(pages, (rights[extra], False)))
            case "munmap":
                for n in pages:
                    held.pop(n, None)
            case "mremap":
                kind = held[address // PAGE]
                for n in pages:
                    del held[n]
                if result != address:
                    kind = (kind[0], False)
                held.update(dict.fromkeys(range(result // PAGE, (result + extra) // PAGE), kind))
            case "mprotect":
                held.update({n: (rights[extra], held[n][1]) for n in pages})
    return held


@given(STEPS)
@settings(max_examples=budget(15))
def test_a_window_does_what_its_model_does(steps: list[tuple[Any, ...]]) -> None:
    both = Both()
    with both.real:
        for step in steps:
            both.step(*step)
            both.check_account()
            both.check_maps()
        both.check_pages()
        assert replayed(both.real.events()) == {n: page.kind for n, page in both.model.pages.items()}
        assert len(both.real.events()) == sum(both.model.calls.values())


@given(STEPS)
@settings(max_examples=budget(10))
def test_addresses_in_the_log_are_the_same_in_every_run(steps: list[tuple[Any, ...]]) -> None:
    logs = []
    for _ in range(2):
        both = Both()
        with both.real:
            for op, step in enumerate(steps):
                both.real.set_op(op)
                both.step(*step)
            logs.append(both.real.events().tobytes())
    assert logs[0] == logs[1]


def test_events_are_read_from_where_one_left_off() -> None:
    with Regions(log=True) as regions:
        regions.brk(PAGE)
        first = regions.events()
        block = regions.mmap(3 * PAGE)
        rest = regions.events(since=len(first))
        assert [CALLS[c] for c in rest["call"]] == ["mmap"]
        assert rest["address"][0] == block - regions.base
        assert len(regions.events(since=2)) == 0 and regions.dropped_events() == 0


def test_a_process_space_follows_the_kernel() -> None:
    with Regions("process", log=True) as regions:
        block = regions.mmap(16 * PAGE)
        regions.write(block, b"x" * (4 * PAGE))
        moved = regions.mremap(block, 16 * PAGE, 4096 * PAGE)
        assert regions.read(moved, 4 * PAGE) == b"x" * (4 * PAGE)
        regions.munmap(moved + PAGE, PAGE)
        assert [(v.start - moved, v.end - moved) for v in regions.vmas()] == [(0, PAGE), (2 * PAGE, 4096 * PAGE)]
        assert regions.resident() == 3 * PAGE
        kernel = maps_within(moved, 4096)
        assert [kernel.get(n) for n in (0, 1, 2, 4095)] == ["rw-p", None, "rw-p", "rw-p"]
        assert regions.events()["address"][0] == block
    assert maps_within(moved, 4096) == {}


def smaps(address: int) -> dict[str, str]:
    """The kernel's account of the mapping at ``address``."""
    found: dict[str, str] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if header := re.match(r"^(\w+)-(\w+) ", line):
            inside = int(header[1], 16) <= address < int(header[2], 16)
        elif inside:
            key, _, value = line.partition(":")
            found[key] = value
    return found


@pytest.mark.parametrize("space", ["window", "process"])
def test_advice_reaches_the_kernel(space: str) -> None:
    with Regions(space) as regions:
        block = regions.mmap(8 * PAGE)
        for advice, flag in (("hugepage", "hg"), ("nohugepage", "nh")):
            regions.madvise(block + 2 * PAGE, 3 * PAGE, advice)
            assert flag in smaps(block + 4 * PAGE)["VmFlags"].split()
            assert flag not in smaps(block)["VmFlags"].split()
        assert len(regions.vmas()) == 1
        assert regions.counters().bytes["madvise"] == 6 * PAGE


def test_what_may_be_freed_is_as_it_was_or_zero_until_written() -> None:
    with Regions() as regions:
        block = regions.mmap(8 * PAGE)
        regions.write(block, b"x" * 8 * PAGE)
        regions.madvise(block, 8 * PAGE, "free")
        for page in range(8):
            assert regions.read(block + page * PAGE, PAGE) in (b"x" * PAGE, bytes(PAGE))
        regions.write(block, b"y" * PAGE)
        assert regions.read(block, PAGE) == b"y" * PAGE


def test_the_clock_is_moved_by_hand() -> None:
    with Regions(cpus=5, overcommit=2) as regions:
        regions.advance(10**9)
        assert (regions.now(), regions.cpus, regions.overcommit) == (10**9, 5, 2)


def test_refusals_carry_the_errno_of_the_call() -> None:
    with Regions(window_bytes=16 * PAGE) as regions:
        with pytest.raises(OSError) as refused:
            regions.mmap(17 * PAGE)
        assert refused.value.errno == errno.ENOMEM and refused.value.filename == "mmap"
        with pytest.raises(OSError) as refused:
            regions.munmap(regions.base + 1, PAGE)
        assert refused.value.errno == errno.EINVAL


def test_mistakes_are_told_in_one_line() -> None:
    with Regions(window_bytes=16 * PAGE) as regions:
        with pytest.raises(UsageError, match="there is none, rw"):
            regions.mmap(PAGE, prot="rwx")
        with pytest.raises(UsageError, match="not all readable and writable"):
            regions.write(regions.base, b"x")
    with pytest.raises(UsageError, match="closed"):
        regions.brk(0)
    with pytest.raises(UsageError, match="window_bytes, break_offset"):
        Regions(windows=1)
    with pytest.raises(UsageError, match="out of its range"):
        Regions(window_bytes=-1)
    with pytest.raises(UsageError, match="there is window, process"):
        Regions("nowhere")
