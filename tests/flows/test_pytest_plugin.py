"""The pytest plugin as a project has it: every session here is a pytest of its own, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
from programs import HERE, compile_c
from support import children_of, started, wait_for

from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

pytest_plugins = ["pytester"]

HANGS = "#include <unistd.h>\nvoid *malloc(unsigned long bytes) { for (;;) pause(); return (void *)bytes; }"
LOADER = "ignore:Module already imported so cannot be rewritten; _alloclab_editable_loader"
"""What pytest says of any editable install that brings a plugin."""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A session on a test file with that text."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:  # this one may be a worker's
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")

    def go(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_mine=f"import pytest\n{dedent(source)}")
        return pytester.runpytest_subprocess("-W", "error", "-W", LOADER, *arguments)

    return go


def library(folder: Path, name: str, source: str) -> str:
    (folder / f"{name}.c").write_text(source)
    return str(compile_c(folder / f"{name}.c", folder / f"{name}.so", "-shared", "-fPIC"))


def faulty(folder: Path, fault: str, source: str = "faulty_malloc.c") -> str:
    return str(compile_c(HERE / source, folder / f"{fault}.so", "-shared", "-fPIC", f"-DFAULT={fault}"))


def outcomes(done: pytest.RunResult) -> dict[str, str]:
    """Of a session with -v: test -> PASSED, FAILED .."""
    lines = (re.fullmatch(r"(\S+::.*?) ([A-Z]{4,})(?: \(.*\))? +\[ *\d+%\]", line) for line in done.outlines)
    return {line[1].removeprefix("test_mine.py::"): line[2] for line in lines if line}


# --- where nothing is asked of it ---


def test_it_is_inert(run: Run) -> None:
    done = run(
        """
        import sys

        def test_what_is_there():
            assert "alloclab.pytest_plugin" in sys.modules
            heavy = ["numpy", "pyarrow", "hypothesis", "cffi", "_cffi_backend"]
            assert [name for name in sys.modules if name in heavy or name.startswith("alloclab.")] == [
                "alloclab.pytest_plugin"
            ]
        """,
        *("-p", "no:hypothesispytest"),
    )
    done.assert_outcomes(passed=1)
    assert "alloclab" not in re.sub("plugins: .*", "", done.stdout.str()) + done.stderr.str()


@pytest.mark.slow
def test_it_can_be_left_out(run: Run) -> None:
    run("def test_one(): pass", "-p", "no:alloclab").assert_outcomes(passed=1)


# --- heaps ---


@pytest.mark.slow
def test_heaps_are_lent_and_looked_at(run: Run) -> None:
    done = run(
        """
        def test_it_is_fresh(heap):
            assert heap.allocator.name == "ptmalloc" and heap.ledger().usable == 0

        @pytest.mark.alloclab_heap("fit:policy=best", "buddy", limit=1 << 20)
        def test_on_each(heap):
            assert heap.malloc(2 << 20) == 0

        @pytest.mark.parametrize("heap", ["bump"], indirect=True)
        def test_by_parameter(heap):
            assert heap.allocator.name == "bump"

        @pytest.mark.alloclab_heap("fit", leaks=False)
        def test_leaks(heap):
            heap.malloc(100)

        def test_tells_of_leaks_where_it_fails(heap):
            assert not heap.malloc(100)

        def test_breaks_it(heap):
            block = heap.malloc(100)
            heap.write(block - 8, bytes(8))

        def test_closes_it(heap):
            heap.close()

        @pytest.mark.alloclab_heap("system")
        def test_is_no_heap(heap): ...

        def test_needs_an_allocator(allocator): ...
        """,
        *("-v", "-rA"),
    )
    done.assert_outcomes(passed=7, failed=1, errors=3, skipped=1)
    done.stdout.fnmatch_lines_random(
        [
            "never freed: 1 block, 1 of 104 bytes",
            "ptmalloc, never freed: 1 block, 1 of 104 bytes",
            "the heap is not sound after the test: ptmalloc: *",
            "alloclab_heap: system: only the laboratory's own allocators can be looked into",
            "SKIPPED * no allocator to test: --alloclab-so=LIB.so names one",
        ]
    )
    assert {"test_on_each[fit:policy=best]", "test_on_each[buddy]"} <= outcomes(done).keys()


# --- the rules ---


@pytest.mark.slow
@pytest.mark.needs("gcc")
def test_rules_and_search_are_tests(run: Run, tmp_path: Path) -> None:
    """Side by side on two workers, beside a project's own."""
    misaligned, forgets = faulty(tmp_path, "MISALIGNED"), faulty(tmp_path, "REALLOC_FORGETS", "faulty_family.c")
    done = run(
        "def test_on_it(allocator): assert allocator.environment()['LD_PRELOAD']",
        *("-v", "-n", "2", "-ra", f"--alloclab-so={misaligned}", f"--alloclab-so={forgets}"),
        *("--alloclab-rules=C02,C10,C28,C31", "--alloclab-examples=8", "--alloclab-seed=1", "--alloclab-files=kept"),
        *("--deselect=MISALIGNED.so::search", "--deselect=MISALIGNED.so::C10", "--junitxml=results.xml"),
    )
    cases = {case.get("name") for case in ElementTree.parse("results.xml").iter("testcase")}
    assert cases == {
        "test_on_it[MISALIGNED.so]",
        "test_on_it[REALLOC_FORGETS.so]",
        "C02",
        "C10",
        "C28",
        "C31",
        "search",
    }
    done.stdout.fnmatch_lines_random(
        [
            "*_ MISALIGNED.so::C02 a block is aligned for any object that fits it _*",
            "malloc(*) returned an address that is 8 modulo 16 (and * more like it)",
            "source: C17 7.22.3, mimalloc #206",
            "*_ REALLOC_FORGETS.so::search malloc's calls in any order _*",
            "C08: byte * is not kept by realloc*",
            f"  shown again by {Path.cwd()}/kept/MISALIGNED.so-C31.txt and .c*",
            f"  shown again by {Path.cwd()}/kept/REALLOC_FORGETS.so-search.txt and .c*",
            "SKIPPED [[]1[]] MISALIGNED.so::C28: free_sized and free_aligned_sized are not there",
            "FAILED MISALIGNED.so::C02 - Failed: malloc(*",
        ]
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert {path.suffix for path in Path("kept").iterdir()} >= {".txt", ".c"}


@pytest.mark.slow
def test_what_deviates_passes_and_is_told(run: Run) -> None:
    arguments = "-v", "--alloclab-so=system", "--alloclab-rules=C13,C33", "--alloclab-examples=0"
    done = run("", *arguments)
    assert outcomes(done) == {"system::C13": "PASSED", "system::C33": "PASSED"}
    assert "alloclab: seen of rules that hold" in done.stdout.str()
    done.stdout.fnmatch_lines_random(["system::C33 recorded: * stay resident"])


@pytest.mark.slow
@pytest.mark.needs("gcc")
def test_a_library_that_hangs_is_tried_once(run: Run, tmp_path: Path) -> None:
    hangs = library(tmp_path, "hangs", HANGS)
    done = run("def test_own(): pass", "-rs", f"--alloclab-so={hangs}", "--alloclab-seconds=1", "-k", "C0 or own")
    done.assert_outcomes(passed=1, failed=1, skipped=8, deselected=26)
    done.stdout.fnmatch_lines([f"{hangs}: hangs before a program on it begins"])
    done.stdout.fnmatch_lines([f"SKIPPED [[]1[]] hangs.so::C02: {hangs}: hangs before a program on it begins"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alloclab-so=/nowhere.so"], "ERROR: alloclab: /nowhere.so: no such library"),
        (["--alloclab-so=fit:x=1"], "ERROR: alloclab: fit has no tunable 'x'*"),
        (["--alloclab-so=null"], "ERROR: alloclab: null: *no malloc of a process"),
        (["--alloclab-so=fit", "--alloclab-rules=C99"], "ERROR: alloclab: there is no rule C99; there are C01 to C34"),
        (["--alloclab-examples=-3"], "*--alloclab-examples: expected a whole number from 0 on, not '-3'"),
    ],
)
def test_what_cannot_be_is_a_usage_error(run: Run, arguments: list[str], words: str) -> None:
    done = run("def test_one(): pass", *arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([words])


# --- limits ---

LIMITED = """
import ctypes, os, unittest
from pathlib import Path

MB = 1_000_000

@pytest.fixture(scope="module")
def big():
    return [bytes(1000) for _ in range(30_000)]

@pytest.mark.limit_rss("5 MB")
def test_what_was_before_is_not_counted(big, tmp_path, capsys):
    (tmp_path / "file").write_text("there")
    print("printed")
    assert capsys.readouterr().out == "printed\\n"

@pytest.mark.limit_rss("40 MB")
def test_below():
    assert (b"x" * (30 * MB)).count(b"y") == 0

@pytest.mark.limit_rss("24 MiB")
@pytest.mark.parametrize("name", ["a::b/c", "two words"])
def test_above(name):
    assert (b"x" * (30 * MB)).count(b"y") == 0

@pytest.mark.limit_calls(mmap=9, munmap=10)
@pytest.mark.limit_fragmentation(1.5)
def test_calls():
    kept = [b"x" * MB for _ in range(10)]

@pytest.mark.limit_calls(mmap=9, allocator="jemalloc")
def test_calls_of_another():
    kept = [b"x" * MB for _ in range(10)]

@pytest.mark.limit_fragmentation(1.2)
def test_holes():
    blocks = [bytes(n) for n in [2000] * 10_000]
    del blocks[::2]
    larger = [bytes(n) for n in [3000] * 5_000]

@pytest.mark.limit_rss("90 MB", allocator="tcmalloc")
def test_runs_on_it():
    assert "liballoclab-tcmalloc" in Path("/proc/self/maps").read_text()
    assert not {"LD_PRELOAD", "ALLOCLAB_OPTIONS", "PYTHONMALLOC", "PYTHONHASHSEED"} & os.environ.keys()

@pytest.mark.limit_rss("5 MB")
@pytest.mark.xfail(reason="known", strict=True)
def test_expected():
    kept = b"x" * (20 * MB)

@pytest.mark.limit_rss("5 MB")
def test_fails_by_itself():
    assert [1, 2] == [1, 3]

@pytest.mark.limit_rss("5 MB")
def test_skips():
    pytest.skip("for a reason")

@pytest.mark.limit_rss("5 MB")
def test_crashes():
    ctypes.string_at(0)

@pytest.mark.limit_calls(1000)
class TestOfUnittest(unittest.TestCase):
    def test_it(self):
        if os.fork() == 0:
            os.execlp("sleep", "sleep", "60")
"""


@pytest.mark.slow
def test_tests_with_limits(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_after(): pass")
    done = run(LIMITED, "-v", "-rs", "--junitxml=results.xml")
    assert outcomes(done) == {
        "test_what_was_before_is_not_counted": "PASSED",
        "test_below": "PASSED",
        "test_above[a::b/c]": "FAILED",
        "test_above[two words]": "FAILED",
        "test_calls": "FAILED",
        "test_calls_of_another": "PASSED",
        "test_holes": "FAILED",
        "test_runs_on_it": "PASSED",
        "test_expected": "XFAIL",
        "test_fails_by_itself": "FAILED",
        "test_skips": "SKIPPED",
        "test_crashes": "FAILED",
        "TestOfUnittest::test_it": "PASSED",
        "test_other.py::test_after": "PASSED",
    }
    on = "in a replay of its * heap calls on ptmalloc"
    done.stdout.fnmatch_lines_random(
        [
            "limit_rss: * MiB more is resident at the peak than before the test, the limit is 24 MiB",
            "most that was live at once: * MiB in * blocks, of these",
            "   28.6 MiB in 1 block of 16,777,216 to 33,554,431 bytes",
            f"limit_calls: 10 mmap calls for memory {on}, the limit is 9",
            f"limit_fragmentation: 1.* times as much is mapped at most (* MiB) as is live at most (* MiB), {on}*",
            "its trace, for alloclab info and compare: */test_mine.py-test_calls.parquet",
            "E       *assert [[]1, 2[]] == [[]1, 3[]]",
            "Fatal Python error: Segmentation fault",
            "test_mine.py::test_calls limit_calls 10 of 9 mmap",
            "test_mine.py::test_calls limit_fragmentation 1.* of 1.5",
            "SKIPPED * for a reason",
        ]
    )
    done.stdout.fnmatch_lines(
        ["the process of the test was killed by SIGSEGV", "Fatal Python error: *"], consecutive=True
    )
    kept = sorted(Path(".pytest_cache/d/alloclab").iterdir())
    assert [path.name.removeprefix("test_mine.py-test_") for path in kept] == [
        "above-a-b-c.parquet",
        "above-two-words.parquet",
        "calls.parquet",
        "expected.parquet",
        "holes.parquet",
    ]
    assert all(validate(Trace.open(path)) == [] for path in kept)
    properties = {p.get("name"): p.get("value") for p in ElementTree.parse("results.xml").iter("property")}
    assert re.fullmatch(r"0 of 1,000|\d+ of 1,000", properties["limit_calls"] or "")


@pytest.mark.slow
def test_limits_repeat(run: Run) -> None:
    """The replayed figures, whatever else the session imports; on two workers, too."""
    source = """
    @pytest.mark.limit_calls(1000)
    def test_it():
        kept = {str(i): [i] * 10 for i in range(20_000)}
    """
    figures = {
        line
        for before, *arguments in (["", "-p", "no:hypothesispytest"], ["import numpy", "-n", "2"])
        for line in run(f"{before}\n{dedent(source)}", "-v", *arguments).outlines
        if " limit_calls " in line
    }
    [line] = figures
    assert re.fullmatch(r"test_mine.py::test_it limit_calls \d+ of 1,000", line)


@pytest.mark.slow
def test_a_limit_that_is_none_is_a_usage_error(run: Run) -> None:
    done = run("@pytest.mark.limit_rss('24 QB')\ndef test_one(): pass")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: test_mine.py::test_one: limit_rss('24 QB'): expected a size such as *"])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_session_that_is_ended_leaves_no_process(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(
        "import pathlib, pytest, time\n"
        "@pytest.mark.limit_rss('1 MB')\n"
        "def test_long():\n    pathlib.Path('began').touch()\n    time.sleep(600)\n"
        "def test_next(): pathlib.Path('next').touch()\n"
    )
    command = [sys.executable, "-m", "pytest", "-W", LOADER, "-p", "no:cacheprovider"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as session:
        wait_for((tmp_path / "began").exists, "the test")
        [child] = children_of(session.pid)
        if number == signal.SIGINT:
            os.killpg(session.pid, number)  # as a terminal does
        else:
            session.send_signal(number)
        assert session.wait(60) == code
        assert not Path(f"/proc/{child}").exists() and not (tmp_path / "next").exists()
