#include "allocators/tcmalloc/hpaa/inspect.h"

/* --- what caches keep --- */

bool al_hp_stack_sound(const hp_heap *heap, const hp_cpu *cpu, unsigned class) {
    const hp_stack *stack = &cpu->stacks[class];
    const size_t slots = heap->depths[class] + 1;
    return stack->used <= stack->capacity && stack->capacity <= heap->depths[class] &&
           (stack->slots == NULL
                ? stack->used == 0
                : al_readable(heap->base.heap.regions, stack->slots, slots * sizeof *stack->slots, sizeof(void *)));
}

bool al_hp_transfer_sound(const hp_heap *heap, unsigned class) {
    const hp_class *shared = &heap->classes[class];
    const size_t bytes = shared->most * sizeof *shared->transfer;
    return shared->used <= shared->capacity && shared->capacity <= shared->most &&
           (shared->transfer == NULL ? shared->used == 0
                                     : al_readable(heap->base.heap.regions, shared->transfer, bytes, sizeof(void *)));
}

static void gather(hp_look *look, void *const *objects, unsigned count, unsigned class, hp_cpu *cpu) {
    for (unsigned i = 0; i < count; i++) al_finds_add(&look->kept, (uintptr_t)objects[i], class, cpu);
}

void al_hp_look_open(hp_look *look, hp_heap *heap) {
    look->heap = heap;
    al_hp_hold(heap);
    al_finds_open(&look->kept, heap->base.heap.regions);
    for (unsigned class = 1; class < HP_CLASSES; class++) {
        const hp_class *shared = &heap->classes[class];
        if (al_hp_transfer_sound(heap, class)) gather(look, shared->transfer, shared->used, class, NULL);
        for (hp_cpu *cpu = heap->cpus; cpu < heap->cpus + heap->params.cpus; cpu++)
            if (al_hp_stack_sound(heap, cpu, class))
                gather(look, cpu->stacks[class].slots, cpu->stacks[class].used, class, cpu);
    }
    al_finds_sort(&look->kept);
}

void al_hp_look_close(hp_look *look) {
    al_finds_close(&look->kept);
    al_hp_let_go(look->heap);
}

/* --- spans --- */

al_page_word al_hp_word_at(const hp_heap *heap, uintptr_t page) {
    if (page >> (AL_PAGES_LEAF_BITS + AL_PAGES_ROOT_BITS) != 0) return 0;
    const al_pages_leaf *leaf = al_pages_leaf_of(&heap->base.map, page);
    if (leaf == NULL || !al_readable(heap->base.heap.regions, leaf, sizeof *leaf, sizeof(al_page_word))) return 0;
    return al_pages_get(&heap->base.map, page);
}

static bool sound(const hp_heap *heap, const tc_span *span) {
    if (span->location != TC_IN_USE || span->class >= HP_CLASSES) return false;
    if (span->class == 0) return true;
    const tc_class *shape = al_hp_shape(heap, span->class);
    return span->pages == shape->pages && span->live <= shape->objects;
}

hp_span *al_hp_span_at(const hp_heap *heap, uintptr_t address, uintptr_t end) {
    const uintptr_t page = address >> TC_PAGE_BITS;
    tc_span *span = al_tc_word_span(al_hp_word_at(heap, page));
    if (span == NULL || !al_readable(heap->base.heap.regions, span, sizeof(hp_span), _Alignof(hp_span))) return NULL;
    const bool fits = span->address == address && span->pages > 0 && span->pages <= (end - address) >> TC_PAGE_BITS;
    if (!fits || al_tc_word_span(al_hp_word_at(heap, page + span->pages - 1)) != span) return NULL;
    return sound(heap, span) ? al_hp_span_of(span) : NULL;
}

bool al_hp_span_known(const hp_heap *heap, const tc_span *span) {
    al_regions *regions = heap->base.heap.regions;
    al_vma vma;
    return al_readable(regions, span, sizeof(hp_span), _Alignof(hp_span)) &&
           al_is_aligned(span->address, TC_PAGE) && al_regions_vma_after(regions, span->address, &vma) &&
           vma.start <= span->address && vma.prot == AL_PROT_READ_WRITE &&
           al_hp_span_at(heap, span->address, vma.end) == (const hp_span *)span;
}

typedef struct free_map {
    uint64_t *map;
    unsigned objects;
} free_map;

static bool mark(void *context, unsigned index) {
    const free_map *free = context;
    if (index >= free->objects || al_bitmap_test(free->map, index)) return false;
    al_bitmap_set(free->map, index);
    return true;
}

bool al_hp_free_objects(const hp_heap *heap, const hp_span *span, uint64_t free[HP_MAP_WORDS]) {
    const tc_class *shape = al_hp_shape(heap, span->span.class);
    free_map marks = {free, shape->objects};
    memset(free, 0, HP_MAP_WORDS * sizeof *free);
    if (!al_hp_has_bitmap(shape)) return al_hp_indices_visit(span, shape, mark, &marks);
    memcpy(free, span->free, sizeof span->free);
    return al_bitmap_next(free, (size_t)HP_MAP_WORDS * 64, shape->objects) == (size_t)HP_MAP_WORDS * 64;
}

/* --- stretches --- */

/* The stretch that begins at out->start and ends by out->end, if anything but free pages does there. */
static bool begin(const hp_look *look, hp_stretch *out) {
    uintptr_t end;
    if (al_hp_metadata_at(look->heap, out->start, &end) && end > out->start) {
        *out = (hp_stretch){HP_METADATA, out->start, al_min(end, out->end), NULL};
        return true;
    }
    hp_span *span = al_hp_span_at(look->heap, out->start, out->end);
    if (span != NULL) *out = (hp_stretch){HP_SPAN, out->start, al_tc_end(&span->span), span};
    return span != NULL;
}

bool al_hp_stretch_after(const hp_look *look, uintptr_t at, hp_stretch *out) {
    al_vma vma;
    do {
        if (!al_regions_vma_after(look->heap->base.heap.regions, at, &vma)) return false;
        at = al_max(at, vma.start);
    } while (vma.prot != AL_PROT_READ_WRITE && (at = vma.end));
    *out = (hp_stretch){HP_FREE, at, vma.end, NULL};
    if (begin(look, out)) return true;
    hp_stretch next;
    do {
        at += TC_PAGE;
        next = (hp_stretch){HP_FREE, at, vma.end, NULL};
    } while (at < vma.end && !begin(look, &next));
    out->end = al_min(at, vma.end);
    return true;
}
