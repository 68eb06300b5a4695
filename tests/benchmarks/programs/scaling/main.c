/* Workloads that show how an allocator fares as threads are added; see the head of each.
 *
 *     scaling WORKLOAD THREADS [PERCENT]
 *
 * Every thread does the same amount of work, PERCENT of the usual. Says: operations (of malloc, realloc and free), the
 * seconds from the first worker's start to the last one's end, those of the processors, the peak of resident KiB, and
 * how many blocks were not as they were left. */
#include "scaling.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const workload *const all[] = {&larson, &mstress, &xmalloc, &sh8bench, &cache_scratch, &cache_thrash};

worker workers[THREADS_MOST];
size_t threads;
static size_t percent = 100;
static const workload *chosen;
static pthread_barrier_t everyone, start;

_Noreturn void give_up(const char *what) {
    perror(what);
    _exit(3);
}

size_t share(size_t usual) {
    const size_t part = usual * percent / 100;
    return part == 0 ? 1 : part;
}

void meet(void) { pthread_barrier_wait(&everyone); }

void in_new_thread(void *(*body)(void *), worker *w) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, w) != 0) give_up("pthread_create");
    pthread_join(thread, NULL);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *run(void *context) {
    worker *w = context;
    pthread_barrier_wait(&start);
    w->began = now(CLOCK_MONOTONIC);
    chosen->work(w);
    w->ended = now(CLOCK_MONOTONIC);
    return NULL;
}

/* Touched here, so that none of its faults are in the measured part. */
static void *map(size_t bytes) {
    if (bytes == 0) return NULL;
    void *place = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (place == MAP_FAILED) give_up("mmap");
    return place;
}

/* The line "VmHWM: N kB". Not getrusage's, which has that of the program that started this one. */
static unsigned long peak_kib(void) {
    static char text[8192];
    const int file = open("/proc/self/status", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) give_up("/proc/self/status");
    close(file);
    const char *line = strstr(text, "VmHWM:");
    return line == NULL ? 0 : strtoul(line + strlen("VmHWM:"), NULL, 10);
}

static void measure(void) {
    double began = 0, ended = 0;
    uint64_t operations = 0, faults = 0;
    static worker keeper;
    if (chosen->prepare != NULL) chosen->prepare(&keeper);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&workers[i].thread, NULL, run, &workers[i]) != 0) give_up("pthread_create");
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < threads; i++) {
        const worker *w = &workers[i];
        pthread_join(w->thread, NULL);
        if (i == 0 || w->began < began) began = w->began;
        if (w->ended > ended) ended = w->ended;
        operations += w->operations;
        faults += w->faults;
    }
    const double spent = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    const unsigned long peak = peak_kib();
    chosen->clear(&keeper);
    printf("%" PRIu64 " %.6f %.6f %lu %" PRIu64 "\n", operations, ended - began, spent, peak, faults + keeper.faults);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(argv[1], all[i]->name) == 0) chosen = all[i];
    threads = strtoull(argv[2], NULL, 10);
    if (argc > 3) percent = strtoull(argv[3], NULL, 10);
    if (chosen == NULL || threads == 0 || threads > THREADS_MOST || percent == 0) return 2;
    pthread_barrier_init(&everyone, NULL, (unsigned)threads);
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++) {
        workers[i] = (worker){.rng = {i + 1}, .number = i, .state = map(chosen->state_bytes)};
        workers[i].rng.state = al_rng_next(&workers[i].rng);
    }
    measure();
    return 0;
}
