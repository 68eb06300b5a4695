/* Threads take, resize, free and hand on blocks while the system refuses memory, and gives it again, all the time: each
 * call is served, or fails with ENOMEM and changes nothing; at the end, all works. Writes how many calls failed. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS = 4, POCKETS = 40, MAILBOXES = 16, TURNS = 200, STEPS = 20 };

static pthread_barrier_t together;
static atomic_bool over;
static atomic_ulong failed, steps;
static _Atomic(uint64_t *) mail[MAILBOXES];

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static uint64_t word(size_t words, size_t i) { return words * UINT64_C(0x9e3779b97f4a7c15) + i; }

/* The first word says how many there are, and all others follow from it. */
static void fill(uint64_t *block, size_t words) {
    block[0] = words;
    for (size_t i = 1; i < words; i++) block[i] = word(words, i);
}

static void check(const uint64_t *block, size_t words) {
    for (size_t i = 1; i < words; i++) assert(block[i] == word(block[0], i));
}

static size_t some_words(uint64_t *state) {
    const size_t most[] = {16, 1 << 8, 1 << 12, 1 << 19};
    return 1 + next(state) % most[next(state) % 40 == 0 ? 3 : next(state) % 3];
}

static bool served(const void *block) {
    if (block == NULL) {
        assert(errno == ENOMEM);
        failed++;
    }
    return block != NULL;
}

static uint64_t *born(uint64_t *state) {
    size_t words = some_words(state), bytes = words * sizeof(uint64_t);
    bool zero = next(state) % 3 == 0;
    errno = 0;
    uint64_t *block = zero ? calloc(1, bytes) : next(state) % 2 ? malloc(bytes) : memalign(64 << next(state) % 8, bytes);
    if (!served(block)) return NULL;
    for (size_t i = 0; zero && i < words; i++) assert(block[i] == 0);
    fill(block, words);
    return block;
}

/* More than anybody keeps in hand. */
static void ask_for_much(uint64_t *state) {
    errno = 0;
    void *block = malloc((64 << 20) + next(state) % (64 << 20));
    if (served(block)) free(block);
}

static uint64_t *resized(uint64_t *block, uint64_t *state) {
    size_t old = block[0], words = some_words(state);
    errno = 0;
    uint64_t *moved = realloc(block, words * sizeof *block);
    if (!served(moved)) {
        check(block, old);
        return block;
    }
    check(moved, old < words ? old : words);
    fill(moved, words);
    return moved;
}

static void *live(void *context) {
    uint64_t state = (uintptr_t)context * UINT64_C(0x9e3779b97f4a7c15), *pockets[POCKETS] = {NULL};
    pthread_barrier_wait(&together);
    ask_for_much(&state); /* which fails: nobody ever had so much */
    pthread_barrier_wait(&together);
    for (; !over; steps++) {
        uint64_t **at = &pockets[next(&state) % POCKETS], choice = next(&state) % 4;
        if (*at == NULL) {
            *at = born(&state);
            continue;
        }
        check(*at, **at);
        if (next(&state) % 50 == 0) ask_for_much(&state);
        if (choice == 0)
            *at = resized(*at, &state);
        else if (choice == 1)
            *at = atomic_exchange(&mail[next(&state) % MAILBOXES], *at);
        else
            free(*at), *at = NULL;
    }
    for (size_t i = 0; i < POCKETS; i++) free(pockets[i]);
    return NULL;
}

static void refuse(bool refused) {
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = refused ? 1 : limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&together, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++) assert(pthread_create(&threads[i], NULL, live, (void *)(i + 1)) == 0);
    refuse(true);
    for (int twice = 0; twice < 2; twice++) pthread_barrier_wait(&together);
    for (int turn = 0; turn < TURNS; turn++) {
        const unsigned long until = steps + STEPS; /* threads may wait for a processor for long */
        refuse(turn % 2 == 0);
        do usleep(500);
        while (steps < until);
    }
    refuse(false);
    over = true;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < MAILBOXES; i++) free(mail[i]);
    void *again = malloc(1 << 20);
    assert(again != NULL);
    free(again);
    printf("%lu\n", failed);
    return 0;
}
