/* Where every byte is, counted when asked for. */
#include "allocators/tcmalloc/tcmalloc.h"

typedef struct count {
    size_t free, slots, ends;
} count;

static count count_central(const tc_heap *heap) {
    count sum = {0};
    for (unsigned class = 1; class < heap->base.classes.count; class++) {
        const tc_class *shape = &heap->base.classes.of[class];
        const tc_central *central = &heap->central[class];
        sum.free += central->spans.free * shape->bytes;
        sum.slots += (size_t)central->used * shape->batch * shape->bytes;
        sum.ends += central->spans.count * al_tc_end_bytes(shape);
    }
    return sum;
}

static size_t count_cached(const tc_heap *heap) {
    size_t bytes = 0;
    for (const tc_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        if (!thread->lost) bytes += al_tc_cached(thread);
    return bytes;
}

static size_t count_own(const tc_heap *heap) {
    size_t bytes = 0;
    for (unsigned i = 0; i < TC_OWN_BLOCKS; i++)
        if (heap->own[i] != NULL) bytes += heap->base.classes.of[al_tc_own_class(heap, i)].bytes;
    return bytes;
}

/* What a thread just moves between its cache and a central list may be missed, or counted in both. */
al_ledger al_tc_ledger(al_heap *base) {
    tc_heap *heap = al_tc_of(base);
    al_tc_hold(heap);
    const count central = count_central(heap);
    const size_t mapped = al_regions_counters(base->regions)->mapped;
    al_ledger ledger = {
        .free = heap->pages.normal_bytes + heap->pages.returned_bytes + central.free,
        .metadata = mapped - heap->pages.system_bytes + central.ends + count_own(heap),
    };
    const size_t taken = mapped - ledger.free - ledger.metadata;
    ledger.cached = al_min(central.slots + count_cached(heap), taken);
    ledger.usable = taken - ledger.cached;
    al_tc_let_go(heap);
    return ledger;
}
