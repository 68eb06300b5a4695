"""``alloclab import`` as a user types it, and the output of real tools imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import PRINT_PEAK_KIB

from alloclab.trace.importers import ImportReport, import_file

PROGRAM = r"""
#define _GNU_SOURCE
#include <malloc.h>
#include <mcheck.h>
#include <pthread.h>
#include <stdlib.h>

void *volatile keep;

static void *work(void *unused) {
    for (int i = 0; i < 20; i++) {
        void *p = malloc(100 + i);
        keep = p = realloc(p, 5000);
        free(p);
    }
    return unused;
}

int main(int argc, char **argv) {
    if (getenv("MALLOC_TRACE")) mtrace();
    void *a = malloc(11), *b = calloc(3, 7), *c = realloc(NULL, 55), *d = memalign(64, 200);
    a = realloc(a, 100000);
    void *volatile none = malloc((size_t)1 << 62);
    free(NULL);
    pthread_t threads[2];
    if (argc == 1) {
        for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, work, NULL);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    } else {
        work(argv);
    }
    keep = malloc(777);
    free(a), free(b), free(c), free(d), free(none);
    return 0;
}
"""
ANDROID = "1: malloc 0x10 5\n1: free 0x10\n1: malloc 0x10 7\n"


def alloclab(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from alloclab.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_import_prints_what_it_read_and_what_to_type_next(tmp_path: Path) -> None:
    (tmp_path / "app.v1.txt").write_text(ANDROID)
    done = alloclab("import", "app.v1.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "app.v1.parquet: 3 events from app.v1.txt (android)",
        "  malloc 2, free 1",
        "  peak live 7 bytes, 1 threads",
        "  live at the end 7 bytes in 1 blocks",
        "Next: alloclab compare app.v1.parquet -a system -a ptmalloc -a fit",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["app.v1.parquet", "app.v1.txt"]


def test_import_as_json_and_lenient(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(ANDROID + "1: free 0x99\n")
    done = alloclab("import", "x", "-o", "y.parquet", "--lenient", "--json", cwd=tmp_path)
    figures = json.loads(done.stdout)
    assert figures["dropped"] == {"frees of unknown blocks": 1}
    assert figures["events"] == 3 and figures["by_kind"] == {"malloc": 2, "free": 1}
    assert figures["output"] == "y.parquet" and figures["peak_live_bytes"] == 7


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("bad",), 3, "bad: line 4: found free of block 0x99, which is not live, expected a live block (--lenient"),
        (("empty",), 3, "empty: empty file, expected a trace"),
        (("nowhere",), 3, "nowhere: no such file"),
        (("prose",), 3, "prose: not a trace in any format known here"),
        (("good", "--format", "reps"), 2, "unknown trace format 'reps'; known: android,"),
        (("good", "-o", "missing/y.parquet"), 2, "there is no folder missing"),
        (("good", "-o", "good"), 2, "good: the name of this output must end in .parquet"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    arguments: tuple[str, ...], status: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "good").write_text(ANDROID)
    (tmp_path / "bad").write_text(ANDROID + "1: free 0x99\n")
    (tmp_path / "empty").touch()
    (tmp_path / "prose").write_text("It was a dark and stormy night.\n")
    done = alloclab("import", *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "empty", "good", "prose"]


def test_an_output_that_exists_survives_a_failed_import(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text(ANDROID + "1: free 0x99\n")
    (tmp_path / "bad.parquet").write_text("precious")
    assert alloclab("import", "bad", cwd=tmp_path).returncode == 3
    assert (tmp_path / "bad.parquet").read_text() == "precious"


@pytest.mark.slow
def test_memory_stays_bounded_on_a_large_file(tmp_path: Path) -> None:
    """32 MiB of text hold no more memory than 8 MiB do, but for some slack."""
    peaks = []
    for size in (8, 32):
        path = tmp_path / "trace.script"
        piece = "".join(f"a {i} 40\nf {i}\n" for i in range(10**6, 10**6 + 4096))
        with path.open("w") as file:
            file.writelines([piece] * ((size << 20) // len(piece)))
        code = (
            "import sys\nfrom alloclab.trace.importers import import_file\nimport_file(*sys.argv[1:])" + PRINT_PEAK_KIB
        )
        command = [sys.executable, "-c", code, str(path), str(tmp_path / "out.parquet")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < peaks[0] + 24 * 1024, f"{peaks} KiB"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    binary = folder / "program"
    subprocess.run(["gcc", "-O0", "-fno-builtin", "-w", "-o", binary, folder / "program.c", "-pthread"], check=True)
    return binary


def own(report: ImportReport) -> dict[str, int]:
    return {kind: n for kind, n in report.by_kind.items() if n}


@pytest.mark.needs("gcc")
@pytest.mark.needs("valgrind")
def test_real_valgrind_output(program: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["valgrind", "--trace-malloc=yes", "--run-libc-freeres=no", f"--log-file={log}", program]
    subprocess.run(command, check=True, capture_output=True)
    report = import_file(log, tmp_path / "out.parquet")
    assert report.format == "valgrind" and report.dropped == {}
    kinds = own(report)
    assert kinds["realloc"] == 41 and kinds["malloc"] == 44 and kinds["aligned"] >= 1
    assert report.live_blocks is not None and report.live_blocks >= 1
    assert report.peak_live_bytes is not None and report.peak_live_bytes >= 100_000 + 777 + 200 + 55 + 21


@pytest.mark.needs("gcc")
@pytest.mark.needs("ltrace")
def test_real_ltrace_output(program: Path, tmp_path: Path) -> None:
    """In one thread: of several, ltrace itself loses returns now and then."""
    log = tmp_path / "log"
    command = ["ltrace", "-f", "-o", log, "-e", "malloc+calloc+realloc+free+memalign@MAIN", program, "alone"]
    subprocess.run(command, check=True, capture_output=True)
    report = import_file(log, tmp_path / "out.parquet")
    assert report.format == "ltrace" and report.dropped == {}
    # realloc(NULL, 55) is told as a malloc.
    expected = {"malloc": 24, "calloc": 1, "realloc": 21, "aligned": 1, "free": 26, "thread_exit": 1}
    assert own(report) == expected and report.births_by_realloc == 1
    assert (report.threads, report.live_blocks, report.live_bytes) == (1, 1, 777)


@pytest.mark.needs("gcc")
@pytest.mark.needs("libc_malloc_debug")
def test_real_mtrace_output(program: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = {**os.environ, "MALLOC_TRACE": str(log), "LD_PRELOAD": "libc_malloc_debug.so.0"}
    subprocess.run([program], check=True, env=env)
    report = import_file(log, tmp_path / "out.parquet")
    assert report.format == "mtrace" and report.dropped == {}
    kinds = own(report)
    # The thread library's own blocks come on top: a, b, c, d, none, keep and two times twenty of the program.
    assert kinds["realloc"] == 41 and kinds["malloc"] >= 46 and kinds["free"] >= 44
    assert report.live_blocks == kinds["malloc"] - 1 - kinds["free"]
