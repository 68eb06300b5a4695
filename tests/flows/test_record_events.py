"""What a program calls is what its trace holds: every function, each call once, in the order of the heap."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np
import pytest
from recorded import BEGIN, END, build, run

from alloclab.trace.model import Op

MARKS = f"""
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void begin(void) {{ malloc({BEGIN}); }}
static void end(void) {{ malloc({END}); }}
"""
NOT_A_SIZE = ctypes.c_size_t(-1).value


def test_every_function_of_the_family_is_one_row(tmp_path: Path) -> None:
    source = """
    int main(void) {
        void *p[12], *q;
        begin();
        p[0] = malloc(10);
        p[1] = calloc(3, 20);
        p[2] = calloc(1, 30);
        p[3] = memalign(64, 40);
        p[4] = aligned_alloc(128, 256);
        posix_memalign(&p[5], 256, 50);
        p[6] = valloc(60);
        p[7] = pvalloc(70);
        p[8] = realloc(NULL, 80);
        p[9] = malloc(100000);
        p[9] = realloc(p[9], 200000);
        p[0] = realloc(p[0], 5000);
        p[0] = reallocarray(p[0], 7, 11);
        q = malloc(0);
        free(NULL);
        realloc(q, 0);
        for (int i = 0; i < 10; i++) free(p[i]);
        end();
        return 0;
    }
    """
    page = 4096
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    assert image.between_marks() == [
        ("malloc", 0, 10, 1, 0, False),
        ("calloc", 1, 20, 3, 0, False),
        ("calloc", 2, 30, 1, 0, False),
        ("aligned", 3, 40, 1, 64, False),
        ("aligned", 4, 256, 1, 128, False),
        ("aligned", 5, 50, 1, 256, False),
        ("aligned", 6, 60, 1, page, False),
        ("aligned", 7, page, 1, page, False),
        ("malloc", 8, 80, 1, 0, False),
        ("malloc", 9, 100000, 1, 0, False),
        ("realloc", 9, 200000, 1, 0, False),
        ("realloc", 0, 5000, 1, 0, False),
        ("realloc", 0, 77, 1, 0, False),
        ("malloc", 10, 0, 1, 0, False),
        ("free", -1, 0, 1, 0, False),
        ("realloc", 10, 0, 1, 0, False),
        *(("free", i, 0, 1, 0, False) for i in range(10)),
    ]


def test_failed_calls_are_rows_and_change_nothing(tmp_path: Path) -> None:
    source = """
    int main(void) {
        volatile size_t much = -1;
        char *p = malloc(24);
        void *out = p;
        int wrong = 0;
        begin();
        errno = 0; wrong |= malloc(much) != NULL || errno != ENOMEM;
        errno = 0; wrong |= calloc(much, 2) != NULL || errno != ENOMEM;
        errno = 0; wrong |= realloc(p, much) != NULL || errno != ENOMEM;
        errno = 0; wrong |= reallocarray(p, much, 2) != NULL || errno != ENOMEM;
        errno = 0; wrong |= memalign(64, much) != NULL || errno != ENOMEM;
        wrong |= posix_memalign(&out, 24, 8) != EINVAL || out != p;
        errno = 7; free(p); wrong |= errno != 7;
        end();
        return wrong;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    much = NOT_A_SIZE
    assert image.between_marks() == [
        ("malloc", -1, much, 1, 0, True),
        ("calloc", -1, 2, much, 0, True),
        ("realloc", -2 + 0, much, 1, 0, True),
        ("realloc", -2 + 0, much, 1, 0, True),
        ("aligned", -1, much, 1, 64, True),
        ("aligned", -1, 8, 1, 24, True),
        ("free", -2, 0, 1, 0, False),
    ]


def test_sized_frees_of_c23_are_frees(tmp_path: Path) -> None:
    source = """
    extern void free_sized(void *, size_t) __attribute__((weak));
    extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
    int main(void) {
        void *p = malloc(40), *q = aligned_alloc(64, 128);
        begin();
        if (free_sized) free_sized(p, 40);
        if (free_aligned_sized) free_aligned_sized(q, 64, 128);
        end();
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    assert [row[0] for row in image.between_marks()] == ["free", "free"]


@pytest.mark.needs("g++")
def test_new_and_delete_are_recorded_once(tmp_path: Path) -> None:
    source = f"""
    #include <cstdlib>
    struct alignas(128) Wide {{ char bytes[128]; }};
    int main() {{
        void *volatile mark = malloc({BEGIN});
        int *volatile one = new int[30]; delete[] one;
        Wide *volatile wide = new Wide; delete wide;
        mark = malloc({END});
    }}
    """
    program = build(tmp_path, source, "-std=c++17", compiler="g++")
    status, [image] = run(tmp_path, [program])
    assert status == 0
    assert [row[:5] for row in image.between_marks()] == [
        ("malloc", 0, 120, 1, 0),
        ("free", 0, 0, 1, 0),
        ("aligned", 1, 128, 1, 128),
        ("free", 1, 0, 1, 0),
    ]


def test_calls_before_and_after_main_are_recorded(tmp_path: Path) -> None:
    source = """
    static void *kept;
    __attribute__((constructor)) static void before(void) { kept = malloc(7001); }
    __attribute__((destructor)) static void after(void) { free(kept); free(malloc(7003)); }
    static void at_exit(void) { free(malloc(7002)); }
    int main(void) { atexit(at_exit); return 0; }
    """
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    assert [image.count(Op.MALLOC, size) for size in (7001, 7002, 7003)] == [1, 1, 1]
    kept = image.rows.object[image.rows.size == 7001][0]
    assert np.sum((image.rows.object == kept) & (image.rows.op == Op.FREE)) == 1


def test_a_failed_look_up_of_ours_is_not_seen_by_the_program(tmp_path: Path) -> None:
    """The recorder looks for functions that the C library may lack; dlerror must not tell the program."""
    source = "#include <dlfcn.h>\nint main(void) { begin(); return dlerror() != NULL; }"
    status, images = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and len(images) == 1


def test_an_allocating_dlsym_finds_memory_before_malloc_is_found(tmp_path: Path) -> None:
    """A library preloaded behind us makes dlsym allocate, in all ways, while we look for malloc."""
    source = """
    int greedy_calls;
    void *dlsym(void *handle, const char *name) {
        char *p = malloc(100), *q = calloc(10, 10), *r = realloc(p, 200);
        memset(r, 1, 200);
        for (int i = 0; i < 100; i++) if (q[i] != 0) abort();
        free(q);
        greedy_calls++;
        return dlvsym(handle, name, "GLIBC_2.2.5") ?: dlvsym(handle, name, "GLIBC_2.16");
    }
    """
    library = build(tmp_path, MARKS + "#include <dlfcn.h>" + source, "-shared", "-fPIC", name="greedy.so")
    main = """
    extern int greedy_calls __attribute__((weak));
    int main(void) { begin(); free(malloc(64)); end(); return greedy_calls == 0; }
    """
    program = build(tmp_path, MARKS + main)
    status, [image] = run(tmp_path, [program], env=dict(os.environ, LD_PRELOAD=str(library)))
    assert status == 0 and image.whole
    assert [row[0] for row in image.between_marks()] == ["malloc", "free"]


EXCHANGE = """
    enum { SLOTS = 64, CALLS = 200000 };
    static void *slots[SLOTS];
    static void *work(void *argument) {
        unsigned seed = (unsigned)(uintptr_t)argument;
        for (int i = 0; i < CALLS; i++) {
            seed = seed * 1664525u + 1013904223u;
            void *p = malloc(16 + (seed >> 24) % 100);
            if ((seed >> 10) % 4 == 0) p = realloc(p, 16 + (seed >> 12) % 400);
            free(__atomic_exchange_n(&slots[(seed >> 16) % SLOTS], p, __ATOMIC_ACQ_REL));
        }
        return NULL;
    }
    int main(void) {
        pthread_t one, two;
        mallopt(M_ARENA_MAX, 1);
        pthread_create(&one, NULL, work, (void *)1);
        pthread_create(&two, NULL, work, (void *)2);
        pthread_join(one, NULL);
        pthread_join(two, NULL);
        for (int i = 0; i < SLOTS; i++) free(slots[i]);
        return 0;
    }
"""


def test_two_threads_exchanging_blocks_are_in_the_order_of_the_heap(tmp_path: Path) -> None:
    """One arena and no thread caches, so an address goes from thread to thread as fast as can be."""
    env = dict(os.environ, GLIBC_TUNABLES="glibc.malloc.tcache_count=0")
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + EXCHANGE)], env=env)
    assert status == 0 and image.whole
    assert image.count(Op.MALLOC) >= 400000
    starts, exits = (np.flatnonzero(image.rows.op == op) for op in (Op.THREAD_START, Op.THREAD_EXIT))
    assert len(starts) == 3 and len(exits) == 2
    for start, exit_ in zip(starts[1:], sorted(exits), strict=True):
        assert start < exit_
    assert (np.diff(image.rows.time_ns) >= 0).all()


def test_each_thread_starts_before_its_rows_and_exits_after_them(tmp_path: Path) -> None:
    source = """
    #include <dlfcn.h>
    static void *work(void *argument) {
        dlsym(RTLD_DEFAULT, "no such function"); /* freed by the C library after the last destructor */
        free(malloc(100 + (uintptr_t)argument));
        return NULL;
    }
    int main(void) {
        for (int i = 0; i < 20; i++) {
            pthread_t thread;
            pthread_create(&thread, NULL, work, (void *)(uintptr_t)i);
            pthread_join(thread, NULL);
        }
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    rows = image.rows
    assert image.count(Op.THREAD_START) == 21 and image.count(Op.THREAD_EXIT) == 20
    for thread in range(21):
        mine = rows.op[rows.thread == thread]
        assert mine[0] == Op.THREAD_START
        assert (mine[-1] == Op.THREAD_EXIT) == (thread != 0)
        assert np.sum(mine == Op.THREAD_EXIT) == (thread != 0)


def test_what_destructors_of_a_thread_call_comes_before_its_exit(tmp_path: Path) -> None:
    source = """
    static pthread_key_t key;
    static void destroy(void *round) {
        free(malloc(7000 + (uintptr_t)round));
        if ((uintptr_t)round < 3) pthread_setspecific(key, (char *)round + 1); /* once more */
    }
    static void *work(void *argument) { pthread_setspecific(key, (void *)1); return argument; }
    int main(void) {
        pthread_key_create(&key, destroy);
        for (int i = 0; i < 5; i++) {
            pthread_t thread;
            pthread_create(&thread, NULL, work, NULL);
            pthread_join(thread, NULL);
        }
        return 0;
    }
    """
    status, [image] = run(tmp_path, [build(tmp_path, MARKS + source)])
    assert status == 0 and image.whole
    assert [image.count(Op.MALLOC, 7000 + round) for round in (1, 2, 3)] == [5, 5, 5]
    assert image.count(Op.THREAD_START) == 6 and image.count(Op.THREAD_EXIT) == 5
    for thread in range(1, 6):
        mine = image.rows.thread == thread
        assert image.rows.op[mine & (image.rows.object >= 0)].tolist() == [Op.MALLOC, Op.FREE] * 3
        assert image.rows.op[mine][-1] == Op.THREAD_EXIT


def test_times_follow_the_clock(tmp_path: Path) -> None:
    source = """
    int main(void) {
        begin();
        for (int i = 0; i < 1000; i++) free(malloc(10));
        usleep(200000);
        for (int i = 0; i < 1000; i++) free(malloc(10));
        end();
        return 0;
    }
    """
    program = build(tmp_path, MARKS + source)
    before = time.monotonic_ns()
    _, [image] = run(tmp_path, [program])
    elapsed = time.monotonic_ns() - before
    begin, end = (int(np.flatnonzero(image.rows.size == size)[0]) for size in (BEGIN, END))
    times = image.rows.time_ns
    assert times[0] >= 0 and (np.diff(times) >= 0).all()
    assert 0.2e9 <= times[end] - times[begin] <= elapsed
    assert image.counts.clock_resolution_ns is not None
