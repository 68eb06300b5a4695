/* Every free byte where it is kept: on the CPUs' stacks, the last freed first; in transfer caches likewise; on spans,
 * in the order in which they are taken from; at last free pages. */
#include "allocators/tcmalloc/hpaa/inspect.h"

typedef struct viewer {
    const hp_look *look;
    al_bin_fn *visit;
    void *context;
} viewer;

static bool show(const viewer *v, const char *kind, unsigned owner, unsigned class, uintptr_t at) {
    const size_t bytes = al_hp_shape(v->look->heap, class)->bytes;
    const al_binned entry = {kind, owner, class, bytes, bytes, at, bytes};
    return v->visit(v->context, &entry);
}

/* --- caches --- */

static bool show_stack(const viewer *v, const char *kind, unsigned owner, unsigned class, void *const *slots,
                       unsigned used) {
    bool more = true;
    while (more && used > 0) more = show(v, kind, owner, class, (uintptr_t)slots[--used]);
    return more;
}

static bool show_cpus(const viewer *v) {
    const hp_heap *heap = v->look->heap;
    for (const hp_cpu *cpu = heap->cpus; cpu < heap->cpus + heap->params.cpus; cpu++)
        for (unsigned i = 1; i < HP_CLASSES; i++) {
            const hp_stack *stack = &cpu->stacks[i];
            if (!al_hp_stack_sound(heap, cpu, i)) continue;
            if (!show_stack(v, "cpu", (unsigned)(cpu - heap->cpus), i, stack->slots, stack->used)) return false;
        }
    return true;
}

static bool show_transfer(const viewer *v) {
    const hp_heap *heap = v->look->heap;
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        const hp_class *shared = &heap->classes[i];
        if (!al_hp_transfer_sound(heap, i)) continue;
        if (!show_stack(v, "transfer", 0, i, shared->transfer, shared->used)) return false;
    }
    return true;
}

/* --- spans --- */

static bool show_span(const viewer *v, const hp_span *span) {
    const hp_heap *heap = v->look->heap;
    const unsigned class = span->span.class, objects = al_hp_shape(heap, class)->objects;
    uint64_t free[HP_MAP_WORDS];
    if (!al_hp_free_objects(heap, span, free)) return true;
    for (size_t i = 0; (i = al_bitmap_next(free, objects, i)) < objects; i++)
        if (!show(v, "span", 0, class, al_hp_object(heap, span, (unsigned)i))) return false;
    return true;
}

static bool show_spans(const viewer *v) {
    for (unsigned class = 1; class < HP_CLASSES; class++)
        for (hp_member m = {0}; al_hp_listed_next(v->look->heap, class, &m);)
            if (!show_span(v, m.span)) return false;
    return true;
}

void al_hp_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    hp_look look;
    const viewer v = {&look, visit, context};
    al_hp_look_open(&look, al_hp_of(heap));
    if (show_cpus(&v) && show_transfer(&v) && show_spans(&v)) al_hp_pages_bins(look.heap, visit, context);
    al_hp_look_close(&look);
}
