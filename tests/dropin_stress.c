/* csrc/tests/stress.h on the process's own malloc, in a process for each round, which ends in one of several ways: when
 * all is done, or in the middle of it. [SECONDS [SEED]] */
#undef NDEBUG
#include "tests/stress.h"

#include <malloc.h>

static atomic_bool done;
static pthread_key_t last_words;

static size_t usable_size(void *block) { return malloc_usable_size(block); }

/* Within a thread's destructors, and once more, the last of them. */
static void say_last(void *block) {
    al_rng rng = {(uintptr_t)block};
    stress_give(block);
    for (int i = 0; i < 10; i++) stress_give(stress_take(&rng));
    if (al_rng_next(&rng) % 4 != 0) pthread_setspecific(last_words, stress_take(&rng));
}

static void arrive(void) {
    al_rng rng = {99};
    pthread_setspecific(last_words, stress_take(&rng));
}

static void depart(void) {}

static void *use_a_little(void *seed) {
    stress_life life = {.rng = {(uintptr_t)seed}};
    arrive();
    for (int i = 0; i < 50; i++) stress_step(&life);
    stress_leave(&life);
    return NULL;
}

/* How a round ends, by its seed. */
enum { WHEN_ALL_IS_DONE = 1, BY_EXIT = 2, BY_EXIT_AT_ONCE = 3 };

static uint64_t ending(void) { return (stress_seed >> 20) % 4; }

/* Threads of its own, and every other time a child. Whoever was forked while another thread was in exit must not go
 * there: libc's own lock stays taken. */
static void in_child(al_rng *rng) {
    pthread_t threads[2];
    const uint64_t draw = al_rng_next(rng);
    for (uintptr_t i = 0; i < 2; i++) assert(pthread_create(&threads[i], NULL, use_a_little, (void *)(i + 3)) == 0);
    if (draw & 1) {
        pid_t child = fork();
        if (child == 0) {
            alarm(STRESS_PATIENCE);
            use_a_little((void *)7);
            stress_empty_mail();
            if (draw & 2 && ending() != BY_EXIT) exit(0);
            _exit(0);
        }
        stress_await(child);
    }
    for (int i = 0; i < 2; i++) assert(pthread_join(threads[i], NULL) == 0);
    stress_empty_mail();
}

static const stress_family own = {
    malloc, calloc, memalign, realloc, free, usable_size, arrive, depart, fork, in_child,
};

static void *ask(void *unused) {
    FILE *out = fopen("/dev/null", "w");
    setvbuf(out, NULL, _IONBF, 0); /* exit takes away every file's buffer, and waits for nobody who writes to it */
    while (!done) {
        malloc_trim(0);
        assert(mallinfo2().arena != 0 && malloc_info(0, out) == 0);
        usleep(500);
    }
    fclose(out);
    return unused;
}

static void play(uint64_t seed) {
    pthread_t threads[STRESS_THREADS], asking;
    assert(pthread_key_create(&last_words, say_last) == 0);
    assert(pthread_create(&asking, NULL, ask, NULL) == 0);
    stress_begin(&own, seed, threads);
    if (ending() != WHEN_ALL_IS_DONE) usleep(5000 + seed % 7 * 5000);
    if (ending() == BY_EXIT) exit(0);
    if (ending() == BY_EXIT_AT_ONCE) _exit(0);
    if (ending() != WHEN_ALL_IS_DONE) {
        done = true;
        pthread_exit(NULL);
    }
    stress_end(threads);
    done = true;
    assert(pthread_join(asking, NULL) == 0);
    stress_empty_mail();
}

static void round_in_child(uint64_t seed) {
    pid_t child = fork();
    stress_seed = seed;
    if (child == 0) {
        alarm(STRESS_PATIENCE);
        play(seed);
        exit(0);
    }
    stress_await(child);
}

int main(int count, char **words) {
    stress_rounds(round_in_child, count, words);
    return 0;
}
