"""Two allocators held against each other: addresses as places, what counts as a difference, faults on both sides."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from replays import PAGE, churn
from rich.console import Console
from rows import Row, write
from support import ROOT, budget, slow

from alloclab.allocators import lab_allocators, libraries_needed, resolve
from alloclab.comparison import fidelity as fidelity_module
from alloclab.comparison.choices import choices
from alloclab.comparison.fidelity import Fidelity, fidelity
from alloclab.comparison.mappings import ELSEWHERE, HEAP, NO_BLOCK, locate
from alloclab.errors import ReplayError, UsageError
from alloclab.replay import Settings
from alloclab.replay.places import CALLS, EVENT_DTYPE, PLACE_DTYPE, Piece, Places, find_places
from alloclab.report.fidelity import print_fidelity
from alloclab.trace import load
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace

HEAP_BEGINS, MAPS = 0x5000000, 0x7000000

BRK, MMAP, MUNMAP, MREMAP, MADVISE, MPROTECT = range(6)

Event = tuple[int, int, int, int, int]
"""call, address, bytes, result, extra"""


def places(steps: Iterable[tuple[list[Event], int]], held: Iterable[Event] = ()) -> Places:
    """Operations, each with its calls and the address it gives."""

    def rows(events: Iterable[tuple[int, Event]]) -> list[tuple[int, ...]]:
        return [(op, address, size, result, extra, call, 0) for op, (call, address, size, result, extra) in events]

    steps = list(steps)
    calls = rows((op, event) for op, (events, _) in enumerate(steps) for event in events)
    made = np.cumsum([len(events) for events, _ in steps])
    ops = [(address, 0, count) for (_, address), count in zip(steps, made, strict=True)]
    return Places(
        np.array(ops, PLACE_DTYPE),
        np.array(rows((0, event) for event in held), EVENT_DTYPE),
        np.array(calls, EVENT_DTYPE),
        heap_begins=HEAP_BEGINS,
        sized=True,
        mapped_before=0,
        peak_mapped=0,
    )


def located(steps: Iterable[tuple[list[Event], int]], held: Iterable[Event] = ()) -> list[tuple[int, int]]:
    found = locate(places(steps, held))
    return list(zip(found.mapping.tolist(), found.offset.tolist(), strict=True))


def mmap(address: int, pages: int) -> Event:
    return (MMAP, address, pages * PAGE, address, 1)


def brk(old: int, new: int) -> Event:
    return (BRK, old, abs(new - old), new, int(new < old))


# --- addresses as places ---


def test_the_heap_is_one_place_however_often_it_grows() -> None:
    h = HEAP_BEGINS
    grown = [([brk(h, h + PAGE)], h + 16), ([], 0), ([brk(h + PAGE, h + 9 * PAGE)], h + 5 * PAGE)]
    shrunk = [([brk(h + 9 * PAGE, h + PAGE), brk(h + PAGE, h + 2 * PAGE)], h + PAGE)]
    assert located(grown + shrunk) == [(HEAP, 16), (NO_BLOCK, 0), (HEAP, 5 * PAGE), (HEAP, PAGE)]


def test_mappings_are_numbered_as_they_first_hold_a_block() -> None:
    a, book, b = MAPS, MAPS + 20 * PAGE, MAPS + 40 * PAGE
    steps = [([mmap(a, 4), mmap(book, 4), mmap(b, 4)], b + 8), ([], a + 16), ([], b + PAGE)]
    assert located(steps) == [(1, 8), (2, 16), (1, PAGE)]
    assert located([([], a + 32)], held=[mmap(book, 1), mmap(a, 2)]) == [(1, 32)]


def test_what_was_cut_off_before_the_first_block_does_not_count_and_later_it_does() -> None:
    trimmed = [(MUNMAP, MAPS, 3 * PAGE, 0, 0), (MUNMAP, MAPS + 7 * PAGE, 3 * PAGE, 0, 0)]
    steps = [([mmap(MAPS, 10), *trimmed], MAPS + 3 * PAGE), ([(MUNMAP, MAPS + 3 * PAGE, PAGE, 0, 0)], MAPS + 4 * PAGE)]
    assert located(steps) == [(1, 0), (1, PAGE)]


def test_a_mapping_that_moves_or_is_mapped_again_in_its_midst_stays_itself() -> None:
    far = MAPS + 100 * PAGE
    steps = [
        ([mmap(MAPS, 4)], MAPS + 16),
        ([(MREMAP, MAPS, 4 * PAGE, far, 8 * PAGE)], far + 16),
        ([mmap(far + PAGE, 2)], far + 2 * PAGE),
        ([(MPROTECT, far, 8 * PAGE, 0, 1)], far + 7 * PAGE),
        ([(MREMAP, far, 8 * PAGE, far, 2 * PAGE)], far + PAGE),
        ([], far + 3 * PAGE),
        ([mmap(MAPS, 1)], MAPS),
    ]
    assert located(steps) == [
        (1, 16), (1, 16), (1, 2 * PAGE), (1, 7 * PAGE), (1, PAGE), (ELSEWHERE, 0), (2, 0),
    ]  # fmt: skip


def test_a_fixed_mapping_over_several_is_a_new_one() -> None:
    steps = [([mmap(MAPS, 4), mmap(MAPS + 4 * PAGE, 4)], MAPS), ([], MAPS + 4 * PAGE)]
    steps += [([mmap(MAPS + 2 * PAGE, 4)], MAPS + 4 * PAGE), ([], MAPS + PAGE), ([], MAPS + 7 * PAGE)]
    assert located(steps) == [(1, 0), (2, 0), (3, 2 * PAGE), (1, PAGE), (2, 3 * PAGE)]


class PlainSpace:
    """The same, page by page: page -> (mapping, its page at birth)."""

    def __init__(self) -> None:
        self.pages: dict[int, tuple[int, int]] = {}
        self.mappings = 0
        self.numbers: dict[int, int] = {}
        self.origins: dict[int, int] = {}

    def apply(self, event: Event) -> None:
        call, address, size, result, extra = event
        first, count = address // PAGE, -(-size // PAGE)
        if call == MMAP:
            old = {self.pages[p][0] if p in self.pages else None for p in range(first, first + count)}
            if len(old) == 1 and None not in old:
                return
            self.mappings += 1
            self.pages |= {p: (self.mappings, p) for p in range(first, first + count)}
        elif call == MUNMAP:
            for p in range(first, first + count):
                self.pages.pop(p, None)
        else:
            moved = [self.pages.pop(p) for p in range(first, first + count)]
            mapping, last = moved[-1]
            moved += [(mapping, last + 1 + i) for i in range(extra // PAGE - count)]
            self.pages |= {result // PAGE + i: page for i, page in enumerate(moved[: extra // PAGE])}

    def find(self, address: int) -> tuple[int, int]:
        page = address // PAGE
        if page not in self.pages:
            return (ELSEWHERE, 0)
        mapping, born = self.pages[page]
        if mapping not in self.numbers:
            self.numbers[mapping] = len(self.numbers) + 1
            while (before := self.pages.get(page - 1)) == (mapping, born - 1):
                page, born = page - 1, before[1]
            self.origins[mapping] = born
        return (self.numbers[mapping], (self.pages[address // PAGE][1] - self.origins[mapping]) * PAGE + address % PAGE)


def random_event(rng: random.Random, space: PlainSpace) -> Event | None:
    first, count = rng.randrange(64), rng.randrange(1, 12)
    kind = rng.random()
    address = MAPS + first * PAGE
    if kind < 0.4:
        return mmap(address, count)
    if kind < 0.7:
        return (MUNMAP, address, count * PAGE - rng.randrange(PAGE), 0, 0)
    owners = {space.pages.get(address // PAGE + i, (None, 0))[0] for i in range(count)}
    if len(owners) != 1 or None in owners:
        return None
    to, new = 200 + rng.randrange(64), rng.randrange(1, 16)
    if any(MAPS // PAGE + to + i in space.pages for i in range(new)):
        return None
    return (MREMAP, address, count * PAGE, MAPS + to * PAGE, new * PAGE)


@pytest.mark.parametrize("seed", range(budget(20)))
def test_places_equal_those_of_a_plain_account_of_pages(seed: int) -> None:
    rng = random.Random(seed)
    space = PlainSpace()
    steps, expected = [], []
    for _ in range(300):
        event = random_event(rng, space) if rng.random() < 0.4 else None
        events = [event] if event else []
        for made in events:
            space.apply(made)
        page = rng.choice(list(space.pages)) if space.pages and rng.random() < 0.8 else None
        address = 0 if page is None else page * PAGE + rng.randrange(PAGE)
        steps.append((events, address))
        expected.append((NO_BLOCK, 0) if page is None else space.find(address))
    assert located(steps) == expected


# --- what is compared ---


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[Iterable[Row]], Trace]:
    return lambda rows: write(tmp_path / "t.parquet", rows)


def large() -> list[Row]:
    rows = []
    for i in range(30):
        rows += [Row(Op.MALLOC, 2 * i, 100_000 + 20_000 * i), Row(Op.REALLOC, 2 * i, 300_000 + 50_000 * i)]
        rows += [Row(Op.ALIGNED, 2 * i + 1, 200_000 + 4096 * i, align=1 << (4 + i % 17))]
        rows += [Row(Op.REALLOC, 2 * i + 1, 400_000 + 8192 * i)]
    return rows + [Row(Op.FREE, i) for i in range(0, 60, 4)]


@pytest.mark.parametrize("spec", ["system", *(lab.name for lab in lab_allocators())])
@pytest.mark.parametrize("rows", [churn(6000, 5, most=1 << 17), large()], ids=["churn", "large"])
def test_an_allocator_does_the_same_as_itself(rows: list[Row], spec: str, trace) -> None:
    found = fidelity(trace(rows), spec, spec)
    assert found.same and found.first is None and found.before == ()
    assert found.agreeing == found.operations and sum(found.sides[0].calls.values()) > 0


@pytest.mark.needs("libjemalloc")
@pytest.mark.needs("libtcmalloc_minimal")
@pytest.mark.parametrize("library", ["libjemalloc", "libtcmalloc_minimal"])
def test_a_library_with_start_up_blocks_does_the_same_as_itself(library: str, trace) -> None:
    assert fidelity(trace(churn(4000, 6)), library, library).same


@pytest.mark.needs("libtcmalloc_minimal")
def test_both_sides_start_with_the_same_blocks_of_libraries(trace) -> None:
    """libstdc++ takes 72,704 bytes as it starts, which libtcmalloc needs."""
    found = fidelity(trace([Row(Op.MALLOC, 0, 100)]), "fit", "libtcmalloc_minimal")
    assert found.first is not None
    alone, beside = fidelity(trace([Row(Op.MALLOC, 0, 100)]), "bump", "fit").sides[1], found.sides[0]
    assert alone.mapped_before == 0 and beside.mapped_before >= 72_704
    assert found.first.blocks[0].offset is not None and found.first.blocks[0].offset >= 72_704


@pytest.mark.needs("gcc")
def test_a_needed_library_with_a_malloc_of_its_own_is_not_the_systems(trace, tmp_path: Path) -> None:
    source = "void *malloc(size_t n) { return __libc_malloc(n + 64); }"
    outer = library(tmp_path, source, "outer", "-Wl,--no-as-needed", library(tmp_path, source, "inner"))
    rows = [Row(Op.MALLOC, i, 100) for i in range(3)]
    assert not fidelity(trace(rows), outer, "system").same


def test_a_copy_of_a_drop_in_under_another_name_does_the_same(trace, tmp_path: Path) -> None:
    copy = tmp_path / "libother.so"
    shutil.copy(resolve("fit").preload or "", copy)
    found = fidelity(trace(churn(3000, 7)), "fit", str(copy))
    assert found.same and found.sides[1].allocator == str(copy)


def library(folder: Path, source: str, name: str = "over", *needs: str) -> str:
    """A malloc over libc's own, linked with other libraries."""
    head = "#define _GNU_SOURCE\n#include <stddef.h>\n#include <sys/mman.h>\nextern void *__libc_malloc(size_t);\n"
    rest = """
extern void *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
void free(void *p) { __libc_free(p); }
int posix_memalign(void **out, size_t a, size_t n) { return (*out = __libc_memalign(a, n)) ? 0 : 12; }
"""
    file, built = folder / f"{name}.c", folder / f"lib{name}.so"
    file.write_text(head + source + rest)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", str(built), str(file), *needs], check=True)
    return str(built)


@pytest.mark.needs("gcc")
def test_the_first_operation_that_differs_is_found_and_told(trace, tmp_path: Path) -> None:
    other = library(tmp_path, "void *malloc(size_t n) { return __libc_malloc(n == 4242 ? n + 64 : n); }")
    rows = [Row(Op.MALLOC, i, 100) for i in range(50)]
    rows += [Row(Op.FREE, 7), Row(Op.MALLOC, 50, 4242), Row(Op.MALLOC, 51, 2000), Row(Op.FREE, 50)]
    found = fidelity(trace(rows), other)
    assert not found.same
    assert found.first is not None and found.first.operation == 52  # no usable size: the block after it lies elsewhere
    assert found.first.differs == ("offset",)
    assert (found.first.kind, found.first.bytes, found.first.born) == ("malloc", 2000, None)
    assert [step.operation for step in found.before] == [46, 47, 48, 49, 50, 51]
    assert (found.before[4].kind, found.before[4].born) == ("free", 7)
    mine, theirs = found.first.blocks
    assert mine.mapping == theirs.mapping == "heap"
    assert mine.offset is not None and theirs.offset is not None and mine.offset == theirs.offset + 64
    assert found.sides[0].usable_bytes is None and found.sides[1].usable_bytes is not None
    assert (found.agreeing, found.other_blocks, found.other_calls) == (found.operations - 1, 1, 0)


@pytest.mark.needs("gcc")
def test_usable_sizes_that_nobody_tells_are_not_said_to_agree(trace, tmp_path: Path) -> None:
    found = fidelity(trace(churn(100, 1)), library(tmp_path, "void *malloc(size_t n) { return __libc_malloc(n); }"))
    assert found.same and "every operation agrees in where its block lies and its system calls." in said(found)
    assert "Usable sizes are not compared: " in said(found) and "its usable size" not in said(found)


@pytest.mark.needs("gcc")
def test_calls_that_differ_are_a_difference(trace, tmp_path: Path) -> None:
    source = "void *malloc(size_t n) { void *p = __libc_malloc(n); if (n == 77) madvise(0, 0, 4); return p; }"
    rows = [Row(Op.MALLOC, i, 60 + i) for i in range(30)]
    found = fidelity(trace(rows), library(tmp_path, source))
    assert found.first is not None and (found.first.operation, found.first.differs) == (17, ("calls",))
    mine, theirs = found.first.calls
    assert [call.kind for call in mine] == ["madvise"] and theirs == ()
    assert (found.other_blocks, found.other_calls) == (0, 1)
    assert (found.sides[0].calls["madvise"], found.sides[1].calls["madvise"]) == (1, 0)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("mmap", "munmap(map(9, 3), 36864)", "munmap(map(9, 0), 36864)"),
        ("mprotect", "mprotect(m + 4096, 4096, 3)", "mprotect(m + 4096, 4096, 0)"),
        ("mprotect", "mprotect(m + 4096, 4096, 0)", "mprotect(m + 8192, 4096, 0)"),
        ("madvise", "madvise(m, 4096, 4)", "madvise(m, 4096, 8)"),
        ("madvise", "madvise(m, 4096, 4)", "madvise(m + 4096, 4096, 4)"),
        ("munmap", "munmap(m + 4096, 4096)", "munmap(m + 4096, 8192)"),
        ("munmap", "munmap(m + 4096, 4096)", "munmap(m + 8192, 4096)"),
    ],
)
def test_calls_of_a_kind_differ_in_what_they_do(name: str, one: str, other: str, trace, tmp_path: Path) -> None:
    source = """
static char *map(int pages, int rights) { return mmap(0, pages * 4096L, rights, 0x22, -1, 0); }
static char *m;
void *malloc(size_t n) {
    if (n == 77) return m = map(10, 3);
    if (n == 80) { %s; }
    return __libc_malloc(n);
}
"""
    rows = [Row(Op.MALLOC, i, 60 + i) for i in range(30)] + [Row(Op.MALLOC, 30, 1 << 20)]
    found = fidelity(trace(rows), library(tmp_path, source % one, "one"), library(tmp_path, source % other, "other"))
    assert found.first is not None and (found.first.operation, found.first.differs) == (20, ("calls",))
    assert found.first.calls[0] != found.first.calls[1] and found.first.calls[0][-1].kind in (name, "munmap")
    assert (found.other_blocks, found.other_calls) == (0, 1)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("one", "other", "differs"), [("2, 0", "3, 0", "calls"), ("3, 0", "3, a", "offset")], ids=["mapped", "place"]
)
def test_an_aligned_block_differs_in_what_is_mapped_for_it_and_in_its_place(
    one: str, other: str, differs: str, trace, tmp_path: Path
) -> None:
    source = """
static int map(void **out, size_t a, size_t n, size_t times, size_t skipped) {
    char *p = mmap(0, times * (n + a), 3, 0x22, -1, 0);
    return (*out = p + (-(size_t)p & (a - 1)) + skipped) ? 0 : 12;
}
int posix_memalign(void **out, size_t a, size_t n) { return map(out, a, n, %s); }
void *malloc(size_t n) { return __libc_malloc(n); }
#define posix_memalign static __attribute__((unused)) unused
"""
    rows = [Row(Op.ALIGNED, 0, 100_000, align=1 << 16), Row(Op.MALLOC, 1, 1 << 20)]
    found = fidelity(trace(rows), library(tmp_path, source % one, "one"), library(tmp_path, source % other, "other"))
    assert found.first is not None and (found.first.operation, found.first.differs) == (0, (differs,))


@pytest.mark.needs("gcc")
def test_where_an_aligned_mapping_lands_is_no_difference(trace, tmp_path: Path) -> None:
    """The first operation maps a page more, and all that follow land elsewhere."""
    source = "void *malloc(size_t n) { mmap(0, 4096, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); return __libc_malloc(n); }"
    other = library(tmp_path, source)
    rows = [Row(Op.MALLOC, 0, 10)]
    rows += [Row(Op.ALIGNED, i, 300_000, align=1 << (4 + i)) for i in range(1, 17)]
    rows += [Row(Op.REALLOC, i, 500_000) for i in range(1, 17)] + [Row(Op.FREE, i) for i in range(1, 17)]
    found = fidelity(trace(rows), other)
    assert found.first is not None and (found.first.operation, found.first.differs) == (0, ("calls",))
    assert (found.agreeing, found.other_blocks) == (found.operations - 1, 0)
    compiled = compile_trace(trace(rows))
    places = [find_places(compiled, resolve(spec), Settings()).ops["address"] for spec in (other, "system")]
    assert (places[0][1:17] % (1 << 20) != places[1][1:17] % (1 << 20)).any()


@pytest.mark.needs("gcc")
@pytest.mark.needs("fixed addresses")
def test_mappings_land_alike_whatever_was_mapped_before(trace, tmp_path: Path) -> None:
    source = "void *malloc(size_t n) { return __libc_malloc(n); }\n"
    source += "__attribute__((constructor)) static void start(void) {"
    source += " mmap(0, 12345678, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }"
    other = library(tmp_path, source)
    compiled = compile_trace(trace(large()))
    places = [find_places(compiled, resolve(spec), Settings()).ops["address"] for spec in (other, "system")]
    assert ((places[0] - places[1]) % (1 << 30) == 0).all()


def test_lengths_that_no_call_can_have_are_told_as_they_were_asked(trace) -> None:
    found = fidelity(trace([Row(Op.MALLOC, None, 2**63 - 4096, failed=True)]), "bump", "system")
    assert found.first is not None
    lengths = [call.bytes for side in found.first.calls for call in side if call.kind == "mmap"]
    assert lengths and max(lengths) >= 2**63 - 4096 and min(lengths) > 0


# --- choices ---


def holes() -> list[Row]:
    """Free pieces of a kilobyte and, above it, of half of one; then a request that either serves."""
    rows = [Row(Op.MALLOC, i, 1000 if i == 1 else 500) for i in range(5)]
    return [*rows, Row(Op.FREE, 1), Row(Op.FREE, 3), Row(Op.MALLOC, 5, 400)]


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize("swapped", [False, True])
def test_what_the_other_chose_is_told(swapped: bool, trace) -> None:
    specs = ("fit:policy=first", "fit:policy=best")
    found = fidelity(trace(holes()), *(reversed(specs) if swapped else specs))
    assert found.first is not None and found.first.operation == 7 and found.choices is not None
    pieces = (found.choices.own, found.choices.other)
    assert found.choices.allocator == found.sides[0].allocator and found.choices.first is None
    assert found.choices.candidate and [piece is not None and piece.state for piece in pieces] == ["free", "free"]
    sizes = [piece.bytes for piece in pieces if piece]
    assert (sizes[0] > 1000) != swapped and (sizes[1] > 1000) == swapped and min(sizes) > 400
    assert json.loads(found.to_json())["choices"]["own"]["bytes"] == sizes[0]
    assert f"Where {found.sides[1].allocator} put it, {found.sides[0].allocator} had a free piece" in said(found)


@pytest.mark.needs("glibc 2.36")
@pytest.mark.needs("fixed addresses")
def test_facts_of_the_one_that_can_be_looked_into_are_told(trace) -> None:
    rows = [Row(Op.MALLOC, i, 100) for i in range(5)] + [Row(Op.FREE, i) for i in range(4)] + [Row(Op.MALLOC, 5, 100)]
    found = fidelity(trace(rows), "system", "ptmalloc:tcache_count=2")
    assert found.choices is not None and found.choices.allocator == "ptmalloc:tcache_count=2"
    own, other = found.choices.own, found.choices.other
    assert own is not None and other is not None and found.choices.candidate
    assert (own.state, own.facts["in"], own.facts["position"]) == ("cached", "tcache", 0)
    assert (other.state, other.facts["in"], other.facts["prev_inuse"]) == ("free", "fastbin", True)
    assert "Where system put it, ptmalloc:tcache_count=2 had a free piece that serves it." in said(found)
    assert re.search(r"in +tcache +fastbin", said(found)) and re.search(r"prev_inuse +yes +yes", said(found))


def said(found: Fidelity) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_fidelity(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_where_nothing_was_that_is_told(trace) -> None:
    found = fidelity(trace([Row(Op.MALLOC, 0, 100)]), "fit", "bump")
    if found.choices is not None:  # not where addresses are random
        assert (found.choices.own, found.choices.other, found.choices.candidate) == (None, None, False)
        assert "Where bump put it, fit had nothing yet." in said(found)


@pytest.mark.needs("gcc")
def test_who_gets_no_block_has_chosen_none(trace, tmp_path: Path) -> None:
    other = library(tmp_path, "void *malloc(size_t n) { return n == 4242 ? NULL : __libc_malloc(n); }")
    found = fidelity(trace([Row(Op.MALLOC, 0, 10), Row(Op.MALLOC, 1, 4242)]), "ptmalloc", other)
    assert found.first is not None and found.choices is None


def piece(state: str, size: int, **facts: int) -> Piece:
    return Piece(state, 0, size, {name.replace("_", " "): value for name, value in facts.items()})


def test_a_candidate_is_free_and_serves_the_request() -> None:
    for state in ("free", "cached"):
        assert choices("a", [None, piece(state, 100)], 100).candidate
        assert not choices("a", [None, piece(state, 99)], 100).candidate
        served = piece(state, 1, serves_from=50, serves_to=100)
        assert [choices("a", [None, served], n).candidate for n in (49, 50, 100, 101)] == [False, True, True, False]
    assert not choices("a", [None, piece("live", 100)], 100).candidate
    assert not choices("a", [None, piece("metadata", 100)], 100).candidate


def test_of_two_pieces_the_older_goes_first_then_the_lower() -> None:
    old, low, high = (piece("free", 9, serial=s, extent=e) for s, e in ((1, 8000), (2, 4000), (2, 5000)))
    assert [choices("a", pair, 9).first for pair in ((old, low), (high, low), (low, high))] == ["own", "other", "own"]
    assert choices("a", (low, low), 9).first is choices("a", (low, piece("free", 9, serial=1)), 9).first is None


# --- blocks that begin at a random place in their first page ---


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(("scattered_from", "same"), [(0, False), (20_008, True), (20_009, False)])
def test_of_scattered_blocks_the_page_is_compared(
    scattered_from: int, same: bool, trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity_module, "_scattered_from", lambda _: scattered_from)
    source = "void *malloc(size_t n) { return n == 20000 ? (char *)__libc_malloc(n) + %d : __libc_malloc(n); }"
    rows = [Row(Op.MALLOC, 0, 100), Row(Op.MALLOC, 1, 20_000)]
    found = fidelity(trace(rows), library(tmp_path, source % 64))
    assert found.same == same and ("begin at a random place" in said(found)) == (scattered_from > 0)
    found = fidelity(trace(rows), library(tmp_path, source % PAGE, "page"))
    assert found.first is not None and found.first.differs == ("offset",)


# --- time ---


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("clock", ["CLOCK_MONOTONIC", *slow("CLOCK_MONOTONIC_COARSE")])
def test_clocks_tell_the_recorded_time(clock: str, trace, tmp_path: Path) -> None:
    """Asks the system where three seconds have passed since the last time; usleep makes the machine a slow one."""
    source = """
#include <time.h>
#include <unistd.h>
void *malloc(size_t n) {
    static long last;
    struct timespec now;
    usleep(20000);
    clock_gettime(%s, &now);
    if (last == 0) last = now.tv_sec;
    if (now.tv_sec >= last + 3) { last = now.tv_sec; madvise(0, 0, 4); }
    return __libc_malloc(n);
}
"""
    other = library(tmp_path, source % clock)
    second = 10**9
    rows = [Row(Op.MALLOC, i, 100, time=i * second) for i in range(10)]
    found = fidelity(trace(rows), other, other)
    assert found.same and found.sides[0].calls["madvise"] == 3
    found = fidelity(trace(rows), other)
    assert found.first is not None and (found.first.operation, found.other_calls) == (3, 3)


# --- faults ---


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("spec", ["system", "fit"])
def test_the_nth_call_fails(spec: str, nth: int, trace) -> None:
    compiled = compile_trace(trace(large()))
    found = find_places(compiled, resolve(spec), Settings(), fail_call=nth)
    errors = found.events["error"]
    asked = found.events["call"][nth - 1] == BRK and found.events["bytes"][nth - 1] == 0
    assert np.flatnonzero(errors).tolist() == ([] if asked else [nth - 1])
    result = fidelity(trace(large()), spec, spec, fail_call=nth)
    assert result.same and result.sides[0].failed_calls == (0 if asked else 1)


@pytest.mark.parametrize("spec", ["system", "fit"])
def test_a_limit_is_never_passed(spec: str, trace) -> None:
    compiled = compile_trace(trace(large()))
    free = find_places(compiled, resolve(spec), Settings())
    limit = free.peak_mapped // 3
    found = find_places(compiled, resolve(spec), Settings(), limit=limit)
    assert 0 < found.peak_mapped <= limit
    births = [i for i, row in enumerate(large()) if row.op in (Op.MALLOC, Op.ALIGNED)]
    assert (found.ops["address"][births] == 0).any() and (free.ops["address"][births] != 0).all()
    result = fidelity(trace(large()), spec, spec, limit=limit)
    assert result.same and result.sides[0].failed_calls > 0


# --- what can go wrong ---


def test_bad_input_is_told(trace) -> None:
    small = trace([Row(Op.MALLOC, 0, 10)])
    with pytest.raises(UsageError, match="overlap"):
        fidelity(small, "null")
    for wrong in (Settings(in_process=True), Settings(mode="concurrent")):
        with pytest.raises(UsageError, match=r"a process of its own|replay is serial, not concurrent"):
            fidelity(small, "fit", settings=wrong)
    with pytest.raises(UsageError, match="variables for bump"):
        fidelity(small, "fit", env={"bump": {"A": "1"}})
    for name in ("fail_call", "limit"):
        with pytest.raises(UsageError, match=f"{name} is a number from 0 to"):
            fidelity(small, "fit", "fit", **{name: -1})


@pytest.mark.needs("gcc")
def test_a_crash_is_told(trace, tmp_path: Path) -> None:
    other = library(
        tmp_path, "void *malloc(size_t n) { return n == 4242 ? (__builtin_trap(), NULL) : __libc_malloc(n); }"
    )
    with pytest.raises(ReplayError, match=r"libover.so: on t it crashed \(SIGILL\) in operation 1$"):
        fidelity(trace([Row(Op.MALLOC, 0, 10), Row(Op.MALLOC, 1, 4242)]), other)


@pytest.mark.needs("gcc")
def test_a_library_with_threads_of_its_own_is_refused(trace, tmp_path: Path) -> None:
    source = "#include <pthread.h>\n#include <unistd.h>\nvoid *malloc(size_t n) { return __libc_malloc(n); }\n"
    source += "static void *sleeper(void *x) { for (;;) pause(); return x; }\n"
    source += "__attribute__((constructor)) static void start(void) "
    source += "{ pthread_t t; pthread_create(&t, NULL, sleeper, NULL); }\n"
    with pytest.raises(ReplayError, match="runs threads of its own, whose calls are not seen"):
        fidelity(trace([Row(Op.MALLOC, 0, 10)]), library(tmp_path, source))


def test_needed_libraries_are_read_from_the_file() -> None:
    assert libraries_needed(resolve("fit").preload or Path()) == []
    with pytest.raises(UsageError, match="damaged"):
        libraries_needed(ROOT / "README.md")


def test_json_holds_the_same(trace) -> None:
    found = fidelity(trace(churn(500, 1)), "bump", "fit")
    document = json.loads(found.to_json())
    assert document["schema"] == 1 and document["same"] is False is found.same
    assert document["operations"] == 500 and document["first"]["operation"] == found.first.operation  # type: ignore[union-attr]
    assert [side["allocator"] for side in document["sides"]] == ["bump", "fit"]
    assert set(document["sides"][0]["calls"]) == set(CALLS)


@pytest.mark.parametrize("name", ["cc1", *slow("node")])
def test_recordings_of_real_programs_repeat(name: str) -> None:
    found: Fidelity = fidelity(load(ROOT / "traces" / f"{name}.parquet"), "system", "system")
    assert found.same
