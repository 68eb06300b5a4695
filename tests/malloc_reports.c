/* What a malloc says of itself, after calls of every kind: mallinfo2, mallinfo, malloc_stats, malloc_info, and what
 * mallopt returns. The argument names the calls; without one, all names are listed.
 *
 * Everything is written through a buffer of our own, so that writing asks nothing of malloc, but in `file`. */
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

enum { MANY = 256 };

static char buffer[1 << 16];
static void *blocks[MANY];

static void say(const char *when) {
    struct mallinfo2 i = mallinfo2();
    struct mallinfo old = mallinfo();
    printf("%s: arena %zu ordblks %zu smblks %zu hblks %zu hblkhd %zu usmblks %zu fsmblks %zu uordblks %zu "
           "fordblks %zu keepcost %zu\n", when, i.arena, i.ordblks, i.smblks, i.hblks, i.hblkhd, i.usmblks, i.fsmblks,
           i.uordblks, i.fordblks, i.keepcost);
    printf("mallinfo: %d %d %d %d %d %d %d %d %d %d\n", old.arena, old.ordblks, old.smblks, old.hblks, old.hblkhd,
           old.usmblks, old.fsmblks, old.uordblks, old.fordblks, old.keepcost);
    malloc_stats();
    printf("malloc_info: %d\n", malloc_info(0, stdout));
}

/* A block, and one behind it that keeps it from merging with what follows. */
static void *fenced(size_t bytes) {
    void *block = malloc(bytes);
    malloc(10);
    return block;
}

static void free_each(size_t from, size_t to, size_t step) {
    for (size_t i = from; i < to; i += step) free(blocks[i]);
}

static void nothing(void) {}

static void cached(void) {
    for (size_t i = 0; i < 20; i++) blocks[i] = malloc(40);
    free_each(0, 20, 1);
}

static void fast(void) {
    for (size_t i = 0; i < 200; i++) blocks[i] = malloc(20 + i % 11 * 16);
    free_each(0, 200, 1);
}

static void consolidated(void) {
    fast();
    say("before");
    printf("mallopt: %d\n", mallopt(99, 0));
}

static void unsorted(void) {
    void *a = fenced(2000), *b = fenced(2000), *c = fenced(3333);
    free(a);
    free(b);
    say("two");
    free(c);
    say("three");
    malloc(10000);
    say("sorted");
    free(fenced(5000));
}

static void small(void) {
    for (size_t i = 0; i < 60; i++) blocks[i] = fenced(200 + 48 * (i % 4));
    free_each(0, 60, 1);
    say("unsorted");
    malloc(20000);
}

static void large(void) {
    size_t count = 0;
    for (size_t bytes = 1024; bytes < 900000; bytes += bytes / 9) blocks[count++] = fenced(bytes);
    free_each(0, count, 2);
    say("unsorted");
    malloc(2000000);
    say("sorted");
    malloc(1100);
    malloc(3100);
    free_each(1, count, 2);
    malloc(50000);
}

static void mapped(void) {
    void *a = malloc(1000000), *b = malloc(2000000);
    say("two");
    free(a);
    say("one");
    a = malloc(500000);
    b = realloc(b, 5000000);
    say("larger");
    free(b);
    memalign(4096, 6000000);
}

static void huge(void) {
    void *p = malloc((size_t)5 << 30);
    say("5 GiB, mapped");
    free(p);
    mallopt(M_MMAP_THRESHOLD, -1);
    p = malloc((size_t)3 << 30);
    say("3 GiB, by the break");
    malloc((size_t)2 << 30);
    free(p);
}

static void trimmed(void) {
    for (size_t i = 0; i < 40; i++) blocks[i] = malloc(50000);
    for (size_t i = 39; i > 4; i--) free(blocks[i]);
    say("from the end");
    free_each(0, 5, 2);
    printf("malloc_trim: %d\n", malloc_trim(0));
    say("trimmed");
    printf("malloc_trim: %d\n", malloc_trim(100000));
    malloc(400000);
}

static void file(void) {
    FILE *out = fopen("/dev/stdout", "w");
    malloc_info(0, out);
    malloc_info(0, out);
    printf("malloc_info: %d\n", malloc_info(1, out));
    fclose(out);
    out = fopen("/dev/full", "w");
    printf("malloc_info: %d\n", malloc_info(0, out));
}

static void options(void) {
    static const int values[] = {0, 1, -1, 8, 64, 128, 160, 161, 65536, 33554432, 33554433, INT32_MAX, INT32_MIN};
    for (int parameter = -12; parameter < 12; parameter++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            printf("mallopt(%d, %d) = %d\n", parameter, values[i], mallopt(parameter, values[i]));
}

/* --- threads: each works while the others wait, so that all is in order --- */

static pthread_barrier_t worked, leave;

static void work(size_t rounds) {
    void *mine[MANY];
    for (size_t i = 0; i < 60; i++) mine[i] = fenced(20 + i % 7 * 48);
    void *z = fenced(3000), *y = fenced(2000);
    free(z);
    free(y);
    malloc(1000);
    for (size_t i = 0; i < 60; i += 2) free(mine[i]);
    for (size_t i = 0; i < 40; i++) mine[i] = malloc(100000);
    for (size_t i = 39; i > 2; i--) free(mine[i]);
    for (size_t i = 0; i < rounds; i++) malloc(100000);
}

static void *thread(void *rounds) {
    work((size_t)rounds);
    pthread_barrier_wait(&worked);
    pthread_barrier_wait(&leave);
    return NULL;
}

/* 1000 rounds fill a subheap of 64 MiB and more. */
static void threads(void) {
    static const size_t rounds[] = {0, 1000, 3, 0};
    pthread_t id;
    for (size_t i = 0; i < 4; i++) {
        pthread_barrier_init(&worked, NULL, 2);
        pthread_barrier_init(&leave, NULL, 2);
        pthread_create(&id, NULL, thread, (void *)rounds[i]);
        pthread_barrier_wait(&worked);
        say("a thread");
        pthread_barrier_wait(&leave);
        pthread_join(id, NULL);
        say("none");
    }
    malloc_trim(0);
}

static void arenas(void) {
    enum { THREADS = 20 };
    pthread_t ids[THREADS];
    pthread_barrier_init(&worked, NULL, 2);
    pthread_barrier_init(&leave, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_create(&ids[i], NULL, thread, (void *)(i % 3));
        pthread_barrier_wait(&worked);
    }
    say("all");
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
}

/* --- of everything a little, so that each setting shows --- */

static void tour(void) {
    unsigned char *block = fenced(600);
    say("the first");
    printf("new: %02x\n", block[500]);
    for (size_t i = 0; i < 8; i++) blocks[i] = fenced(600);
    bool mapped = ((size_t *)blocks[7])[-1] & 2; /* it is gone when freed */
    free_each(0, 8, 1);
    if (!mapped) printf("freed: %02x\n", ((unsigned char *)blocks[7])[500]);
    for (size_t i = 0; i < 30; i++) blocks[i] = fenced(500 + i % 3 * 16);
    free_each(0, 30, 1);
    for (size_t i = 0; i < 8; i++) malloc(532);
    say("cached while sorting");
    for (size_t bytes = 24; bytes < 200; bytes += 16) {
        for (size_t i = 0; i < 200; i++) blocks[i] = fenced(bytes);
        free_each(0, 200, 1);
    }
    say("small ones");
    for (size_t bytes = 120000; bytes < 1200000; bytes += 40000) fenced(bytes);
    say("mapped");
    for (size_t i = 0; i < 20; i++) blocks[i] = malloc(90000 + i * 1000);
    for (size_t i = 20; i-- > 0;) free(blocks[i]);
    say("trimmed");
    free(malloc(4000000));
    malloc(3000000);
    say("remembered");
    arenas();
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"nothing", nothing}, {"cached", cached},   {"fast", fast},     {"consolidated", consolidated},
    {"unsorted", unsorted}, {"small", small},   {"large", large},   {"mapped", mapped},
    {"huge", huge},       {"trimmed", trimmed}, {"file", file},     {"options", options},
    {"threads", threads}, {"arenas", arenas},   {"tour", tour},
};

int main(int count, char **arguments) {
    int personal = personality(0xffffffff);
    if ((personal & ADDR_NO_RANDOMIZE) == 0 && personality(personal | ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", arguments); /* where huge pages begin in the heap must not be chance */
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (count == 1) {
            puts(cases[i].name);
        } else if (strcmp(arguments[1], cases[i].name) == 0) {
            if (count > 2) say("before anything");
            cases[i].run();
            say("at the end");
            return 0;
        }
    }
    return count > 1;
}
