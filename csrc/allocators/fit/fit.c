#include "allocators/fit/fit.h"

#include <string.h>

static const al_tunable tunables[FIT_TUNABLES] = {
    [FIT_POLICY] = {.name = "policy", .type = AL_TUNABLE_CHOICE, .value = FIT_BEST, .most = FIT_POLICIES - 1,
                    .choices = "first|next|best|worst", .help = "which of the free chunks that fit is taken"},
    [FIT_ORDER] = {.name = "order", .type = AL_TUNABLE_CHOICE, .value = AL_ORDER_ADDRESS, .most = AL_ORDER_ADDRESS,
                   .choices = "lifo|fifo|address", .help = "how free chunks are ordered: newest, oldest, lowest first"},
    [FIT_COALESCE] = {.name = "coalesce", .type = AL_TUNABLE_CHOICE, .value = FIT_IMMEDIATE, .most = FIT_COALESCES - 1,
                      .choices = "immediate|deferred|never", .help = "when free neighbours merge"},
    [FIT_MMAP_THRESHOLD] = {.name = "mmap_threshold", .type = AL_TUNABLE_BYTES, .value = 128 << 10, .most = 1 << 30,
                            .help = "from this size on, a block gets a mapping of its own",
                            .real_name = "M_MMAP_THRESHOLD"},
    /* twice the pad: a top that was cut must grow by a pad again before the next cut, or the break goes up and down */
    [FIT_TRIM_THRESHOLD] = {.name = "trim_threshold", .type = AL_TUNABLE_BYTES, .value = 256 << 10, .most = 1 << 30,
                            .help = "a top of this size is given back, but top_pad bytes",
                            .real_name = "M_TRIM_THRESHOLD"},
    [FIT_TOP_PAD] = {.name = "top_pad", .type = AL_TUNABLE_BYTES, .value = 128 << 10, .most = 1 << 30,
                     .help = "bytes asked of the system beyond what a request needs", .real_name = "M_TOP_PAD"},
};

static int create(al_heap *heap) {
    fit_heap *f = al_fit_of(heap);
    al_top_init(&f->top, heap->regions, &heap->ledger, AL_INDEX_REACH);
    al_larges_init(&f->larges, heap->regions, &heap->ledger);
    f->policy = (fit_policy)heap->settings.values[FIT_POLICY];
    f->coalesce = (fit_coalesce)heap->settings.values[FIT_COALESCE];
    bool by_size = f->policy == FIT_BEST || f->policy == FIT_WORST;
    al_index_init(&f->index, (al_order)heap->settings.values[FIT_ORDER], by_size);
    return 0;
}

static void *fit_malloc(al_thread *thread, size_t bytes) {
    fit_heap *f = al_fit_of(thread->heap);
    bool large = bytes >= f->heap.settings.values[FIT_MMAP_THRESHOLD];
    if (__builtin_expect(large, 0)) {
        void *block = al_large_map(&f->larges, AL_MIN_ALIGNMENT, bytes);
        if (block != NULL) return block;
    }
    al_tag *chunk = al_fit_take(f, al_tag_need(bytes, AL_FREE_LEAST));
    if (__builtin_expect(chunk != NULL, 1)) return al_tag_block(chunk);
    return large ? NULL : al_large_map(&f->larges, AL_MIN_ALIGNMENT, bytes);
}

/* Mapped blocks are zero; of others, what reaches up to where the heap was ever written needs to be made so. */
static void *fit_calloc(al_thread *thread, size_t bytes) {
    uintptr_t written = al_fit_of(thread->heap)->fresh;
    void *block = fit_malloc(thread, bytes);
    if (block == NULL || al_tag_of(block)->head & AL_TAG_MAPPED || (uintptr_t)block >= written) return block;
    return memset(block, 0, al_min(bytes, written - (uintptr_t)block));
}

/* A chunk so large that an aligned block with room for a free chunk below lies in it; both ends are given back. */
static void *take_aligned(fit_heap *f, size_t alignment, size_t bytes) {
    size_t size = al_tag_need(bytes, AL_FREE_LEAST);
    al_tag *chunk = al_fit_take(f, size + alignment + AL_FREE_LEAST);
    if (chunk == NULL) return NULL;
    uintptr_t block = (uintptr_t)al_tag_block(chunk);
    if (!al_is_aligned(block, alignment)) {
        size_t lead = al_align_up(block + AL_FREE_LEAST, alignment) - block;
        al_tag *upper = al_tag_at(chunk, lead);
        upper->head = (al_tag_size(chunk) - lead) | AL_TAG_LIVE;
        al_tag_resize(chunk, lead);
        f->chunks++;
        f->heap.ledger.metadata += AL_TAG_BYTES;
        f->heap.ledger.usable -= AL_TAG_BYTES;
        al_fit_give(f, chunk);
        chunk = upper;
    }
    al_fit_cut_tail(f, chunk, size);
    return al_tag_block(chunk);
}

static void *fit_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    fit_heap *f = al_fit_of(thread->heap);
    bool large = bytes >= f->heap.settings.values[FIT_MMAP_THRESHOLD];
    void *block = large ? al_large_map(&f->larges, alignment, bytes) : NULL;
    if (block == NULL) block = take_aligned(f, alignment, bytes);
    return block != NULL || large ? block : al_large_map(&f->larges, alignment, bytes);
}

static void fit_free(al_thread *thread, void *block) {
    fit_heap *f = al_fit_of(thread->heap);
    al_tag *chunk = al_tag_of(block);
    if (__builtin_expect(chunk->head & AL_TAG_MAPPED, 0))
        al_large_unmap(&f->larges, block);
    else
        al_fit_give(f, chunk);
}

static size_t fit_usable_size(al_heap *heap, const void *block) {
    (void)heap;
    return al_tag_usable(al_tag_of(block));
}

static bool fit_trim(al_heap *heap, size_t pad) {
    fit_heap *f = al_fit_of(heap);
    if (f->coalesce == FIT_DEFERRED && f->unmerged > 0) al_fit_pass(f);
    bool any = al_large_sweep(&f->larges);
    return al_top_trim(&f->top, pad) || any;
}

const al_allocator al_fit = {
    .name = "fit",
    .summary = "boundary tags with first, next, best or worst fit",
    .tunables = tunables,
    .tunable_count = FIT_TUNABLES,
    .heap_bytes = sizeof(fit_heap),
    .thread_bytes = sizeof(al_thread),
    .create = create,
    .malloc = fit_malloc,
    .calloc = fit_calloc,
    .memalign = fit_memalign,
    .realloc = al_fit_realloc,
    .free = fit_free,
    .usable_size = fit_usable_size,
    .trim = fit_trim,
    .walk = al_fit_walk,
    .validate = al_fit_validate,
    .stats = al_fit_stats,
    .bins = al_fit_bins,
};
