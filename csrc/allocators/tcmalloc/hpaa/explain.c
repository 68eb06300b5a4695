/* All that is known of the piece that holds an address. */
#include "allocators/tcmalloc/hpaa/inspect.h"

static size_t class_least(const hp_heap *heap, unsigned class) {
    return class <= 2 ? 0 : al_hp_shape(heap, class - 1)->bytes + 1; /* class 1 serves nobody */
}

static void tell_span(al_facts *f, const hp_heap *heap, const hp_span *span) {
    const tc_class *shape = al_hp_shape(heap, span->span.class);
    al_tell_count(f, "class", span->span.class);
    al_tell_bytes(f, "class bytes", shape->bytes);
    al_tell_address(f, "span", (const void *)span->span.address);
    al_tell_count(f, "span pages", span->span.pages);
    al_tell_count(f, "objects", shape->objects);
    al_tell_count(f, "objects out", span->span.live);
    al_tell_count(f, "list", span->span.list);
}

/* Position 0 is handed out next. */
static void tell_keeper(al_facts *f, const hp_heap *heap, const al_find *kept) {
    const hp_cpu *cpu = kept->what;
    const unsigned class = (unsigned)kept->next;
    void *const *slots = cpu != NULL ? cpu->stacks[class].slots : heap->classes[class].transfer;
    const unsigned used = cpu != NULL ? cpu->stacks[class].used : heap->classes[class].used;
    unsigned at = 0;
    while (at < used && (uintptr_t)slots[at] != kept->key) at++;
    al_tell_text(f, "cache", cpu != NULL ? "CPU" : "transfer");
    if (cpu != NULL) al_tell_count(f, "CPU", (uint64_t)(cpu - heap->cpus));
    al_tell_count(f, "position", used - 1 - at);
}

static void tell_object(al_facts *f, const hp_look *look, const hp_span *span, uintptr_t address) {
    const hp_heap *heap = look->heap;
    const tc_class *shape = al_hp_shape(heap, span->span.class);
    const size_t index = (address - span->span.address) / shape->bytes;
    uint64_t free[HP_MAP_WORDS];
    const bool sound = al_hp_free_objects(heap, span, free), tail = index >= shape->objects;
    const bool is_free = sound && !tail && al_bitmap_test(free, index);
    const al_find *kept = tail ? NULL : al_finds_at(&look->kept, al_hp_object(heap, span, (unsigned)index));
    al_tell_text(f, "what", !sound ? "damaged" : tail ? "end of a span" : is_free ? "free" : kept ? "cached" : "live");
    if (kept != NULL) tell_keeper(f, heap, kept);
    tell_span(f, heap, span);
    if (tail) return;
    al_tell_count(f, "number in span", index);
    if (!is_free && kept == NULL) return;
    al_tell_bytes(f, "serves from", class_least(heap, span->span.class));
    al_tell_bytes(f, "serves to", shape->bytes);
}

static void tell_stretch(al_facts *f, const hp_look *look, const hp_stretch *s, uintptr_t address) {
    if (s->kind == HP_METADATA) {
        al_tell_text(f, "what", "metadata");
    } else if (s->kind == HP_FREE) {
        al_tell_text(f, "what", "free pages");
    } else if (s->span->span.class != 0) {
        tell_object(f, look, s->span, address);
    } else {
        al_tell_text(f, "what", "live");
        al_tell_count(f, "class", 0);
        al_tell_address(f, "span", (const void *)s->span->span.address);
        al_tell_count(f, "span pages", s->span->span.pages);
    }
    if (s->kind != HP_METADATA) al_hp_pages_explain(look->heap, address, f);
}

static bool find(const hp_look *look, uintptr_t address, hp_stretch *s) {
    al_vma vma;
    if (!al_regions_vma_after(look->heap->base.heap.regions, address, &vma)) return false;
    for (s->end = vma.start; s->end <= address;)
        if (!al_hp_stretch_after(look, s->end, s)) return false;
    return s->start <= address;
}

size_t al_hp_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    al_facts f = {.out = out, .room = room};
    hp_look look;
    hp_stretch s;
    al_hp_look_open(&look, al_hp_of(heap));
    if (find(&look, address, &s)) tell_stretch(&f, &look, &s, address);
    al_hp_look_close(&look);
    return f.count;
}
