/* The rules of malloc, from inside a program that a drop-in library was preloaded into. Each check names its rule; a
 * broken one is printed, and the exit status is then 1. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int broken;

#define CHECK(rule, holds) \
    do { \
        if (!(holds)) { \
            printf("%s: line %d: %s\n", rule, __LINE__, #holds); \
            broken = 1; \
        } \
    } while (0)

static volatile size_t huge = SIZE_MAX; /* so that the compiler does not argue */

static const size_t sizes[] = {0, 1, 8, 15, 16, 17, 24, 25, 100, 1000, 4095, 4096, 70000, 131072, 200000, 5000000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int is_filled(const unsigned char *block, size_t bytes, unsigned char value) {
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != value) return 0;
    return 1;
}

/* C30: the first calls of the process come from here, or even earlier, from the loader. */
__attribute__((constructor)) static void early(void) {
    free(NULL);
    void *block = realloc(NULL, 10);
    CHECK("C30", block != NULL);
    free(block);
    block = calloc(3, 5);
    CHECK("C30", block != NULL);
    free(block);
}

static void *from_handler;

static void allocate_before_fork(void) { from_handler = malloc(100); }

static void free_after_fork(void) {
    free(from_handler);
    free(malloc(10));
}

/* C19: handlers that allocate, registered before any library's constructor ran. C30: before libc's own, too. */
static void before_libc(void) {
    pthread_atfork(allocate_before_fork, free_after_fork, free_after_fork);
    free(malloc(1));
}
__attribute__((section(".preinit_array"), used)) static void (*const before_all)(void) = before_libc;

static void sizes_and_contents(void) {
    void *one = malloc(0), *two = malloc(0);
    CHECK("C01", one != NULL && two != NULL && one != two);
    free(one);
    free(two);
    unsigned char *blocks[SIZES];
    for (int i = 0; i < SIZES; i++) {
        blocks[i] = malloc(sizes[i]);
        CHECK("C02", blocks[i] != NULL && (uintptr_t)blocks[i] % (sizes[i] < 16 ? 8 : 16) == 0);
        size_t usable = malloc_usable_size(blocks[i]);
        CHECK("C18", usable >= sizes[i]);
        memset(blocks[i], i + 1, usable);
    }
    for (int i = 0; i < SIZES; i++) {
        CHECK("C03", is_filled(blocks[i], malloc_usable_size(blocks[i]), (unsigned char)(i + 1)));
        free(blocks[i]);
        unsigned char *zeroed = calloc(1, sizes[i]);
        CHECK("C04", zeroed != NULL && is_filled(zeroed, sizes[i], 0));
        free(zeroed);
    }
    CHECK("C18", malloc_usable_size(NULL) == 0);
}

static void large_callocs(void) {
    for (size_t bytes = 100000; bytes < 20000000; bytes *= 3) {
        void *dirty = malloc(bytes);
        memset(dirty, 0xff, bytes);
        free(dirty);
        malloc_trim(0);
        unsigned char *zeroed = calloc(bytes / 4, 4);
        CHECK("C25", zeroed != NULL && is_filled(zeroed, bytes / 4 * 4, 0));
        free(zeroed);
    }
}

static void fails(const char *rule, const void *block) {
    CHECK(rule, block == NULL && errno == ENOMEM);
    errno = 0;
}

static void impossible_sizes(void) {
    errno = 0;
    fails("C05", calloc(huge / 2, 3));
    fails("C05", calloc(huge, huge));
    free(malloc(24));
    fails("C06", malloc((size_t)PTRDIFF_MAX + 1));
    fails("C06", malloc(huge));
    fails("C06", malloc(huge - 8));
    unsigned char *block = malloc(100);
    memset(block, 7, 100);
    fails("C09", realloc(block, huge / 2 + 1));
    fails("C09", realloc(block, huge));
    fails("C17", reallocarray(block, huge / 2, 3));
    CHECK("C09", is_filled(block, 100, 7));
    free(block);
    errno = 0;
    for (int shift = 5; shift < 64; shift++) fails("C16", memalign((size_t)1 << shift, huge - 100));
    fails("C16", aligned_alloc((size_t)1 << 63, 1));
    fails("C27", pvalloc(huge));
    fails("C27", valloc(huge));
}

static void reallocs(void) {
    for (int i = 0; i < SIZES; i++) {
        for (int j = 0; j < SIZES; j++) {
            if (sizes[j] == 0) continue;
            unsigned char *block = malloc(sizes[i]);
            size_t old = malloc_usable_size(block);
            memset(block, 0xa5, old);
            block = realloc(block, sizes[j]);
            CHECK("C08", block != NULL && is_filled(block, old < sizes[j] ? old : sizes[j], 0xa5));
            memset(block, 0x5a, sizes[j]);
            block = realloc(block, sizes[i] + 1); /* C29: and back */
            CHECK("C29", is_filled(block, sizes[j] < sizes[i] + 1 ? sizes[j] : sizes[i] + 1, 0x5a));
            free(block);
        }
    }
    void *block = realloc(NULL, 50);
    CHECK("C07", block != NULL);
    errno = 0;
    CHECK("C10", realloc(block, 0) == NULL && errno == EINVAL);
    char *grown = malloc(1 << 20);
    grown[0] = 1;
    for (size_t bytes = 1 << 20; bytes < (size_t)400 << 20; bytes += bytes / 2) {
        grown = realloc(grown, bytes);
        CHECK("C24", grown != NULL && grown[0] == 1);
        grown[bytes - 1] = 2;
        grown = realloc(grown, bytes + 4096);
        CHECK("C24", grown[bytes - 1] == 2);
    }
    free(grown);
}

static void errnos(void) {
    void *blocks[] = {NULL, malloc(10), malloc(5000), malloc(300000), memalign(1 << 16, 1 << 20)};
    for (int i = 0; i < 5; i++) {
        errno = EILSEQ;
        free(blocks[i]);
        CHECK("C11", errno == EILSEQ);
    }
}

static void alignments(void) {
    for (size_t alignment = 8; alignment <= (size_t)4 << 20; alignment *= 2) {
        for (int i = 0; i < SIZES; i++) {
            unsigned char *block = NULL;
            CHECK("C12", posix_memalign((void **)&block, alignment, sizes[i]) == 0);
            CHECK("C15", (uintptr_t)block % alignment == 0 && malloc_usable_size(block) >= sizes[i]);
            memset(block, 3, sizes[i]);
            block = realloc(block, sizes[i] + 5000);
            CHECK("C14", block != NULL && is_filled(block, sizes[i], 3));
            free(block);
            block = memalign(alignment, sizes[i]);
            CHECK("C15", (uintptr_t)block % alignment == 0);
            free(block);
        }
    }
    void *untouched = &broken;
    CHECK("C12", posix_memalign(&untouched, 24, 8) == EINVAL && untouched == &broken);
    CHECK("C12", posix_memalign(&untouched, 4, 8) == EINVAL && untouched == &broken);
    CHECK("C12", posix_memalign(&untouched, 0, 8) == EINVAL && untouched == &broken);
    errno = EILSEQ;
    CHECK("C12", posix_memalign(&untouched, 64, huge) == ENOMEM && untouched == &broken && errno == EILSEQ);
    CHECK("C13", aligned_alloc(48, 96) == NULL && errno == EINVAL);
    void *rounded[] = {memalign(48, 96), memalign(0, 96), memalign(3, 96)}; /* glibc's memalign takes any */
    for (int i = 0; i < 3; i++) CHECK("C14", rounded[i] != NULL && (uintptr_t)rounded[i] % (i == 0 ? 64 : 16) == 0);
    for (int i = 0; i < 3; i++) free(rounded[i]);
    CHECK("C16", memalign(((size_t)1 << 63) + 1, 1) == NULL && errno == EINVAL);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *pages[] = {valloc(1), valloc(page + 1), pvalloc(1), pvalloc(0), pvalloc(page + 1)};
    for (int i = 0; i < 5; i++) CHECK("C27", pages[i] != NULL && (uintptr_t)pages[i] % page == 0);
    CHECK("C27", malloc_usable_size(pages[2]) >= page && malloc_usable_size(pages[4]) >= 2 * page);
    for (int i = 0; i < 5; i++) free(pages[i]);
}

/* C28: names that libc may lack, so the linker cannot be asked for them. */
static void names_libc_may_lack(void) {
    void (*sized)(void *, size_t) = dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    void (*old)(void *) = dlsym(RTLD_DEFAULT, "cfree");
    CHECK("C28", sized != NULL && aligned != NULL && old != NULL);
    if (sized == NULL || aligned == NULL || old == NULL) return;
    size_t before = 0;
    for (int round = 0; round < 20; round++) { /* caches are full by the tenth */
        if (round == 10) before = mallinfo2().uordblks;
        sized(malloc(100), 100);
        aligned(aligned_alloc(64, 128), 64, 128);
        old(calloc(2, 50));
        sized(NULL, 100);
        aligned(NULL, 64, 128);
    }
    CHECK("C28", mallinfo2().uordblks == before);
}

static void other_names(void) {
    free(reallocarray(NULL, 10, 10));
    void *held = malloc(100000);
    struct mallinfo2 wide = mallinfo2();
    CHECK("C31", wide.arena > 0 && wide.uordblks >= 100000);
    const size_t other = wide.arena - wide.uordblks - wide.fordblks; /* tcmalloc's: what is cached */
    CHECK("C31", other == 0 || other == wide.fsmblks);
    CHECK("C31", mallinfo().uordblks > 0);
    free(held);
    int trimmed = malloc_trim(0);
    CHECK("C31", trimmed == 0 || trimmed == 1);
    int set = mallopt(M_TOP_PAD, 0);
    CHECK("C31", set == 0 || set == 1);
    FILE *out = tmpfile();
    CHECK("C31", malloc_info(0, out) == 0 && ftell(out) > 0);
    CHECK("C31", malloc_info(1, out) == EINVAL);
    fclose(out);
    free(strdup("C23"));
    char *text = NULL;
    CHECK("C23", asprintf(&text, "%d", 42) == 2);
    free(text);
    char *path = realpath("/", NULL);
    CHECK("C23", path != NULL);
    free(path);
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    fputs("C23", memory);
    fclose(memory);
    CHECK("C23", bytes == 3);
    FILE *lines = fmemopen(text, 3, "r");
    char *line = NULL;
    CHECK("C23", getline(&line, &bytes, lines) == 3);
    fclose(lines);
    free(line);
    free(text);
}

/* --- threads --- */

static pthread_key_t late;

/* C26: runs in a thread's last moments, after the library has taken the thread's context back. */
static void late_malloc(void *value) {
    char *block = malloc(1000);
    CHECK("C26", block != NULL);
    block = realloc(block, 100000);
    free(block);
    free(value);
}

static void *short_life(void *argument) {
    pthread_setspecific(late, malloc(64));
    void *block = malloc((size_t)(uintptr_t)argument % 1000);
    free(block);
    return malloc(10);
}

static void *hammer(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    void *blocks[64] = {NULL};
    for (int i = 0; i < 20000; i++) {
        unsigned slot = rand_r(&seed) % 64;
        free(blocks[slot]);
        blocks[slot] = malloc(rand_r(&seed) % 2000);
    }
    for (int i = 0; i < 64; i++) free(blocks[i]);
    return NULL;
}

/* C21: 2000 threads, one after the other; what they leave is freed here. */
static void many_threads(void) {
    size_t before = 0;
    pthread_key_create(&late, late_malloc);
    for (int i = 0; i < 2000; i++) {
        pthread_t thread;
        void *left;
        CHECK("C21", pthread_create(&thread, NULL, short_life, (void *)(uintptr_t)i) == 0);
        pthread_join(thread, &left);
        free(left);
        if (i == 100) before = mallinfo2().uordblks;
    }
    CHECK("C21", mallinfo2().uordblks <= before + 4096);
}

/* C19: threads allocate while this one forks; each child allocates, starts a thread, forks again. */
static void forks(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            hammer((void *)(uintptr_t)i);
            pthread_t thread;
            pthread_create(&thread, NULL, hammer, NULL);
            pthread_join(thread, NULL);
            _exit(0);
        }
        int status = 1;
        waitpid(child, &status, 0);
        CHECK("C19", status == 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

/* --- reuse --- */

enum { HANDED_OVER = 1000 };

static void *produce(void *blocks) {
    for (int i = 0; i < HANDED_OVER; i++) ((void **)blocks)[i] = malloc(16 + (size_t)i);
    return NULL;
}

/* C20: what other threads allocate and this one frees is used again. */
static void hand_over(void) {
    size_t held = 0;
    for (int round = 0; round < 130; round++) {
        void *blocks[HANDED_OVER];
        pthread_t producer;
        pthread_create(&producer, NULL, produce, blocks);
        pthread_join(producer, NULL);
        for (int i = 0; i < HANDED_OVER; i++) free(blocks[i]);
        if (round == 50) held = mallinfo2().arena;
    }
    CHECK("C20", mallinfo2().arena <= 2 * held);
}

/* libc frees the message in the thread's very last moments, after all destructors. */
static void *last_words(void *number) {
    strerror(1000000 + (int)(uintptr_t)number);
    return NULL;
}

static long address_space(void) {
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK("C21", fscanf(statm, "%ld", &pages) == 1);
    fclose(statm);
    return pages;
}

/* C21: nor do the library's own records of threads add up. */
static void very_many_threads(void) {
    long before = 0;
    for (int i = 0; i < 12000; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, last_words, (void *)(uintptr_t)i);
        pthread_join(thread, NULL);
        if (i == 100) before = address_space();
    }
    CHECK("C21", address_space() == before);
}

/* Allocates until nothing is left; the blocks are a list. Returns how many there are. */
static size_t fill(size_t bytes, void **list) {
    size_t count = 0;
    for (void **block; errno = 0, (block = malloc(bytes)) != NULL; count++) {
        *block = *list;
        *list = block;
    }
    CHECK("C22", errno == ENOMEM);
    return count;
}

static void drain(void **list) {
    for (void *next; *list != NULL; *list = next) {
        next = *(void **)*list;
        free(*list);
    }
}

/* C22: after freeing, the same amount fits again, but for a ten-thousandth: what a thread has cached of another's arena
 * fits once and goes back there, and one cached block may part two free ones. */
static void exhaust(void) {
    const rlim_t most = (rlim_t)address_space() * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
    const struct rlimit limit = {most, most};
    setrlimit(RLIMIT_AS, &limit);
    const size_t some[] = {24, 100, 5000, 100000, 200000, 3000000};
    for (int i = 0; i < 6; i++) {
        void *list = NULL;
        size_t first = fill(some[i], &list);
        drain(&list);
        CHECK("C22", first > 0 && fill(some[i], &list) >= first - first / 10000);
        drain(&list);
    }
}

/* With any argument: what an allocator that never reuses cannot stand. */
int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        hand_over();
        very_many_threads();
        exhaust();
        return broken;
    }
    sizes_and_contents();
    large_callocs();
    impossible_sizes();
    reallocs();
    errnos();
    alignments();
    names_libc_may_lack();
    other_names();
    many_threads();
    forks();
    return broken;
}
