/* All that is known of the piece that holds an address. */
#include "allocators/jemalloc/inspect.h"
#include "parts/facts.h"

/* --- what it could serve --- */

/* Pages for a request of this class. */
static size_t pages_bytes(const je_heap *heap, unsigned class) {
    return class < JE_SMALL_CLASSES ? heap->layouts[class].slab_bytes : al_je_class_bytes(class) + heap->params.pad;
}

static size_t class_least(unsigned class) { return class == 0 ? 0 : al_je_class_bytes(class - 1) + 1; }

/* The requests that a free extent may be cut for: of its bytes, unless it is dirty and they are too few. */
static void tell_serves(al_facts *f, const je_heap *heap, const je_extent *extent) {
    unsigned fit = extent->state == JE_DIRTY ? heap->params.active_fit : 64;
    size_t least = fit < 64 ? al_je_page_class_bytes(al_je_extents_queue(extent->bytes)) >> fit : 0;
    unsigned first = JE_NO_CLASS, last = 0;
    for (unsigned class = 0; class < JE_CLASSES && al_je_class_bytes(class) <= extent->bytes; class++) {
        size_t bytes = pages_bytes(heap, class);
        if (bytes > extent->bytes || bytes < least) continue;
        if (first == JE_NO_CLASS) first = class;
        last = class;
    }
    if (first == JE_NO_CLASS) return;
    al_tell_bytes(f, "serves from", class_least(first));
    al_tell_bytes(f, "serves to", al_je_class_bytes(last));
}

/* --- the parts of a piece --- */

static void tell_extent(al_facts *f, const je_extent *extent) {
    al_tell_address(f, "extent", (const void *)extent->address);
    al_tell_bytes(f, "extent bytes", extent->bytes);
    al_tell_count(f, "serial", extent->serial);
    al_tell_flag(f, "head", extent->head);
}

static void tell_class(al_facts *f, unsigned class) {
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "class bytes", al_je_class_bytes(class));
}

static void tell_keeper(al_facts *f, const al_find *kept) {
    const je_thread *thread = kept->what;
    al_tell_count(f, "thread", thread->thread.id);
    if (kept->next == JE_SLOTS) return;
    const je_stack *stack = &thread->stacks[kept->next];
    void **at = stack->top;
    while (at < stack->bottom && (uintptr_t)*at != kept->key) at++;
    al_tell_count(f, "position", (uint64_t)(at - stack->top));
}

/* What nobody but the program or a thread's cache has. */
static void tell_block(al_facts *f, const je_look *look, uintptr_t block, bool internal) {
    const al_find *kept = al_finds_at(&look->kept, block);
    bool is_slots = internal || (kept != NULL && kept->next == JE_SLOTS);
    al_tell_text(f, "what", is_slots ? "thread cache" : kept != NULL ? "cached" : "live");
    if (kept != NULL) tell_keeper(f, kept);
}

static void tell_slab(al_facts *f, const je_look *look, const je_extent *slab, uintptr_t address) {
    const je_slab_layout *layout = al_je_layout(look->heap, slab);
    unsigned region = (unsigned)((address - slab->address) / layout->bytes);
    bool is_region = region < layout->regions, is_free = is_region && al_bitmap_test(slab->free, region);
    if (!is_region)
        al_tell_text(f, "what", "slab tail");
    else if (is_free)
        al_tell_text(f, "what", "free");
    else
        tell_block(f, look, al_je_region(look->heap, slab, region), false);
    tell_class(f, slab->class);
    tell_extent(f, slab);
    if (is_region) al_tell_count(f, "number in slab", region);
    al_tell_count(f, "regions", layout->regions);
    al_tell_count(f, "free regions", slab->free_regions);
    al_tell_count(f, "shard", slab->shard);
    al_tell_flag(f, "current slab", al_je_shard_of(look->heap, slab)->current == slab);
    if (!is_free) return;
    al_tell_bytes(f, "serves from", class_least(slab->class));
    al_tell_bytes(f, "serves to", layout->bytes);
}

static void tell_large(al_facts *f, const je_look *look, const je_extent *large) {
    tell_block(f, look, al_je_block(large), large->internal);
    tell_class(f, large->class);
    tell_extent(f, large);
    al_tell_bytes(f, "offset", large->offset);
}

/* Rank 0 is purged next. */
static void tell_recency(al_facts *f, const je_look *look, const je_extent *extent) {
    je_extents *set = al_je_extents_of(extent->arena, extent->state);
    for (je_member m = {0}; al_je_recency_next(look->heap, set, &m);)
        if (m.extent == extent) al_tell_count(f, "recency", m.position);
}

static void tell_free(al_facts *f, const je_look *look, const je_extent *extent) {
    al_tell_text(f, "what", al_je_state_name(extent->state));
    tell_extent(f, extent);
    al_tell_flag(f, "zeroed", extent->zeroed);
    al_tell_count(f, "queue", al_je_extents_queue(extent->bytes));
    tell_recency(f, look, extent);
    tell_serves(f, look->heap, extent);
}

/* --- where it is --- */

static void tell_metadata(al_facts *f, const je_heap *heap, const je_arena *arena, uintptr_t start) {
    al_tell_text(f, "what", "metadata");
    al_tell_address(f, "base block", (const void *)start);
    const je_block *block = arena->base.blocks;
    while (al_je_block_sound(heap, block) && block->start != start) block = block->next;
    if (al_je_block_sound(heap, block)) al_tell_bytes(f, "used", block->at - block->start);
}

static void tell_stretch(al_facts *f, const je_look *look, const je_stretch *s, uintptr_t address) {
    if (s->arena != NULL) al_tell_count(f, "arena", s->arena->number);
    if (s->kind == JE_METADATA)
        tell_metadata(f, look->heap, s->arena, s->start);
    else if (s->kind != JE_EXTENT)
        al_tell_text(f, "what", s->kind == JE_LOST ? "lost" : "damaged");
    else if (s->extent->state != JE_ACTIVE)
        tell_free(f, look, s->extent);
    else if (al_je_is_slab(s->extent))
        tell_slab(f, look, s->extent, address);
    else
        tell_large(f, look, s->extent);
}

static bool find(const je_look *look, uintptr_t address, je_stretch *s) {
    al_vma vma;
    if (!al_regions_vma_after(look->heap->heap.regions, address, &vma)) return false;
    for (s->end = vma.start; s->end <= address;)
        if (!al_je_stretch_after(look, s->end, s)) return false;
    return s->start <= address;
}

size_t al_je_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    al_facts f = {.out = out, .room = room};
    je_look look;
    je_stretch s;
    al_je_look_open(&look, al_je_of(heap));
    if (find(&look, address, &s)) tell_stretch(&f, &look, &s, address);
    al_je_look_close(&look);
    return f.count;
}
