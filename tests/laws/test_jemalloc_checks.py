"""The real jemalloc and the laboratory's, statement by statement: the scripts in tests/jemalloc."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from heap_scripts import JEMALLOC, Check, compile_program, parse_checks, read_checks, run, slept, transcript

from alloclab.allocators import Allocator, lab_allocators, libraries_needed, resolve

FOLDER = Path(__file__).parent.parent / "jemalloc"
CHECKS = [check for path in sorted(FOLDER.glob("*.txt")) for check in read_checks(path, JEMALLOC)]
BUILT = any(allocator.name == "jemalloc" for allocator in lab_allocators())
MALLOCS = ["libjemalloc", pytest.param("jemalloc", marks=pytest.mark.skipif(not BUILT, reason="there is none here"))]
pytestmark = [pytest.mark.needs(what) for what in ("strace", "gcc", "libjemalloc", "glibc 2.36")]
every_malloc = pytest.mark.parametrize("malloc", MALLOCS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("heap_script"))


def with_equal_start(malloc: str) -> Allocator:
    """What the real library needs allocates as it starts: so it must beside ours."""
    found, real = resolve(malloc), resolve("libjemalloc").preload
    return found if found.preload == real or real is None else replace(found, beside=tuple(libraries_needed(real)))


def marked(check: Check) -> object:
    name = f"{check.source.removesuffix('.txt')}: {check.title}"
    return pytest.param(check, id=name, marks=[pytest.mark.slow] if slept(check) > 1 else [])


@every_malloc
@pytest.mark.parametrize("check", [marked(check) for check in CHECKS])
def test_it_does_what_the_script_says(check: Check, malloc: str, program: Path, tmp_path: Path) -> None:
    should, does = transcript(check, run(check, program, tmp_path, with_equal_start(malloc).environment()))
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
    should, does = transcript(check, run(check, program, tmp_path, with_equal_start(malloc).environment()))
    assert does == should


def find(name: str) -> Check:
    (check,) = [check for check in CHECKS if check.title.startswith(name)]
    return check


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
    check = find(name)
    own = check.environment.get("MALLOC_CONF", "")
    changed = replace(check, environment=check.environment | {"MALLOC_CONF": f"{own},{setting}".lstrip(",")})
    should, does = transcript(check, run(changed, program, tmp_path, resolve("libjemalloc").environment()))
    assert does != should


@pytest.mark.parametrize("name", ["J5:", "J8:", "J14:", "J16: within"])
def test_another_malloc_does_otherwise(name: str, program: Path, tmp_path: Path) -> None:
    should, does = transcript(find(name), run(find(name), program, tmp_path, resolve("fit").environment()))
    assert does != should
