"""The recipes of CONTRIBUTING.md, followed word for word in a copy of the repository that is built and installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from installing import build, copy_of_the_repository, environment, site_of
from support import ROOT

pytestmark = pytest.mark.slow


def recipes(text: str) -> dict[str, tuple[str, bool]]:
    """File name -> (contents, whether it is added to what is there), for every fenced block that a name leads to."""
    files = {}
    for match in re.finditer(r"(`[^`]*`[^`]*?):\n\n```(\w+)\n(.*?)```", text, flags=re.S):
        name = re.findall(r"`([\w./]+/[\w.]+)`", match[1])[-1]
        files[name] = (match[3], match[2] == "def")
    return files


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the changed copy installed."""
    folder = tmp_path_factory.mktemp("contributing")
    copy = copy_of_the_repository(folder / "copy", without=("traces/", "tests/"))
    for name, (contents, added) in recipes((ROOT / "CONTRIBUTING.md").read_text()).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        old = (copy / name).read_text() if added else ""
        (copy / name).write_text(old + contents)
    python = environment(folder / "environment")
    pip = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    build(*pip, "--target", folder / "site", copy, cwd=folder)
    (site_of(python) / "a_copy.pth").write_text(f"{folder / 'site'}\n")  # named so that it comes first
    return python


def alloclab(python: Path, *arguments: str) -> str:
    command = [python, "-c", "from alloclab.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(python: Path, trace: Path, allocator: str) -> dict[str, float]:
    """What ``alloclab replay --json`` measured, by metric."""
    out = trace.with_suffix(".json")
    alloclab(python, "replay", str(trace), "-a", allocator, "--json", str(out))
    result = next(r for r in json.loads(out.read_text())["results"] if r["allocator"] == allocator)
    assert result["verified"]
    return {name: metric["value"] for name, metric in result["metrics"].items()}


@pytest.fixture
def trace(followed: Path, tmp_path: Path) -> Path:
    """A file of the recipe's own format: 300 blocks of 5000 bytes, each second one freed."""
    events = ["# a remark"]
    for i in range(300):
        events.append(f"+{0x1000 + 0x2000 * i:x} 5000")
        if i % 2:
            events.append(f"-{0x1000 + 0x2000 * i:x}")
    (tmp_path / "app.pm").write_text("\n".join(events) + "\n")
    return tmp_path / "app.pm"


def test_the_recipes_name_their_files() -> None:
    assert set(recipes((ROOT / "CONTRIBUTING.md").read_text())) == {
        "csrc/allocators/pages/pages.c",
        "csrc/allocators/pages/meson.build",
        "csrc/allocators/allocators.def",
        "alloclab/trace/importers/plusminus.py",
        "alloclab/measure/traffic.py",
    }


def test_what_was_added_is_listed(followed: Path) -> None:
    listed = json.loads(alloclab(followed, "list", "--json"))
    text = json.dumps(listed)
    for name in ("pages", "plusminus", "calls_per_thousand"):
        assert f'"{name}"' in text


def test_the_new_allocator_is_replayed_both_ways(followed: Path, trace: Path) -> None:
    """Each block takes two pages and a mmap; each free a munmap. The metric counts them per thousand operations."""
    measured = figures(followed, trace, "pages")
    assert (measured["calls_mmap"], measured["calls_munmap"]) == (300, 150)
    assert measured["peak_live_bytes"] == 151 * 5000
    assert measured["peak_mapped_bytes"] == 151 * 8192
    assert measured["calls_per_thousand"] == pytest.approx(1000.0)


@pytest.mark.needs("perl")
def test_the_new_allocator_is_preloaded(followed: Path) -> None:
    environment = os.environ | {"LD_PRELOAD": alloclab(followed, "path", "pages").strip()}
    program = ["perl", "-e", "print join ',', map { $_ x 3 } 1 .. 5"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.stdout == "111,222,333,444,555"
