"""What a rule finds is written as programs that compile, show it on the library, and nothing on a malloc without it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from programs import HERE, compile_c
from support import slow

from alloclab.allocators import resolve
from alloclab.check.again import calls, reproducers
from alloclab.check.conformance import chosen, conformance
from alloclab.check.steps import Step
from alloclab.launch import bare_environment

BREAKS = {
    "system": ["C10", "C12", "C13", "C28", "C31"],
    "libjemalloc": ["C09", "C10", "C13", "C15", "C16", "C16-2", "C19", "C22", "C27", "C27-2", "C28", "C31", "C31-2"],
    "libtcmalloc_minimal": ["C05", "C10", "C12", "C13", "C19", "C27", "C28", "C31"],
    "libmimalloc": ["C05", "C06", "C09", "C10", "C12", "C13", "C13-2", "C16", "C16-2", "C27", "C28", "C31"],
}
"""The programs of each: all that it is known to break."""


def compiled(source: Path, *flags: str) -> Path:
    """As its head says."""
    command = re.search(r"^ \* (gcc .*) THIS\.c && ", source.read_text(), flags=re.M)
    assert command is not None
    program = source.with_suffix("")
    subprocess.run([*command[1].split(), *flags, source, "-o", program], check=True)
    return program


def said(program: Path, spec: str) -> tuple[int, str]:
    environment = bare_environment(resolve(spec))
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def show(spec: str, folder: Path, *flags: str) -> list[str]:
    """Compiles all, and sees that each shows its fault there, and on a drop-in of ours none. Returns their names."""
    names = []
    for source in sorted(folder.glob("*.c"), key=lambda path: path.stem):
        program = compiled(source, *flags)
        told = source.with_suffix(".txt").read_text().splitlines()[0]
        assert said(program, spec) == (1, f"{told}\n"), source.read_text()
        assert said(program, "ptmalloc") == (0, ""), source.read_text()
        names.append(source.stem.partition("-")[2])
    return names


def found(spec: str, rules: list[str], folder: Path) -> int:
    return reproducers(conformance(spec, chosen(rules)), folder)


def test_what_the_systems_malloc_breaks_is_shown(tmp_path: Path) -> None:
    assert found("system", ["C10", "C12", "C13", "C28", "C31"], tmp_path) == 5
    assert show("system", tmp_path) == BREAKS["system"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", [pytest.param(spec, marks=pytest.mark.needs(spec)) for spec in BREAKS if spec != "system"]
)
def test_all_that_a_library_breaks_is_shown(spec: str, tmp_path: Path) -> None:
    """The drop-in's own fault of none of these: neither with a compiler's least nor with its usual cleverness."""
    found(spec, sorted({name[:3] for name in BREAKS[spec]}), tmp_path)
    assert show(spec, tmp_path, "-O2") == BREAKS[spec]


TWISTS = {
    "FREE_SETS_ERRNO": "C11",
    "ZERO_NOW_AND_THEN": "C10",
    "STORES_ON_FAILURE": "C12",
    "TAKES_ANY_ALIGNMENT": "C12",
    "REALLOC_CHANGES": "C09",
    "REALLOC_LOSES": "C08",
    "ARRAY_WRAPS": "C17",
    "DIRTY_CALLOC": "C04",
    "SHARED_ZERO": "C01",
    "MISPLACED": "C02",
}
"""What is wrong with a malloc, and the rule that finds it."""


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("twist", ["REALLOC_CHANGES", *slow(*sorted(TWISTS.keys() - {"REALLOC_CHANGES"}))])
def test_each_kind_of_fault_is_shown(twist: str, tmp_path: Path) -> None:
    library = compile_c(HERE / "twisted_malloc.c", tmp_path / "twisted.so", "-shared", "-fPIC", f"-DTWIST={twist}")
    folder = tmp_path / "reproducers"
    folder.mkdir()
    found(str(library), [TWISTS[twist]], folder)
    assert TWISTS[twist] in show(str(library), folder, "-O2")


@pytest.mark.needs("gcc")
def test_what_a_few_calls_do_not_show_names_the_rule(tmp_path: Path) -> None:
    assert found("bump", ["C20"], tmp_path) == 0
    (text,) = tmp_path.iterdir()
    first, command = text.read_text().splitlines()
    assert text.name == "bump-C20.txt" and first == "C20: no memory is ever used again, by any thread"
    environment = bare_environment(resolve("bump"))
    done = subprocess.run(command.split()[1:], env=environment, capture_output=True, text=True, check=True)
    assert first.removeprefix("C20: ") in done.stdout


# --- reading what a rule names ---


def test_calls_are_read_as_c_has_them() -> None:
    assert calls("free(malloc(24)), malloc(SIZE_MAX - 7)") == (
        Step("malloc", (24,), None, 1),
        Step("free", (), 1),
        Step("malloc", ((1 << 64) - 8,), None, 2),
    )
    assert calls("reallocarray(calloc(3, 5), SIZE_MAX / 2, 3)") == (
        Step("calloc", (3, 5), None, 1),
        Step("reallocarray", ((1 << 63) - 1, 3), 1, 2),
    )
    assert calls("realloc(NULL, PTRDIFF_MAX + 1)") == (Step("realloc", (1 << 63,), None, 1),)
    assert calls("malloc_usable_size(malloc(1))") == (Step("malloc", (1,), None, 1), Step("usable_size", (), 1))


@pytest.mark.parametrize("text", ["", "threads that end", "free of a block of 0 bytes", "malloc(x)", "malloc(2^63)"])
def test_what_is_no_call_is_passed_over(text: str) -> None:
    assert calls(text) == ()
