"""The command `alloclab record`: names, exit codes, messages, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import ALLOCLAB, alloclab, build
from support import children_of, slow, started, wait_for

from alloclab.cli import main
from alloclab.errors import RecordError, UsageError
from alloclab.report.columns import say_bytes
from alloclab.trace.compile import compile_trace
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

HEAD = "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
BUSY = (
    HEAD + "int main(int n, char **w) { for (int i = 0; i < 50; i++) free(malloc(i)); return n > 1 ? atoi(w[1]) : 0; }"
)


def refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
    code: int = RecordError.exit_code,
) -> str:
    """The one line that a command which cannot be recorded gets, in this process."""
    before = listing(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["alloclab", "record", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == code and printed.out == "" and printed.err.count("\n") == 1
    assert listing(folder) == before
    return printed.err


def listing(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.name not in ("target", "target.c")}


def test_the_trace_is_named_after_the_program_and_says_what_it_is(tmp_path: Path) -> None:
    build(tmp_path, BUSY)
    done = alloclab(tmp_path, "record", "./target", "0", "word")
    assert done.returncode == 0 and done.stdout == ""
    assert listing(tmp_path) == {"target.parquet"}
    trace = Trace.open(tmp_path / "target.parquet")
    assert validate(trace) == []
    facts = trace.metadata
    assert facts.program == "target" and facts.command == ("./target", "0", "word")
    assert facts.allocator.startswith("glibc ") and facts.source.startswith("alloclab record ")
    assert facts.ended == "exit 0" and facts.dropped == {} and facts.machine
    assert "CLOCK_MONOTONIC" in facts.clock
    [rows] = trace.blocks()
    assert (rows.op == Op.MALLOC).sum() >= 50 and rows.time_ns[-1] > rows.time_ns[0]
    assert "target.parquet" in done.stderr and "alloclab compare target.parquet -a " in done.stderr


def test_the_json_says_what_was_recorded(tmp_path: Path) -> None:
    build(tmp_path, BUSY)
    done = alloclab(tmp_path, "record", "-o", "t.parquet", "--json", "r.json", "./target", "7")
    assert (done.returncode, done.stdout) == (7, "")
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["schema"], found["status"]) == (1, 7)
    [image] = found["traces"]
    assert image["trace"] == "t.parquet" and image["command"] == ["./target", "7"] and image["ended"] == "exit 7"
    assert image["events"] == len(Trace.open(tmp_path / "t.parquet"))
    assert image["lost"] == 0 and image["dropped"] == {} and image["peak_live_bytes"] > 0
    done = alloclab(tmp_path, "record", "-o", "t.parquet", "--json", "--", "./target")
    assert json.loads(done.stdout)["traces"][0]["trace"] == "t.parquet"


def test_an_option_that_does_not_exist_is_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No such option '--frobnicate'" in refused(tmp_path, monkeypatch, capsys, "--frobnicate", "ls", code=2)


def test_the_exit_code_and_the_streams_are_the_programs(tmp_path: Path) -> None:
    source = (
        HEAD + 'int main(void) { int c = getchar(); printf("got %c\\n", c); fputs("warned\\n", stderr); return 42; }'
    )
    build(tmp_path, source)
    done = alloclab(tmp_path, "record", "-o", "out.parquet", "--", "./target", input="x")
    assert done.returncode == 42 and done.stdout == "got x\n" and done.stderr.startswith("warned\n")
    assert listing(tmp_path) == {"out.parquet"}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_ends_the_program_is_passed_on_as_128_and_its_number(tmp_path: Path, number: int) -> None:
    build(tmp_path, HEAD + f"int main(void) {{ malloc(7001); kill(getpid(), {int(number)}); pause(); }}")
    done = alloclab(tmp_path, "record", "./target")
    assert done.returncode == 128 + number
    assert Trace.open(tmp_path / "target.parquet").metadata.ended == f"signal {int(number)}"


def test_other_images_are_named_by_pid_and_number(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    #include <sys/wait.h>
    int main(void) {
        pid_t child = fork();
        for (int i = 0; i < (child ? 10 : 1000); i++) free(malloc(10));
        if (child == 0) _exit(0);
        printf("%d %d\\n", getpid(), child);
        fflush(stdout);
        wait(NULL);
        return 0;
    }
    """
    )
    build(tmp_path, source)
    done = alloclab(tmp_path, "record", "-o", "web.parquet", "./target")
    parent, child = done.stdout.split()
    assert listing(tmp_path) == {"web.parquet", f"web.parquet.{parent}.0"}
    most, other = Trace.open(tmp_path / "web.parquet"), Trace.open(tmp_path / f"web.parquet.{parent}.0")
    assert most.metadata.extra["pid"] == int(child) and len(most) > 2000
    assert other.metadata.extra["pid"] == int(parent) and len(other) < 200
    alone = alloclab(tmp_path, "record", "--no-children", "-o", "one.parquet", "./target")
    assert alone.returncode == 0
    assert listing(tmp_path) == {"web.parquet", f"web.parquet.{parent}.0", "one.parquet"}
    assert len(Trace.open(tmp_path / "one.parquet")) < 200


REFUSED = {
    "absent": (["no-such-command-here"], "no-such-command-here: no such command on PATH"),
    "absent file": (["./absent"], "./absent: no such file"),
    "folder": (["./folder"], "./folder: is a folder"),
    "not executable": (["./text"], "./text: not executable"),
    "no interpreter": (["./orphan"], "its interpreter /no/such/interpreter does not exist"),
    "no program": (["./garbage"], "neither an ELF program nor a script"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_gets_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("words")
    for name, text in {"orphan": "#!/no/such/interpreter\n", "garbage": "words\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command, message = REFUSED[case]
    assert message in refused(tmp_path, monkeypatch, capsys, "--", *command)


@pytest.mark.parametrize("flag", ["-static", "-static-pie"])
def test_a_static_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    build(tmp_path, BUSY, flag)
    assert "target: statically linked" in refused(tmp_path, monkeypatch, capsys, "./target")


def test_a_setuid_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another owner: one's own runs with the rights it had, and can be recorded."""
    program = build(tmp_path, BUSY)
    if os.geteuid() == 0:
        os.chown(program, 65534, 65534)
        program.chmod(0o4755)
        command = "./target"
    else:
        command = next(str(p) for p in Path("/usr/bin").iterdir() if p.is_file() and p.stat().st_mode & 0o4000)
    assert "setuid" in refused(tmp_path, monkeypatch, capsys, command)


@pytest.mark.parametrize("output", ["no/such/folder/x.parquet", "folder.parquet", "target"])
def test_an_output_that_cannot_be_written_is_refused_before_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], output: str
) -> None:
    build(tmp_path, HEAD + 'int main(void) { puts("ran"); return 0; }')
    (tmp_path / "folder.parquet").mkdir()
    code = UsageError.exit_code
    assert output in refused(tmp_path, monkeypatch, capfd, "-o", output, "./target", code=code)


def test_ctrl_c_goes_to_the_program_and_what_was_recorded_is_kept(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    static volatile int asked;
    static void stop(int n) { asked = 1; }
    int main(void) {
        signal(SIGINT, stop);
        for (int i = 0; i < 1000; i++) free(malloc(10));
        puts("ready");
        fflush(stdout);
        while (!asked) usleep(1000);
        free(malloc(7001));
        return 5;
    }
    """
    )
    build(tmp_path, source)
    command = [*ALLOCLAB, "record", "./target"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 5 and b"Traceback" not in errors
    [rows] = Trace.open(tmp_path / "target.parquet").blocks()
    assert ((rows.op == Op.MALLOC) & (rows.size == 7001)).sum() == 1
    assert listing(tmp_path) == {"target.parquet"}


def waits_for(pid: int, last: int) -> bool:
    """Whether a process sleeps, and has no child but this one."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and list(children_of(pid)) == [last]


@pytest.mark.parametrize("number", [signal.SIGTERM, *slow(signal.SIGINT)])
def test_ctrl_c_and_sigterm_end_the_wait_for_descendants_that_run_on(tmp_path: Path, number: int) -> None:
    source = (
        HEAD
        + """
    int main(void) {
        pid_t parent = getpid();
        if (fork() == 0) {
            setsid();
            free(malloc(7001));
            while (getppid() == parent) usleep(1000);
            printf("%d\\n", getpid());
            fflush(stdout);
            pause();
        }
        free(malloc(7002));
        return 0;
    }
    """
    )
    build(tmp_path, source)
    command = [*ALLOCLAB, "record", "./target"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        daemon = int(process.stdout.readline())
        try:
            wait_for(lambda: waits_for(process.pid, daemon), "the program to be waited for")
            os.killpg(process.pid, number)
            assert process.wait(timeout=60) == 0
        finally:
            os.kill(daemon, signal.SIGKILL)
    assert len(listing(tmp_path)) == 2


def test_sigterm_is_passed_on_to_the_program(tmp_path: Path) -> None:
    build(tmp_path, HEAD + 'int main(void) { free(malloc(10)); puts("ready"); fflush(stdout); pause(); return 0; }')
    command = [*ALLOCLAB, "record", "./target"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert Trace.open(tmp_path / "target.parquet").metadata.ended == "signal 15"


def test_no_error_of_the_recorders_own_is_left_in_errno(tmp_path: Path) -> None:
    """As where the image before an exec has taken the first name for a capture."""
    build(tmp_path, HEAD + "#include <errno.h>\nint main(void) { return errno; }")
    assert alloclab(tmp_path, "record", "-o", "t.parquet", "--", "env", "./target").returncode == 0


def test_a_program_with_an_allocator_of_its_own_is_told_apart(tmp_path: Path) -> None:
    """Its malloc comes before any preloaded one in the loader's search, so the recorder sees nothing."""
    own = """
    static char memory[1 << 24];
    static size_t used;
    void *malloc(size_t n) { void *p = memory + used; used += (n + 15) / 16 * 16; return p; }
    void free(void *p) {}
    void *calloc(size_t n, size_t m) { return malloc(n * m); }
    void *realloc(void *p, size_t n) { return malloc(n); }
    int main(void) { return malloc(10) == NULL; }
    """
    build(tmp_path, HEAD + own, "-rdynamic")
    done = alloclab(tmp_path, "record", "./target")
    assert done.returncode == 4 and "its own allocator" in done.stderr and done.stderr.count("\n") == 1
    assert listing(tmp_path) == set()


def test_the_trace_of_threads_and_failing_calls_is_valid_and_replays(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    #include <malloc.h>
    #include <pthread.h>
    static void *work(void *a) {
        volatile size_t much = -1;
        void *p = memalign(24, 100), *q = malloc(much);
        free(q);
        q = realloc(p, much);
        free(memalign(64, much));
        free(realloc(p, 5000));
        posix_memalign(&q, 24, 8);
        return a;
    }
    int main(void) {
        pthread_t t[3];
        for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, work, NULL);
        for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
        return 0;
    }
    """
    )
    build(tmp_path, source)
    assert alloclab(tmp_path, "record", "--addresses", "./target").returncode == 0
    trace = Trace.open(tmp_path / "target.parquet")
    [rows] = trace.blocks()
    assert rows.address is not None and rows.failed.sum() == 12
    assert validate(trace) == []
    assert compile_trace(trace).counts


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    #include <sys/resource.h>
    __attribute__((constructor)) static void before(void) {
        struct rlimit size = {100000, 100000};
        setrlimit(RLIMIT_FSIZE, &size);
    }
    int main(void) { free(malloc(10)); return 0; }
    """
    )
    build(tmp_path, source)
    done = alloclab(tmp_path, "record", "./target")
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    assert "nothing could be recorded: File too large" in done.stderr
    assert listing(tmp_path) == set()


def test_recording_that_stopped_early_is_said_once(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    #include <sys/resource.h>
    int main(void) {
        struct rlimit size = {2 << 20, 2 << 20};
        setrlimit(RLIMIT_FSIZE, &size);
        for (int i = 0; i < 500000; i++) free(malloc(10));
        return 0;
    }
    """
    )
    build(tmp_path, source)
    done = alloclab(tmp_path, "record", "./target")
    assert done.returncode == 0 and done.stderr.count("recording stopped early: File too large") == 1
    assert Trace.open(tmp_path / "target.parquet").metadata.extra["stopped"] == "File too large"


PAST_THE_END = (
    HEAD
    + """
    #include <time.h>
    static long now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000000000 + t.tv_nsec;
    }
    int main(void) {
        long end = atol(getenv("ALLOCLAB_RECORD_UNTIL"));
        int count = 0;
        void *p = malloc(30);
        for (int i = 0; now() < end + 200000000; i++) {
            free(malloc(7001));
            p = realloc(p, 30 + i % 50);
            count += now() < end;
            usleep(200);
        }
        free(p);
        printf("%d\\n", count);
        return 9;
    }
    """
)
"""Says how many of its blocks it had before the end of the recording."""


@pytest.mark.slow
def test_recording_stops_after_the_duration_asked_for_and_the_program_runs_on(tmp_path: Path) -> None:
    """Also that of a child which begins before its end; one that begins later has no trace. The clock is read once in
    64 words, of which each of these blocks takes seven; times between are interpolated."""
    build(tmp_path, PAST_THE_END)
    for seconds in (0.3, 3, 30):  # until the machine was quick enough to begin before the end
        words = ["-o", f"{seconds}.parquet", "--duration", str(seconds), "--", "/bin/sh", "-c", "./target; ./target"]
        done = alloclab(tmp_path, "record", *words)
        before, after = map(int, done.stdout.split())
        assert after == 0
        if before > 200:
            break
    assert done.returncode == 9
    name = f"{seconds}.parquet"
    assert done.stderr.count(f"{name}: recording stopped early: the duration asked for is over;") == 1
    trace = Trace.open(tmp_path / name)
    assert validate(trace) == []
    assert trace.metadata.ended.startswith("exit")
    assert trace.metadata.extra["stopped"] == "the duration asked for is over"
    [rows] = trace.blocks()
    assert abs((rows.size == 7001).sum() - before) <= 12 and rows.time_ns[-1] <= seconds * 1e9
    assert {Trace.open(path).metadata.program for path in tmp_path.glob(f"{name}.*")} == {"sh"}
    assert "stopped      the duration asked for is over" in alloclab(tmp_path, "info", name).stdout


@pytest.mark.slow
def test_what_a_slow_program_does_after_the_duration_is_left_out(tmp_path: Path) -> None:
    """The clock, here the program's own, is read once in many events; those between the end and its next reading are
    left out, too."""
    source = """
    #include <time.h>
    static long passed;
    int clock_gettime(clockid_t clock, struct timespec *now) {
        long ns = atol(getenv("ALLOCLAB_RECORD_UNTIL")) - 400000000 + passed;
        *now = (struct timespec){ns / 1000000000, ns % 1000000000};
        return clock == CLOCK_MONOTONIC ? 0 : -1;
    }
    int main(void) {
        for (int i = 0; i < 8; i++) { free(malloc(7001)); passed += 100000000; }
        return 3;
    }
    """
    build(tmp_path, HEAD + source, "-rdynamic")
    done = alloclab(tmp_path, "record", "--duration", "1000", "./target")
    assert done.returncode == 3 and done.stderr.count("recording stopped early") == 1
    [rows] = Trace.open(tmp_path / "target.parquet").blocks()
    assert (rows.size == 7001).sum() == 4 and 350_000_000 < rows.time_ns[-1] <= 400_000_000


@pytest.mark.parametrize("events", [1000, *slow(2, 1001)])
def test_recording_stops_after_as_many_events_as_asked_for(tmp_path: Path, events: int) -> None:
    source = """
    #include <sys/wait.h>
    int main(void) {
        void *p = NULL;
        for (int i = 0; i < 100000; i++) free(malloc(7001)), p = realloc(p, i % 900 + 1);
        if (fork() == 0) { for (int i = 0; i < 100000; i++) free(malloc(7002)); _exit(0); }
        wait(NULL);
        return 5;
    }
    """
    build(tmp_path, HEAD + source)
    done = alloclab(tmp_path, "record", "-o", "t.parquet", "--json", "t.json", "--max-events", str(events), "./target")
    assert done.returncode == 5
    assert done.stderr.count("recording stopped early: there are as many events as asked for;") == 2
    found = json.loads((tmp_path / "t.json").read_text())
    for image in found["traces"]:
        assert image["stopped"] == "there are as many events as asked for"
        trace = Trace.open(tmp_path / image["trace"])
        assert image["events"] == len(trace) == events and validate(trace) == []
        births = np.concatenate([rows.op for rows in trace.blocks()]) <= Op.ALIGNED
        assert events < 10 or births.sum() > events / 3
    assert len(found["traces"]) == 2


@pytest.mark.parametrize("limits", [["--max-events", "100000", "--duration", "1000"], []])
def test_a_limit_that_is_not_reached_changes_nothing(tmp_path: Path, limits: list[str]) -> None:
    """Nor do those of a recording that this one is part of."""
    build(tmp_path, BUSY)
    outer = os.environ | {"ALLOCLAB_RECORD_EVENTS": "5", "ALLOCLAB_RECORD_ONLY": "1", "ALLOCLAB_RECORD_UNTIL": "1"}
    done = alloclab(tmp_path, "record", *limits, "--", "./target", env=outer)
    assert done.returncode == 0 and "stopped" not in done.stderr
    trace = Trace.open(tmp_path / "target.parquet")
    assert trace.metadata.extra["stopped"] == "" and len(trace) > 100


def test_where_no_event_comes_before_the_end_of_the_duration_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, BUSY)
    error = refused(tmp_path, monkeypatch, capsys, "--duration", "1e-9", "./target")
    assert "nothing was recorded" in error and "the duration asked for is over" in error


def test_where_the_first_event_is_the_last_asked_for_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the start of a thread, and no trace yet."""
    build(tmp_path, HEAD + "int main(void) { free(malloc(7001)); return 0; }")
    error = refused(tmp_path, monkeypatch, capsys, "--max-events", "1", "./target")
    assert "nothing could be recorded: there are as many events as asked for" in error


@pytest.mark.parametrize(
    "limit",
    ["--duration=0", "--duration=nan", "--duration=inf", "--duration=1e30", "--max-events=0", f"--max-events={2**64}"],
)
def test_a_limit_that_is_none_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    assert limit.partition("=")[0] in refused(tmp_path, monkeypatch, capsys, limit, "true", code=2)


NAMED = (
    HEAD
    + """
    #include <pthread.h>
    #include <string.h>
    #include <sys/prctl.h>
    static pthread_barrier_t named;
    static void *work(void *argument) {
        char name[16];
        snprintf(name, sizeof name, "worker-%ld", (long)argument);
        prctl(PR_SET_NAME, name);
        free(malloc(7000 + (long)argument));
        for (int i = 0; i < CALLS; i++) free(malloc(50));
        pthread_barrier_wait(&named);
        if ((long)argument >= 3) for (;;) pause();
        return NULL;
    }
    int main(void) {
        pthread_t threads[6];
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        pthread_barrier_init(&named, NULL, 7);
        for (long i = 0; i < 6; i++) pthread_create(&threads[i], NULL, work, (void *)i);
        pthread_barrier_wait(&named);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        prctl(PR_SET_NAME, "[red]main");
        memset(malloc(20 << 20), 1, 20 << 20);
        LEAVE;
    }
    """
)


def named_threads(trace: Trace) -> dict[int, str]:
    """Of each worker: the size it asked for, and its name."""
    [rows] = trace.blocks()
    workers = (rows.op == Op.MALLOC) & (rows.size >= 7000) & (rows.size < 7006)
    names = trace.metadata.extra["thread_names"]
    return {int(rows.size[i]): names.get(str(rows.thread[i])) for i in np.flatnonzero(workers)}


@pytest.mark.slow
def test_threads_have_their_names_and_the_process_its_memory_at_exit(tmp_path: Path) -> None:
    """Three threads ended before, three live on, and the first makes the exit."""
    build(tmp_path, NAMED.replace("LEAVE", "return 0"), "-DCALLS=10000")
    assert alloclab(tmp_path, "record", "./target").returncode == 0
    trace = Trace.open(tmp_path / "target.parquet")
    assert named_threads(trace) == {7000 + i: f"worker-{i}" for i in range(6)}
    assert trace.metadata.extra["thread_names"]["0"] == "[red]main"
    memory = trace.metadata.extra["memory_at_exit"]
    assert memory["Anonymous"] + memory["Swap"] > 20 << 20 and memory["Anonymous"] <= memory["Rss"] < 40 << 20
    assert memory["Private_Dirty"] < 21 << 20  # the recorder's own buffers, of which six are half full, are not in it
    assert {"Pss", "Private_Clean", "AnonHugePages", "Swap", "Locked"} <= memory.keys()
    shown = alloclab(tmp_path, "info", "target.parquet").stdout
    assert f"at exit      Rss {say_bytes(memory['Rss'])}" in shown and "0 [red]main" in shown and " worker-5 " in shown
    alloclab(tmp_path, "cut", "target.parquet", "-o", "part.parquet", "--to", "40")
    assert "0 [red]main" in alloclab(tmp_path, "info", "part.parquet").stdout


@pytest.mark.slow
def test_a_killed_program_leaves_the_names_of_threads_that_had_ended(tmp_path: Path) -> None:
    build(tmp_path, NAMED.replace("LEAVE", "kill(getpid(), SIGKILL)"), "-DCALLS=0")
    assert alloclab(tmp_path, "record", "./target").returncode == 137
    trace = Trace.open(tmp_path / "target.parquet")
    assert named_threads(trace) == {7000 + i: f"worker-{i}" if i < 3 else None for i in range(6)}
    assert trace.metadata.extra["memory_at_exit"] == {}
    shown = alloclab(tmp_path, "info", "target.parquet").stdout
    assert "at exit" not in shown and " worker-2 " in shown


def test_threads_have_the_names_they_had_when_recording_stopped(tmp_path: Path) -> None:
    leave = 'for (int i = 0; i < 1000; i++) free(malloc(50)); prctl(PR_SET_NAME, "late"); return 0'
    build(tmp_path, NAMED.replace("LEAVE", leave), "-DCALLS=0")
    assert alloclab(tmp_path, "record", "--max-events", "900", "./target").returncode == 0
    trace = Trace.open(tmp_path / "target.parquet")
    assert len(trace) == 900 and named_threads(trace) == {7000 + i: f"worker-{i}" for i in range(6)}
    assert trace.metadata.extra["thread_names"]["0"] == "[red]main"
    memory = trace.metadata.extra["memory_at_exit"]
    assert memory["Rss"] + memory["Swap"] > 20 << 20
