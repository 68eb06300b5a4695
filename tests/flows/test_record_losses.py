"""Nothing is lost, however a program ends and whatever it does to its descriptors, threads and signals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from recorded import BEGIN, END, INTERRUPTIBLE, build, run

from alloclab.trace.model import Op

pytestmark = pytest.mark.slow
HEAD = """
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
static void *volatile kept;
"""

THREADS = 3
ABRUPT = f"""
    /* Each thread counts its finished calls in a file that outlives it. */
    static volatile uint64_t *finished;
    static void *work(void *argument) {{
        uintptr_t me = (uintptr_t)argument;
        while (finished[8 * me] < 2000000) {{ void *p = malloc(7000 + me); finished[8 * me]++; free(p); }}
        for (;;) pause();
    }}
    int main(int count, char **words) {{
        int fd = open("finished", O_RDWR | O_CREAT, 0600);
        ftruncate(fd, 4096);
        finished = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        for (uintptr_t i = 0; i < {THREADS}; i++) {{ pthread_t t; pthread_create(&t, NULL, work, (void *)i); }}
        for (int i = 0; i < {THREADS}; i++) while (finished[8 * i] <= 100) usleep(1000);
        LEAVE;
    }}
"""


@pytest.mark.parametrize(
    ("leave", "status"), [("kill(getpid(), SIGKILL)", -9), ("_exit(3)", 3), ("abort()", -6), ("exit(4)", 4)]
)
def test_at_most_the_call_in_flight_of_each_thread_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: str, status: int
) -> None:
    program = build(tmp_path, HEAD + ABRUPT.replace("LEAVE", leave))
    monkeypatch.chdir(tmp_path)
    found, [image] = run(tmp_path, [program])
    finished = np.fromfile(tmp_path / "finished", np.uint64)
    assert found == status
    for thread in range(THREADS):
        assert finished[8 * thread] > 100
        assert 0 <= image.count(Op.MALLOC, 7000 + thread) - int(finished[8 * thread]) <= 1
    assert image.counts.frees_unknown == image.counts.frees_lost == 0
    assert image.counts.calls_lost <= THREADS


def test_what_other_threads_have_in_hand_at_exit_is_kept(tmp_path: Path) -> None:
    source = """
    static void *work(void *a) {
        for (int i = 0; i < 100; i++) free(malloc(7001));
        *(volatile int *)a = 1;
        for (;;) pause();
    }
    int main(void) {
        volatile int ready = 0;
        pthread_t t;
        pthread_create(&t, NULL, work, (void *)&ready);
        while (!ready) {}
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert image.count(Op.MALLOC, 7001) == 100


def test_five_thousand_short_threads_share_few_buffers(tmp_path: Path) -> None:
    source = """
    static void *work(void *a) { for (int i = 0; i < 20; i++) free(malloc(7001)); return a; }
    int main(void) {
        pthread_t t[4];
        for (int round = 0; round < 1250; round++) {
            for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, work, NULL);
            for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        }
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert image.count(Op.THREAD_START) == 5001 and image.count(Op.THREAD_EXIT) == 5000
    assert image.count(Op.MALLOC, 7001) == 100_000
    assert len(np.unique(image.rows.thread)) == 5001
    assert image.capture.path.stat().st_size < 128 << 20  # a tenth of what one for each takes


def test_hundreds_of_threads_at_once_each_have_a_buffer(tmp_path: Path) -> None:
    source = """
    enum { N = 300 };
    static pthread_barrier_t all;
    static void *work(void *a) {
        void *p = malloc(7001);
        pthread_barrier_wait(&all);
        free(p);
        return NULL;
    }
    int main(void) {
        pthread_t t[N];
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 64 << 10);
        pthread_barrier_init(&all, NULL, N);
        for (int i = 0; i < N; i++) if (pthread_create(&t[i], &small, work, NULL)) abort();
        for (int i = 0; i < N; i++) pthread_join(t[i], NULL);
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert image.count(Op.MALLOC, 7001) == 300


def test_a_program_may_close_every_descriptor_and_use_their_numbers(tmp_path: Path) -> None:
    """Twice the recorder loses its file, the second time to a file of the program's under the same number."""
    source = f"""
    static void many(void) {{ for (int i = 0; i < 100000; i++) free(malloc(7001)); }}
    int main(void) {{
        many();
        for (int fd = 3; fd < 1024; fd++) close(fd);
        many();
        syscall(SYS_close_range, 3, ~0u, 0);
        int mine = open("{tmp_path}/mine", O_RDWR | O_CREAT, 0600);
        for (int fd = 800; fd < 1000; fd++) dup2(mine, fd);
        many();
        struct stat found;
        return fstat(mine, &found) != 0 || found.st_size != 0;
    }}
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and image.whole
    assert image.count(Op.MALLOC, 7001) == 300_000


def test_calls_of_signal_handlers_are_recorded_wherever_they_interrupt(tmp_path: Path) -> None:
    """On a malloc that signals may interrupt (the C library's may not), so that handlers hit the recorder itself."""
    library = build(tmp_path, INTERRUPTIBLE, "-shared", "-fPIC", name="bump.so")
    source = """
    static volatile uint64_t handled;
    static const struct itimerval often = {{0, 50}, {0, 50}}, never;
    static void handle(int n) {
        void *p = malloc(7002);
        p = realloc(p, 7003);
        free(p);
        if (++handled == 3000) setitimer(ITIMER_REAL, &never, NULL); /* where nothing else gets its turn */
    }
    int main(void) {
        struct sigaction action = {.sa_handler = handle};
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
        uint64_t done = 0;
        for (; handled < 300 || done < 300000; done++) { void *p = malloc(16); if (done & 1) free(p); }
        setitimer(ITIMER_REAL, &never, NULL);
        usleep(1000);
        kept = malloc(1000000 + handled);
        kept = malloc(10000000 + done);
        return 0;
    }
    """
    env = dict(os.environ, LD_PRELOAD=str(library))
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)], env=env)
    assert status == 0 and image.whole
    sizes = image.rows.size[image.rows.op == Op.MALLOC]
    handled = int(sizes[(sizes > 1_000_000) & (sizes < 9_000_000)][0]) - 1_000_000
    done = int(sizes[sizes >= 10_000_000][0]) - 10_000_000
    assert handled >= 300
    assert image.count(Op.MALLOC, 7002) == image.count(Op.REALLOC, 7003) == handled
    assert image.count(Op.MALLOC, 16) == done


def test_where_the_file_can_grow_no_more_recording_stops_and_the_program_runs_on(tmp_path: Path) -> None:
    source = f"""
    int main(void) {{
        struct rlimit size = {{2 << 20, 2 << 20}};
        setrlimit(RLIMIT_FSIZE, &size);
        kept = malloc({BEGIN});
        for (int i = 0; i < 1000000; i++) free(malloc(7001));
        int fd = open("{tmp_path}/mine", O_WRONLY | O_CREAT, 0600);
        return write(fd, "done", 4) == 4 ? 7 : 1;
    }}
    """
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 7 and (tmp_path / "mine").read_text() == "done"
    assert image.capture.stopped == os.strerror(27)  # EFBIG
    assert image.counts.frees_unknown == image.counts.frees_lost == image.counts.calls_lost == 0
    assert 30_000 < image.count(Op.MALLOC, 7001) < 1_000_000
    assert image.count(Op.MALLOC, END) == 0


def test_a_recorded_program_needs_little_more_memory(tmp_path: Path) -> None:
    source = """
    int main(void) {
        for (int i = 0; i < 2000000; i++) free(malloc(100));
        char text[4096] = "";
        read(open("/proc/self/status", O_RDONLY), text, sizeof text - 1);
        kept = malloc(100000000 + atol(strstr(text, "VmHWM:") + 6));
        return 0;
    }
    """
    program = build(tmp_path, HEAD + source)
    status, [image] = run(tmp_path, [program])
    assert status == 0
    sizes = image.rows.size[image.rows.op == Op.MALLOC]
    kib = int(sizes[sizes > 100_000_000][0]) - 100_000_000
    assert kib < 8192  # of 30 MiB that went to the file
