/* The malloc family, every symbol of it, over the shim's heap. Here and nowhere else: symbols, errno, and what the
 * standards ask of each name.
 *
 *     failure                 NULL (or the code), errno ENOMEM; EINVAL for a bad alignment
 *     realloc(p, 0)           frees p, returns NULL, errno EINVAL (POSIX 2024)
 *     free                    leaves errno alone
 *     posix_memalign          sets no errno, and no result unless it returns 0 */
#include "shim/shim.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* C23, not yet in glibc's headers; cfree left them long ago. */
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);
void cfree(void *block);

static inline void *checked(void *block) {
    if (__builtin_expect(block == NULL, 0)) errno = ENOMEM;
    return block;
}

EXPORT void *malloc(size_t bytes) {
    al_thread *thread = al_shim_enter();
    if (__builtin_expect(thread == NULL, 0)) return checked(NULL);
    void *block = al_rule_malloc(thread, bytes);
    al_shim_leave(thread);
    return checked(block);
}

EXPORT void *calloc(size_t count, size_t bytes) {
    al_thread *thread = al_shim_enter();
    if (__builtin_expect(thread == NULL, 0)) return checked(NULL);
    void *block = al_rule_calloc(thread, count, bytes);
    al_shim_leave(thread);
    return checked(block);
}

EXPORT void free(void *block) {
    if (block == NULL) return;
    int saved = errno;
    al_thread *thread = al_shim_enter();
    if (__builtin_expect(thread != NULL, 1)) { /* else the block stays: there is nobody to take it */
        al_rule_free(thread, block);
        al_shim_leave(thread);
    }
    errno = saved;
}

EXPORT void *realloc(void *block, size_t bytes) {
    al_thread *thread = al_shim_enter();
    if (__builtin_expect(thread == NULL, 0)) return checked(NULL);
    void *moved = al_rule_realloc(thread, block, bytes);
    al_shim_leave(thread);
    if (__builtin_expect(moved == NULL, 0)) errno = block != NULL && bytes == 0 ? EINVAL : ENOMEM;
    return moved;
}

EXPORT void *reallocarray(void *block, size_t count, size_t each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) return checked(NULL);
    return realloc(block, bytes);
}

static void *aligned(size_t alignment, size_t bytes) {
    al_thread *thread = al_shim_enter();
    if (__builtin_expect(thread == NULL, 0)) return NULL;
    void *block = al_rule_memalign(thread, alignment, bytes);
    al_shim_leave(thread);
    return block;
}

EXPORT void *memalign(size_t alignment, size_t bytes) {
    if (al_is_power_of_two(alignment)) return checked(aligned(alignment, bytes));
    errno = EINVAL;
    return NULL;
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

EXPORT int posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (!al_is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
    int saved = errno;
    void *block = aligned(alignment, bytes);
    errno = saved;
    if (block == NULL) return ENOMEM;
    *result = block;
    return 0;
}

static size_t page_size(void) { return al_regions_page_size(al_shim_heap()->regions); }

EXPORT void *valloc(size_t bytes) { return memalign(page_size(), bytes); }

/* Whole pages, at least one. */
EXPORT void *pvalloc(size_t bytes) {
    size_t page = page_size();
    if (bytes > PTRDIFF_MAX - page) return checked(NULL);
    return memalign(page, bytes == 0 ? page : al_align_up(bytes, page));
}

EXPORT size_t malloc_usable_size(void *block) {
    return block == NULL ? 0 : al_rule_usable_size(al_shim_heap(), block);
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

/* --- glibc's questions --- */

EXPORT int malloc_trim(size_t pad) { return al_heap_trim(al_shim_heap(), pad); }

/* Nothing is set this way: tunables are the allocator's own, from ALLOCLAB_OPTIONS. 0 says so. */
EXPORT int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 0;
}

EXPORT struct mallinfo2 mallinfo2(void) {
    const al_ledger ledger = al_heap_ledger(al_shim_heap());
    return (struct mallinfo2){
        .arena = al_ledger_sum(&ledger),
        .uordblks = ledger.usable + ledger.metadata,
        .fordblks = ledger.free + ledger.cached,
    };
}

/* glibc's older struct wraps around at 2 GiB, too. */
EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = (int)wide.arena,
        .uordblks = (int)wide.uordblks,
        .fordblks = (int)wide.fordblks,
    };
}

enum { STATS_MAX = 64 };

EXPORT void malloc_stats(void) {
    al_heap *heap = al_shim_heap();
    const al_ledger ledger = al_heap_ledger(heap);
    al_stat stats[STATS_MAX];
    size_t count = al_min(al_heap_stats(heap, stats, STATS_MAX), STATS_MAX);
    fprintf(stderr, "alloclab %s\nusable %zu\nmetadata %zu\ncached %zu\nfree %zu\n", heap->allocator->name,
            ledger.usable, ledger.metadata, ledger.cached, ledger.free);
    for (size_t i = 0; i < count; i++) fprintf(stderr, "%s %ju\n", stats[i].name, (uintmax_t)stats[i].value);
}

EXPORT int malloc_info(int options, FILE *out) {
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    al_heap *heap = al_shim_heap();
    const al_ledger ledger = al_heap_ledger(heap);
    int written = fprintf(out,
                          "<malloc version=\"alloclab\"><heap allocator=\"%s\" usable=\"%zu\" metadata=\"%zu\" "
                          "cached=\"%zu\" free=\"%zu\"/></malloc>\n",
                          heap->allocator->name, ledger.usable, ledger.metadata, ledger.cached, ledger.free);
    return written < 0 ? -1 : 0;
}
