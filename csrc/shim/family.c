/* The malloc family, every symbol of it, over the shim's heap. Here and nowhere else: symbols, errno, and what the
 * standards ask of each name.
 *
 *     failure                 NULL (or the code), errno ENOMEM; EINVAL for a bad alignment
 *     realloc(p, 0)           frees p, returns NULL, errno EINVAL (POSIX 2024), unless the allocator has it otherwise
 *     free                    leaves errno alone
 *     posix_memalign          sets no errno, and no result unless it returns 0
 *
 * errno is set here and nowhere below: allocators do not know it, and os_linux.c leaves it as it was.
 *
 * The allocator's own file is compiled in here, not linked, so that its calls are direct and what is short in them
 * becomes part of malloc and free. Hence our prefix, shim_. */
#include "shim/shim.h"

#include AL_SHIM_FILE
#include <errno.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* C23, not yet in glibc's headers; cfree left them long ago. */
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);
void cfree(void *block);

static inline void *shim_checked(void *block) {
    if (__builtin_expect(block == NULL, 0)) errno = ENOMEM;
    return block;
}

/* --- the first call of a thread, and those after its end: off the path of all others --- */

#define LATE __attribute__((cold, noinline)) static

LATE void *shim_late_malloc(size_t bytes) {
    al_thread *thread = al_shim_arrive();
    void *block = thread == NULL ? NULL : al_heap_malloc(thread, bytes);
    al_shim_leave(thread);
    return block;
}

LATE void *shim_late_calloc(size_t count, size_t each) {
    al_thread *thread = al_shim_arrive();
    void *block = thread == NULL ? NULL : al_heap_calloc(thread, count, each);
    al_shim_leave(thread);
    return block;
}

LATE void *shim_late_memalign(size_t alignment, size_t bytes) {
    al_thread *thread = al_shim_arrive();
    void *block = thread == NULL ? NULL : al_heap_memalign(thread, alignment, bytes);
    al_shim_leave(thread);
    return block;
}

LATE void *shim_late_realloc(void *block, size_t bytes) {
    al_thread *thread = al_shim_arrive();
    void *moved = thread == NULL ? NULL : al_heap_realloc(thread, block, bytes);
    al_shim_leave(thread);
    return moved;
}

/* Where there is no memory for a context, the block stays: there is nobody to take it. */
LATE void shim_late_free(void *block) {
    al_thread *thread = al_shim_arrive();
    if (thread != NULL) al_heap_free(thread, block);
    al_shim_leave(thread);
}

/* --- the family --- */

EXPORT void *malloc(size_t bytes) {
    al_thread *thread = al_shim_current;
    if (__builtin_expect(!al_shim_is_context(thread), 0)) return shim_checked(shim_late_malloc(bytes));
    return shim_checked(al_rule_malloc(&AL_SHIM, thread, bytes));
}

EXPORT void *calloc(size_t count, size_t each) {
    al_thread *thread = al_shim_current;
    if (__builtin_expect(!al_shim_is_context(thread), 0)) return shim_checked(shim_late_calloc(count, each));
    return shim_checked(al_rule_calloc(&AL_SHIM, thread, count, each));
}

EXPORT void free(void *block) {
    al_thread *thread = al_shim_current;
    if (__builtin_expect(block == NULL, 0)) return;
    if (__builtin_expect(!al_shim_is_context(thread), 0))
        shim_late_free(block);
    else
        al_rule_free(&AL_SHIM, thread, block);
}

static bool shim_frees(const void *block, size_t bytes) {
    return block != NULL && bytes == 0 && !al_rule_resizes_to_zero(&AL_SHIM, al_shim_heap());
}

EXPORT void *realloc(void *block, size_t bytes) {
    al_thread *thread = al_shim_current;
    void *moved = __builtin_expect(!al_shim_is_context(thread), 0) ? shim_late_realloc(block, bytes)
                                                      : al_rule_realloc(&AL_SHIM, thread, block, bytes);
    if (__builtin_expect(moved == NULL, 0)) errno = shim_frees(block, bytes) ? EINVAL : ENOMEM;
    return moved;
}

EXPORT void *reallocarray(void *block, size_t count, size_t each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) return shim_checked(NULL);
    return realloc(block, bytes);
}

static void *shim_aligned(size_t alignment, size_t bytes) {
    al_thread *thread = al_shim_current;
    if (__builtin_expect(!al_shim_is_context(thread), 0)) return shim_late_memalign(alignment, bytes);
    return al_rule_memalign(&AL_SHIM, thread, alignment, bytes);
}

/* glibc's extension: what is no power of two counts as the next one. */
EXPORT void *memalign(size_t alignment, size_t bytes) {
    if (alignment <= SIZE_MAX / 2 + 1)
        return shim_checked(shim_aligned(alignment == 0 ? 1 : (size_t)1 << al_log2_ceil(alignment), bytes));
    errno = EINVAL;
    return NULL;
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) {
    if (al_is_power_of_two(alignment)) return memalign(alignment, bytes);
    errno = EINVAL;
    return NULL;
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (!al_is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
    void *block = shim_aligned(alignment, bytes);
    if (block == NULL) return ENOMEM;
    *result = block;
    return 0;
}

static size_t shim_page_size(void) { return al_regions_page_size(al_shim_heap()->regions); }

EXPORT void *valloc(size_t bytes) { return memalign(shim_page_size(), bytes); }

/* Whole pages, at least one. */
EXPORT void *pvalloc(size_t bytes) {
    size_t page = shim_page_size();
    if (bytes > PTRDIFF_MAX - page) return shim_checked(NULL);
    return memalign(page, bytes == 0 ? page : al_align_up(bytes, page));
}

EXPORT size_t malloc_usable_size(void *block) {
    return block == NULL ? 0 : al_rule_usable_size(&AL_SHIM, al_shim_heap(), block);
}

EXPORT void free_sized(void *block, size_t bytes) {
    (void)bytes;
    free(block);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes) {
    (void)alignment;
    (void)bytes;
    free(block);
}

EXPORT void cfree(void *block) { free(block); }

/* --- glibc's other names, by which a program gets round a malloc of its own --- */

#define SAME_AS(name) EXPORT __attribute__((alias(#name), copy(name)))

SAME_AS(malloc) __typeof__(malloc) __libc_malloc;
SAME_AS(calloc) __typeof__(calloc) __libc_calloc;
SAME_AS(realloc) __typeof__(realloc) __libc_realloc;
SAME_AS(free) __typeof__(free) __libc_free;
SAME_AS(memalign) __typeof__(memalign) __libc_memalign;
SAME_AS(valloc) __typeof__(valloc) __libc_valloc;
SAME_AS(pvalloc) __typeof__(pvalloc) __libc_pvalloc;

/* --- glibc's questions --- */

EXPORT int malloc_trim(size_t pad) { return al_heap_trim(al_shim_heap(), pad); }

EXPORT int mallopt(int parameter, int value) { return al_heap_mallopt(al_shim_heap(), parameter, value); }

EXPORT struct mallinfo2 mallinfo2(void) { return al_heap_mallinfo(al_shim_heap()); }

/* glibc's older struct wraps around at 2 GiB, too. */
EXPORT struct mallinfo mallinfo(void) {
    const struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = (int)wide.arena,
        .ordblks = (int)wide.ordblks,
        .smblks = (int)wide.smblks,
        .hblks = (int)wide.hblks,
        .hblkhd = (int)wide.hblkhd,
        .usmblks = (int)wide.usmblks,
        .fsmblks = (int)wide.fsmblks,
        .uordblks = (int)wide.uordblks,
        .fordblks = (int)wide.fordblks,
        .keepcost = (int)wide.keepcost,
    };
}

EXPORT struct mallinfo __libc_mallinfo(void) __attribute__((alias("mallinfo"))); /* deprecated: not to be named */
SAME_AS(mallopt) __typeof__(mallopt) __libc_mallopt;

EXPORT void malloc_stats(void) { al_heap_report(al_shim_heap(), stderr); }

/* For options that do not exist an error number, as from glibc; its manual says -1. */
EXPORT int malloc_info(int options, FILE *out) {
    return options == 0 ? al_heap_report_xml(al_shim_heap(), out) : EINVAL;
}
