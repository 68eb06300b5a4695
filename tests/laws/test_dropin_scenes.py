"""The drop-in libraries in whatever a program does to itself: threads that end, forks, libraries that come and go, a
break of its own, limits. The scenes are those of dropin_scenes.c and dropin_limits.c.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from programs import HERE, compile_c, run

from alloclab.allocators import lab_allocators

LABS = {lab.name: lab for lab in lab_allocators()}
PROGRAMS = ["dropin_scenes", "dropin_limits"]
QUICK = [
    *("names", "names_of_libc", "operators", "opened_late", "cancelled", "small_thread_stacks", "raw_forks", "beside"),
    *("own_pieces_of_the_break", "unlimited_stack", "closed_files"),
]
SLOW = [
    *("ends_of_threads", "exits", "forks", "forks_with_handlers", "forks_beside_files", "spawns", "libraries"),
    *("break_is_blocked", "limited_address_space", "limited_data", "small_stack", "without_mremap", "without_madvise"),
]
PLAYED_BY_OTHERS = ["churns", "nothing_opened"]
REUSES = ["forks_beside_files", "libraries", "limited_address_space", "limited_data"]
"""What bump, which never reuses, cannot stand."""
MARKS = {"operators": [pytest.mark.needs("libstdc++")]} | {scene: [pytest.mark.slow] for scene in SLOW}
PLAYS = [
    pytest.param(name, scene, marks=MARKS.get(scene, []))
    for scene in QUICK + SLOW
    for name in LABS
    if name != "bump" or scene not in REUSES
]
every_allocator = pytest.mark.parametrize("name", LABS)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By scene, the program that plays it."""
    folder = tmp_path_factory.mktemp("scenes")
    found = {}
    for name in PROGRAMS:
        program = compile_c(HERE / f"{name}.c", folder / name)
        listed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        found |= {scene: program for scene in listed.split()}
    return found


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that the program may load."""
    library = tmp_path_factory.mktemp("other") / "library.so"
    return compile_c(HERE / "dropin_library.c", library, "-shared", "-fPIC")


def test_all_scenes_are_played(programs: dict[str, Path]) -> None:
    assert sorted(programs) == sorted([*QUICK, *SLOW, *PLAYED_BY_OTHERS])


@pytest.mark.parametrize(("name", "scene"), PLAYS)
def test_scene(name: str, scene: str, programs: dict[str, Path], other: Path) -> None:
    library = str(LABS[name].library)
    beside = {"opened_late": [""], "beside": [f"{library}:{other}", f"{other}:{library}"]}
    for preload in beside.get(scene, [library]):
        done = run("system", programs[scene], scene, LD_PRELOAD=preload, LIBRARY=library, OTHER=str(other))
        said = [line for line in done.stderr.splitlines() if name != "tcmalloc" or "allocation failed" not in line]
        assert (done.returncode, done.stdout, said) == (0, "", [])


@every_allocator
def test_the_first_call_may_come_before_libc_is_ready(name: str, tmp_path: Path) -> None:
    done = run(name, compile_c(HERE / "dropin_resolver.c", tmp_path / "resolver"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
