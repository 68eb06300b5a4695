"""The real jemalloc and the laboratory's, statement by statement: the scripts in tests/jemalloc."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from heap_scripts import JEMALLOC, Check, compare, compile_program, each, find, parse_checks, read_checks, run
from programs import with_equal_start
from support import slow

from alloclab.allocators import resolve

REAL = "libjemalloc"
FOLDER = Path(__file__).parent.parent / "jemalloc"
CHECKS = [check for path in sorted(FOLDER.glob("*.txt")) for check in read_checks(path, JEMALLOC)]
pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", REAL, "glibc 2.36")]
every_malloc = pytest.mark.parametrize("malloc", [*slow(REAL), "jemalloc"])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


@every_malloc
@pytest.mark.parametrize("check", each(CHECKS))
def test_it_does_what_the_script_says(check: Check, malloc: str, program: Path, tmp_path: Path) -> None:
    should, does = compare(check, program, tmp_path, with_equal_start(malloc, REAL))
    assert does == should


CLASSES = [
    8,
    *range(16, 64, 16),
    *(step << group for group in range(4, 21) for step in (4, 5, 6, 7) if step << group <= 1 << 20),
]


@every_malloc
def test_j1_usable_sizes_at_all_class_boundaries(malloc: str, program: Path, tmp_path: Path) -> None:
    """The largest request of each class to 1 MiB, and the smallest of the next."""
    assert len(CLASSES) == 61
    text = "== J1 {MALLOC_CONF=oversize_threshold:0}\n"
    for size, following in pairwise(CLASSES):
        text += f"a{size} = malloc {size} -> ./{size}\nb{size} = malloc {size + 1} -> ./{following}\n"
    (check,) = parse_checks(text, JEMALLOC)
    should, does = compare(check, program, tmp_path, with_equal_start(malloc, REAL))
    assert does == should


@every_malloc
def test_j18_what_is_freed_goes_as_the_curve_says(malloc: str, program: Path, tmp_path: Path) -> None:
    """Of 64 MiB freed, what has not gone at once, second by second from the first look at the clock; whole runs of
    pages go, of up to 7 MiB."""
    second = "pass 1000\nchurn 2100 40000\n"
    text = "== J18\nx0..63 = malloc 1048576\nfree x0..63\n" + f"{second}control stats.arenas.0.pdirty\n" * 10
    (check,) = parse_checks(text, JEMALLOC)
    seen = run(check, program, tmp_path, with_equal_start(malloc, REAL).environment()).results
    left = [result[1] / 10280 for result in seen if len(result) == 2]
    curve = [smootherstep(1 - second / 10) for second in range(10)]
    assert len(left) == 10 and all(-0.2 < a - b < 0.08 for a, b in zip(left, curve, strict=True)), left


def smootherstep(x: float) -> float:
    return x * x * x * (x * (6 * x - 15) + 10)


EVENTS = {
    "": 0,
    "x = malloc 57344; y = malloc 7168": 0,
    "x = malloc 57344; y = malloc 8192": 1,
    "x = malloc 57000; y = malloc 7169": 1,
    "x = calloc 65536": 1,
    "x = memalign 65536 65536": 1,
    "x = malloc 1000000": 1,
    "x0..2 = malloc 57344": 1,
    "x = malloc 57344; y = malloc 7168; z = malloc 896": 0,
    "x = malloc 57344; y = malloc 7168; z = malloc 897": 1,
    "free e0": 1,
    "free e0; x = malloc 57344; y = malloc 7168; free x; free y": 1,
    "free e0; x = malloc 57344; x = realloc x 57000": 2,
    "free e0; x = malloc 57344; x = realloc x 57000; x = realloc x 57344; x = realloc x 57000": 4,
    "free e0; x = malloc 49152; x = realloc x 57344": 2,
    "free e0; x = malloc 49152; g = malloc 8; x = realloc x 57344; x = realloc x 8192": 3,
}


@every_malloc
@pytest.mark.parametrize("statements", EVENTS)
def test_the_collector_counts_usable_bytes(statements: str, malloc: str, program: Path, tmp_path: Path) -> None:
    """Allocated and freed ones apart, from nothing after each event. After 41 it is the smallest class's turn."""
    text = "== events\na = malloc 8\ne0..40 = malloc 65536\n" + "\n".join(statements.split("; ")) + "\n"
    text += f"f0..{39 - EVENTS[statements]} = malloc 65536\ncontrol stats.arenas.0.bins.0.nflushes -> 0\n"
    text += "l = malloc 65536\nchange .nflushes -> +1\n"
    (check,) = parse_checks(text, JEMALLOC)
    should, does = compare(check, program, tmp_path, with_equal_start(malloc, REAL))
    assert does == should


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("tcache_max:16384", "J2:"),
        ("tcache_nslots_small_max:100", "J4:"),
        ("tcache:false", "J6: a full"),
        ("tcache_nslots_large:10", "J7:"),
        ("retain:false", "J9:"),
        ("oversize_threshold:0", "it counts what was asked for"),
        ("lg_extent_max_active_fit:20", "J13:"),
        ("dirty_decay_ms:0", "J16: large"),
        ("dirty_decay_ms:-1", "J18:"),
        ("dirty_decay_ms:0", "J20: purging"),
        ("tcache_gc_incr_bytes:131072", "an event of the collector"),
    ],
)
def test_a_check_is_able_to_fail(setting: str, name: str, program: Path, tmp_path: Path) -> None:
    check = find(CHECKS, name)
    own = check.environment.get("MALLOC_CONF", "")
    changed = replace(check, environment=check.environment | {"MALLOC_CONF": f"{own},{setting}".lstrip(",")})
    should, does = compare(changed, program, tmp_path, resolve(REAL))
    assert does != should


@pytest.mark.parametrize("name", ["J5:", "J8:", "J14:", "J16: within"])
def test_another_malloc_does_otherwise(name: str, program: Path, tmp_path: Path) -> None:
    should, does = compare(find(CHECKS, name), program, tmp_path, resolve("fit"))
    assert does != should
