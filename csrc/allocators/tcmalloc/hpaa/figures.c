#include "allocators/tcmalloc/hpaa/figures.h"

static void add_class(hp_figures *f, const hp_heap *heap, unsigned class) {
    const hp_class *shared = &heap->classes[class];
    const tc_class *shape = al_hp_shape(heap, class);
    f->transfer += (uint64_t)shared->used * shape->bytes;
    f->central += shared->spans.free * shape->bytes;
    f->tails += shared->spans.count * al_tc_end_bytes(shape);
    f->spans += shared->spans.count;
    f->takes += shared->takes;
    f->take_misses += shared->take_misses;
    f->gives += shared->gives;
    f->give_misses += shared->give_misses;
    f->contended += shared->contended;
    f->populated += shared->populated;
    f->emptied += shared->emptied;
    f->large_pages -= shared->spans.count * shape->pages;
}

static void add_cpu(hp_figures *f, const hp_heap *heap, const hp_cpu *cpu) {
    f->cpu += al_hp_cpu_bytes(heap, cpu);
    f->cpu_capacity += cpu->capacity;
    f->underflows += cpu->underflows;
    f->overflows += cpu->overflows;
}

/* All but what only pages know; all locks are held. */
static hp_figures count(const hp_heap *heap) {
    const uint64_t in_use_bytes = (uint64_t)heap->pages.in_use_pages << TC_PAGE_BITS;
    hp_figures f = {
        .mapped = al_regions_counters(heap->base.heap.regions)->mapped,
        .metadata = heap->pages.metadata_bytes,
        .large_pages = heap->pages.in_use_pages,
    };
    for (unsigned i = 1; i < HP_CLASSES; i++) add_class(&f, heap, i);
    for (unsigned i = 0; i < heap->params.cpus; i++) add_cpu(&f, heap, &heap->cpus[i]);
    f.in_use = in_use_bytes - f.tails - f.cpu - f.transfer - f.central;
    f.page_free = f.mapped - f.metadata - in_use_bytes;
    return f;
}

hp_figures al_hp_figures(hp_heap *heap) {
    al_hp_hold(heap);
    hp_figures f = count(heap);
    f.pages = al_hp_pages_figures(heap);
    al_hp_let_go(heap);
    return f;
}

al_ledger al_hp_ledger(al_heap *heap) {
    al_hp_hold(al_hp_of(heap));
    const hp_figures f = count(al_hp_of(heap));
    al_hp_let_go(al_hp_of(heap));
    return (al_ledger){
        .usable = f.in_use,
        .metadata = f.metadata + f.tails,
        .cached = f.cpu + f.transfer,
        .free = f.central + f.page_free,
    };
}

void al_hp_mallinfo(al_heap *heap, struct mallinfo2 *out) {
    const hp_figures f = al_hp_figures(al_hp_of(heap));
    *out = (struct mallinfo2){
        .arena = f.mapped - f.metadata,
        .uordblks = f.in_use,
        .fordblks = f.page_free,
        .fsmblks = f.cpu + f.transfer + f.central + f.tails,
    };
}

size_t al_hp_stats(al_heap *heap, al_stat *out, size_t room) {
    const hp_figures f = al_hp_figures(al_hp_of(heap));
    const al_stat figures[] = {
        {"cpu_cache_bytes", f.cpu},
        {"cpu_cache_capacity", f.cpu_capacity},
        {"underflows", f.underflows},
        {"overflows", f.overflows},
        {"transfer_cache_bytes", f.transfer},
        {"transfer_takes", f.takes},
        {"transfer_take_misses", f.take_misses},
        {"transfer_gives", f.gives},
        {"transfer_give_misses", f.give_misses},
        {"central_contended", f.contended},
        {"central_bytes", f.central},
        {"spans", f.spans},
        {"spans_populated", f.populated},
        {"spans_emptied", f.emptied},
        {"large_bytes", f.large_pages << TC_PAGE_BITS},
        {"page_heap_free", f.pages.backed_free},
        {"page_heap_unmapped", f.pages.unbacked},
        {"filler_free", f.pages.filler_free},
        {"filler_longest_free", f.pages.longest_free},
        {"filler_unmapped", f.pages.filler_unbacked},
        {"hugepage_cache", f.pages.cache_free},
        {"regions_free", f.pages.regions_free},
        {"regions_unmapped", f.pages.regions_unbacked},
        {"donated", f.pages.donated_pages << TC_PAGE_BITS},
        {"slack", f.pages.slack_pages << TC_PAGE_BITS},
        {"abandoned", f.pages.abandoned_pages << TC_PAGE_BITS},
        {"subreleased", f.pages.subreleased_pages << TC_PAGE_BITS},
        {"released", f.pages.released_bytes},
        {"hugepages", f.pages.hugepages},
        {"hugepages_whole", f.pages.hugepages_whole},
        {"hugepage_coverage", f.pages.covered},
        {"hugepage_cache_bytes", f.pages.cache_free},
        {"metadata_bytes", f.metadata},
    };
    const size_t known = sizeof figures / sizeof *figures;
    memcpy(out, figures, al_min(room, known) * sizeof *figures);
    return known;
}
