/* What cannot be, and what errno says then: C05, C06, C09-C11, C16, C17, C22. */
#include "check/rule.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void al_c05(void) {
    errno = 0;
    al_step("calloc(SIZE_MAX / 2, 3)");
    al_no_memory("calloc(SIZE_MAX / 2, 3)", calloc(al_huge / 2, 3));
    al_step("calloc(SIZE_MAX, SIZE_MAX)");
    al_no_memory("calloc(SIZE_MAX, SIZE_MAX)", calloc(al_huge, al_huge));
    for (size_t bytes = 2; bytes < (size_t)1 << 40; bytes *= 3) {
        al_step("calloc(SIZE_MAX / %zu + 2, %zu)", bytes, bytes);
        al_no_memory("calloc of two factors whose product is just past SIZE_MAX", calloc(al_huge / bytes + 2, bytes));
    }
}

void al_c06(void) {
    static const size_t less[] = {0, 1, 7, 8, 15, 16, 31, 32, 100, 4095, 4096, 1 << 20};
    errno = 0;
    for (size_t i = 0; i < sizeof less / sizeof *less; i++) {
        free(malloc(24));
        errno = 0;
        al_step("free(malloc(24)), malloc(SIZE_MAX - %zu)", less[i]);
        al_no_memory("malloc of nearly SIZE_MAX", malloc(al_huge - less[i]));
        al_step("malloc(PTRDIFF_MAX + 1 + %zu)", less[i]);
        al_no_memory("malloc of more than PTRDIFF_MAX", malloc(al_huge / 2 + 1 + less[i]));
        al_step("calloc(1, PTRDIFF_MAX + 1 + %zu)", less[i]);
        al_no_memory("calloc of more than PTRDIFF_MAX", calloc(1, al_huge / 2 + 1 + less[i]));
    }
}

static const size_t held[] = {1, 100, 5000, 200000, 3000000};
enum { HELD = sizeof held / sizeof *held };

void al_c09(void) {
    for (int i = 0; i < HELD; i++) {
        unsigned char *block = malloc(held[i]);
        if (!al_holds(block != NULL, "malloc(%zu) returned NULL", held[i])) continue;
        memset(block, 7, held[i]);
        errno = 0;
        al_step("realloc(malloc(%zu), PTRDIFF_MAX + 1)", held[i]);
        al_no_memory("realloc to PTRDIFF_MAX + 1", realloc(block, al_huge / 2 + 1));
        al_step("realloc(malloc(%zu), SIZE_MAX)", held[i]);
        al_no_memory("realloc to SIZE_MAX", realloc(block, al_huge));
        al_fault("contents", held[i]);
        al_holds(al_filled(block, held[i], 7), "a realloc that failed changed a block of %zu bytes", held[i]);
        block = realloc(block, held[i] + 1);
        al_holds(block != NULL && al_filled(block, held[i], 7),
                 "after a realloc that failed, another one lost contents");
        free(block);
    }
}

/* It returns NULL, or a block as malloc(0) does. A third kind returns NULL and frees nothing: that leaks. */
typedef enum outcome { FREES, BLOCK } outcome;

static outcome to_zero(size_t bytes, int *error) {
    void *block = malloc(bytes);
    if (block != NULL) memset(block, 1, bytes);
    errno = 0;
    al_step("realloc(malloc(%zu), 0)", bytes);
    void *after = realloc(block, 0);
    *error = errno;
    free(after);
    return after == NULL ? FREES : BLOCK;
}

/* Whether memory adds up: 200 MB would. */
static bool leaks(void) {
    int error;
    const size_t before = al_resident();
    for (int i = 0; i < 2000; i++) to_zero(100000, &error);
    return al_grown(before) > 100U << 20;
}

void al_c10(void) {
    int error, errors = 0;
    const outcome first = to_zero(held[0], &error);
    for (int i = 0; i < HELD; i++) {
        const bool same = to_zero(held[i], &error) == first;
        al_step("realloc(malloc(%zu), 0), realloc(malloc(%zu), 0)", held[0], held[i]);
        al_fault("unlike", 0);
        al_holds(same, "realloc(p, 0) of %zu bytes does not do what it did of 1", held[i]);
        errors += error != EINVAL;
    }
    if (al_never_reuses()) {
        al_expects(false, "whether realloc(p, 0) frees cannot be told: no memory is ever used again");
    } else if (leaks()) {
        al_holds(false, first == FREES ? "realloc(p, 0) returns NULL and the block stays: it leaks"
                                       : "realloc(p, 0) returns a block, and freeing it leaks");
    }
    al_step("realloc(malloc(%zu), 0)", held[0]);
    al_fault("served", 0);
    al_expects(first == FREES, "realloc(p, 0) returns a block, as malloc(0) does (C17: implementation-defined)");
    al_fault("errno", EINVAL);
    al_expects(first != FREES || errors == 0,
               "realloc(p, 0) frees and returns NULL, but errno is not EINVAL (POSIX 2024)");
}

void al_c11(void) {
    static const char *const makers[] = {"free(malloc(%zu))", "free(posix_memalign(65536, %zu))",
                                         "free(calloc(1, %zu))"};
    static const size_t sizes[] = {10, 100, 5000, 70000, 300000, 5000000, (size_t)64 << 20};
    const bool own = al_is_own("posix_memalign");
    errno = EILSEQ;
    al_step("free(NULL)");
    free(NULL);
    al_fault("kept", 0);
    al_holds(errno == EILSEQ, "free(NULL) set errno to %d", errno);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *blocks[3] = {malloc(sizes[i]), NULL, NULL};
        if (!own || posix_memalign(&blocks[1], 1 << 16, sizes[i]) != 0) blocks[1] = NULL;
        blocks[2] = calloc(1, sizes[i]);
        for (int j = 0; j < 3; j++) {
            errno = EILSEQ;
            al_step(makers[j], sizes[i]);
            free(blocks[j]);
            al_fault("kept", 0);
            al_holds(errno == EILSEQ, "free of a block of %zu bytes set errno to %d", sizes[i], errno);
        }
    }
}

static void overflowing_old(size_t alignment) {
    al_step("memalign(%zu, SIZE_MAX - 100)", alignment);
    al_no_memory("memalign with alignment + size past SIZE_MAX", memalign(alignment, al_huge - 100));
    al_step("memalign(%zu, PTRDIFF_MAX)", alignment);
    al_no_memory("memalign(a, PTRDIFF_MAX)", memalign(alignment, al_huge / 2));
}

static void overflowing_standard(size_t alignment) {
    al_step("aligned_alloc(%zu, SIZE_MAX + 1 - %zu)", alignment, alignment);
    al_no_memory("aligned_alloc(a, SIZE_MAX + 1 - a)", aligned_alloc(alignment, -alignment & al_huge));
}

static void overflowing_posix(size_t alignment) {
    void *untouched = &untouched;
    al_step("posix_memalign(%zu, SIZE_MAX - 100)", alignment);
    const int error = posix_memalign(&untouched, alignment, al_huge - 100);
    al_fault("errno", ENOMEM);
    al_holds(error == ENOMEM, "posix_memalign(%zu, SIZE_MAX - 100) returned %d, not ENOMEM", alignment, error);
    al_fault("touched", 0);
    al_holds(untouched == &untouched, "posix_memalign(%zu, SIZE_MAX - 100) failed and wrote a result", alignment);
}

void al_c16(void) {
    const bool old = al_applies("memalign"), standard = al_applies("aligned_alloc");
    const bool posix = al_applies("posix_memalign");
    for (int shift = 5; shift < 64; shift++) {
        errno = 0;
        if (old) overflowing_old((size_t)1 << shift);
        if (standard) overflowing_standard((size_t)1 << shift);
        if (posix) overflowing_posix((size_t)1 << shift);
    }
    al_step("aligned_alloc(PTRDIFF_MAX + 1, 1)");
    if (standard) al_no_memory("aligned_alloc(2^63, 1)", aligned_alloc((size_t)1 << 63, 1));
    if (!old) return;
    errno = 0;
    al_step("memalign(PTRDIFF_MAX + 2, 1)");
    void *block = memalign(((size_t)1 << 63) + 1, 1);
    al_fault("served", 0);
    al_holds(block == NULL, "memalign(2^63 + 1, 1) returned a block");
    al_fault("errno", 0);
    al_holds(block != NULL || errno == EINVAL || errno == ENOMEM, "memalign(2^63 + 1, 1) failed with errno %d", errno);
}

/* Where reallocarray is libc's, it calls the library's realloc: what becomes of the block is the library's doing. */
void al_c17(void) {
    for (int i = 0; i < HELD; i++) {
        unsigned char *block = malloc(held[i]);
        if (!al_holds(block != NULL, "malloc(%zu) returned NULL", held[i])) continue;
        memset(block, 7, held[i]);
        errno = 0;
        al_step("reallocarray(malloc(%zu), SIZE_MAX / 2, 3)", held[i]);
        al_no_memory("reallocarray(p, SIZE_MAX / 2, 3)", reallocarray(block, al_huge / 2, 3));
        al_step("reallocarray(malloc(%zu), SIZE_MAX, SIZE_MAX)", held[i]);
        al_no_memory("reallocarray(p, SIZE_MAX, SIZE_MAX)", reallocarray(block, al_huge, al_huge));
        al_fault("contents", held[i]);
        al_holds(al_filled(block, held[i], 7), "a reallocarray that failed changed a block of %zu bytes", held[i]);
        al_step("reallocarray(malloc(%zu), 10, %zu)", held[i], held[i]);
        block = reallocarray(block, 10, held[i]);
        al_fault("contents", held[i]);
        al_holds(block != NULL && al_filled(block, held[i], 7), "reallocarray to ten times %zu bytes lost contents",
                 held[i]);
        free(block);
    }
    al_step("free(reallocarray(NULL, 10, 10))");
    free(reallocarray(NULL, 10, 10));
}

/* Allocates until nothing is left; the blocks are a list. Returns how many there are. */
static size_t take_all(size_t bytes, void **list) {
    size_t count = 0;
    al_step("malloc(%zu)", bytes);
    for (void **block; errno = 0, (block = malloc(bytes)) != NULL; count++) {
        *block = *list;
        *list = block;
    }
    al_fault("starved", 0);
    al_holds(errno == ENOMEM, "malloc(%zu) with no memory left set errno to %d, not ENOMEM", bytes, errno);
    return count;
}

static void give_back(void **list) {
    al_step("free, with no memory left");
    for (void *next; *list != NULL; *list = next) {
        next = *(void **)*list;
        free(*list);
    }
}

/* The same amount, but for a ten-thousandth: what a thread has cached of another's arena fits once and goes back there,
 * and one cached block may part two free ones. */
void al_c22(void) {
    static const size_t sizes[] = {24, 100, 5000, 100000, 200000, 3000000};
    const bool reuses = !al_never_reuses();
    const rlim_t most = al_mapped() + (64 << 20);
    const struct rlimit limit = {most, most};
    if (!al_holds(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit failed")) return;
    for (int i = 0; i < 6; i++) {
        void *list = NULL;
        const size_t first = take_all(sizes[i], &list);
        give_back(&list);
        const size_t second = take_all(sizes[i], &list);
        give_back(&list);
        if (!reuses) continue;
        al_step("malloc(%zu), malloc(%zu)", sizes[0], sizes[i]);
        al_fault("starved", 0);
        al_holds(first > 0, "with 64 MiB freed or never used, malloc(%zu) returned NULL", sizes[i]);
        al_step("malloc(%zu)", sizes[i]);
        al_fault("starved", 0);
        al_holds(second >= first - first / 10000, "%zu blocks of %zu bytes fit, and after freeing them %zu", first,
                 sizes[i], second);
    }
    al_expects(reuses, "no memory is ever used again, so nothing fits after exhaustion");
}
