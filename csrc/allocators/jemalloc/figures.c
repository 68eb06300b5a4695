/* Figures: of arenas, the ledger, stats. */
#include "allocators/jemalloc/figures.h"

/* --- of thread caches --- */

static size_t cached_by(const je_thread *thread) {
    size_t bytes = 0;
    for (unsigned class = 0; class < JE_CACHE_CLASSES; class++)
        bytes += (size_t)al_je_stack_count(&thread->stacks[class]) * thread->stacks[class].bytes;
    return bytes;
}

/* By all threads, or by those of an arena; arenas_lock is held. */
static size_t count_cached(const je_heap *heap, const je_arena *arena) {
    size_t bytes = 0;
    for (const je_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        if (arena == NULL || thread->arena == arena) bytes += cached_by(thread);
    return bytes;
}

/* --- of an arena; it is locked --- */

static je_part count_small(const je_arena *arena) {
    je_part sum = {0};
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) {
        const je_bin *bin = &arena->bins[class];
        sum.allocated += bin->regions * al_je_class_bytes(class);
        sum.nmalloc += bin->nmalloc;
        sum.ndalloc += bin->ndalloc;
        sum.nrequests += bin->nrequests;
        sum.nfills += bin->nfills;
        sum.nflushes += bin->nflushes;
    }
    return sum;
}

/* Large blocks come singly: every one is a fill. */
static je_part count_large(const je_arena *arena) {
    je_part sum = {0};
    for (unsigned class = JE_SMALL_CLASSES; class < JE_CLASSES; class++) {
        const je_large *large = &arena->large[class - JE_SMALL_CLASSES];
        sum.allocated += large->current * al_je_class_bytes(class);
        sum.nmalloc += large->nmalloc;
        sum.ndalloc += large->ndalloc;
        sum.nrequests += large->nrequests;
        sum.nfills += large->nmalloc;
        sum.nflushes += large->nflushes;
    }
    return sum;
}

/* heap->lock is held. */
static size_t base_resident(const je_base *base) {
    size_t bytes = 0;
    for (const je_block *block = base->blocks; block != NULL; block = block->next)
        bytes += al_align_up(block->at, JE_PAGE) - al_align_down((uintptr_t)block, JE_PAGE);
    return bytes;
}

static je_figures count(je_arena *arena) {
    je_figures f = {
        .nthreads = __atomic_load_n(&arena->threads, __ATOMIC_RELAXED),
        .pactive = arena->active_pages,
        .pdirty = arena->dirty.pages,
        .pmuzzy = arena->muzzy.pages,
        .retained = arena->retained.pages * JE_PAGE,
        .internal = arena->internal_bytes,
        .extent_avail = arena->spares,
        .dirty_decay_ms = (uint64_t)arena->dirty_decay.ms,
        .muzzy_decay_ms = (uint64_t)arena->muzzy_decay.ms,
        .dirty_purges = arena->dirty_purges,
        .muzzy_purges = arena->muzzy_purges,
        .small = count_small(arena),
        .large = count_large(arena),
    };
    al_lock_take(&arena->heap->heap.lock);
    f.base = arena->base.allocated;
    f.mapped = arena->base.mapped + (f.pactive + f.pdirty + f.pmuzzy) * JE_PAGE;
    f.resident = base_resident(&arena->base) + (f.pactive + f.pdirty) * JE_PAGE;
    al_lock_drop(&arena->heap->heap.lock);
    return f;
}

/* All of it is numbers. */
static void add(je_figures *sum, const je_figures *one) {
    enum { NUMBERS = sizeof *sum / sizeof(uint64_t) };
    uint64_t *into = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t i = 0; i < NUMBERS; i++) into[i] += from[i];
    sum->dirty_decay_ms = sum->muzzy_decay_ms = (uint64_t)-1;
}

_Static_assert(sizeof(je_purges) == 3 * sizeof(uint64_t) && sizeof(je_part) == 6 * sizeof(uint64_t), "numbers only");

je_figures al_je_figures(je_heap *heap, je_arena *arena) {
    je_figures sum = {0};
    al_lock_take(&heap->arenas_lock);
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *each = al_je_arena(heap, i);
        if (each == NULL || (arena != NULL && each != arena)) continue;
        al_lock_take(&each->lock);
        const je_figures f = count(each);
        al_lock_drop(&each->lock);
        add(&sum, &f);
        if (arena == NULL) continue;
        sum.dirty_decay_ms = f.dirty_decay_ms;
        sum.muzzy_decay_ms = f.muzzy_decay_ms;
    }
    sum.tcache_bytes = count_cached(heap, arena);
    al_lock_drop(&heap->arenas_lock);
    return sum;
}

/* --- the ledger --- */

/* Of all arenas, each of them locked as well as heap->lock. */
typedef struct held {
    size_t blocks;  /* bytes of the classes of blocks that slabs and large extents do not have */
    size_t pads, tails, bases, internal;
} held;

static held count_held(je_heap *heap) {
    held sum = {0};
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        const je_arena *arena = al_je_arena(heap, i);
        if (arena == NULL) continue;
        for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) {
            sum.blocks += arena->bins[class].regions * al_je_class_bytes(class);
            sum.tails += arena->bins[class].slabs * al_je_slab_tail(&heap->layouts[class]);
        }
        for (unsigned class = JE_SMALL_CLASSES; class < JE_CLASSES; class++) {
            size_t current = arena->large[class - JE_SMALL_CLASSES].current;
            sum.blocks += current * al_je_class_bytes(class);
            sum.pads += current * heap->params.pad;
        }
        sum.internal += arena->internal_bytes;
        sum.bases += arena->base.mapped;
    }
    return sum;
}

/* What a thread just moves between its cache and an arena may be missed, or counted in both. */
al_ledger al_je_ledger(al_heap *base) {
    je_heap *heap = al_je_of(base);
    al_je_hold(heap);
    al_lock_take(&base->lock);
    const held all = count_held(heap);
    const size_t cached = al_min(count_cached(heap, NULL), all.blocks - all.internal);
    al_ledger ledger = {
        .usable = all.blocks - all.internal - cached,
        .metadata = all.bases + all.internal + all.pads + all.tails,
        .cached = cached,
    };
    ledger.free = al_regions_counters(base->regions)->mapped - al_ledger_sum(&ledger);
    al_lock_drop(&base->lock);
    al_je_let_go(heap);
    return ledger;
}

/* --- for reports of ours --- */

size_t al_je_stats(al_heap *base, al_stat *out, size_t room) {
    je_heap *heap = al_je_of(base);
    const je_figures f = al_je_figures(heap, NULL);
    uint64_t arenas = 0, slabs = 0;
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *arena = al_je_arena(heap, i);
        if (arena == NULL) continue;
        arenas++;
        al_lock_take(&arena->lock);
        for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) slabs += arena->bins[class].slabs;
        al_lock_drop(&arena->lock);
    }
    const al_stat figures[] = {
        {"arenas", arenas},
        {"allocated", f.small.allocated + f.large.allocated},
        {"active", f.pactive * JE_PAGE},
        {"metadata", f.base + f.internal},
        {"resident", f.resident},
        {"mapped", f.mapped},
        {"retained", f.retained},
        {"dirty_bytes", f.pdirty * JE_PAGE},
        {"muzzy_bytes", f.pmuzzy * JE_PAGE},
        {"cached_bytes", f.tcache_bytes},
        {"small_bytes", f.small.allocated},
        {"large_bytes", f.large.allocated},
        {"slabs", slabs},
        {"purges", f.dirty_purges.purges + f.muzzy_purges.purges},
        {"purge_advices", f.dirty_purges.advices + f.muzzy_purges.advices},
        {"purged_pages", f.dirty_purges.pages + f.muzzy_purges.pages},
    };
    const size_t known = sizeof figures / sizeof *figures;
    memcpy(out, figures, al_min(room, known) * sizeof *figures);
    return known;
}
