"""``alloclab list`` and ``alloclab path``."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from alloclab import allocators
from alloclab.allocators import format_bytes, lab_allocators, libraries_found, resolve
from alloclab.commands import list as list_command
from alloclab.commands import path as path_command
from alloclab.comparison.run import resolve_all
from alloclab.errors import UsageError
from alloclab.machine import libc_file
from alloclab.measure import METRICS
from alloclab.trace.importers import importers


def test_the_json_names_everything() -> None:
    done = CliRunner().invoke(list_command.command, ["--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    fit = next(a for a in found["allocators"] if a["name"] == "fit")
    assert [t["name"] for t in fit["tunables"]][:3] == ["policy", "order", "coalesce"]
    pad = {"name": "top_pad", "type": "bytes", "default": "128KiB", "range": "0 .. 1GiB"}
    assert pad.items() <= fit["tunables"][5].items()
    assert set(found["metrics"]) == set(METRICS)
    assert {i["name"] for i in found["importers"]} == set(importers())
    assert set(found["libraries"]) == set(libraries_found())


def test_the_tables_name_everything() -> None:
    said = CliRunner().invoke(list_command.command, [], catch_exceptions=False).stdout
    for name in ["system", *METRICS, *importers(), *(lab.name for lab in lab_allocators()), *libraries_found()]:
        assert name in said
    assert "first|next|best|worst" in said


def test_path_prints_the_library() -> None:
    done = CliRunner().invoke(path_command.command, ["fit"], catch_exceptions=False)
    assert done.stdout.strip() == str(resolve("fit").preload)
    done = CliRunner().invoke(path_command.command, ["fit", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == {"schema": 1, "allocator": "fit", "library": str(resolve("fit").preload)}
    with pytest.raises(UsageError, match=r"there is ptmalloc, jemalloc, .*fit, buddy, bump"):
        CliRunner().invoke(path_command.command, ["none"], catch_exceptions=False)


def test_specs_have_one_spelling() -> None:
    spec = resolve("fit:top_pad=65536,policy=next,mmap_threshold=1000")
    assert spec.spec == "fit:policy=next,mmap_threshold=1000,top_pad=64KiB"
    assert resolve(spec.spec) == spec
    assert spec.environment()["ALLOCLAB_OPTIONS"] == spec.options
    text = "jemalloc:retain=false,slab_sizes=1-4096:17|100-112:20"
    assert resolve("jemalloc:slab_sizes=9-9:1,slab_sizes=1-4096:17|100-112:20,retain=0").spec == text
    assert resolve("system").environment() == {}
    named = resolve("system", {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"})
    assert named.spec == "system GLIBC_TUNABLES=glibc.malloc.tcache_count=0"
    assert named.environment() == {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("fitt", "unknown allocator 'fitt': there is system, ptmalloc, jemalloc, .*fit, buddy, bump"),
        ("fit:polcy=first", "fit has no tunable 'polcy'; it has: policy, order, coalesce"),
        ("fit:policy=least", r"fit: policy is one of first\|next\|best\|worst, not 'least'"),
        ("fit:top_pad=2GiB", "fit: top_pad is a size from 0 to 1GiB, not '2GiB'"),
        ("fit:top_pad=-1", "not '-1'"),
        ("fit:top_pad=1K", "not '1K'"),
        ("fit:policy", "not ''"),
        ("buddy:min_order=13", "buddy: min_order is a number from 4 to 12, not '13'"),
        ("system:top_pad=1", "allocators take tunables"),
        ("/nowhere/libmine.so", "/nowhere/libmine.so: no such library"),
        (__file__, "not a shared library"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        resolve(spec)
    assert "\n" not in str(error.value)


def test_the_libc_that_is_there_anyway_is_the_system(tmp_path: Path) -> None:
    libc = libc_file()
    assert libc is not None
    (tmp_path / "linked.so").symlink_to(libc)
    for spec in ("libc", "libc.so.6", str(libc), str(tmp_path / "linked.so")):
        assert resolve(spec) == resolve("system")
    variables = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    assert resolve("libc", variables) == resolve("system", variables)
    with pytest.raises(UsageError, match="allocator system is given twice"):
        resolve_all(["system", "libc"], {})
    with pytest.raises(UsageError, match="allocators take tunables"):
        resolve("libc:top_pad=1")


def test_another_file_is_another_library(tmp_path: Path) -> None:
    libc = libc_file()
    assert libc is not None
    other = shutil.copy(libc, tmp_path / "libc.so.6")
    found = resolve(str(other))
    assert (found.spec, found.kind, found.name, found.preload) == (str(other), "library", "libc", other)


def test_a_library_without_malloc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.c").write_text("int nothing;")
    library = tmp_path / "libempty.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "empty.c"], check=True)
    with pytest.raises(UsageError, match="not a malloc"):
        resolve(str(library))
    library.write_bytes(library.read_bytes()[:200])
    with pytest.raises(UsageError, match="its ELF tables are damaged"):
        resolve(str(library))
    spaced = tmp_path / "lib mine.so"
    spaced.write_bytes(b"")
    with pytest.raises(UsageError, match="no path with a space"):
        resolve(str(spaced))


def test_an_install_that_the_loader_cannot_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "my lab.so"
    spaced.write_bytes(b"")
    monkeypatch.setattr(allocators, "built_file", lambda name: spaced)
    with pytest.raises(UsageError, match="no path with a space"):
        resolve("fit")


def test_sizes_are_written_exactly() -> None:
    assert [format_bytes(n) for n in (0, 1000, 1024, 1536, 3 << 20, 5 << 40)] == [
        *("0", "1000", "1KiB", "1536", "3MiB", "5TiB")
    ]
