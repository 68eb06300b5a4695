/* Situations that a program may bring a drop-in library into. A program of them is run with LD_PRELOAD and the name of
 * one of its scenes; without one, it names them. It ends with status 0; what does not hold is said by assert, and what
 * hangs is ended by alarm. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, PATIENCE = 60 };

static atomic_bool stop;

/* A block whose bytes tell its size. */
static inline unsigned char *filled(unsigned char *block, size_t bytes) {
    assert(block != NULL);
    return memset(block, (int)(bytes % 251), bytes);
}

static inline void check(const unsigned char *block, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) assert(block[i] == bytes % 251);
}

static inline void check_and_free(unsigned char *block, size_t bytes) {
    check(block, bytes);
    free(block);
}

/* Some of everything; a few hundred calls. */
static inline void churn(unsigned seed) {
    enum { BLOCKS = 40 };
    unsigned char *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = (size_t)rand_r(&seed) % (i % 10 == 0 ? 200000 : 1500);
        blocks[i] = i % 4 == 0   ? calloc(1, sizes[i])
                    : i % 4 == 1 ? memalign((size_t)64 << i % 5, sizes[i])
                                 : malloc(sizes[i]);
        filled(blocks[i], sizes[i]);
    }
    for (int i = 0; i < BLOCKS; i += 2) check_and_free(blocks[i], sizes[i]);
    for (int i = 1; i < BLOCKS; i += 2) {
        check(blocks[i], sizes[i]);
        sizes[i] = 1 + (size_t)rand_r(&seed) % 5000;
        blocks[i] = filled(realloc(blocks[i], sizes[i]), sizes[i]);
    }
    for (int i = 1; i < BLOCKS; i += 2) check_and_free(blocks[i], sizes[i]);
}

static inline void *churn_once(void *seed) {
    churn((unsigned)(uintptr_t)seed);
    return NULL;
}

static inline void *churn_until_stop(void *seed) {
    for (unsigned i = 0; !stop; i++) churn((unsigned)(uintptr_t)seed + i);
    return NULL;
}

static inline pthread_t start(void *(*work)(void *), uintptr_t argument) {
    pthread_t thread;
    assert(pthread_create(&thread, NULL, work, (void *)argument) == 0);
    return thread;
}

static inline void *end(pthread_t thread) {
    void *result;
    assert(pthread_join(thread, &result) == 0);
    return result;
}

static inline void ends_well(pid_t child) {
    int status;
    assert(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* What a round leaves behind adds up over any ten of them. What one adds alone does not: more threads alive at once than
 * ever before, which takes an arena more, or what a cache holds just then. */
static inline void leaves_nothing(void (*round)(void)) {
    enum { MOST = 50, TEN = 10 };
    size_t used[MOST];
    for (int i = 0; i < MOST; i++) {
        round();
        used[i] = mallinfo2().uordblks;
        if (i >= TEN && used[i] <= used[i - TEN]) return;
    }
    assert(!"each ten rounds leave something in use");
}

typedef struct scene {
    const char *name; /* NULL ends them */
    void (*play)(void);
} scene;

static inline int play(const scene *scenes, int count, char **words) {
    alarm(PATIENCE);
    for (const scene *s = scenes; s->name != NULL; s++) {
        if (count == 1) puts(s->name);
        if (count != 2 || strcmp(s->name, words[1]) != 0) continue;
        s->play();
        return 0;
    }
    return count != 1;
}
