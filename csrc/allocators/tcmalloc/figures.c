/* Figures, those of mallinfo, and stats. */
#include "allocators/tcmalloc/figures.h"

static void count_class(const tc_central *central, const tc_class *shape, tc_figures *out) {
    const size_t in_slots = (size_t)central->used * shape->batch;
    tc_class_figures *class = &out->classes[central->class];
    class->waste_bytes = central->spans.count * al_tc_end_bytes(shape);
    class->objects = central->spans.free + in_slots;
    out->central += central->spans.free * shape->bytes + class->waste_bytes;
    out->transfer += in_slots * shape->bytes;
    out->fetches += central->fetches;
    out->returns += central->returns;
    out->from_spans += central->from_spans;
    out->slots_full += central->slots_full;
    out->populated += central->populated;
    out->emptied += central->emptied;
    out->contended += central->contended;
}

static void count_threads(const tc_heap *heap, tc_figures *out) {
    for (const tc_thread *thread = heap->threads; thread != NULL; thread = thread->next) {
        out->threads += al_tc_cached(thread);
        for (unsigned class = 1; class < heap->base.classes.count; class++)
            out->classes[class].objects += __atomic_load_n(&thread->lists[class].length, __ATOMIC_RELAXED);
    }
}

void al_tc_count(const tc_heap *heap, tc_figures *out) {
    const tc_page_heap *pages = &heap->pages;
    *out = (tc_figures){
        .heap = pages->system_bytes,
        .normal = pages->normal_bytes,
        .returned = pages->returned_bytes,
        .free = pages->normal_bytes + pages->returned_bytes,
        .metadata = pages->handed_bytes,
        .physical = pages->system_bytes - pages->returned_bytes + pages->handed_bytes,
        .committed = pages->committed_bytes,
        .committed_total = pages->committed_total,
        .decommitted_total = pages->decommitted_total,
        .reserved_total = pages->reserved_total,
        .scavenges = pages->scavenges,
        .commits = pages->commits,
        .decommits = pages->decommits,
        .reserves = pages->reserves,
        .spans = heap->base.spans.taken,
        .caches = heap->caches.taken,
    };
    for (unsigned class = 1; class < heap->base.classes.count; class++)
        count_class(&heap->central[class], &heap->base.classes.of[class], out);
    count_threads(heap, out);
    out->in_use = out->heap - out->free - out->central - out->transfer;
    out->in_use -= al_min(out->threads, out->in_use);
}

void al_tc_figures(tc_heap *heap, tc_figures *out) {
    al_tc_hold(heap);
    al_tc_count(heap, out);
    al_tc_let_go(heap);
}

void al_tc_mallinfo(al_heap *heap, struct mallinfo2 *out) {
    tc_figures f;
    al_tc_figures(al_tc_of(heap), &f);
    *out = (struct mallinfo2){
        .arena = f.heap, .uordblks = f.in_use, .fordblks = f.free, .fsmblks = f.heap - f.in_use - f.free};
}

size_t al_tc_stats(al_heap *heap, al_stat *out, size_t room) {
    tc_figures f;
    al_tc_figures(al_tc_of(heap), &f);
    const al_stat figures[] = {
        {"allocated", f.in_use},
        {"heap_size", f.heap},
        {"page_heap_free", f.normal},
        {"page_heap_unmapped", f.returned},
        {"central_bytes", f.central},
        {"transfer_cache_bytes", f.transfer},
        {"thread_cache_bytes", f.threads},
        {"metadata_bytes", f.metadata},
        {"spans", f.spans},
        {"thread_caches", f.caches},
        {"scavenges", f.scavenges},
        {"released_spans", f.decommits},
        {"released_bytes", f.decommitted_total},
        {"fetches", f.fetches},
        {"returns", f.returns},
        {"fetches_from_spans", f.from_spans},
        {"slots_full", f.slots_full},
        {"spans_populated", f.populated},
        {"spans_emptied", f.emptied},
        {"central_contended", f.contended},
    };
    const size_t known = sizeof figures / sizeof *figures;
    memcpy(out, figures, al_min(room, known) * sizeof *figures);
    return known;
}
