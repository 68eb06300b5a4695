"""ptmalloc's settings, and what it says of itself: as glibc, to the letter; then the policies that glibc lacks."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import HERE, compile_c, run

from alloclab.allocators import lab_allocators, resolve
from alloclab.heap import Heap

GLIBC = "system"
CASES = [
    *("nothing", "cached", "fast", "consolidated", "unsorted", "small", "large", "mapped", "huge", "trimmed", "file"),
    *("options", "threads", "arenas", "tour"),
]
SETTINGS = {
    "tcache_count": "3",
    "tcache_max": "550",
    "tcache_unsorted_limit": "1",
    "mmap_threshold": "300000",
    "trim_threshold": "1000000",
    "top_pad": "10000",
    "mmap_max": "5",
    "arena_max": "4",
    "arena_test": "20",
    "mxfast": "80",
    "perturb": "165",
    "hugetlb": "1",
}
"""glibc's tunables, each with a value that shows."""

TUNABLES = [
    *(f"glibc.malloc.{name}={value}" for name, value in SETTINGS.items()),
    *(f"glibc.malloc.tcache_count={value}" for value in ("0", "1", "65535", "65536", "-3", "4294967297")),
    *(f"glibc.malloc.tcache_max={value}" for value in ("0", "24", "25", "1032", "1041", "-1")),
    *(f"glibc.malloc.mxfast={value}" for value in ("0", "17", "24", "100", "160", "161")),
    *(f"glibc.malloc.mmap_threshold={value}" for value in ("0", "700", "33554433", "-3")),
    *(f"glibc.malloc.trim_threshold={value}" for value in ("0", "-1")),
    *(f"glibc.malloc.top_pad={value}" for value in ("0", "1", "20000000")),
    *(f"glibc.malloc.mmap_max={value}" for value in ("0", "-0", "-1", "2147483648")),
    *(f"glibc.malloc.arena_max={value}" for value in ("0", "1", "-1")),
    *(f"glibc.malloc.arena_test={value}" for value in ("0", "1", "17")),
    *(f"glibc.malloc.perturb={value}" for value in ("255", "256", "-1")),
    # how values are written
    *(f"glibc.malloc.mmap_max={value}" for value in (" 3", "\t3", "\n3", "+3", "- 3", "+-3", "0x3", "0XA", "07", "09")),
    *(f"glibc.malloc.mmap_max={value}" for value in ("", "abc", "7k", "0x", "3=4", "3,glibc.malloc.mxfast=0")),
    *(f"glibc.malloc.trim_threshold={value}" for value in ("18446744073709551605", "99999999999999999999")),
    # how the list is
    "glibc.malloc.mmap_max=3:glibc.malloc.mmap_max=4",
    "glibc.malloc.mmap_max=3:glibc.malloc.mmap_max=99999999999",
    "glibc.malloc.tcache_count=3:glibc.malloc.tcache_count=99999999999",
    "::glibc.malloc.mmap_max=3:",
    "nonsense:=4:some.other=5:glibc.malloc.mmap_max=3",
    "glibc.malloc.mmap_max:glibc.malloc.mxfast=0",
    " glibc.malloc.mmap_max=3",
    "glibc.malloc.Mmap_max=3",
    "mmap_max=3",
    "glibc.malloc.mmap_maxi=3",
]
VARIABLES = [
    {"MALLOC_MMAP_THRESHOLD_": "300000"},
    {"MALLOC_TRIM_THRESHOLD_": "1000000"},
    {"MALLOC_TOP_PAD_": "10000"},
    {"MALLOC_MMAP_MAX_": "5"},
    {"MALLOC_ARENA_MAX": "4"},
    {"MALLOC_ARENA_TEST": "20"},
    {"MALLOC_PERTURB_": "165"},
    {"MALLOC_PERTURB_": "300"},
    {"MALLOC_MMAP_MAX_": ""},
    {"MALLOC_MMAP_MAX": "5", "MALLOC_ARENA_MAX_": "4", "MALLOC_TCACHE_COUNT": "3", "MALLOC_MXFAST_": "0"},
    {"MALLOC_MMAP_MAX_": "5", "GLIBC_TUNABLES": "glibc.malloc.mmap_max=3"},
    {"MALLOC_MMAP_MAX_": "5", "GLIBC_TUNABLES": "glibc.malloc.mmap_max=99999999999"},
    {"MALLOC_MMAP_MAX_": "99999999999", "GLIBC_TUNABLES": "glibc.malloc.mmap_max=3"},
    {"MALLOC_MMAP_MAX_": "5", "GLIBC_TUNABLES": "glibc.malloc.top_pad=10000"},
]


@dataclass(frozen=True)
class Program:
    """The program of reports, and a library that does nothing but have a thread's variable, as our drop-ins do: what
    a thread begins with is larger by a few bytes for each such library.
    """

    path: Path
    beside_glibc: Path

    def said(self, spec: str, *arguments: str, **variables: str) -> tuple[str, str]:
        if spec == GLIBC:
            variables["LD_PRELOAD"] = str(self.beside_glibc)
        done = run(spec, self.path, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    def asks(self, spec: str, folder: Path, *arguments: str, **variables: str) -> list[str]:
        """The system calls for memory after it has first said something: of the break by how much it moves, of the
        others all but the addresses.
        """
        log, calls, at, begun = folder / "strace.log", [], 0, False
        library = str(self.beside_glibc) if spec == GLIBC else resolve(spec).environment()["LD_PRELOAD"]
        named = (variables | {"LD_PRELOAD": library}).items()
        settings = [word for name, value in named for word in ("-E", f"{name}={value}")]
        traced = ["strace", "-qq", "-s", "0", "-o", log, "-e", "trace=write,brk,mmap,munmap,mremap,madvise", *settings]
        subprocess.run([*traced, self.path, *arguments], capture_output=True, timeout=60, check=True)
        for line in log.read_text().splitlines():
            begun = begun or line.startswith("write(2, ")
            if line.startswith("brk("):
                before, at = at, int(line.split()[-1], 16)
                if begun and at != before:
                    calls.append(f"brk {at - before}")
            elif begun and not line.startswith("write("):
                calls.append(re.sub(r"0x\w+", "", line))
        return calls

    def compare(self, *arguments: str, **variables: str) -> None:
        there, here = (self.said(spec, *arguments, **variables) for spec in (GLIBC, "ptmalloc"))
        assert here == there


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "beside.c").write_text("__thread int one; int *its_address(void) { return &one; }")
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "beside.c", "-o", folder / "beside.so"], check=True)
    return Program(compile_c(HERE / "malloc_reports.c", folder / "reports"), folder / "beside.so")


def test_every_case_is_tried(program: Program) -> None:
    assert subprocess.run([program.path], capture_output=True, text=True, check=True).stdout.split() == CASES


@pytest.mark.parametrize("before", [(), ("first",)], ids=["", "asked first"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.needs("glibc 2.36")
def test_it_says_of_itself_what_glibc_says(case: str, before: tuple[str, ...], program: Program) -> None:
    program.compare(case, *before)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.needs("glibc 2.36")
def test_the_tour_shows_each_setting(name: str, program: Program) -> None:
    set_by_hand = program.said(GLIBC, "tour", GLIBC_TUNABLES=f"glibc.malloc.{name}={SETTINGS[name]}")
    assert set_by_hand != program.said(GLIBC, "tour")


@pytest.mark.parametrize(
    "tunables", [pytest.param(t, marks=pytest.mark.needs("fixed addresses") if "huge" in t else ()) for t in TUNABLES]
)
@pytest.mark.needs("glibc 2.36")
def test_it_obeys_glibcs_tunables(tunables: str, program: Program) -> None:
    program.compare("tour", GLIBC_TUNABLES=tunables)


@pytest.mark.parametrize("variables", VARIABLES, ids=lambda v: " ".join(f"{name}={value}" for name, value in v.items()))
@pytest.mark.needs("glibc 2.36")
def test_it_obeys_the_older_variables(variables: dict[str, str], program: Program) -> None:
    program.compare("tour", **variables)


@pytest.mark.needs("strace")
@pytest.mark.parametrize("setting", ["hugetlb=0", "hugetlb=1", "hugetlb=1:glibc.malloc.top_pad=0"])
@pytest.mark.parametrize("case", ["large", "mapped", "huge", "trimmed"])
@pytest.mark.needs("glibc 2.36")
@pytest.mark.needs("fixed addresses")
def test_it_asks_the_system_for_what_glibc_asks_for(case: str, setting: str, program: Program, tmp_path: Path) -> None:
    tunables = f"glibc.malloc.{setting}"
    there, here = (program.asks(spec, tmp_path, case, "first", GLIBC_TUNABLES=tunables) for spec in (GLIBC, "ptmalloc"))
    assert there
    assert here == there


@pytest.mark.needs("glibc 2.36")
def test_its_own_options_win(program: Program) -> None:
    there = program.said(GLIBC, "tour", GLIBC_TUNABLES="glibc.malloc.mmap_max=3:glibc.malloc.mxfast=0")
    tunables = "glibc.malloc.mmap_max=7:glibc.malloc.mxfast=0"
    assert program.said("ptmalloc:mmap_max=3", "tour", GLIBC_TUNABLES=tunables) == there


def test_tunables_have_glibcs_names_and_the_policies_have_none() -> None:
    (lab,) = (lab for lab in lab_allocators() if lab.name == "ptmalloc")
    assert {t.name: t.real_name for t in lab.tunables if t.real_name} == {n: f"glibc.malloc.{n}" for n in SETTINGS}
    policies = ("tcache", "fastbins", "large_fit", "coalesce", "dynamic_thresholds", "realloc_backward")
    assert tuple(t.name for t in lab.tunables if not t.real_name) == policies


# --- policies: what glibc does, and what is done instead ---


def in_hole(heap: Heap, bytes: int) -> tuple[int, int]:
    """A block and one above it, so that it borders on nothing free."""
    return heap.malloc(bytes), heap.malloc(10)


def fill_cache(heap: Heap, bytes: int) -> None:
    blocks = [heap.malloc(bytes) for _ in range(7)]
    for block in blocks:
        heap.free(block)


@pytest.mark.parametrize(("tcache", "offset"), [(True, 0x2A0), (False, 0x10)])
def test_without_thread_caches_the_first_block_is_at_the_start(tcache: bool, offset: int) -> None:
    with Heap("ptmalloc", tcache=tcache) as heap:
        first = heap.malloc(24)
        assert first - heap.regions.vmas()[0].start == offset
        heap.free(first)
        assert heap.stats()["cached_chunks"] == tcache
        assert heap.stats()["fastbin_chunks"] == (not tcache)
        assert heap.malloc(24) == first


@pytest.mark.parametrize("fastbins", [True, False])
def test_without_fastbins_small_chunks_merge(fastbins: bool) -> None:
    with Heap("ptmalloc", fastbins=fastbins) as heap:
        blocks = [heap.malloc(40) for _ in range(9)]
        for block in blocks:
            heap.free(block)
        assert heap.stats()["fastbin_chunks"] == (2 if fastbins else 0)
        assert (heap.malloc(60) == blocks[7]) is not fastbins


@pytest.mark.parametrize(("large_fit", "taken"), [("best", 1), ("first", 0)])
def test_large_bins_are_searched_for_the_best_or_the_first(large_fit: str, taken: int) -> None:
    with Heap("ptmalloc", large_fit=large_fit) as heap:
        holes = [in_hole(heap, size)[0] for size in (2024, 2008)]  # of the same bin
        for hole in holes:
            heap.free(hole)
        heap.malloc(5000)
        assert heap.malloc(2008) == holes[taken]


@pytest.mark.parametrize("coalesce", ["deferred", "immediate"])
def test_chunks_may_merge_at_once(coalesce: str) -> None:
    with Heap("ptmalloc", coalesce=coalesce) as heap:
        a, b, _ = (heap.malloc(40) for _ in range(3))
        heap.free(a)
        heap.free(b)
        assert (heap.malloc(88) == a) == (coalesce == "immediate")
        kinds = {b.kind for b in heap.bins()}
        assert ("tcache" in kinds) == (coalesce == "deferred")


@pytest.mark.parametrize(
    ("tunables", "moves"),
    [({}, True), ({"dynamic_thresholds": False}, False), ({"mxfast": 80}, True)]
    + [({name: 128 << 10}, False) for name in ("mmap_threshold", "trim_threshold", "top_pad")]
    + [({"mmap_max": 65536}, False)],
)
def test_thresholds_follow_freed_mappings_unless_set(tunables: dict[str, int], moves: bool) -> None:
    with Heap("ptmalloc", **tunables) as heap:
        heap.free(heap.malloc(1 << 20))
        stats = heap.stats()
        mapping = (1 << 20) + 4096
        assert stats["mmap_threshold"] == (mapping if moves else 128 << 10)
        assert stats["trim_threshold"] == (2 * mapping if moves else 128 << 10)
        heap.malloc(1 << 20)
        assert heap.mallinfo()["hblks"] == (not moves)


@pytest.mark.parametrize("backward", [False, True])
def test_a_growing_block_may_move_down(backward: bool) -> None:
    with Heap("ptmalloc", realloc_backward=backward) as heap:
        below, block = heap.malloc(2000), heap.malloc(2000)
        heap.malloc(10)
        heap.write(block, bytes(i % 251 for i in range(2000)))
        heap.free(below)
        grown = heap.realloc(block, 3000)
        assert (grown == below) == backward
        assert heap.read(grown, 2000) == bytes(i % 251 for i in range(2000))


def test_huge_pages_are_advised_and_the_break_moves_by_them() -> None:
    huge = 2 << 20
    with Heap("ptmalloc", hugetlb=1) as heap:
        heap.malloc(10)
        assert heap.mallinfo()["arena"] == huge
        for _ in range(30):
            heap.malloc(100000)
        (vma,) = heap.regions.vmas()
        assert vma.end % huge == 0
        assert heap.regions.counters().calls["madvise"] >= 1


# --- figures ---


def test_stats_are_those_of_mallinfo_and_more() -> None:
    with Heap("ptmalloc") as heap:
        for size in (40, 200, 3000):
            fill_cache(heap, size)
            for block in [in_hole(heap, size)[0] for _ in range(3)]:
                heap.free(block)
        heap.malloc(1 << 20)
        stats, info = heap.stats(), heap.mallinfo()
        assert stats["system_bytes"] == info["arena"]
        assert stats["fastbin_bytes"] == info["fsmblks"]
        assert stats["fastbin_chunks"] == info["smblks"]
        assert stats["bin_chunks"] + stats["unsorted_chunks"] + 1 == info["ordblks"]
        free = sum(stats[f"{kind}_bytes"] for kind in ("bin", "unsorted", "fastbin", "top"))
        assert free == info["fordblks"]
        assert (stats["mapped_blocks"], stats["mapped_bytes"]) == (info["hblks"], info["hblkhd"])
        cached = [b for b in heap.bins() if b.kind == "tcache"]
        assert stats["cached_chunks"] == sum(len(b.chunks) for b in cached)
        assert stats["cached_bytes"] == heap.ledger().cached
