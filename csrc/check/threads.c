/* Threads and forks: C19-C21, C26. */
#include "check/rule.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void start(pthread_t *thread, void *(*run)(void *), void *argument) {
    const int error = pthread_create(thread, NULL, run, argument);
    if (!al_holds(error == 0, "pthread_create failed with %d", error)) *thread = pthread_self();
}

static void *join(pthread_t thread) {
    void *left = NULL;
    if (!pthread_equal(thread, pthread_self())) pthread_join(thread, &left);
    return left;
}

static void *hammer(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    void *blocks[64] = {NULL};
    for (int i = 0; i < 20000; i++) {
        unsigned slot = (unsigned)rand_r(&seed) % 64;
        free(blocks[slot]);
        blocks[slot] = malloc((size_t)rand_r(&seed) % 2000);
    }
    for (int i = 0; i < 64; i++) free(blocks[i]);
    return NULL;
}

static volatile int stop;

static void *hammers(void *argument) {
    do hammer(argument);
    while (!stop);
    return NULL;
}

static void *from_handler;

static void allocate_before_fork(void) { from_handler = malloc(100); }

static void free_after_fork(void) {
    free(from_handler);
    free(malloc(10));
}

/* Handlers that allocate, registered before any library's constructor ran: they run while the library's own hold. */
static void before_all(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "forks") == 0)
        pthread_atfork(allocate_before_fork, free_after_fork, free_after_fork);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **) = before_all;

/* Who takes longer hangs: many times what the slowest malloc needs, on a busy machine too. */
enum { PATIENCE = 30, PATIENCE_EARLY = 20 };

/* Allocates, starts a thread, forks again. */
static void live_on(int number) {
    al_alone();
    alarm(PATIENCE);
    hammer((void *)(uintptr_t)number);
    pthread_t thread;
    if (pthread_create(&thread, NULL, hammer, NULL) != 0) _exit(1);
    pthread_join(thread, NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        hammer(NULL);
        _exit(0);
    }
    _exit(al_wait(child) == 0 ? 0 : 1);
}

/* Returns what becomes of the children: a status of waitpid. */
static int forks(int count) {
    int status = 0;
    pthread_t threads[2];
    stop = al_never_reuses();
    for (int i = 0; i < 2; i++) start(&threads[i], hammers, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < count && status == 0; i++) {
        al_step("fork while two threads allocate, and malloc in the child");
        const pid_t child = fork();
        if (child == 0) live_on(i);
        status = al_wait(child);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) join(threads[i]);
    return status;
}

int al_c19_again(void) { return forks(5) == 0 ? 0 : 1; }

void al_c19(void) {
    const int status = forks(20);
    al_fault("fork", 0);
    if (!al_holds(status == 0, "a forked child that allocates %s", status == SIGALRM ? "hangs" : "dies")) return;
    const pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE_EARLY);
        execl("/proc/self/exe", "alloclab-rules", "forks", "early", (char *)NULL);
        _exit(127);
    }
    const int ended = al_wait(child);
    al_step("fork, with a handler that allocates");
    al_fault("handler", 0);
    al_expects(ended == 0, "with a fork handler that allocates, registered before the library's, fork %s",
               ended == SIGALRM ? "deadlocks" : "fails");
}

/* --- one thread allocates, another frees --- */

enum { HANDED_OVER = 1000, ROUNDS = 130, SETTLED = 50 };
static void *handed[HANDED_OVER];
static pthread_barrier_t full, empty;

static void *produce(void *unused) {
    (void)unused;
    for (int i = 0; i < HANDED_OVER; i++) {
        handed[i] = malloc(16 + (size_t)i);
        if (handed[i] != NULL) memset(handed[i], 1, 16 + (size_t)i);
    }
    return NULL;
}

static void *produce_on(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        produce(unused);
        pthread_barrier_wait(&full);
        pthread_barrier_wait(&empty);
    }
    return NULL;
}

static void consume(void) {
    for (int i = 0; i < HANDED_OVER; i++) free(handed[i]);
}

static void bounded(size_t before, size_t settled, const char *who) {
    const size_t at_the_end = al_grown(before);
    al_holds(at_the_end <= 2 * settled + (1 << 20), "%s: %zu KiB are resident after %d rounds, %zu KiB after %d", who,
             at_the_end >> 10, ROUNDS, settled >> 10, SETTLED);
}

/* --- blocks go from hand to hand, while all allocate --- */

enum { HANDS = 64, EXCHANGES = 400000, EXCHANGERS = 3 };
static _Atomic(unsigned char *) hands[HANDS];
static atomic_uint damaged;

/* Begins with its size, of which the lowest byte fills the rest. NULL: no memory. */
static unsigned char *inscribed(size_t size) {
    unsigned char *block = malloc(size);
    if (block == NULL) return NULL;
    memset(block, (int)(size & UCHAR_MAX), size);
    return memcpy(block, &size, sizeof size);
}

static void *exchange(void *seed) {
    uint64_t state = (uintptr_t)seed;
    for (int i = 0; i < EXCHANGES; i++) {
        size_t size = sizeof size;
        state = state * 6364136223846793005u + 1442695040888963407u;
        size += (state >> 33) % (state >> 63 ? 4000 : 200);
        unsigned char *block = atomic_exchange(&hands[(state >> 50) % HANDS], inscribed(size));
        if (block == NULL) continue;
        memcpy(&size, block, sizeof size);
        damaged += !al_filled(block + sizeof size, size - sizeof size, (unsigned char)size);
        free(block);
    }
    return NULL;
}

static void exchanged(void) {
    pthread_t threads[EXCHANGERS];
    al_step("freeing what other threads allocate, all at once");
    for (int i = 0; i < EXCHANGERS; i++) start(&threads[i], exchange, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < EXCHANGERS; i++) join(threads[i]);
    for (int i = 0; i < HANDS; i++) free(atomic_exchange(&hands[i], NULL));
    al_holds(damaged == 0, "%u of %d blocks that threads exchanged were damaged", damaged, EXCHANGERS * EXCHANGES);
}

void al_c20(void) {
    if (!al_expects(!al_never_reuses(), "no memory is ever used again, by any thread")) return;
    size_t settled = 0, before = al_resident();
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t producer;
        al_step("freeing what a thread allocated that has ended");
        start(&producer, produce, NULL);
        join(producer);
        consume();
        if (round == SETTLED) settled = al_grown(before);
    }
    bounded(before, settled, "what ended threads allocated");
    before = al_resident();
    pthread_t producer;
    pthread_barrier_init(&full, NULL, 2);
    pthread_barrier_init(&empty, NULL, 2);
    start(&producer, produce_on, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        al_step("freeing what another thread allocates");
        pthread_barrier_wait(&full);
        consume();
        pthread_barrier_wait(&empty);
        if (round == SETTLED) settled = al_grown(before);
    }
    join(producer);
    bounded(before, settled, "what another thread allocates");
    exchanged();
}

/* --- threads that come and go --- */

static pthread_key_t late;
static volatile bool unserved;

/* Runs in a thread's last moments, after a library may have taken the thread's context back. */
static void late_malloc(void *value) {
    char *block = malloc(1000);
    if (block == NULL) unserved = true;
    char *grown = realloc(block, 100000);
    if (grown == NULL) unserved = true;
    free(grown);
    free(value);
}

static void *short_life(void *argument) {
    pthread_setspecific(late, malloc(64));
    void *block = malloc((size_t)(uintptr_t)argument % 1000);
    free(block);
    return malloc(10);
}

/* libc frees the message in the thread's very last moments, after all destructors. */
static void *last_words(void *number) {
    strerror(1000000 + (int)(uintptr_t)number);
    return NULL;
}

static void many_threads(int count, void *(*run)(void *)) {
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        start(&thread, run, (void *)(uintptr_t)i);
        free(join(thread));
    }
}

void al_c21(void) {
    enum { FEW = 200, MANY = 2000, VERY_MANY = 10000 };
    if (!al_expects(!al_never_reuses(), "no memory is ever used again, by any thread")) return;
    pthread_key_create(&late, late_malloc);
    al_step("threads that end");
    many_threads(FEW, short_life);
    const bool counts = al_is_own("mallinfo2");
    const size_t resident = al_resident(), used = counts ? mallinfo2().uordblks : 0;
    many_threads(MANY, short_life);
    const size_t after = counts ? mallinfo2().uordblks : 0;
    al_holds(after <= used + 4096, "2000 threads left %zu bytes allocated", after - used);
    al_holds(al_grown(resident) <= 1 << 20, "2000 threads left %zu KiB resident", al_grown(resident) >> 10);
    many_threads(FEW, last_words);
    const size_t mapped = al_mapped();
    many_threads(VERY_MANY, last_words);
    al_holds(al_mapped() == mapped, "10000 threads left %zu KiB of address space", (al_mapped() - mapped) >> 10);
}

void al_c26(void) {
    pthread_key_create(&late, late_malloc);
    pthread_key_t others[8];
    for (int i = 0; i < 8; i++) pthread_key_create(&others[i], late_malloc);
    al_step("malloc, realloc and free in the destructors of threads");
    many_threads(100, short_life);
    al_holds(!unserved, "malloc or realloc returned NULL in a destructor of a thread's exit");
    for (int i = 0; i < 8; i++) pthread_key_delete(others[i]);
}
