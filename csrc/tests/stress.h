/* What any malloc must stand: threads that take, resize and free each other's blocks, also those of makers that are
 * gone, end and are followed by others, while two of them fork; each child finds every block as it was, and uses it. It
 * is given a family of calls: those of a heap, or the process's own.
 *
 *     block | head | word 1 | word 2 | ... | a part |      head = key << 40 | bytes, and all else follows from it */
#ifndef AL_TESTS_STRESS_H
#define AL_TESTS_STRESS_H

#include "base/rng.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct stress_family {
    void *(*malloc)(size_t bytes);
    void *(*calloc)(size_t count, size_t each);
    void *(*memalign)(size_t alignment, size_t bytes);
    void *(*realloc)(void *block, size_t bytes);
    void (*free)(void *block);
    size_t (*usable_size)(void *block);
    void (*arrive)(void); /* a thread begins */
    void (*depart)(void); /* and ends */
    pid_t (*fork)(void);
    void (*in_child)(al_rng *rng); /* where there is only this thread, and no mail */
} stress_family;

enum { STRESS_WORKERS = 4, STRESS_FORKERS = 2, STRESS_LIVES = 6, STRESS_STEPS = 400, STRESS_FORKS = 8 };
enum { STRESS_MAILBOXES = 64, STRESS_POCKETS = 16, STRESS_PATIENCE = 300 };

typedef struct stress_life {
    al_rng rng;
    uint64_t *pockets[STRESS_POCKETS];
} stress_life;

static const stress_family *stressed;
static uint64_t stress_seed;
static _Atomic(uint64_t *) stress_mail[STRESS_MAILBOXES];

/* --- blocks --- */

static inline uint64_t stress_word(uint64_t head, size_t i) { return (head + i) * UINT64_C(0x9e3779b97f4a7c15); }

static inline void stress_write(uint64_t *block, size_t bytes, uint64_t key) {
    const size_t whole = bytes / sizeof *block;
    const uint64_t head = key << 40 | bytes, last = stress_word(head, whole);
    block[0] = head;
    for (size_t i = 1; i < whole; i++) block[i] = stress_word(head, i);
    memcpy(block + whole, &last, bytes % sizeof *block);
}

static inline size_t stress_bytes(uint64_t head) { return head & ((UINT64_C(1) << 40) - 1); }

/* The first `bytes` of a block are as they were written. */
static inline void stress_read(const uint64_t *block, size_t bytes) {
    const size_t whole = bytes / sizeof *block;
    const uint64_t head = block[0], last = stress_word(head, whole);
    for (size_t i = 1; i < whole; i++) assert(block[i] == stress_word(head, i));
    if (bytes == stress_bytes(head)) assert(memcmp(block + whole, &last, bytes % sizeof *block) == 0);
}

static inline size_t stress_size(uint64_t draw) {
    const size_t rooms[] = {120, 120, 120, 120, 1200, 1200, 20000, draw % 1024 == 0 ? 3000000 : 200000};
    return sizeof(uint64_t) + (draw >> 24) % rooms[draw % 8 == 7 && draw % 128 >= 16 ? 4 : draw % 8];
}

static inline uint64_t *stress_take(al_rng *rng) {
    const uint64_t draw = al_rng_next(rng), way = al_rng_next(rng);
    const size_t bytes = stress_size(draw), alignment = (size_t)16 << way / 8 % 9;
    uint64_t *block = way % 8 == 0   ? stressed->calloc(1, bytes)
                      : way % 8 == 1 ? stressed->memalign(alignment, bytes)
                                     : stressed->malloc(bytes);
    assert(block != NULL);
    const size_t usable = stressed->usable_size(block);
    assert(usable >= bytes);
    for (size_t i = 0; way % 8 == 0 && i < bytes; i++) assert(((unsigned char *)block)[i] == 0);
    assert(way % 8 != 1 || (uintptr_t)block % alignment == 0);
    stress_write(block, way % 16 == 15 ? usable : bytes, way >> 40);
    return block;
}

static inline void stress_give(uint64_t *block) {
    if (block != NULL) stress_read(block, stress_bytes(block[0]));
    stressed->free(block);
}

static inline uint64_t *stress_resize(al_rng *rng, uint64_t *block) {
    const size_t bytes = stress_size(al_rng_next(rng)), before = stress_bytes(block[0]);
    stress_read(block, before);
    block = stressed->realloc(block, bytes);
    assert(block != NULL && stress_bytes(block[0]) == before);
    stress_read(block, bytes < before ? bytes : before);
    stress_write(block, bytes, al_rng_next(rng) >> 40);
    return block;
}

/* --- threads --- */

static inline uint64_t *stress_post(al_rng *rng, uint64_t *block) {
    return atomic_exchange(&stress_mail[al_rng_next(rng) % STRESS_MAILBOXES], block);
}

/* A new block is posted, or kept for some time; what it replaces is resized and posted, or freed. */
static inline void stress_step(stress_life *life) {
    const uint64_t draw = al_rng_next(&life->rng);
    uint64_t *block = stress_take(&life->rng), **pocket = &life->pockets[draw / 4 % STRESS_POCKETS];
    if (draw & 1) {
        block = stress_post(&life->rng, block);
    } else {
        uint64_t *before = *pocket;
        *pocket = block;
        block = before;
    }
    if (block != NULL && draw & 2) block = stress_post(&life->rng, stress_resize(&life->rng, block));
    stress_give(block);
}

/* Half of what it has is for others to free. */
static inline void stress_leave(stress_life *life) {
    for (size_t i = 0; i < STRESS_POCKETS; i++)
        stress_give(i % 2 && life->pockets[i] != NULL ? stress_post(&life->rng, life->pockets[i]) : life->pockets[i]);
}

static inline void *stress_live(void *seed) {
    stress_life life = {.rng = {stress_seed + (uintptr_t)seed * 1000}};
    stressed->arrive();
    for (int i = 0; i < STRESS_STEPS; i++) stress_step(&life);
    stress_leave(&life);
    stressed->depart();
    return NULL;
}

/* Lives that follow each other. */
static inline void *stress_work(void *seed) {
    for (uintptr_t i = 0; i < STRESS_LIVES; i++) {
        pthread_t thread;
        assert(pthread_create(&thread, NULL, stress_live, (void *)((uintptr_t)seed * STRESS_LIVES + i)) == 0);
        assert(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static inline void stress_empty_mail(void) {
    for (int i = 0; i < STRESS_MAILBOXES; i++) stress_give(atomic_exchange(&stress_mail[i], NULL));
}

/* --- processes --- */

static inline void stress_await(pid_t child) {
    int status;
    assert(child > 0 && waitpid(child, &status, 0) == child);
    if (status != 0) fprintf(stderr, "seed %ju: a child ended with %#x\n", (uintmax_t)stress_seed, (unsigned)status);
    assert(status == 0);
}

static inline void *stress_fork(void *seed) {
    stress_life life = {.rng = {stress_seed + 500 + (uintptr_t)seed}};
    stressed->arrive();
    for (int f = 0; f < STRESS_FORKS; f++) {
        for (int i = 0; i < STRESS_STEPS / 20; i++) stress_step(&life);
        pid_t child = stressed->fork();
        if (child == 0) {
            alarm(STRESS_PATIENCE);
            stress_empty_mail();
            for (int i = 0; i < STRESS_STEPS / 4; i++) stress_step(&life);
            stress_leave(&life);
            stress_empty_mail();
            stressed->in_child(&life.rng);
            _exit(0);
        }
        stress_await(child);
    }
    stress_leave(&life);
    stressed->depart();
    return NULL;
}

enum { STRESS_THREADS = STRESS_WORKERS + STRESS_FORKERS };

static inline void stress_begin(const stress_family *family, uint64_t seed, pthread_t threads[STRESS_THREADS]) {
    stressed = family;
    stress_seed = seed << 20;
    for (uintptr_t i = 0; i < STRESS_THREADS; i++) {
        void *(*act)(void *) = i < STRESS_WORKERS ? stress_work : stress_fork;
        assert(pthread_create(&threads[i], NULL, act, (void *)i) == 0);
    }
}

static inline void stress_end(const pthread_t threads[STRESS_THREADS]) {
    for (int i = 0; i < STRESS_THREADS; i++) assert(pthread_join(threads[i], NULL) == 0);
}

static inline time_t stress_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* [SECONDS [SEED]]: a round of that seed, and more, with those that follow, until so many seconds have passed. */
static inline void stress_rounds(void (*round)(uint64_t seed), int count, char **words) {
    const time_t last = stress_seconds() + (count > 1 ? atoi(words[1]) : 0);
    uint64_t first = count > 2 ? strtoull(words[2], NULL, 10) : 1, seed = first;
    do round(seed++);
    while (stress_seconds() < last);
    if (count > 1) printf("%ju rounds, seeds from %ju\n", (uintmax_t)(seed - first), (uintmax_t)first);
}

#endif
