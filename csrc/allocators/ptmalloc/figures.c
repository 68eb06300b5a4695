/* Figures: of arenas, the ledger, mallinfo, stats. */
#include "allocators/ptmalloc/figures.h"
#include "allocators/ptmalloc/cache.h"
#include "allocators/ptmalloc/inspect.h"

/* --- of an arena --- */

static void count_chunk(pt_row *row, size_t size) {
    row->least = row->count == 0 ? size : al_min(row->least, size);
    row->most = al_max(row->most, size);
    row->bytes += size;
    row->count++;
}

static void count_lists(pt_arena *arena, pt_census *census) {
    for (size_t i = 0; i < PT_FAST_BINS; i++)
        for (pt_chunk *chunk = arena->fast[i]; chunk != NULL; chunk = al_pt_protect(&chunk->fd, chunk->fd))
            count_chunk(&census->fast[i], al_pt_size(chunk));
    for (size_t i = PT_UNSORTED; i < PT_BINS; i++) {
        const pt_chunk *bin = al_pt_bin(arena, i);
        for (const pt_chunk *chunk = bin->bk; chunk != bin; chunk = chunk->bk)
            count_chunk(&census->bins[i], al_pt_size(chunk));
    }
}

void al_pt_count(pt_arena *arena, pt_census *census) {
    al_pt_arena_lock(arena);
    *census = (pt_census){.top = al_pt_size(arena->top), .system = arena->system_mem,
                          .system_peak = arena->max_system_mem};
    count_lists(arena, census);
    const pt_subheap *subheap = al_pt_is_main(arena) ? NULL : al_pt_subheap_of(arena->top);
    for (; subheap != NULL; subheap = subheap->below) {
        census->subheaps++;
        census->spanned += subheap->size;
        census->committed += subheap->committed;
    }
    al_pt_arena_leave(arena);
}

pt_mapped al_pt_count_mapped(pt_heap *heap) {
    al_lock_take(&heap->heap.lock);
    pt_mapped mapped = {heap->mapped_count, heap->mapped_count_peak, heap->mapped_bytes, heap->mapped_bytes_peak};
    al_lock_drop(&heap->heap.lock);
    return mapped;
}

void al_pt_mallinfo(al_heap *base, struct mallinfo2 *out) {
    pt_heap *heap = al_pt_of(base);
    pt_census census;
    *out = (struct mallinfo2){0};
    for (pt_arena *arena = &heap->main; arena != NULL; arena = al_pt_arena_after(arena)) {
        al_pt_count(arena, &census);
        pt_row fast = al_pt_sum(census.fast, PT_FAST_BINS), rest = al_pt_sum_free(&census);
        out->arena += census.system;
        out->ordblks += rest.count;
        out->smblks += fast.count;
        out->fsmblks += fast.bytes;
        out->fordblks += rest.bytes + fast.bytes;
        out->uordblks += al_pt_in_use(&census);
        if (al_pt_is_main(arena)) out->keepcost = census.top;
    }
    pt_mapped mapped = al_pt_count_mapped(heap);
    out->hblks = mapped.count;
    out->hblkhd = mapped.bytes;
}

/* --- of thread caches --- */

typedef struct cached {
    size_t caches, chunks, bytes; /* how many there are; what they keep */
    size_t chunked, own;          /* caches that lie in an arena's chunks, and these chunks' bytes */
    size_t mapped;                /* usable bytes of the mapped chunks that others lie in, where the threshold is low */
} cached;

/* list_lock is held. */
static cached count_caches(const pt_heap *heap) {
    cached sum = {0};
    for (const pt_thread *thread = heap->threads; thread != NULL; thread = thread->next) {
        const pt_chunk *own = al_pt_chunk(thread->cache);
        sum.caches++;
        if (al_pt_mapped(own)) {
            sum.mapped += al_pt_usable(own);
        } else {
            sum.chunked++;
            sum.own += al_pt_size(own);
        }
        for (size_t list = 0; list < PT_CACHE_BINS; list++) {
            size_t count = al_pt_cache_count(thread->cache, list);
            sum.chunks += count;
            sum.bytes += count * (PT_LEAST + list * PT_GRAIN);
        }
    }
    return sum;
}

/* What arenas have handed out, and what lies around it. */
typedef struct handed {
    size_t chunks, bytes, fixed;
} handed;

static handed count_handed(const pt_heap *heap) {
    handed sum = {0};
    for (const pt_arena *arena = &heap->main; arena != NULL; arena = al_pt_arena_after(arena)) {
        sum.chunks += arena->taken_chunks;
        sum.bytes += arena->taken_bytes;
        sum.fixed += arena->fixed + (al_pt_size(arena->top) > 0 ? PT_WORD : 0);
    }
    return sum;
}

al_ledger al_pt_ledger(al_heap *base) {
    pt_heap *heap = al_pt_of(base);
    al_pt_hold(heap);
    const cached kept = count_caches(heap);
    const handed all = count_handed(heap);
    size_t heads = PT_WORD * (all.chunks - kept.chunks - kept.chunked);
    size_t mapped = heap->mapped_bytes - heap->mapped_heads - kept.mapped;
    al_ledger ledger = {
        .usable = all.bytes - kept.bytes - kept.own - heads + mapped,
        .metadata = heads + kept.own + kept.mapped + heap->mapped_heads + all.fixed,
        .cached = kept.bytes,
    };
    ledger.free = al_regions_counters(base->regions)->mapped - al_ledger_sum(&ledger);
    al_pt_release(heap);
    return ledger;
}

/* --- for reports of ours --- */

typedef struct sums {
    size_t arenas, system, top;
    pt_row fast, unsorted, bins;
} sums;

static sums sum_arenas(pt_heap *heap) {
    sums all = {0};
    pt_census census;
    for (pt_arena *arena = &heap->main; arena != NULL; arena = al_pt_arena_after(arena)) {
        al_pt_count(arena, &census);
        all.arenas++;
        all.system += census.system;
        all.top += census.top;
        all.fast = al_pt_add(all.fast, al_pt_sum(census.fast, PT_FAST_BINS));
        all.unsorted = al_pt_add(all.unsorted, census.bins[PT_UNSORTED]);
        all.bins = al_pt_add(all.bins, al_pt_sum(census.bins + PT_UNSORTED + 1, PT_BINS - PT_UNSORTED - 1));
    }
    return all;
}

size_t al_pt_stats(al_heap *base, al_stat *out, size_t room) {
    pt_heap *heap = al_pt_of(base);
    const sums all = sum_arenas(heap);
    const pt_mapped mapped = al_pt_count_mapped(heap);
    al_lock_take(&heap->list_lock);
    const cached kept = count_caches(heap);
    al_lock_drop(&heap->list_lock);
    const al_stat figures[] = {
        {"arenas", all.arenas},
        {"system_bytes", all.system},
        {"top_bytes", all.top},
        {"bin_chunks", all.bins.count},
        {"bin_bytes", all.bins.bytes},
        {"unsorted_chunks", all.unsorted.count},
        {"unsorted_bytes", all.unsorted.bytes},
        {"fastbin_chunks", all.fast.count},
        {"fastbin_bytes", all.fast.bytes},
        {"thread_caches", kept.caches},
        {"cached_chunks", kept.chunks},
        {"cached_bytes", kept.bytes},
        {"mapped_blocks", mapped.count},
        {"mapped_bytes", mapped.bytes},
        {"mapped_blocks_peak", mapped.count_peak},
        {"mapped_bytes_peak", mapped.bytes_peak},
        {"mmap_threshold", al_pt_get(&heap->params.mmap_threshold)},
        {"trim_threshold", al_pt_get(&heap->params.trim_threshold)},
    };
    const size_t known = sizeof figures / sizeof *figures;
    memcpy(out, figures, al_min(room, known) * sizeof *figures);
    return known;
}
