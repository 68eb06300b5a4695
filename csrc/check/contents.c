/* Blocks and what is in them: C01-C04, C07, C08, C18, C23-C25, C29. */
#include "check/rule.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ZEROS = 100, SMALL = 1024, LARGE = 100000, OF_A_SIZE = 40, LIVE = 1000, STEPS = 30000 };

void al_c01(void) {
    void *blocks[4 * ZEROS];
    for (int i = 0; i < 4 * ZEROS; i += 4) {
        al_step("malloc(0), calloc(0, 1), calloc(1, 0), realloc(NULL, 0)");
        blocks[i] = malloc(0);
        blocks[i + 1] = calloc(0, 1);
        blocks[i + 2] = calloc(1, 0);
        blocks[i + 3] = realloc(NULL, 0);
    }
    for (int i = 0; i < 4 * ZEROS; i++) {
        for (int j = 0; j < i; j++) {
            al_fault("overlap", 0);
            al_holds(blocks[i] == NULL || blocks[i] != blocks[j], "two live blocks of 0 bytes have the same address");
        }
    }
    al_step("free(malloc(0)), free(calloc(0, 1)), free(calloc(1, 0)), free(realloc(NULL, 0))");
    for (int i = 0; i < 4 * ZEROS; i++) free(blocks[i]);
}

/* An object that fits takes at most the largest power of two that the size holds. */
static size_t needed(size_t bytes) {
    size_t alignment = 16;
    while (alignment > bytes && alignment > 1) alignment /= 2;
    return alignment;
}

void al_c02(void) {
    void *blocks[OF_A_SIZE];
    for (size_t bytes = 1; bytes < 6000000; bytes += bytes < SMALL ? 1 : bytes / 7) {
        const int count = bytes < LARGE ? OF_A_SIZE : 4;
        for (int i = 0; i < count; i++) {
            al_step("malloc(%zu)", bytes);
            blocks[i] = malloc(bytes);
            al_fault("null", 0);
            al_holds(blocks[i] != NULL, "malloc(%zu) returned NULL", bytes);
            al_fault("aligned", needed(bytes));
            al_holds(al_aligned(blocks[i], needed(bytes)), "malloc(%zu) returned an address that is %zu modulo %zu",
                     bytes, (size_t)((uintptr_t)blocks[i] % needed(bytes)), needed(bytes));
        }
        for (int i = 0; i < count; i++) free(blocks[i]);
    }
}

typedef struct owned {
    unsigned char *at;
    size_t bytes;
    unsigned char value;
} owned;

static size_t random_size(unsigned *seed) {
    const unsigned most = 1U << (rand_r(seed) % 15 + 1);
    return (size_t)rand_r(seed) % most + (rand_r(seed) % 997 == 0 ? 200000 : 0);
}

static bool intact(const owned *block, const char *until) {
    return al_holds(al_filled(block->at, block->bytes, block->value),
                    "the contents of a live block of %zu bytes changed before its %s", block->bytes, until);
}

static void fill(owned *block, size_t bytes, unsigned char value) {
    *block = (owned){block->at, bytes, value};
    memset(block->at, value, bytes);
}

static void resized(owned *block, size_t bytes, unsigned char value) {
    intact(block, "realloc");
    al_step("realloc from %zu to %zu bytes", block->bytes, bytes);
    unsigned char *moved = realloc(block->at, bytes + 1);
    if (!al_holds(moved != NULL, "realloc from %zu to %zu bytes returned NULL", block->bytes, bytes + 1)) return;
    block->at = moved;
    fill(block, bytes + 1, value);
}

void al_c03(void) {
    static owned live[LIVE];
    unsigned seed = 1;
    for (int i = 0; i < STEPS; i++) {
        owned *block = &live[rand_r(&seed) % LIVE];
        const size_t bytes = random_size(&seed);
        const unsigned char value = (unsigned char)(i % 251 + 1);
        if (block->at != NULL && rand_r(&seed) % 3 == 0) {
            resized(block, bytes, value);
            continue;
        }
        if (block->at != NULL) intact(block, "free");
        al_step("free of a block of %zu bytes", block->bytes);
        free(block->at);
        al_step("malloc(%zu), and writing to all of it", bytes);
        block->at = malloc(bytes);
        if (bytes > 0) al_holds(block->at != NULL, "malloc(%zu) returned NULL", bytes);
        fill(block, block->at == NULL ? 0 : bytes, value);
    }
    for (int i = 0; i < LIVE; i++) {
        intact(&live[i], "free at the end");
        free(live[i].at);
    }
}

static void zeroed(size_t count, size_t bytes) {
    al_step("free(malloc(%zu)), calloc(%zu, %zu)", count * bytes, count, bytes);
    unsigned char *block = calloc(count, bytes);
    al_fault("null", 0);
    if (bytes > 0) al_holds(block != NULL, "calloc(%zu, %zu) returned NULL", count, bytes);
    al_fault("zero", count * bytes);
    al_holds(block == NULL || al_filled(block, count * bytes, 0),
             "calloc(%zu, %zu) returned memory that is not zero", count, bytes);
    if (block != NULL) memset(block, 0xff, count * bytes);
    free(block);
}

static void dirty(size_t bytes) {
    void *blocks[4];
    for (int i = 0; i < 4; i++) {
        al_step("malloc(%zu), and writing to all of it", bytes);
        blocks[i] = malloc(bytes);
        if (blocks[i] != NULL) memset(blocks[i], 0xff, al_usable(blocks[i], bytes));
    }
    for (int i = 0; i < 4; i++) free(blocks[i]);
}

void al_c04(void) {
    for (size_t bytes = 1; bytes < 3000000; bytes += bytes < SMALL ? 5 : bytes / 9) {
        dirty(bytes);
        for (int i = 0; i < 5; i++) zeroed(1, bytes);
        zeroed((bytes + 6) / 7, 7);
    }
    for (int i = 0; i < al_sizes_count; i++) {
        dirty(al_sizes[i]);
        zeroed(1, al_sizes[i]);
    }
}

void al_c07(void) {
    for (int i = 0; i < al_sizes_count; i++) {
        const size_t bytes = al_sizes[i];
        al_step("realloc(NULL, %zu)", bytes);
        unsigned char *block = realloc(NULL, bytes);
        al_fault("null", 0);
        if (bytes > 0) al_holds(block != NULL, "realloc(NULL, %zu) returned NULL", bytes);
        if (block == NULL) continue;
        al_fault("aligned", needed(bytes));
        al_holds(al_aligned(block, needed(bytes)), "realloc(NULL, %zu) returned a misaligned block", bytes);
        memset(block, 1, bytes);
        free(block);
    }
}

/* A block of `from` bytes, filled, becomes one of `to`. Returns it. */
static unsigned char *moved(unsigned char *block, size_t from, size_t to, const char *why) {
    if (block != NULL) memset(block, 0xa5, from);
    al_step("realloc(malloc(%zu), %zu)", from, to);
    unsigned char *grown = realloc(block, to);
    al_fault("null", 0);
    if (!al_holds(grown != NULL, "realloc from %zu to %zu bytes returned NULL", from, to)) {
        free(block);
        return NULL;
    }
    const size_t kept = from < to ? from : to;
    al_fault("contents", kept);
    al_holds(al_filled(grown, kept, 0xa5), "realloc from %zu to %zu bytes%s lost contents", from, to, why);
    memset(grown, 0x5a, to);
    return grown;
}

void al_c08(void) {
    for (int i = 0; i < al_sizes_count; i++) {
        for (int j = 1; j < al_sizes_count; j++) {
            if (al_sizes[i] > 300000 && al_sizes[j] > 300000) continue;
            free(moved(malloc(al_sizes[i]), al_sizes[i], al_sizes[j], ""));
        }
        unsigned char *block = malloc(al_sizes[i]);
        const size_t usable = al_usable(block, al_sizes[i]);
        block = moved(block, usable, usable + 1, ", past its usable size,");
        if (block != NULL && usable > 1) block = moved(block, usable, usable - 1, ", back below its usable size,");
        free(block);
    }
    unsigned char *block = malloc(1);
    for (size_t bytes = 1; bytes < 200000 && block != NULL; bytes += bytes / 5 + 1)
        block = moved(block, bytes, bytes + bytes / 5 + 1, ", step by step,");
    free(block);
}

void al_c18(void) {
    enum { SIZES = 600 };
    if (!al_applies("malloc_usable_size")) return;
    unsigned char *blocks[SIZES];
    size_t usable[SIZES];
    for (size_t i = 0, bytes = 0; i < SIZES; i++, bytes += i < 400 ? 3 : bytes / 30) {
        al_step("malloc(%zu)", bytes);
        blocks[i] = malloc(bytes);
        usable[i] = blocks[i] == NULL ? 0 : malloc_usable_size(blocks[i]);
        al_fault("null", 0);
        if (bytes > 0) al_holds(blocks[i] != NULL, "malloc(%zu) returned NULL", bytes);
        al_fault("usable", bytes);
        al_holds(usable[i] >= bytes || blocks[i] == NULL, "malloc_usable_size of malloc(%zu) is %zu", bytes, usable[i]);
        if (blocks[i] != NULL) memset(blocks[i], (int)i % 255 + 1, usable[i]);
    }
    for (size_t i = 0; i < SIZES; i++) {
        if (blocks[i] == NULL) continue;
        al_holds(malloc_usable_size(blocks[i]) == usable[i], "the usable size of a live block changed from %zu",
                 usable[i]);
        al_holds(al_filled(blocks[i], usable[i], (unsigned char)(i % 255 + 1)),
                 "what is usable of a block of %zu bytes was changed by writing to others", usable[i]);
        al_step("free of a block, all of its %zu usable bytes written", usable[i]);
        free(blocks[i]);
    }
    al_step("malloc_usable_size(NULL)");
    al_holds(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is not 0");
}

void al_c23(void) {
    al_step("free of strdup's memory");
    free(strdup("C23"));
    char *text = NULL;
    al_step("free of asprintf's memory");
    al_holds(asprintf(&text, "%d", 42) == 2, "asprintf failed");
    free(text);
    al_step("free of realpath's memory");
    char *path = realpath("/", NULL);
    al_holds(path != NULL, "realpath failed");
    free(path);
    size_t bytes = 0;
    al_step("open_memstream");
    FILE *memory = open_memstream(&text, &bytes);
    for (int i = 0; i < 10000; i++) fputs("C23", memory);
    fclose(memory);
    al_holds(bytes == 30000, "open_memstream kept %zu of 30000 bytes", bytes);
    al_step("getline, and free of its memory");
    FILE *lines = fmemopen(text, bytes, "r");
    char *line = NULL;
    size_t capacity = 0;
    al_holds(getline(&line, &capacity, lines) == 30000, "getline failed");
    fclose(lines);
    free(line);
    al_step("free of open_memstream's memory");
    free(text);
}

void al_c24(void) {
    const size_t first = (size_t)1 << 20, last = (size_t)400 << 20;
    unsigned char *block = malloc(first);
    if (!al_holds(block != NULL, "malloc(%zu) returned NULL", first)) return;
    block[0] = 1;
    for (size_t bytes = first; bytes < last;) {
        block[bytes - 1] = 2;
        const size_t more = bytes + bytes / 2;
        al_step("realloc(malloc(%zu), %zu)", bytes, more);
        unsigned char *grown = realloc(block, more);
        al_fault("null", 0);
        if (!al_holds(grown != NULL, "realloc from %zu to %zu bytes returned NULL", bytes, more)) break;
        al_fault("contents", bytes);
        al_holds(grown[0] == 1, "realloc from %zu to %zu bytes lost the first byte", bytes, more);
        al_fault("contents", bytes);
        al_holds(grown[bytes - 1] == 2, "realloc from %zu to %zu bytes lost the last byte", bytes, more);
        block = grown;
        bytes = more;
    }
    free(block);
}

void al_c25(void) {
    for (size_t bytes = 100000; bytes < 20000000; bytes *= 3) {
        for (int idle = 0; idle < 2; idle++) {
            void *block = malloc(bytes);
            if (block != NULL) memset(block, 0xff, bytes);
            free(block);
            malloc_trim(0);
            if (idle) usleep(20000);
            zeroed(bytes / 4, 4);
        }
    }
}

void al_c29(void) {
    for (int i = 0; i < al_sizes_count; i++) {
        for (int j = 1; j < i; j++) {
            if (al_sizes[i] > 300000 && j % 7 != 0) continue;
            unsigned char *block = malloc(al_sizes[i]);
            if (!al_holds(block != NULL, "malloc(%zu) returned NULL", al_sizes[i])) continue;
            block = moved(block, al_sizes[i], al_sizes[j], "");
            if (block != NULL) memset(block, 0xa5, al_sizes[j]);
            if (block != NULL) block = moved(block, al_sizes[j], al_sizes[i], ", where it had been larger,");
            free(block);
        }
    }
}
