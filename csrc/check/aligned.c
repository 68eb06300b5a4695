/* Alignment: C12-C15, C27, C28. */
#include "check/rule.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 6, SMALL = 5000 };
static const size_t MOST = (size_t)4 << 20;

static bool lies(const void *block, const char *call, size_t alignment, size_t bytes) {
    al_fault("aligned", alignment);
    return al_holds(al_aligned(block, alignment), "%s(%zu, %zu) returned an address that is %zu modulo %zu", call,
                    alignment, bytes, (size_t)((uintptr_t)block % alignment), alignment);
}

static void several(size_t alignment, size_t bytes) {
    void *blocks[AT_ONCE];
    const int count = bytes < SMALL ? AT_ONCE : 1;
    for (int i = 0; i < count; i++) {
        blocks[i] = NULL;
        al_step("posix_memalign(%zu, %zu)", alignment, bytes);
        const int error = posix_memalign(&blocks[i], alignment, bytes);
        al_fault("null", 0);
        if (!al_holds(error == 0, "posix_memalign(%zu, %zu) returned %d", alignment, bytes, error)) continue;
        lies(blocks[i], "posix_memalign", alignment, bytes);
        if (blocks[i] == NULL) continue;
        al_fault("usable", bytes);
        al_holds(al_usable(blocks[i], bytes) >= bytes, "posix_memalign(%zu, %zu) has %zu usable bytes", alignment,
                 bytes, al_usable(blocks[i], bytes));
        memset(blocks[i], i + 1, bytes);
    }
    for (int i = 0; i < count; i++) {
        if (blocks[i] == NULL) continue;
        al_step("posix_memalign(%zu, %zu)", alignment, bytes);
        al_fault("overlap", 0);
        al_holds(al_filled(blocks[i], bytes, (unsigned char)(i + 1)), "blocks of posix_memalign(%zu, %zu) overlap",
                 alignment, bytes);
        al_step("free(posix_memalign(%zu, %zu))", alignment, bytes);
        free(blocks[i]);
    }
}

static void refused(size_t alignment) {
    void *untouched = &untouched;
    al_step("posix_memalign(%zu, 8)", alignment);
    const int error = posix_memalign(&untouched, alignment, 8);
    al_fault("errno", EINVAL);
    al_holds(error == EINVAL, "posix_memalign(%zu, 8) returned %d, not EINVAL", alignment, error);
    al_fault("touched", 0);
    al_holds(untouched == &untouched, "posix_memalign(%zu, 8) failed and wrote a result", alignment);
}

void al_c12(void) {
    if (!al_applies("posix_memalign")) return;
    for (size_t alignment = 8; alignment <= MOST; alignment *= 2)
        for (int i = 0; i < al_sizes_count; i++) several(alignment, al_sizes[i]);
    static const size_t wrong[] = {0, 1, 2, 3, 4, 7, 12, 24, 48, 100, 4095};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) refused(wrong[i]);
    void *untouched = &untouched;
    errno = EILSEQ;
    al_step("posix_memalign(64, SIZE_MAX)");
    const int error = posix_memalign(&untouched, 64, al_huge);
    al_fault("errno", ENOMEM);
    al_holds(error == ENOMEM, "posix_memalign(64, SIZE_MAX) returned %d, not ENOMEM", error);
    al_fault("touched", 0);
    al_holds(untouched == &untouched, "posix_memalign(64, SIZE_MAX) failed and wrote a result");
    al_fault("kept", 0);
    al_expects(errno == EILSEQ,
               "posix_memalign(64, SIZE_MAX) set errno to %d; posix_memalign(3) says that it is not set", errno);
}

/* memalign may round such an alignment up, as glibc does; what it may not is to take it for another. */
static void memalign_odd(size_t alignment, size_t rounded) {
    errno = 0;
    al_step("memalign(%zu, 96)", alignment);
    void *block = memalign(alignment, 96);
    al_fault("errno", EINVAL);
    al_holds(block != NULL || errno == EINVAL, "memalign(%zu, 96) failed with errno %d, not EINVAL", alignment, errno);
    al_fault("aligned", rounded);
    al_holds(al_aligned(block, rounded), "memalign(%zu, 96) is neither refused nor rounded up to %zu", alignment,
             rounded);
    free(block);
}

static void aligned_odd(void) {
    static const size_t wrong[] = {3, 12, 24, 48, 100, 4097};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        al_step("aligned_alloc(%zu, %zu)", wrong[i], 2 * wrong[i]);
        void *block = aligned_alloc(wrong[i], 2 * wrong[i]);
        al_fault("served", 0);
        al_holds(block == NULL, "aligned_alloc(%zu, %zu) returned a block", wrong[i], 2 * wrong[i]);
        al_fault("errno", EINVAL);
        al_holds(block != NULL || errno == EINVAL, "aligned_alloc(%zu, %zu) failed with errno %d, not EINVAL", wrong[i],
                 2 * wrong[i], errno);
        free(block);
    }
}

void al_c13(void) {
    if (al_applies("aligned_alloc")) aligned_odd();
    if (!al_applies("memalign")) return;
    memalign_odd(48, 64);
    memalign_odd(0, 16);
    memalign_odd(3, 16);
}

static void resize_aligned(size_t alignment, size_t bytes, size_t to) {
    unsigned char *block = NULL;
    if (posix_memalign((void **)&block, alignment, bytes) != 0 || block == NULL) return;
    memset(block, 3, bytes);
    const size_t kept = bytes < to ? bytes : to;
    al_step("realloc(posix_memalign(%zu, %zu), %zu)", alignment, bytes, to);
    unsigned char *moved = realloc(block, to);
    al_fault("null", 0);
    if (!al_holds(moved != NULL, "realloc of posix_memalign(%zu, %zu) to %zu bytes returned NULL", alignment, bytes,
                  to))
        return free(block);
    al_fault("contents", kept);
    al_holds(al_filled(moved, kept, 3), "realloc of posix_memalign(%zu, %zu) to %zu bytes lost contents", alignment,
             bytes, to);
    al_step("writing to all of posix_memalign(%zu, %zu) after realloc to %zu bytes", alignment, bytes, to);
    memset(moved, 4, to);
    al_step("free(realloc(posix_memalign(%zu, %zu), %zu))", alignment, bytes, to);
    free(moved);
}

/* Blocks of one alignment side by side, as many as share a page, resized and freed in another order. */
static void crowd(size_t alignment, size_t bytes) {
    enum { CROWD = 40 };
    unsigned char *blocks[CROWD] = {NULL};
    for (int i = 0; i < CROWD; i++) {
        al_step("memalign(%zu, %zu)", alignment, bytes);
        blocks[i] = memalign(alignment, bytes);
        if (blocks[i] != NULL) memset(blocks[i], i + 1, al_usable(blocks[i], bytes));
    }
    for (int i = 0; i < CROWD; i += 2) {
        al_step("realloc(memalign(%zu, %zu), %zu)", alignment, bytes, 3 * bytes);
        unsigned char *moved = realloc(blocks[i], 3 * bytes);
        al_fault("contents", bytes);
        al_holds(moved != NULL && al_filled(moved, bytes, (unsigned char)(i + 1)),
                 "realloc of memalign(%zu, %zu) to %zu bytes lost contents", alignment, bytes, 3 * bytes);
        blocks[i] = moved;
    }
    for (int i = CROWD - 1; i >= 0; i--) {
        al_holds(blocks[i] == NULL || al_filled(blocks[i], bytes, (unsigned char)(i + 1)),
                 "a block of memalign(%zu, %zu) was changed by resizing its neighbours", alignment, bytes);
        al_step("free(realloc(memalign(%zu, %zu), %zu))", alignment, bytes, 3 * bytes);
        free(blocks[i]);
    }
}

static void resize_all(void) {
    for (size_t alignment = 8; alignment <= MOST; alignment *= 2) {
        for (int i = 0; i < al_sizes_count; i++) {
            const size_t bytes = al_sizes[i];
            resize_aligned(alignment, bytes, bytes + 5000);
            resize_aligned(alignment, bytes, bytes + 1);
            resize_aligned(alignment, bytes, bytes / 2 + 1);
        }
    }
}

void al_c14(void) {
    if (al_applies("posix_memalign")) resize_all();
    if (!al_applies("memalign")) return;
    for (size_t alignment = 32; alignment <= 8192; alignment *= 2)
        for (size_t bytes = 24; bytes < 10000; bytes *= 3) crowd(alignment, bytes);
}

/* Only what is the library's own is called: what another's function makes cannot be freed here. */
static void tiny(bool old, bool standard, bool posix) {
    for (size_t alignment = 8; alignment <= MOST; alignment *= 2) {
        for (size_t bytes = 0; bytes < 17; bytes++) {
            void *blocks[4] = {NULL, NULL, NULL, NULL}; /* of two neighbours one is misaligned, if not both */
            al_step("memalign(%zu, %zu)", alignment, bytes);
            if (old) lies(blocks[0] = memalign(alignment, bytes), "memalign", alignment, bytes);
            if (old) lies(blocks[1] = memalign(alignment, bytes), "memalign", alignment, bytes);
            al_step("aligned_alloc(%zu, %zu)", alignment, bytes);
            if (standard) lies(blocks[2] = aligned_alloc(alignment, bytes), "aligned_alloc", alignment, bytes);
            al_step("posix_memalign(%zu, %zu)", alignment, bytes);
            const int error = posix ? posix_memalign(&blocks[3], alignment, bytes) : 0;
            al_fault("null", 0);
            if (al_holds(error == 0, "posix_memalign(%zu, %zu) returned %d", alignment, bytes, error))
                lies(blocks[3], "posix_memalign", alignment, bytes);
            al_step("free of memalign, aligned_alloc and posix_memalign(%zu, %zu)", alignment, bytes);
            for (int i = 0; i < 4; i++) free(blocks[i]);
        }
    }
}

void al_c15(void) {
    const bool old = al_applies("memalign"), standard = al_applies("aligned_alloc");
    tiny(old, standard, al_applies("posix_memalign"));
}

/* A page of another library's cannot be freed here. */
static bool is_page_of_its_own(const char *symbol) {
    const char *owner = al_owner(symbol), *own = al_owner("malloc");
    al_step("free(%s(1))", symbol);
    al_fault("dies", 0);
    return al_holds(al_is_own(symbol), "%s is answered by %s, free by %s", symbol,
                    owner == NULL ? "nobody" : owner, own == NULL ? "nobody" : own);
}

static void pages_of(void *(*call)(size_t), const char *name, bool whole) {
    static const size_t sizes[] = {0, 1, 100, 4096, 4097, 16384, 70000, 1000000};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        al_step("%s(%zu)", name, sizes[i]);
        void *block = call(sizes[i]);
        al_fault("null", 0);
        al_holds(block != NULL || sizes[i] == 0, "%s(%zu) returned NULL", name, sizes[i]);
        al_fault("aligned", page);
        al_holds(al_aligned(block, page), "%s(%zu) is not page aligned", name, sizes[i]);
        const size_t least = whole ? (sizes[i] + page - 1) / page * page : sizes[i];
        al_fault("usable", least);
        if (block != NULL)
            al_holds(al_usable(block, least) >= least, "%s(%zu) has %zu usable bytes", name, sizes[i],
                     al_usable(block, least));
        al_step("free(%s(%zu))", name, sizes[i]);
        free(block);
    }
    errno = 0;
    al_step("%s(SIZE_MAX)", name);
    void *block = call(al_huge);
    const int error = errno;
    al_fault("served", 0);
    al_holds(block == NULL, "%s(SIZE_MAX) returned a block", name);
    al_fault("errno", ENOMEM);
    al_holds(block != NULL || error == ENOMEM, "%s(SIZE_MAX) failed with errno %d, not ENOMEM", name, error);
}

void al_c27(void) {
    if (is_page_of_its_own("valloc")) pages_of(valloc, "valloc", false);
    if (is_page_of_its_own("pvalloc")) pages_of(pvalloc, "pvalloc", true);
}

static void say_lacking(bool sized, bool aligned) {
    if (sized && aligned) return;
    if (al_owner("free_sized") != NULL || al_owner("free_aligned_sized") != NULL) {
        al_applies("free_sized");
        al_applies("free_aligned_sized");
        return;
    }
    al_step("free_sized, free_aligned_sized");
    al_fault("foreign", 0);
    al_not_applicable("free_sized and free_aligned_sized are not there");
}

/* libc may lack the names, so the linker cannot be asked for them. */
void al_c28(void) {
    const bool has_sized = al_is_own("free_sized"), has_aligned = al_is_own("free_aligned_sized");
    void (*sized)(void *, size_t) = dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    say_lacking(has_sized, has_aligned);
    const bool makes_aligned = has_aligned && al_applies("aligned_alloc");
    size_t before = 0;
    const bool counts = al_is_own("mallinfo2") && mallinfo2().uordblks > 0;
    for (int round = 0; round < 20; round++) { /* caches are full by the tenth */
        if (round == 10 && counts) before = mallinfo2().uordblks;
        for (int i = 0; i < al_sizes_count; i++) {
            const size_t bytes = al_sizes[i];
            al_step("free_sized(malloc(%zu), %zu)", bytes, bytes);
            if (has_sized) sized(malloc(bytes), bytes);
            if (has_sized) sized(calloc(1, bytes), bytes);
            al_step("free_aligned_sized(aligned_alloc(64, %zu), 64, %zu)", bytes, bytes);
            if (makes_aligned) aligned(aligned_alloc(64, bytes), 64, bytes);
        }
        al_step("free_sized(NULL)");
        if (has_sized) sized(NULL, 100);
        if (has_aligned) aligned(NULL, 64, 128);
    }
    if (counts) al_holds(mallinfo2().uordblks == before, "free_sized or free_aligned_sized leaves something allocated");
}
