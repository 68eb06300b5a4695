"""Under load: hundreds of threads and children, kills at any moment, full disks, and what servers do to a process."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import INTERRUPTIBLE, Image, build, run
from support import slow

from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

pytestmark = pytest.mark.slow
HEAD = """
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void *volatile kept;

/* Counters in a file, which outlive the process. */
static volatile uint64_t *share(size_t count) {
    int fd = open("finished", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, count * 8);
    return mmap(NULL, count * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static pthread_t start(void *(*work)(void *), uintptr_t argument) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    if (pthread_create(&thread, &small, work, (void *)argument) != 0) abort();
    return thread;
}
"""
root = pytest.mark.skipif(os.geteuid() != 0, reason="not here: the rights of root")


@pytest.mark.slow
def test_four_hundred_threads_exchange_blocks_while_thousands_come_and_go(tmp_path: Path) -> None:
    source = """
    enum { ALIVE = 400, PASSING = 4000, CALLS = 2500, SLOTS = 256 };
    static void *slots[SLOTS];
    static pthread_barrier_t all;
    static void *work(void *argument) {
        unsigned seed = (uintptr_t)argument;
        pthread_barrier_wait(&all);
        for (int i = 0; i < CALLS; i++) {
            seed = seed * 1664525u + 1013904223u;
            void *p = malloc(16 + (seed >> 24) % 100);
            if ((seed >> 10) % 4 == 0) p = realloc(p, 16 + (seed >> 12) % 9000);
            free(__atomic_exchange_n(&slots[(seed >> 16) % SLOTS], p, __ATOMIC_ACQ_REL));
        }
        pthread_barrier_wait(&all);
        return NULL;
    }
    static void *pass(void *argument) { free(malloc(7001)); return argument; }
    int main(void) {
        static pthread_t alive[ALIVE];
        pthread_barrier_init(&all, NULL, ALIVE + 1);
        for (int i = 0; i < ALIVE; i++) alive[i] = start(work, i);
        pthread_barrier_wait(&all);
        for (int i = 0; i < PASSING; i += 10) {
            pthread_t some[10];
            for (int k = 0; k < 10; k++) some[k] = start(pass, 0);
            for (int k = 0; k < 10; k++) pthread_join(some[k], NULL);
        }
        pthread_barrier_wait(&all);
        for (int i = 0; i < ALIVE; i++) pthread_join(alive[i], NULL);
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert image.count(Op.THREAD_START) == 4401 and image.count(Op.THREAD_EXIT) == 4400
    assert image.count(Op.MALLOC, 7001) == 4000
    assert image.count(Op.MALLOC) > 400 * 2500
    assert image.capture.path.stat().st_blocks * 512 < 200 << 20


def assert_all_but_the_call_in_flight(image: Image, size: int, finished: int) -> None:
    assert 0 <= image.count(Op.MALLOC, size) - finished <= 1
    assert image.counts.frees_unknown == image.counts.frees_lost == image.capture.lost == 0


@pytest.mark.parametrize("round", [1, *slow(2, 3, 4, 5, 6)])
def test_a_kill_at_any_moment_loses_but_the_calls_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round: int
) -> None:
    """Buffers go to the file all the time; blocks grow, too."""
    source = """
    enum { THREADS = 4 };
    static volatile uint64_t *finished;
    static void *work(void *argument) {
        uintptr_t me = (uintptr_t)argument;
        while (finished[8 * me] < 2000000) { free(realloc(malloc(7000 + me), 3000)); finished[8 * me]++; }
        for (;;) pause();
    }
    int main(int count, char **words) {
        finished = share(8 * THREADS);
        for (uintptr_t i = 0; i < THREADS; i++) start(work, i);
        for (int i = 0; i < THREADS; i++) while (finished[8 * i] < 10000) usleep(1000);
        usleep(atoi(words[1]));
        kill(getpid(), SIGKILL);
        pause();
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, [image] = run(tmp_path, [program, str(round * 7919)])
    finished = np.fromfile(tmp_path / "finished", np.uint64)
    assert status == -9
    for thread in range(4):
        assert_all_but_the_call_in_flight(image, 7000 + thread, int(finished[8 * thread]))
    assert image.counts.calls_lost <= 4


@pytest.mark.slow
def test_each_child_of_a_fork_server_has_all_it_did_before_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred workers forked in advance, each with a child of its own and threads in the server; all are killed."""
    source = """
    enum { WORKERS = 200, EACH = 300 };
    static volatile uint64_t *finished;
    static volatile int stop;
    static void *busy(void *a) { while (!stop) { free(malloc(33)); usleep(100); } return a; }
    static void serve(int me) {
        for (int i = 0; i < EACH; i++) { kept = malloc(7000 + me); finished[me]++; }
    }
    int main(void) {
        finished = share(2 * WORKERS);
        pthread_t threads[8];
        for (int i = 0; i < 8; i++) threads[i] = start(busy, i);
        pid_t workers[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            workers[i] = fork();
            if (workers[i] != 0) continue;
            serve(2 * i);
            if (fork() == 0) { serve(2 * i + 1); kill(getpid(), SIGKILL); }
            wait(NULL);
            pause();
        }
        for (int i = 0; i < WORKERS; i++) while (finished[2 * i + 1] < EACH) usleep(1000);
        for (int i = 0; i < WORKERS; i++) kill(workers[i], SIGKILL);
        for (int i = 0; i < WORKERS; i++) waitpid(workers[i], NULL, 0);
        stop = 1;
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        return 6;
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(tmp_path, [program])
    assert status == 6 and len(images) == 401
    children = [image for image in images if image.capture.forked]
    sizes = sorted(int(image.rows.size[image.rows.size >= 7000][0]) for image in children)
    assert sizes == list(range(7000, 7400))
    for image in children:
        assert image.count(Op.MALLOC, int(image.rows.size[image.rows.size >= 7000][0])) == 300
        assert image.counts.frees_lost == image.capture.lost == 0
    [server] = [image for image in images if not image.capture.forked]
    assert server.whole
    assert sum(image.capture.path.stat().st_blocks * 512 for image in children) < 400 * (64 << 10)


SMALL_DISK = """
mount -t tmpfs -o size={size} none disk && cd disk && {python} -c "from alloclab.cli import main; main()" \
    record -o t.parquet ../target; echo "code $?"; cp t.parquet ..
"""


@pytest.mark.needs("own mounts")
@pytest.mark.parametrize("size", ["1m", *slow("8m")])
def test_on_a_full_disk_recording_stops_and_its_trace_takes_the_room_of_the_capture(tmp_path: Path, size: str) -> None:
    source = """
    static void *work(void *a) { for (int i = 0; i < 600000; i++) free(malloc(7001)); return a; }
    int main(void) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) threads[i] = start(work, i);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        puts("to its end");
        return 9;
    }
    """
    build(tmp_path, HEAD + source)
    (tmp_path / "disk").mkdir()
    script = SMALL_DISK.format(size=size, python=sys.executable)
    command = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout == "to its end\ncode 9\n"
    assert "recording stopped early: No space left on device (the disk is full?); the program ran on" in done.stderr
    trace = Trace.open(tmp_path / "t.parquet")
    assert validate(trace) == []
    assert trace.metadata.extra["stopped"] == os.strerror(errno.ENOSPC)
    assert len(trace) > (20_000 if size == "1m" else 300_000)


def test_a_thread_other_than_the_first_may_exec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, HEAD + "int main(void) { free(malloc(7002)); return 4; }", name="second")
    source = """
    static volatile int ready;
    static void *busy(void *a) { for (;; ready = 1) free(malloc(33)); }
    static void *leave(void *a) { kept = malloc(7001); execl("./second", "second", NULL); return a; }
    int main(void) {
        for (int i = 0; i < 3; i++) start(busy, i);
        while (!ready) {}
        start(leave, 0);
        for (;;) free(malloc(44));
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, [first, second] = run(tmp_path, [program])
    assert status == 4 and second.whole
    assert (first.count(Op.MALLOC, 7001), second.count(Op.MALLOC, 7002)) == (1, 1)
    assert (first.capture.ended, second.capture.ended) == ("exec", "exit 4")
    assert first.counts.frees_lost == first.counts.frees_unknown == 0 and first.counts.calls_lost <= 4


def test_threads_that_vfork_and_spawn_side_by_side_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, HEAD + "int main(void) { free(malloc(7003)); return 0; }", name="second")
    source = """
    #include <spawn.h>
    extern char **environ;
    static void *work(void *a) {
        for (int i = 0; i < 25; i++) {
            char *argv[] = {"second", NULL};
            pid_t child;
            free(malloc(7001));
            if (i % 2) {
                if ((child = vfork()) == 0) {
                    syscall(SYS_close_range, 3, ~0u, 0);
                    free(malloc(7002));
                    _exit(0);
                }
            } else if (posix_spawn(&child, "./second", NULL, NULL, argv, environ) != 0) {
                abort();
            }
            waitpid(child, NULL, 0);
        }
        return a;
    }
    int main(void) {
        pthread_t threads[6];
        for (int i = 0; i < 6; i++) threads[i] = start(work, i);
        for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
        return 0;
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(tmp_path, [program])
    [target] = [image for image in images if Path(image.capture.program).name == "target"]
    assert status == 0 and target.whole
    assert sum(image.count(Op.MALLOC, 7003) for image in images) == 78 == len(images) - 1
    assert (target.count(Op.MALLOC, 7001), target.count(Op.MALLOC, 7002)) == (150, 72)


@pytest.mark.parametrize("limit", [0, 4])
def test_a_process_that_may_open_no_more_files_is_recorded_on(tmp_path: Path, limit: int) -> None:
    source = f"""
    int main(void) {{
        struct rlimit files = {{{limit}, {limit}}};
        setrlimit(RLIMIT_NOFILE, &files);
        for (int i = 0; i < 200000; i++) free(malloc(7001));
        return open("/dev/null", O_RDONLY) >= {limit};
    }}
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole and image.count(Op.MALLOC, 7001) == 200000


def test_where_a_program_has_few_descriptors_all_but_one_stay_its_own(tmp_path: Path) -> None:
    source = """
    int main(void) {
        int count = 0;
        for (int i = 0; i < 100000; i++) free(malloc(7001));
        while (open("/dev/null", O_RDONLY) >= 0) count++;
        return count;
    }
    """
    program = build(tmp_path, HEAD + source)
    script = ["/bin/sh", "-c", f"ulimit -n 16; exec {program}"]
    own = subprocess.run(script, close_fds=False).returncode
    status, [_, image] = run(tmp_path, script)
    assert status == own - 1 and image.whole and image.count(Op.MALLOC, 7001) == 100000


def test_no_call_of_the_recorder_is_a_cancellation_point(tmp_path: Path) -> None:
    """A thread with its cancellation pending comes through all its calls; its cleanup handler makes more."""
    source = """
    static volatile int go;
    static void clean(void *a) { free(malloc(7002)); }
    static void *work(void *a) {
        pthread_cleanup_push(clean, NULL);
        while (!go) {}
        for (int i = 0; i < 50000; i++) free(malloc(7001));
        pthread_testcancel();
        pthread_cleanup_pop(0);
        return NULL;
    }
    int main(void) {
        pthread_t threads[4];
        void *how;
        for (int i = 0; i < 4; i++) pthread_cancel(threads[i] = start(work, i));
        go = 1;
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], &how);
            if (how != PTHREAD_CANCELED) return 1;
        }
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert (image.count(Op.MALLOC, 7001), image.count(Op.MALLOC, 7002)) == (200_000, 4)
    assert image.count(Op.THREAD_EXIT) == 4


@pytest.mark.slow
def test_a_storm_of_signals_in_many_threads_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a timer of its own; on a malloc that signals may interrupt."""
    library = build(tmp_path, INTERRUPTIBLE, "-shared", "-fPIC", name="bump.so")
    source = """
    enum { THREADS = 6, SIGNALS = 300, CALLS = 2000000 }; /* of which that malloc has room for so many */
    static volatile uint64_t *finished;
    static __thread volatile int handled;
    static void handle(int n) {
        free(realloc(malloc(32), 48));
        handled++;
        __atomic_fetch_add(&finished[0], 1, __ATOMIC_RELAXED);
    }
    static void *work(void *a) {
        struct sigevent to_me = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
        struct itimerspec often = {{0, 50000}, {0, 50000}};
        timer_t timer;
        to_me._sigev_un._tid = gettid();
        if (timer_create(CLOCK_MONOTONIC, &to_me, &timer) != 0) abort();
        timer_settime(timer, 0, &often, NULL);
        int calls = 0;
        while (handled < SIGNALS) if (calls < CALLS) free(malloc(16)), calls++;
        timer_delete(timer);
        __atomic_fetch_add(&finished[1], calls, __ATOMIC_RELAXED);
        return a;
    }
    int main(void) {
        struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
        finished = share(2);
        sigaction(SIGPROF, &action, NULL);
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) threads[i] = start(work, i);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        return 0;
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, [image] = run(tmp_path, [program], env=dict(os.environ, LD_PRELOAD=str(library)))
    assert status == 0 and image.whole
    [handled, calls] = np.fromfile(tmp_path / "finished", np.uint64)
    assert image.count(Op.MALLOC, 32) == image.count(Op.REALLOC, 48) == handled
    assert image.count(Op.MALLOC, 16) == calls


LEAVE_ROOT = """
    static void many(void) { for (int i = 0; i < 100000; i++) free(malloc(7001)); }
    int main(int count, char **words) {
        many();
        if (chroot("empty") != 0 || chdir("/") != 0) return 1;
        many();
        if (count > 1) for (int fd = 3; fd < 1024; fd++) close(fd);
        many();
        return 8;
    }
"""


@root
def test_a_daemon_in_a_root_of_its_own_is_recorded_on_while_it_leaves_descriptors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build(tmp_path, HEAD + LEAVE_ROOT)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    status, [image] = run(tmp_path, [program])
    assert status == 8 and image.whole and image.count(Op.MALLOC, 7001) == 300_000
    shutil.rmtree(tmp_path / "captures")
    status, [image] = run(tmp_path, [program, "and close all"])
    assert status == 8 and image.capture.stopped == os.strerror(errno.ENOENT)
    assert 200_000 <= image.count(Op.MALLOC, 7001) < 300_000
    assert image.counts.frees_lost == image.counts.frees_unknown == image.counts.calls_lost == image.capture.lost == 0


@root
def test_what_root_started_is_recorded_on_as_another_user_with_its_children(tmp_path: Path) -> None:
    source = """
    int main(void) {
        kept = malloc(7001);
        if (setgid(65534) != 0 || setuid(65534) != 0) return 1;
        if (fork() == 0) { kept = malloc(7002); for (int i = 0; i < 100000; i++) free(malloc(33)); _exit(0); }
        wait(NULL);
        kept = malloc(7003);
        return 0;
    }
    """
    build(tmp_path, HEAD + source)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o1 == 0:  # as pytest makes its own
            folder.chmod(folder.stat().st_mode | 0o1)
    done = alloclab_record(tmp_path)
    assert done.returncode == 0
    child, [parent] = Trace.open(tmp_path / "t.parquet"), tmp_path.glob("t.parquet.*")
    assert child.metadata.extra["forked"] and len(child) > 200_000
    sizes = np.concatenate([events.size for events in Trace.open(parent).blocks()])
    assert {7001, 7003} <= set(sizes.tolist())


def alloclab_record(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from alloclab.cli import main; main()", "record", "-o", "t.parquet", *words]
    return subprocess.run([*command, "./target"], cwd=folder, capture_output=True, text=True, timeout=300)


def test_where_the_captures_are_removed_the_program_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    #include <glob.h>
    int main(void) {
        glob_t found;
        for (int i = 0; i < 100000; i++) free(malloc(7001));
        if (glob("captures/*", 0, NULL, &found) != 0) return 1;
        for (size_t i = 0; i < found.gl_pathc; i++) unlink(found.gl_pathv[i]);
        rmdir("captures");
        for (int i = 0; i < 100000; i++) free(malloc(7001));
        if (fork() == 0) { free(malloc(7002)); _exit(5); }
        int status;
        wait(&status);
        for (int fd = 3; fd < 1024; fd++) close(fd);
        for (int i = 0; i < 100000; i++) free(malloc(7001));
        return WEXITSTATUS(status);
    }
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, [program]) == (5, [])
