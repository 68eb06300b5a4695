/* The stretches of a heap in address order. VMAs lead the way: what lies next to each other in one VMA is told apart by
 * the bases' blocks and by the map. */
#include "allocators/jemalloc/inspect.h"

/* --- arenas --- */

je_arena *al_je_arena_from(const je_heap *heap, unsigned *number) {
    for (; *number < JE_ARENAS_MOST; ++*number)
        if (al_je_arena(heap, *number) != NULL) return al_je_arena(heap, *number);
    return NULL;
}

bool al_je_arena_known(const je_heap *heap, const je_arena *arena) {
    return al_je_readable(heap, arena, al_je_arena_bytes(heap), _Alignof(je_arena)) && arena->number < JE_ARENAS_MOST &&
           al_je_arena(heap, arena->number) == arena;
}

static void hold(je_heap *heap) {
    al_je_hold(heap);
    al_lock_take(&heap->heap.lock);
}

static void release(je_heap *heap) {
    al_lock_drop(&heap->heap.lock);
    al_je_let_go(heap);
}

/* --- what is gathered --- */

bool al_je_block_sound(const je_heap *heap, const je_block *block) {
    return al_je_readable(heap, block, sizeof *block, _Alignof(je_block)) && block->start <= (uintptr_t)block &&
           (uintptr_t)(block + 1) <= block->at && block->at <= block->end && al_is_aligned(block->start, JE_PAGE) &&
           al_is_aligned(block->end, JE_PAGE) &&
           al_je_readable(heap, (const void *)block->start, block->end - block->start, JE_PAGE);
}

static void gather_blocks(je_look *look, je_arena *arena) {
    size_t count = 0;
    for (const je_block *block = arena->base.blocks; block != NULL && count < JE_BLOCKS_MOST; block = block->next) {
        if (!al_je_block_sound(look->heap, block)) return;
        al_finds_add(&look->blocks, block->start, block->end, arena);
        count++;
    }
}

bool al_je_stack_sound(const je_heap *heap, const je_thread *thread, unsigned class) {
    const je_stack *stack = &thread->stacks[class];
    if (stack->full == stack->bottom) return stack->top == stack->full && stack->low == stack->full;
    uintptr_t slots = (uintptr_t)thread->slots, full = (uintptr_t)stack->full, bottom = (uintptr_t)stack->bottom;
    uintptr_t top = (uintptr_t)stack->top, low = (uintptr_t)stack->low;
    bool inside = slots != 0 && slots <= full && bottom - slots <= heap->slots_bytes;
    return inside && full <= top && top <= low && low <= bottom && ((full | top | low | bottom) & 7) == 0 &&
           al_je_readable(heap, thread->slots, heap->slots_bytes, 8);
}

static void gather_slots(je_look *look, je_thread *thread) {
    if (thread->slots != NULL) al_finds_add(&look->kept, (uintptr_t)thread->slots, JE_SLOTS, thread);
}

static void gather_kept(je_look *look, je_thread *thread) {
    gather_slots(look, thread);
    for (unsigned class = 0; class < JE_CACHE_CLASSES; class++) {
        const je_stack *stack = &thread->stacks[class];
        if (!al_je_stack_sound(look->heap, thread, class)) continue;
        for (void **at = stack->top; at < stack->bottom; at++)
            al_finds_add(&look->kept, (uintptr_t)*at, class, thread);
    }
}

void al_je_look_open(je_look *look, je_heap *heap) {
    je_arena *arena;
    look->heap = heap;
    hold(heap);
    al_finds_open(&look->blocks, heap->heap.regions);
    al_finds_open(&look->kept, heap->heap.regions);
    for (unsigned i = 0; (arena = al_je_arena_from(heap, &i)) != NULL; i++) gather_blocks(look, arena);
    for (je_thread *thread = heap->threads; thread != NULL; thread = thread->next) gather_kept(look, thread);
    for (je_thread *thread = heap->lost; thread != NULL; thread = thread->next) gather_slots(look, thread);
    al_finds_sort(&look->blocks);
    al_finds_sort(&look->kept);
}

void al_je_look_close(je_look *look) {
    al_finds_close(&look->blocks);
    al_finds_close(&look->kept);
    release(look->heap);
}

/* --- extents --- */

al_page_word al_je_word_at(const je_heap *heap, uintptr_t address) {
    if (address >> 47 != 0) return 0;
    al_pages_leaf *leaf = al_pages_leaf_of(&heap->map, al_je_page_of(address));
    if (leaf == NULL || !al_je_readable(heap, leaf, sizeof *leaf, _Alignof(al_pages_leaf))) return 0;
    return al_je_word(&heap->map, address);
}

/* Damaged, it may be neither true nor false. */
static bool is_flag(const bool *flag) { return *(const unsigned char *)flag <= 1; }

/* Whether what it says of its blocks can be. */
static bool sound_active(const je_heap *heap, const je_extent *extent) {
    if (extent->class >= JE_CLASSES) return false;
    if (al_je_is_slab(extent))
        return extent->bytes == al_je_layout(heap, extent)->slab_bytes &&
               extent->shard < al_je_shards(heap, extent->class);
    const size_t usable = al_je_class_bytes(extent->class);
    return usable <= extent->bytes && extent->offset <= extent->bytes - usable;
}

static bool sound(const je_heap *heap, const je_extent *extent) {
    bool flags = is_flag(&extent->head) && is_flag(&extent->zeroed) && is_flag(&extent->internal);
    return flags && extent->state < JE_STATES && al_je_arena_known(heap, extent->arena) &&
           (extent->state != JE_ACTIVE || sound_active(heap, extent));
}

je_extent *al_je_extent_at(const je_heap *heap, uintptr_t address, uintptr_t end) {
    je_extent *extent = al_je_word_extent(al_je_word_at(heap, address));
    if (!al_je_readable(heap, extent, sizeof *extent, sizeof *extent) || extent->address != address) return NULL;
    bool fits = extent->bytes > 0 && extent->bytes <= end - address && al_is_aligned(extent->bytes, JE_PAGE);
    if (!fits || al_je_word_extent(al_je_word_at(heap, al_je_end(extent) - JE_PAGE)) != extent) return NULL;
    return sound(heap, extent) ? extent : NULL;
}

bool al_je_extent_known(const je_heap *heap, const je_extent *extent) {
    al_vma vma;
    return al_je_readable(heap, extent, sizeof *extent, sizeof *extent) &&
           al_is_aligned(extent->address, JE_PAGE) &&
           al_regions_vma_after(heap->heap.regions, extent->address, &vma) && vma.start <= extent->address &&
           vma.prot == AL_PROT_READ_WRITE && al_je_extent_at(heap, extent->address, vma.end) == extent;
}

/* --- stretches --- */

/* The stretch that begins at out->start and ends by out->end, if anything does there. */
static bool begin(const je_look *look, je_stretch *out) {
    const al_find *block = al_finds_at(&look->blocks, out->start);
    if (block != NULL) {
        *out = (je_stretch){JE_METADATA, out->start, block->next, block->what, NULL};
        return true;
    }
    je_extent *extent = al_je_extent_at(look->heap, out->start, out->end);
    if (extent != NULL) *out = (je_stretch){JE_EXTENT, out->start, al_je_end(extent), extent->arena, extent};
    return extent != NULL;
}

bool al_je_stretch_after(const je_look *look, uintptr_t at, je_stretch *out) {
    al_vma vma;
    do {
        if (!al_regions_vma_after(look->heap->heap.regions, at, &vma)) return false;
        at = al_max(at, vma.start);
    } while (vma.prot != AL_PROT_READ_WRITE && (at = vma.end));
    *out = (je_stretch){JE_LOST, at, vma.end, NULL, NULL};
    if (begin(look, out)) return true;
    if (al_je_word_at(look->heap, at) != 0) out->kind = JE_STRANGE;
    je_stretch next;
    do {
        at += JE_PAGE;
        next = (je_stretch){JE_LOST, at, vma.end, NULL, NULL};
    } while (at < vma.end && !begin(look, &next));
    out->end = al_min(at, vma.end);
    return true;
}
