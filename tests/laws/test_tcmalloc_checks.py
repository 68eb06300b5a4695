"""The real tcmalloc and the laboratory's, statement by statement: the scripts in tests/tcmalloc."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from heap_scripts import TCMALLOC, Check, Ran, compare, compile_program, each, find, parse_checks, read_checks, run
from programs import with_equal_start
from support import slow

from alloclab.allocators import resolve

REAL = "libtcmalloc_minimal"
FOLDER = Path(__file__).parent.parent / "tcmalloc"
CHECKS = [check for path in sorted(FOLDER.glob("*.txt")) for check in read_checks(path, TCMALLOC)]
PAGE, MIB = 8192, 1 << 20
pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", REAL, "glibc 2.36")]
every_malloc = pytest.mark.parametrize("malloc", [*slow(REAL), "tcmalloc"])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


@every_malloc
@pytest.mark.parametrize("check", each(CHECKS))
def test_it_does_what_the_script_says(check: Check, malloc: str, program: Path, tmp_path: Path) -> None:
    should, does = compare(check, program, tmp_path, with_equal_start(malloc, REAL))
    assert does == should


def what_came_of(text: str, malloc: str, program: Path, folder: Path) -> Ran:
    (check,) = parse_checks(f"== {malloc}\n{text}\n", TCMALLOC)
    return run(check, program, folder, with_equal_start(malloc, REAL).environment())


SPANS = """
8:1 16:1 32:1 48:1 64:1 80:1 96:1 112:1 128:1 144:1 160:1 176:1 192:1 208:1 224:1 240:1 256:1 288:1
320:1 352:1 384:1 416:1 448:1 480:1 512:1 576:1 640:1 704:1 768:1 896:1 1024:1 1152:2 1280:2 1408:2
1536:2 1792:2 2048:2 2304:2 2560:2 2816:3 3072:2 3328:3 4096:2 4608:3 5120:2 6144:3 6656:5 8192:2
9216:5 10240:4 12288:3 13312:5 16384:2 20480:5 24576:3 26624:7
"""
CLASSES = {int(size): int(pages) for size, pages in (row.split(":") for row in SPANS.split())}
CLASSES |= {pages * PAGE: pages for pages in range(4, 33)}
"""Pages of a span, by the size of its blocks."""


@every_malloc
def test_g1_usable_sizes_at_all_class_boundaries(malloc: str, program: Path, tmp_path: Path) -> None:
    """The largest request of each class, and the smallest of the next; and how many pages its first block takes."""
    assert len(CLASSES) == 85
    text = "== G1\n"
    for size, following in pairwise([*CLASSES, 33 * PAGE]):
        text += f"a{size} = malloc {size} -> ./{size}\nb{size} = malloc {size + 1} -> ./{following}\n"
    text += "== spans\ncontrol tcmalloc.central_cache_free_bytes\n"
    for size, pages in list(CLASSES.items())[2:]:
        text += f"a{size} = malloc {size}\nchange tcmalloc.central_cache_free_bytes -> {pages * PAGE - size:+d}\n"
    for check in parse_checks(text, TCMALLOC):
        should, does = compare(check, program, tmp_path, with_equal_start(malloc, REAL))
        assert does == should


@every_malloc
@pytest.mark.parametrize("size", [2304, 2560, 2816, 3328, 4608, 6656, 9216, 12288, 20480, 24576])
def test_g1_batches_are_of_64_kib(size: int, malloc: str, program: Path, tmp_path: Path) -> None:
    """A thread that leaves a batch, and what its last fetch brought beyond its needs, leaves one whole."""
    batch = max(2, 65536 // size)
    text = f"x0..{(batch + 1) * (batch + 2) // 2} = malloc {size}\nfree x0..{batch - 1}\ndo MarkThreadIdle\n"
    ran = what_came_of(text + "control tcmalloc.transfer_cache_free_bytes", malloc, program, tmp_path)
    assert ran.results[-1] == [0, batch * size]


@every_malloc
def test_g8_start_metadata_then_the_heap_at_a_whole_page(malloc: str, program: Path, tmp_path: Path) -> None:
    """The break begins at a multiple of 4096: half of all runs need 4096 bytes more, between metadata and heap."""
    seen = set()
    for _ in range(24):
        ran = what_came_of("a = malloc 100", malloc, program, tmp_path)
        breaks = [result for name, _, result in ran.begun if name == "brk"]
        odd = ran.first_break % PAGE != 0
        moves = [b - a for a, b in pairwise(breaks) if b != a]
        assert moves == [8 * MIB, MIB] + odd * [4096]
        seen.add(odd)
        if len(seen) == 2:
            break


@every_malloc
def test_metadata_comes_in_chunks_of_8_mib(malloc: str, program: Path, tmp_path: Path) -> None:
    """Each 2 GiB of addresses take a piece of the page map, of 2 MiB; the first chunk has room for two more than the
    start needs, each later one for four."""
    while True:
        text = f"x0..6 = malloc {2048 * MIB}"
        ran = what_came_of(text, malloc, program, tmp_path)
        if ran.first_break % (2048 * MIB) < 2032 * MIB:  # else the start needs two pieces already
            break
    heap, moves = ran.first_break + 9 * MIB, []
    for calls in ran.calls[:7]:
        ends = [result for name, _, result in calls if name == "brk"]
        moves.append(sum(b - a == 8 * MIB for a, b in pairwise([0, *ends])))
    assert heap > 0 and moves == [0, 0, 1, 0, 0, 0, 1]


@every_malloc
def test_before_an_aligned_block_first_then_behind_it(malloc: str, program: Path, tmp_path: Path) -> None:
    """Pages go back in that order, so that of equal pieces the one behind is taken first. Of two holes, an odd number
    of pages apart, one begins beside a multiple of 16384: of it a page is left on either side."""
    text = "a = malloc 286720; s = malloc 294912; b = malloc 294912; t = malloc 294912\nfree a; free b\n"
    text += "c = memalign 16384 270336; d = memalign 16384 278528; e = malloc 1024; f = malloc 512"
    results = what_came_of(text, malloc, program, tmp_path).results
    a, _, b, _ = (result[0] for result in results[:4])
    c, d, behind, before = (result[0] for result in results[6:])
    hole, block, pages = (a, c, 33) if a % 16384 else (b, d, 34)
    assert (block, behind, before) == (hole + PAGE, hole + (pages + 1) * PAGE, hole)


ABORTS = {
    "a = malloc 100\nfree a-16777216": "333] Attempt to free invalid pointer",
    "a = malloc 300000\nfree a+8192": "333] Attempt to free invalid pointer",
    "a = malloc 300000\nusable a+8192": "343] Attempt to get the size of an invalid pointer",
    "a = malloc 300000\nb = realloc a+8192 100": "337] Attempt to realloc invalid pointer",
}


@every_malloc
@pytest.mark.parametrize("text", ABORTS)
def test_g16_what_is_no_block_ends_the_program(text: str, malloc: str, program: Path, tmp_path: Path) -> None:
    """With a line that names the address."""
    ran = what_came_of(text, malloc, program, tmp_path)
    said = re.sub("0x[0-9a-f]+$", "0x", ran.said)
    assert (ran.status, said) == (-6, f"src/tcmalloc.cc:{ABORTS[text]} 0x")


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("TRANSFER_NUM_OBJ", "16", "idle: all"),
        ("TRANSFER_NUM_OBJ", "16", "G5:"),
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "524288", "G15:"),
        ("AGGRESSIVE_DECOMMIT", "1", "G9:"),
        ("AGGRESSIVE_DECOMMIT", "1", "returned ones"),
        ("RELEASE_RATE", "2", "G10:"),
        ("DISABLE_MEMORY_RELEASE", "1", "the order"),
        ("SKIP_SBRK", "1", "G7: a MiB"),
        ("HEAP_LIMIT_MB", "10", "G7: what"),
    ],
)
def test_a_check_is_able_to_fail(setting: str, value: str, name: str, program: Path, tmp_path: Path) -> None:
    check = find(CHECKS, name)
    changed = replace(check, environment=check.environment | {f"TCMALLOC_{setting}": value})
    should, does = compare(changed, program, tmp_path, resolve(REAL))
    assert does != should


@pytest.mark.parametrize("name", ["G2:", "G12:", "G14:", "over three spans", "G11:"])
def test_another_malloc_does_otherwise(name: str, program: Path, tmp_path: Path) -> None:
    check = find(CHECKS, name)
    should, does = compare(check, program, tmp_path, resolve("jemalloc"))
    assert does != should
