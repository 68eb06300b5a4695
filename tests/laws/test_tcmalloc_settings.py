"""tcmalloc's settings, its figures by MallocExtension's names, its reports: as the real library, to the digit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from programs import HERE, Said, compile_c, listen
from support import budget, slow

from alloclab.allocators import lab_allocator
from alloclab.errors import UsageError
from alloclab.heap import Heap

REAL = "libtcmalloc_minimal"
BOTH = (REAL, "tcmalloc")
pytestmark = [pytest.mark.needs(what) for what in ("gcc", REAL)]
NOT_BUILT = "tcmalloc: Not built in alloclab: "
"""What only ours says: of settings by which the real library would do what ours cannot."""

NUMBERS = ["", "0", "1", "-1", "-5", "abc", " 7", "\t7", "+7", "7x", "0x10", "010", "1.5", "7,5"]
LARGE = ["2147483647", "2147483648", "4294967303", "9223372036854775808", "-9223372036854775809", "1" * 30]
TRUTHS = ["", "0", "1", "t", "T", "true", "y", "Yes", "Y", "n", "no", "false", "f", "on", "2", " 1", "1x", "-1"]
FLAGS = [f"TCMALLOC_{name}" for name in ("AGGRESSIVE_DECOMMIT", "SKIP_SBRK", "SKIP_MMAP", "DISABLE_MEMORY_RELEASE")]
VALUES = {
    "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": [*NUMBERS, *LARGE, "524287", "524289", "3000000", "1073741825"],
    "TCMALLOC_RELEASE_RATE": [*NUMBERS, "0.5", ".5", "5.", "1e2", "1e-7", "-0.5", "inf", "1000000"],
    "TCMALLOC_HEAP_LIMIT_MB": [*NUMBERS, *LARGE, "9", "10", "11", "12", "14", "20", "30"],
    "TCMALLOC_TRANSFER_NUM_OBJ": [
        "1",
        "2",
        "3",
        "10",
        "31",
        "33",
        "64",
        "129",
        "1000",
        "65536",
        " 7",
        "7x",
        "4294967303",
    ],
    **{flag: TRUTHS for flag in FLAGS},
    "MALLOCSTATS": ["", "0", "1", "2", "3", "x", " 2", "2x", "-1"],
}
"""What each variable may say. TCMALLOC_TRANSFER_NUM_OBJ below 1 ends the real library, or hangs it."""
UNUSED = {"TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": ["1", "300000"], "TCMALLOC_SAMPLE_PARAMETER": ["1", "524288"]}
"""Known elsewhere: the library without a profiler does nothing about them."""
QUICK = ("TCMALLOC_RELEASE_RATE", "TCMALLOC_TRANSFER_NUM_OBJ", "TCMALLOC_SKIP_SBRK")


def run(spec: str, program: Path, *words: str, **variables: str) -> Said:
    """Addresses are fixed: where the break is at first decides whether one more call aligns it."""
    return listen(spec, REAL, NOT_BUILT, ["setarch", "-R", program, *words], variables)


def compare(program: Path, *words: str, **variables: str) -> Said:
    there, here = (run(spec, program, *words, **variables) for spec in BOTH)
    assert replace(here, ours=()) == there, variables
    return there


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(HERE / "tcmalloc_figures.c", tmp_path_factory.mktemp("figures") / "figures", "-pthread")


# --- settings ---


def test_every_setting_has_its_variable_tried() -> None:
    assert {t.real_name for t in lab_allocator("tcmalloc").tunables} == set(VALUES)


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize("name", [*QUICK, *slow(*sorted({*VALUES, *UNUSED} - {*QUICK}))])
def test_it_reads_each_variable(name: str, program: Path) -> None:
    for value in (VALUES | UNUSED)[name]:
        compare(program, "options", **{name: value})


def random_environments(count: int) -> Iterator[dict[str, str]]:
    """But for reports: without memory for their text, the real library aborts."""
    order = random.Random(5)
    known = [name for name in VALUES if name != "MALLOCSTATS"]
    for _ in range(count):
        names = order.sample(known, order.randint(2, len(known)))
        yield {name: order.choice(VALUES[name]) for name in names}


@pytest.mark.needs("fixed addresses")
def test_it_reads_whatever_the_environment_says(program: Path) -> None:
    for environment in random_environments(budget(30)):
        compare(program, "options", **environment)


@pytest.mark.parametrize("value", ["0", "-1", "-5", "", "abc"])
def test_a_batch_has_an_object_at_least(value: str, program: Path) -> None:
    least = run("tcmalloc", program, "options", TCMALLOC_TRANSFER_NUM_OBJ="1")
    assert run("tcmalloc", program, "options", TCMALLOC_TRANSFER_NUM_OBJ=value) == least and least.status == 0


@pytest.mark.parametrize("setting", ["TCMALLOC_DEVMEM_START=1", "TCMALLOC_MEMFS_MALLOC_PATH=/mnt/huge"])
def test_it_tells_what_is_not_built(setting: str, program: Path) -> None:
    name, _, value = setting.partition("=")
    plain, said = run("tcmalloc", program, "options"), run("tcmalloc", program, "options", **{name: value})
    assert said == replace(plain, ours=(f"{NOT_BUILT}{setting}",))


@pytest.mark.needs("fixed addresses")
def test_it_need_not_tell_of_what_is_switched_off(program: Path) -> None:
    variables = {"TCMALLOC_DEVMEM_START": "0", "TCMALLOC_MEMFS_MALLOC_PATH": "", "TCMALLOC_MEMFS_LIMIT_MB": "3"}
    assert compare(program, "options", **variables).status == 0
    assert run("tcmalloc", program, "options", **variables).ours == ()


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("release_rate=0.25", "TCMALLOC_RELEASE_RATE", "0.25"),
        ("heap_limit_mb=12", "TCMALLOC_HEAP_LIMIT_MB", "12"),
        ("max_total_thread_cache_bytes=1MiB", "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "1048576"),
        ("transfer_num_obj=5,aggressive_decommit=true", "TCMALLOC_TRANSFER_NUM_OBJ", "5"),
        ("skip_sbrk=true", "TCMALLOC_SKIP_SBRK", "1"),
        ("stats_at_exit=2", "MALLOCSTATS", "2"),
    ],
)
def test_our_names_say_the_same(options: str, name: str, value: str, program: Path) -> None:
    also = {"TCMALLOC_AGGRESSIVE_DECOMMIT": "1"} if "decommit" in options else {}
    there = run(REAL, program, "options", **also, **{name: value})
    assert run("tcmalloc", program, "options", ALLOCLAB_OPTIONS=options) == there


@pytest.mark.parametrize("rate", ["-1", "1e3", ".5", "5.", "1.5x", "0x10", "inf"])
def test_a_rate_is_a_decimal(rate: str) -> None:
    with pytest.raises(UsageError, match=f"^tcmalloc: release_rate is written as a decimal, 0.5, not '{rate}'$"):
        Heap("tcmalloc", release_rate=rate)


@pytest.mark.parametrize(("rate", "thousandths"), [("", 1000), ("0", 0), ("2", 2000), ("0.125", 125), ("10.5", 10500)])
def test_a_rate_is_told_in_thousandths(rate: str, thousandths: int) -> None:
    with Heap("tcmalloc", release_rate=rate) as heap:
        heap.free(heap.malloc(1))
        assert heap.control("MemoryReleaseRate") == thousandths


# --- figures ---


@pytest.mark.needs("fixed addresses")
def test_names_lead_where_properties_do(program: Path) -> None:
    compare(program, "names")


TOURS = [
    {},
    {"TCMALLOC_TRANSFER_NUM_OBJ": "7"},
    {"TCMALLOC_TRANSFER_NUM_OBJ": "1"},
    {"TCMALLOC_TRANSFER_NUM_OBJ": "500"},
    {"TCMALLOC_AGGRESSIVE_DECOMMIT": "1"},
    {"TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": "600000"},
    {"TCMALLOC_DISABLE_MEMORY_RELEASE": "1"},
    {"TCMALLOC_RELEASE_RATE": "1000"},
]


def figures(text: str) -> dict[str, Mapping[str, str]]:
    """Each step, and what was told of it."""
    parts = (part.splitlines() for part in text.split("== ")[1:])
    return {f"{i}: {title}": dict(line.split(" ", 1) for line in lines) for i, (title, *lines) in enumerate(parts)}


def compare_figures(program: Path, *words: str, **variables: str) -> None:
    there, here = (figures(run(spec, program, *words, **variables).out) for spec in BOTH)
    assert len(there) > 30 and list(here) == list(there)
    for title in there:
        assert here[title] == there[title], (title, variables)


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize("environment", TOURS, ids=str)
def test_figures_are_the_real_ones(environment: dict[str, str], program: Path) -> None:
    compare_figures(program, "tour", **environment)


@pytest.mark.needs("fixed addresses")
def test_figures_are_the_real_ones_after_any_steps(program: Path) -> None:
    """Also where each block lies."""
    for seed in range(budget(10)):
        compare_figures(program, "random", str(seed), "60")


def test_a_control_is_about_the_thread_that_asks() -> None:
    with Heap("tcmalloc") as heap:
        heap.free(heap.malloc(100))
        other = heap.thread()
        for block in [other.malloc(100) for _ in range(20)]:
            other.free(block)
        cached = other.control("ThreadCacheSize")
        assert cached > heap.control("ThreadCacheSize") > 0
        heap.control("MarkThreadIdle", 0)
        assert (heap.control("ThreadCacheSize"), other.control("ThreadCacheSize")) == (0, cached)
        assert heap.control("tcmalloc.thread_cache_free_bytes") == cached
        other.control("MarkThreadTemporarilyIdle", 0)
        assert heap.control("tcmalloc.thread_cache_free_bytes") == 0


@pytest.mark.parametrize("name", ["generic.heap_size", "tcmalloc.pageheap_scavenge_count", "ThreadCacheSize"])
def test_figures_cannot_be_set_nor_acts_be_read(name: str) -> None:
    with Heap("tcmalloc") as heap:
        for act in ("ReleaseFreeMemory", "MarkThreadBusy"):
            with pytest.raises(UsageError):
                heap.control(act)
        with pytest.raises(UsageError):
            heap.control(name, 1)


# --- reports ---


@pytest.mark.needs("fixed addresses")
def test_malloc_stats_is_the_real_one_byte_for_byte(program: Path) -> None:
    said = compare(program, "report")
    assert said.errors.count("Bytes in use by application") == 2


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize("level", ["1", "2"])
@pytest.mark.parametrize("what", ["tour", "tables", "report"])
def test_the_report_in_the_end_is_the_real_one_byte_for_byte(what: str, level: str, program: Path) -> None:
    said = compare(program, what, MALLOCSTATS=level, TCMALLOC_TRANSFER_NUM_OBJ="32")
    assert ("PageHeap: " in said.errors) == (level == "2")
    if (what, level) == ("tables", "2"):
        assert len(said.errors) == 16383, "there is more than room for"


def test_the_report_can_be_had_in_python() -> None:
    with Heap("tcmalloc") as heap:
        heap.malloc(100000)
        lines = heap.report().splitlines()
        assert any(line.endswith("Bytes in use by application") for line in lines)
        info = heap.mallinfo()
        assert info["uordblks"] == heap.control("generic.current_allocated_bytes")
        assert info["arena"] == info["uordblks"] + info["fsmblks"] + info["fordblks"]
        assert heap.mallopt(77, 77)


def test_the_stats_add_up() -> None:
    with Heap("tcmalloc") as heap:
        blocks = [heap.malloc(size * 37) for size in range(1000)]
        for block in blocks[::3]:
            heap.free(block)
        heap.control("ReleaseToSystem", 1)
        told = heap.stats()
        free = ("page_heap_free", "page_heap_unmapped", "central_bytes", "transfer_cache_bytes", "thread_cache_bytes")
        assert told["heap_size"] == told["allocated"] + sum(told[name] for name in free)
        assert min(told[name] for name in (*free, "fetches", "returns", "spans_populated")) > 0
