"""The command `alloclab run`: a program on an allocator, its tree, and what its processes say of their heaps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded import ALLOCLAB, alloclab, build
from support import children_of, slow, started, wait_for

from alloclab.allocators import LIBC, Allocator, lab_allocators, resolve
from alloclab.cli import main
from alloclab.run import Process, Summary, environment_on, run
from alloclab.trace.parquet import Trace

LABS = [lab.name for lab in lab_allocators()]
every_lab = pytest.mark.parametrize(
    "name", ["ptmalloc", "tcmalloc", *slow(*sorted({*LABS} - {"ptmalloc", "tcmalloc"}))]
)
HEAD = """
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void *volatile kept;
"""
WHO = (
    "extern void *alloclab_heap(void) __attribute__((weak));\nstatic int ours(void) { return alloclab_heap != NULL; }\n"
)


def stats_of(command: list[str], spec: str = "ptmalloc", **options: Any) -> list[Process]:
    return list(run([str(word) for word in command], resolve(spec), stats=True, **options).processes)


def told(process: Process) -> Summary:
    assert process.summary is not None
    return process.summary


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 2
) -> str:
    """The one line for a command that is not run, in this process."""
    monkeypatch.setattr(sys, "argv", ["alloclab", "run", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == code and printed.out == "" and printed.err.count("\n") == 1
    return printed.err


# --- the program is run as it is ---


@pytest.mark.parametrize("spec", ["jemalloc", "system"])
def test_exit_code_and_streams_are_the_programs(tmp_path: Path, spec: str) -> None:
    source = """
    int main(void) {
        int c = getchar();
        printf("got %c %d\\n", c, ours());
        fputs("warned\\n", stderr);
        return 42;
    }
    """
    build(tmp_path, HEAD + WHO + source)
    done = alloclab(tmp_path, "run", "-a", spec, "./target", input="x")
    assert (done.returncode, done.stdout, done.stderr) == (42, f"got x {int(spec != 'system')}\n", "warned\n")


@pytest.mark.parametrize("stats", [[], ["--stats", "s.json"]])
@pytest.mark.parametrize("number", [signal.SIGSEGV, *slow(signal.SIGKILL, signal.SIGTERM)])
def test_a_signal_that_ends_the_program_is_128_and_its_number(tmp_path: Path, number: int, stats: list[str]) -> None:
    build(tmp_path, HEAD + f"int main(void) {{ kill(getpid(), {int(number)}); pause(); }}")
    done = alloclab(tmp_path, "run", "-a", "fit", *stats, "./target")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    if stats:
        [process] = json.loads((tmp_path / "s.json").read_text())["processes"]
        assert process["ended"] == f"signal {int(number)}" and process["summary"] is None


def test_no_error_of_a_summary_is_left_in_errno(tmp_path: Path) -> None:
    """As where the image before an exec has taken the first name for one."""
    source = """
    #include <errno.h>
    int main(void) {
        int ended, first = errno;
        errno = 0;
        if (fork() == 0) _exit(errno);
        wait(&ended);
        return first + ended;
    }
    """
    build(tmp_path, HEAD + source)
    assert alloclab(tmp_path, "run", "-a", "fit", "--stats", "s.txt", "--", "env", "./target").returncode == 0


@pytest.mark.parametrize("stats", [[], ["--stats", "s.txt"]])
def test_ctrl_c_goes_to_the_program(tmp_path: Path, stats: list[str]) -> None:
    source = """
    static volatile int asked;
    static void stop(int n) { asked = 1; }
    int main(void) { signal(SIGINT, stop); puts("ready"); fflush(stdout); while (!asked) usleep(1000); return 5; }
    """
    build(tmp_path, HEAD + source)
    command = [*ALLOCLAB, "run", "-a", "fit", *stats, "./target"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (5, b"")


def test_sigterm_is_passed_on_to_the_program(tmp_path: Path) -> None:
    build(tmp_path, HEAD + 'int main(void) { puts("ready"); fflush(stdout); pause(); return 0; }')
    with started([*ALLOCLAB, "run", "-a", "fit", "./target"], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_without_stats_the_command_ends_with_the_program(tmp_path: Path) -> None:
    """With them it waits for what the program leaves behind."""
    source = """
    int main(void) {
        int ends[2];
        pipe(ends);
        if (fork() == 0) {
            char end;
            setsid();
            close(ends[1]);
            read(ends[0], &end, 1);
            usleep(300000);
            kept = malloc(7001);
            exit(3);
        }
        return 5;
    }
    """
    build(tmp_path, HEAD + source)
    assert alloclab(tmp_path, "run", "-a", "fit", "./target").returncode == 5
    parent, orphan = sorted(stats_of([tmp_path / "target"]), key=lambda p: p.forked)
    assert (parent.ended, orphan.ended) == ("exit 5", "exit 3") and told(orphan).ledger.usable >= 7001


# --- who runs on it ---

TREE = (
    HEAD
    + WHO
    + """
    int main(int n, char **words) {
        printf("%s %d %s %s\\n", n > 1 ? words[1] : "first", ours(), getenv("LD_PRELOAD") ? "preload" : "none",
               getenv("ALLOCLAB_OPTIONS") ? getenv("ALLOCLAB_OPTIONS") : "unset");
        fflush(stdout);
        return n > 1 ? 0 : system("./target shell");
    }
    """
)


def test_the_whole_tree_runs_on_it_with_its_settings(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    done = alloclab(tmp_path, "run", "-a", "fit:policy=first", "./target")
    assert done.stdout.splitlines() == ["first 1 preload policy=first", "shell 1 preload policy=first"]


def test_without_children_the_program_alone_does(tmp_path: Path) -> None:
    build(tmp_path, TREE)
    done = alloclab(tmp_path, "run", "--no-children", "-a", "fit:policy=first", "./target")
    assert done.stdout.splitlines() == ["first 1 none unset", "shell 0 none unset"]


def test_children_find_the_environment_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In the program itself as well, once main runs; with what was there before under our names."""
    library = build(tmp_path, "int answer(void) { return 42; }", "-shared", "-fPIC", name="answer.so")
    source = "extern char **environ; int main(void) { for (char **e = environ; *e; e++) puts(*e); return 0; }"
    program = build(tmp_path, HEAD + source)
    before = {"LD_PRELOAD": str(library), "ALLOCLAB_OPTIONS": "mine", "A": "", "PATH": os.environ["PATH"]}
    run([str(program)], resolve("fit", {"B": "2", "A": "1"}), children=False, env=before)
    assert dict(line.split("=", 1) for line in capfd.readouterr().out.splitlines()) == before


@pytest.mark.parametrize("spec", ["fit", "system"])
def test_a_preload_of_the_users_is_kept(tmp_path: Path, spec: str) -> None:
    library = build(tmp_path, "int answer(void) { return 42; }", "-shared", "-fPIC", name="answer.so")
    source = "extern int answer(void) __attribute__((weak)); int main(void) { return answer ? answer() + ours() : 1; }"
    build(tmp_path, HEAD + WHO + source)
    done = alloclab(tmp_path, "run", "-a", spec, "./target", env=os.environ | {"LD_PRELOAD": str(library)})
    assert done.returncode == 42 + (spec == "fit")


def test_what_comes_first_in_the_preload() -> None:
    """The recorder, the allocator, what else there was; of drop-ins only ours."""
    fit, other = str(resolve("fit").preload), str(resolve("bump").preload)

    def preload(spec: Allocator | str, before: str) -> str | None:
        allocator = resolve(spec) if isinstance(spec, str) else spec
        return environment_on(allocator, {"LD_PRELOAD": before}).get("LD_PRELOAD")

    recorder = "/x/liballoclab-record.so"
    assert preload("fit", "") == fit
    assert preload("fit", "/a.so /b.so:/c.so") == f"{fit}:/a.so:/b.so:/c.so"
    assert preload("fit", f"/a.so:{recorder}:{other}") == f"{recorder}:{fit}:/a.so"
    assert preload("system", "") is None
    assert preload("system", other) is None
    assert preload("system", recorder) == recorder
    assert preload("system", f"/a.so:{recorder}") == f"{recorder}:{LIBC}:/a.so"


@pytest.mark.needs("libjemalloc")
def test_a_foreign_library_is_run_as_it_is(tmp_path: Path) -> None:
    source = "extern int mallctl() __attribute__((weak)); int main(void) { return mallctl ? 42 : 1; }"
    build(tmp_path, HEAD + source)
    words = ("run", "-a", "libjemalloc", "--env", "libjemalloc", "MALLOC_CONF=confirm_conf:true", "./target")
    done = alloclab(tmp_path, *words)
    assert done.returncode == 42 and "confirm_conf:true" in done.stderr


def test_a_recorded_program_runs_on_it(tmp_path: Path) -> None:
    """The recorder is loaded before the drop-in, and sees each call."""
    build(tmp_path, HEAD + WHO + "int main(void) { kept = malloc(7001); return 40 + ours(); }")
    words = ("record", "-o", "t.parquet", "--", *ALLOCLAB, "run", "-a", "fit", "./target")
    done = alloclab(tmp_path, *words)
    assert done.returncode == 41
    traces = [Trace.open(path) for path in tmp_path.glob("t.parquet*")]
    [trace] = [t for t in traces if t.metadata.program == "target"]
    assert Path(trace.metadata.allocator).name == "liballoclab-fit.so"
    [rows] = trace.blocks()
    assert (rows.size == 7001).sum() == 1


def test_settings_of_a_variable_of_its_own_reach_it(tmp_path: Path) -> None:
    build(tmp_path, HEAD + "int main(void) { return 0; }")
    words = ["--env", "ptmalloc:top_pad=64KiB", "GLIBC_TUNABLES=glibc.malloc.trim_threshold=4096"]
    done = alloclab(tmp_path, "run", "-a", "ptmalloc:top_pad=64KiB", *words, "--json", "--", "./target")
    [process] = json.loads(done.stdout)["processes"]
    assert process["summary"]["settings"]["top_pad"] == "64KiB"
    assert process["summary"]["settings"]["trim_threshold"] == "4KiB"


# --- the summary is true ---


def check(summary: Summary) -> None:
    """What holds of any heap that nobody else works on."""
    ledger, counters = summary.ledger, summary.counters
    assert ledger.mapped == counters.mapped <= counters.peak_mapped <= counters.peak_reserved
    assert counters.reserved <= counters.peak_reserved and counters.vmas <= counters.peak_vmas
    assert sum(s.live.bytes for s in summary.sizes) == ledger.usable
    assert sum(s.cached.bytes for s in summary.sizes) == ledger.cached
    assert sum(s.free.bytes for s in summary.sizes) == ledger.free
    assert all(s.up_to < t.up_to for s, t in zip(summary.sizes, summary.sizes[1:], strict=False))
    by_kind: dict[str, list[int]] = {}
    for each, sign in [(o, 1) for o in summary.owners] + [(f, -1) for f in summary.lists]:
        count = by_kind.setdefault(each.kind, [0, 0])
        count[0] += sign * each.kept.count
        count[1] += sign * each.kept.bytes
    assert all(count == [0, 0] for count in by_kind.values())


@every_lab
def test_a_leak_is_seen_to_the_byte(tmp_path: Path, name: str) -> None:
    """After all exit handlers and destructors: what those free is not in it."""
    source = """
    static void *late[100];
    static void give_back(void) { for (int i = 0; i < 100; i++) free(late[i]); }
    __attribute__((destructor)) static void last(void) { for (int i = 0; i < 50; i++) kept = malloc(3000); }
    int main(int n, char **words) {
        atexit(give_back);
        for (int i = 0; i < 100; i++) late[i] = malloc(5000);
        for (int i = 0; i < 1000; i++) kept = malloc(100);
        for (int i = 0; i < 500; i++) free(malloc(40));
        return 0;
    }
    """
    [process] = stats_of([build(tmp_path, HEAD + source)], name)
    summary = told(process)
    check(summary)
    assert process.ended == "exit 0" and not process.forked
    live = {size.up_to: size.live.count for size in summary.sizes if size.live.count}
    most = {up_to: count for up_to, count in live.items() if count >= 50}
    assert sorted(most.values()) == [50, 1000] and min(most) >= 100
    assert summary.ledger.usable >= 250_000 and summary.counters.calls != {}
    assert sum(summary.counters.bytes.values()) >= summary.counters.mapped


@pytest.mark.slow
@every_lab
def test_threads_that_work_on_while_the_process_exits_are_no_harm(tmp_path: Path, name: str) -> None:
    """Time and again, as it takes luck to meet them; a heap of many blocks, as looking at it then takes long. What
    they do needs no lock where an allocator has caches. On bump they end, for there the heap only grows."""
    source = """
    static void *work(void *a) {
        unsigned seed = 1;
        for (long i = 0; i < ROUNDS; i++) {
            void *p = malloc(rand_r(&seed) % 1000);
            free(malloc(77));
            free(p);
        }
        return a;
    }
    int main(void) {
        pthread_t t[3];
        for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, work, NULL);
        for (int i = 0; i < 100000; i++) kept = malloc(40);
        usleep(20000);
        exit(7);
    }
    """
    program = build(tmp_path, HEAD + source, f"-DROUNDS={3 * 10**5 if name == 'bump' else 10**10}")
    times = 30 if name == "ptmalloc" else 6
    processes = stats_of(["sh", "-c", f"for i in $(seq {times}); do {program}; done"], name)
    ended = [process.ended for process in processes if process.command[0] == str(program)]
    assert ended == ["exit 7"] * times


@every_lab
def test_threads_and_their_caches_are_counted(tmp_path: Path, name: str) -> None:
    source = """
    static pthread_barrier_t all;
    static void *work(void *a) {
        void *blocks[50];
        for (int i = 0; i < 50; i++) blocks[i] = malloc(100);
        for (int i = 0; i < 50; i++) free(blocks[i]);
        pthread_barrier_wait(&all);
        pause();
        return a;
    }
    int main(void) {
        pthread_t t[3];
        pthread_barrier_init(&all, NULL, 4);
        for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, work, NULL);
        pthread_barrier_wait(&all);
        usleep(10000);
        return 0;
    }
    """
    [process] = stats_of([build(tmp_path, HEAD + source)], name)
    check(told(process))
    assert told(process).threads == 4
    if name in ("ptmalloc", "jemalloc", "tcmalloc"):
        kind = {"ptmalloc": "tcache", "jemalloc": "tcache", "tcmalloc": "thread"}[name]
        assert len([o for o in told(process).owners if o.kind == kind and o.kept.count]) >= 3


WAYS = ["fork()", "syscall(SYS_fork)"]


@every_lab
@pytest.mark.parametrize("way", WAYS)
def test_a_forks_child_tells_of_itself(tmp_path: Path, name: str, way: str) -> None:
    source = f"""
    int main(void) {{
        for (int i = 0; i < 64; i++) free(malloc(1 << 20));
        kept = malloc(100000);
        if ({way} == 0) {{ for (int i = 0; i < 8; i++) kept = malloc(1 << 20); exit(3); }}
        wait(NULL);
        return 4;
    }}
    """
    parent, child = sorted(stats_of([build(tmp_path, HEAD + source)], name), key=lambda p: p.forked)
    assert (parent.ended, child.ended, child.parent) == ("exit 4", "exit 3", parent.pid)
    assert (parent.forked, child.forked) == (False, True)
    check(told(parent))
    check(told(child))
    assert told(child).ledger.usable >= told(parent).ledger.usable + (8 << 20)
    if way == "fork()" and name == "ptmalloc":
        calls = told(child).counters.calls
        assert calls["mmap"] + calls["brk"] <= 8


def test_exec_kill_and_exit_without_handlers_leave_a_trace(tmp_path: Path) -> None:
    build(tmp_path, HEAD + "int main(int n, char **w) { kept = malloc(70001); return 9; }", name="second")
    source = """
    int main(void) {
        if (fork() == 0) { execl("./second", "second", "a b%", "[/bold]\\n\\xff", "", NULL); }
        wait(NULL);
        if (fork() == 0) _exit(5);
        wait(NULL);
        if (fork() == 0) { raise(SIGKILL); }
        wait(NULL);
        execl("./second", "other", NULL);
    }
    """
    build(tmp_path, HEAD + source)
    done = alloclab(tmp_path, "run", "-a", "fit", "--json", "s.json", "--stats", "s.txt", "./target")
    assert done.returncode == 9
    found = json.loads((tmp_path / "s.json").read_text())
    assert (found["schema"], found["allocator"], found["status"]) == (1, "fit", 9)
    pids = [p["pid"] for p in found["processes"]]
    [first] = [p["pid"] for p in found["processes"] if not p["forked"] and p["command"] == ["./target"]]
    processes = sorted(found["processes"], key=lambda p: (p["pid"] != first, -pids.count(p["pid"]), p["image"]))
    rows = [
        (
            p["image"],
            p["forked"],
            p["ended"],
            os.fsencode(p["command"][-1]),
            len(p["command"]),
            p["summary"] is not None,
        )
        for p in processes
    ]
    assert rows[:2] == [(0, False, "exec", b"./target", 1, False), (1, False, "exit 9", b"other", 1, True)]
    assert rows[2:4] == [(0, True, "exec", b"./target", 1, False), (1, False, "exit 9", b"", 4, True)]
    assert [row[2] for row in rows[4:]] == ["killed or _exit", "killed or _exit"]
    assert processes[3]["command"] == ["second", "a b%", "[/bold]\n\udcff", ""]
    assert all(p["parent"] == first for p in processes[2:])
    text = (tmp_path / "s.txt").read_text()
    assert "a b%" in text and "[/bold]" in text
    assert "2 exec" in text and "2 killed or _exit" in text and "other: pid" in text


def test_a_spawned_child_of_a_vfork_is_there_once(tmp_path: Path) -> None:
    source = (
        'int main(void) { if (vfork() == 0) { execl("/bin/true", "true", NULL); _exit(1); } wait(NULL); return 0; }'
    )
    first, second = stats_of([build(tmp_path, HEAD + source)])
    assert (first.image, second.image, first.summary is None, second.summary is None) == (0, 0, False, False)


def test_without_children_only_the_program_tells(tmp_path: Path) -> None:
    source = """
    int main(void) {
        if (fork() == 0 || syscall(SYS_fork) == 0) exit(1);
        while (wait(NULL) > 0) {}
        return system("true");
    }
    """
    [process] = stats_of([build(tmp_path, HEAD + source)], children=False)
    assert process.ended == "exit 0" and not process.forked


# --- and harms nobody ---


def test_where_nothing_can_be_written_the_program_runs_all_the_same(tmp_path: Path) -> None:
    source = (
        "int main(void) { struct rlimit size = {0, 0}; setrlimit(RLIMIT_FSIZE, &size); kept = malloc(1); return 6; }"
    )
    program = build(tmp_path, HEAD + source)
    [process] = stats_of([program])
    assert process.ended == "exit 6" and process.summary is None
    library = str(resolve("fit").preload)
    for folder in ("/no/such/folder", "/proc", "/dev/full", "x" * 5000):
        env = {"LD_PRELOAD": library, "ALLOCLAB_STATS_DIR": folder}
        done = subprocess.run([program], env=env, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (6, b"", b"")


LEAVES = """
static volatile int leaving;
extern void *__sbrk(intptr_t bytes);
void *sbrk(intptr_t bytes) {
    if (leaving) {
        write(1, "x", 1);
        exit(5);
    }
    return __sbrk(bytes);
}
static void *idle(void *a) { pause(); return a; }
int main(void) {
    pthread_t t;
    pthread_create(&t, NULL, idle, NULL);
    leaving = 1;
    for (;;) kept = malloc(10000);
}
"""
"""Calls exit in the middle of a malloc, as a signal handler may, and so while its thread holds the allocator's lock."""


@pytest.mark.slow
def test_an_exit_in_the_middle_of_a_malloc_does_not_wait_for_ever(tmp_path: Path) -> None:
    [process] = stats_of([build(tmp_path, HEAD + LEAVES)], "fit")
    assert process.ended == "exit 5" and process.summary is None


@pytest.mark.slow
def test_a_machine_with_much_to_do_costs_no_summary(tmp_path: Path) -> None:
    """Nobody is given up who only had to wait: here for longer than one may be busy."""
    source = """
    static volatile int leaving;
    int open64(const char *path, int flags, int mode) {
        if (leaving) usleep(5500000);
        return syscall(SYS_open, path, flags, mode);
    }
    int main(void) { leaving = 1; return 4; }
    """
    [process] = stats_of([build(tmp_path, HEAD + source)], "fit")
    assert process.ended == "exit 4" and process.summary is not None


@pytest.mark.slow
def test_who_is_killed_while_it_is_told_of_leaves_nobody_behind(tmp_path: Path) -> None:
    """The lock that is held for ever, where the exit comes in the middle of a malloc, is waited for by a helper. It is
    stopped as its maker ends: left to itself it would end, too, once it was busy for long."""
    program = build(tmp_path, HEAD + LEAVES)
    env = {"LD_PRELOAD": str(resolve("fit").preload), "ALLOCLAB_STATS_DIR": str(tmp_path)}

    def figures(pid: int) -> list[str]:
        """From its state on, as in proc(5)."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ["gone"]

    with started([program], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read(1) == b"x"
        wait_for(lambda: len(children_of(process.pid)) == 1, "a helper")
        [helper] = children_of(process.pid)
        wait_for(lambda: figures(helper)[11:13] != ["0", "0"], "the helper to be busy")
        os.kill(helper, signal.SIGSTOP)
        process.kill()
    wait_for(lambda: figures(helper)[0] in ("gone", "Z"), "the helper's end")


def test_a_heap_in_ruins_is_not_told_of(tmp_path: Path) -> None:
    """What looks at it crashes, but not in the process that has it."""
    source = """
    int main(void) {
        size_t *blocks[100];
        for (int i = 0; i < 100; i++) blocks[i] = malloc(40);
        for (int i = 0; i < 100; i++) memset(blocks[i], 0x5a, 72);
        exit(8);
    }
    """
    program = build(tmp_path, HEAD + source)
    for name in LABS:
        [process] = stats_of([program], name)
        assert process.ended == "exit 8", name


# --- what it prints ---


def test_what_is_printed_names_the_ledger_and_the_leak(tmp_path: Path) -> None:
    build(
        tmp_path, HEAD + 'int main(void) { for (int i = 0; i < 1000; i++) kept = malloc(100); puts("mine"); return 3; }'
    )
    done = alloclab(tmp_path, "run", "-a", "ptmalloc:tcache=false", "--stats", "--", "./target")
    assert done.returncode == 3 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "mine" and "ptmalloc:tcache=false" in lines[1]
    assert any("settings" in line and "tcache=false" in line for line in lines)
    [sized] = [line.split() for line in lines if line.split()[:1] == ["112"]]
    assert sized[1:3] == ["1,000", "104,000"]


def test_bad_input_gets_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    build(tmp_path, HEAD + "int main(void) { return 0; }", "-static", name="fixed")

    def line(*words: str, code: int = 2) -> str:
        return refused(monkeypatch, capsys, *words, code=code)

    assert "unknown allocator 'nosuch'" in line("-a", "nosuch", "true")
    assert "policy" in line("-a", "fit:policy=whim", "true")
    assert "null" in line("-a", "null", "true")
    assert "one allocator" in line("-a", "fit", "-a", "bump", "true")
    assert "--env bump" in line("-a", "fit", "--env", "bump", "A=1", "true")
    assert "--stats: system is no allocator of the laboratory" in line("-a", "system", "--stats", "-", "true")
    assert "must end in .txt or .json" in line("-a", "fit", "--stats", "summary", "--", "true")
    assert "write --stats -- ls" in line("-a", "fit", "--stats", "ls", "a.txt")
    assert "cannot both go to stdout" in line("-a", "fit", "--stats", "-", "--json", "-", "true")
    assert "no folder" in line("-a", "fit", "--stats", "no/such/s.txt", "true")
    assert "--no-children" in line("-a", "system", "--env", "system", "A=1", "--no-children", "true")
    assert "no such command" in line("-a", "fit", "no-such-command-here", code=4)
    assert "statically linked" in line("-a", "fit", "./fixed", code=4)
