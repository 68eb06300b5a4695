"""The plan of the house, held by reading the sources: who may include, import and call what."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT

# csrc: an include points to the same folder or to one before it. api/ is for the extension alone.
C_ORDER = ["base", "os", "region", "parts", "allocators", "shim", "record", "trace", "replay", "check"]

# Python: the ground is open to all; each room may import those before it in the row, and what stands beside the row;
# commands, cli and pytest's plugin use everything.
GROUND = ["errors", "files", "native", "handle", "machine", "result", "allocators", "launch"]
ROW = ["record", "run", "trace", "replay", "measure", "comparison", "check", "report"]
BESIDE = ["heap", "region"]
TOP = ["commands", "cli", "pytest_plugin", "__init__"]

C_TEST_LISTS = ["c_tests", "c_tests_of_threads"]
MEMORY_CALLS = r"(?<!->)(?<!\.)\b(brk|sbrk|mmap|mmap64|munmap|mremap|mprotect|madvise|mincore|clock_gettime)\s*\("


def c_files(*folders: str) -> list[Path]:
    return sorted(p for f in folders for p in (ROOT / "csrc" / f).rglob("*") if p.suffix in (".c", ".h"))


def without_comments(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    return re.sub(r"//[^\n]*|\"(\\.|[^\"\\])*\"", "", text)


def python_files() -> list[Path]:
    return sorted((ROOT / "alloclab").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "alloclab").parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of alloclab that a module imports anywhere in its text, type-checking imports left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and isinstance(guard.test, ast.Name) and guard.test.id == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    rooms = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "alloclab" else [module]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("alloclab.")}
    return rooms - {"_core"}


def test_includes_point_towards_base() -> None:
    wrong = []
    for path in c_files(*C_ORDER):
        here = C_ORDER.index(path.relative_to(ROOT / "csrc").parts[0])
        for target in re.findall(r'#include "([^"]+)"', path.read_text()):
            folder = target.split("/")[0]
            if "/" not in target or folder not in C_ORDER or C_ORDER.index(folder) > here:
                wrong.append(f"{path.name} includes {target}")
    assert wrong == []


def test_the_order_is_written_beside_the_code() -> None:
    text = (ROOT / "csrc/README.md").read_text()
    listed = [name for name in re.findall(r"^    (\w+)/", text, flags=re.M) if name in C_ORDER]
    assert listed == C_ORDER


def test_only_the_extension_includes_the_api() -> None:
    users = [p for p in c_files(*C_ORDER, "tests") if '"api/' in p.read_text()]
    assert users == []


def test_memory_system_calls_are_made_in_one_file() -> None:
    callers = {p.name for p in c_files(*C_ORDER) if re.search(MEMORY_CALLS, without_comments(p.read_text()))}
    assert callers == {"os_linux.c"}


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_leftwards(path: Path) -> None:
    here = room(path)
    if here in TOP:
        return
    allowed = {here, *GROUND}
    if here in ROW:
        allowed |= {*ROW[: ROW.index(here)], *BESIDE}
    elif here in BESIDE:
        allowed |= {"region"}
    else:
        assert here in GROUND, f"{here}: no place in the house"
    assert imported_rooms(path) <= allowed


def test_c_tests_that_start_threads_run_under_the_thread_sanitizer() -> None:
    tests = {p.stem.removeprefix("test_"): p.read_text() for p in (ROOT / "csrc/tests").glob("test_*.c")}
    build = (ROOT / "csrc/meson.build").read_text()
    listed = {name: re.search(rf"^{name} = \[(.*?)\]", build, re.MULTILINE | re.DOTALL) for name in C_TEST_LISTS}
    every, threaded = (set(re.findall(r"'(\w+)'", found[1])) for found in listed.values() if found)
    assert every == set(tests)
    starts = re.compile("pthread_create|al_strands_run|stress_begin")
    assert threaded == {name for name, text in tests.items() if starts.search(text)}


def test_only_native_imports_the_extension() -> None:
    users = [p.name for p in python_files() if re.search(r"import _core|alloclab\._core", p.read_text())]
    assert users == ["native.py"]


def test_no_file_grows_past_six_hundred_lines() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / f for f in listed.stdout.split()] or [*python_files(), *c_files(*C_ORDER, "tests")]
    long = [p.name for p in paths if p.exists() and len(p.read_text().splitlines()) > 600]
    assert long == []


def test_c_lines_fit_in_120_columns() -> None:
    """Ruff holds the Python to the same."""
    paths = [*c_files(*C_ORDER, "api", "tests"), *(ROOT / "csrc").rglob("meson.build")]
    assert [
        f"{p.name}:{i}" for p in paths for i, line in enumerate(p.read_text().splitlines(), 1) if len(line) > 120
    ] == []
