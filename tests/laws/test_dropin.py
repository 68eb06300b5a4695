"""The drop-in libraries: the rules of malloc from inside a program, real programs, and what they export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import HERE, compile_c, run
from support import slow

from alloclab.allocators import LabAllocator, lab_allocators

FAMILY = [
    *("malloc", "calloc", "realloc", "reallocarray", "free", "cfree", "free_sized", "free_aligned_sized"),
    *("memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc", "malloc_usable_size", "malloc_trim"),
    *("mallinfo", "mallinfo2", "mallopt", "malloc_stats", "malloc_info"),
    *("__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free", "__libc_memalign", "__libc_valloc"),
    *("__libc_pvalloc", "__libc_mallinfo", "__libc_mallopt"),
]
SPECS = [
    *(lab.name for lab in lab_allocators()),
    "fit:policy=next,order=lifo,coalesce=deferred",
    "fit:policy=worst,order=fifo,coalesce=never,mmap_threshold=4KiB,top_pad=0",
]
every_library = pytest.mark.parametrize("lab", lab_allocators(), ids=lambda lab: lab.name)
every_spec = pytest.mark.parametrize("spec", [*SPECS[:-2], *slow(*SPECS[-2:])])
PYTHON = Path(sys.executable).resolve()


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(HERE / "dropin_rules.c", tmp_path_factory.mktemp("rules") / "rules")


@every_spec
def test_the_rules_hold(spec: str, rules: Path) -> None:
    done = run(spec, rules)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("spec", [s for s in SPECS if s != "bump" and "never" not in s])
def test_what_was_freed_is_used_again(spec: str, rules: Path) -> None:
    """By other threads, by threads to come, and after exhaustion, of which tcmalloc says something."""
    done = run(spec, rules, "reuse")
    said = [line for line in done.stderr.splitlines() if spec != "tcmalloc" or "allocation failed" not in line]
    assert (done.returncode, done.stdout, said) == (0, "", [])


def test_the_rules_are_able_to_fail(rules: Path) -> None:
    """glibc lacks free_sized, and sets no errno where realloc frees."""
    done = subprocess.run([rules], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert {"C10", "C28"} <= {line.split(":")[0] for line in done.stdout.splitlines()}


@every_library
def test_only_the_family_is_exported(lab: LabAllocator) -> None:
    listed = subprocess.run(["nm", "-D", "--defined-only", lab.library], capture_output=True, text=True, check=True)
    assert sorted(line.split()[2] for line in listed.stdout.splitlines()) == sorted(
        [*FAMILY, "alloclab_begin", "alloclab_control", "alloclab_heap"]
    )


@every_library
def test_only_libc_is_needed(lab: LabAllocator) -> None:
    dynamic = subprocess.run(["readelf", "-Wd", lab.library], capture_output=True, text=True, check=True).stdout
    needed = [line for line in dynamic.splitlines() if "(NEEDED)" in line]
    assert len(needed) == 1 and "libc.so.6" in needed[0]
    assert "RUNPATH" not in dynamic and "RPATH" not in dynamic
    assert "NOW" in dynamic and "NOOPEN" in dynamic


@every_library
def test_a_thread_costs_one_pointer_of_static_storage(lab: LabAllocator) -> None:
    """What there is of it for all libraries is a few hundred bytes more than what the program brings."""
    listed = subprocess.run(["readelf", "-lW", lab.library], capture_output=True, text=True, check=True)
    assert [int(line.split()[5], 16) for line in listed.stdout.splitlines() if line.split()[:1] == ["TLS"]] == [8]


def same_output(spec: str, *command: str | Path) -> None:
    """The program says on the allocator what it says without."""
    done = run(spec, *command)
    plain = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert plain.returncode == 0


@every_spec
def test_python(spec: str) -> None:
    program = """
import json, re, threading
words = [re.sub("a", "b" * (i % 50), json.dumps({"a": list(range(i % 100))})) for i in range(3000)]
def work(): sum(len(bytearray(n)) for n in range(0, 200000, 1000))
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(hash(tuple(map(len, words))))
"""
    for kind in ("malloc", "default"):
        done = run(spec, PYTHON, "-E", "-S", "-c", program)
        assert done.returncode == 0, done.stderr
        assert run(spec, PYTHON, "-S", "-c", program, PYTHONMALLOC=kind).stdout == done.stdout


@pytest.mark.needs("perl")
@every_spec
def test_perl(spec: str) -> None:
    program = 'my %h; $h{$_ % 997} .= "x" x ($_ % 77) for 1..60000; print join(",", map { length $h{$_} } sort keys %h)'
    same_output(spec, "perl", "-e", program)


@pytest.mark.needs("sqlite3")
@every_spec
def test_sqlite(spec: str) -> None:
    query = """create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        select i, hex(i * 7919 % 1000) as h from n; create index th on t(h);
        select h, count(*), sum(i) from t group by h;"""
    same_output(spec, "sqlite3", ":memory:", query)


@pytest.mark.needs("git")
@every_spec
def test_git(spec: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("\n".join(str(i * i) for i in range(5000)))
    for command in (["init", "-q"], ["add", "file"], ["status", "--short"]):
        done = run(spec, "git", "-C", tmp_path, *command)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "A  file\n"


@pytest.mark.needs("gcc")
@every_spec
def test_gcc(spec: str, tmp_path: Path) -> None:
    done = run(spec, "gcc", "-O2", "-w", "-c", "-ffreestanding", HERE / "dropin_rules.c", "-o", tmp_path / "out.o")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.o").stat().st_size > 1000


@every_spec
def test_sort(spec: str, tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("\n".join(str(i * 7919 % 100003) for i in range(100000)))
    same_output(spec, "sort", "-n", tmp_path / "numbers")


@every_library
def test_wrong_options_end_the_program_with_one_line(lab: LabAllocator, rules: Path) -> None:
    """Even one that allocates before libc has read its environment."""
    done = run(lab.name, rules, ALLOCLAB_OPTIONS="size=3")
    names = ", ".join(t.name for t in lab.tunables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"alloclab: ALLOCLAB_OPTIONS: {lab.name} has no tunable 'size'; it has: {names}\n"
