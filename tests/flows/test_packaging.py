"""The sdist builds, and the wheel made of it holds the package and nothing else, and works."""

from __future__ import annotations

import email
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from installing import build, copy_of_the_repository, environment
from support import ROOT

from alloclab.allocators import lab_allocators

pytestmark = [pytest.mark.slow, pytest.mark.needs("git")]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tree as it is now, committed or not; only what is committed gets into an sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    copy = copy_of_the_repository(folder / "copy")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "--no-gpg-sign", "-m", "copy"]):
        subprocess.run(["git", *command], cwd=copy, check=True)
    build("build", "--sdist", "--no-isolation", "--outdir", folder / "dist", copy, cwd=folder)
    (found,) = (folder / "dist").iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist, in a build folder of its own."""
    build_folder = sdist.parent.parent / "elsewhere"
    pip = ["pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", f"-Cbuild-dir={build_folder}"]
    build(*pip, "--wheel-dir", sdist.parent, sdist, cwd=sdist.parent)
    assert (build_folder / "build.ninja").exists()
    (found,) = sdist.parent.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that the wheel was installed into."""
    python = environment(tmp_path_factory.mktemp("installed") / "venv")
    pip = ["pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    build(*pip, cwd=wheel.parent)
    return python.parent


def test_the_sdist_has_the_sources_and_leaves_the_recordings_out(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"meson.build", "README.md", "LICENSE", "csrc/api/alloclab_decl.h", "tests/conftest.py"} <= names
    assert not any(name.endswith((".parquet", ".pyc")) for name in names)
    assert sdist.stat().st_size < 2 << 20


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    metadata = {name for name in modes if ".dist-info/" in name}
    extensions = {name for name in modes if name.startswith("alloclab/_core.") and name.endswith(".so")}
    natives = {f"alloclab/_lib/liballoclab-{lab.name}.so" for lab in lab_allocators()}
    natives |= {"alloclab/_lib/liballoclab-record.so", "alloclab/_lib/liballoclab-clock.so"}
    programs = {"alloclab/_lib/alloclab-replay", "alloclab/_lib/alloclab-rules"}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "alloclab").rglob("*.py")} | {"alloclab/py.typed"}
    assert len(extensions) == 1
    assert modes.keys() - metadata == package | natives | programs | extensions
    assert {modes[name] for name in programs} == {0o755}
    assert {Path(name).name for name in metadata} == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "LICENSE"}


def test_the_metadata_is_what_an_index_shows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        facts = email.message_from_string(archive.read(name).decode())
    assert (facts["Name"], facts["License-Expression"], facts["Requires-Python"]) == ("alloclab", "MIT", ">=3.10")
    assert facts["Description-Content-Type"] == "text/markdown"
    assert facts.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    needed, extra = set(), set()
    for line in facts.get_all("Requires-Dist", []):
        (extra if "extra ==" in line else needed).add(line.split(">")[0])
    assert needed == {"cffi", "numpy", "pyarrow", "matplotlib", "click", "rich"}
    assert (extra, set(facts.get_all("Provides-Extra", []))) == ({"hypothesis", "pytest"}, {"check", "pytest"})
    assert "Operating System :: POSIX :: Linux" in facts.get_all("Classifier", [])


def test_what_was_installed_records_and_replays(installed: Path, tmp_path: Path) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def alloclab(*arguments: str) -> str:
        command = [installed / "alloclab", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(alloclab("path", "fit").strip()).is_relative_to(installed.parent)
    listed = {allocator["name"] for allocator in json.loads(alloclab("list", "--json"))["allocators"]}
    assert listed >= {lab.name for lab in lab_allocators()}
    alloclab("record", "-o", "ls.parquet", "--", "ls", "/")
    for way in ([], ["--in-process"]):
        results = json.loads(alloclab("replay", "ls.parquet", "-a", "fit", "--no-time", "--json", "-", *way))["results"]
        assert next(r for r in results if r["allocator"] == "fit")["verified"]
