/* What is kept, and the stretches of a heap in address order. VMAs lead the way; in them the map says where spans
 * begin. What is in no span is the allocator's own. */
#include "allocators/tcmalloc/inspect.h"

/* --- what is kept --- */

static void gather_chain(tc_look *look, void *head, unsigned class, tc_thread *thread) {
    for (tc_trail t = {0}; al_tc_trail_next(look->heap, head, sizeof(void *), &t);)
        al_finds_add(&look->kept, (uintptr_t)t.at, class, thread);
}

static void gather_slots(tc_look *look, unsigned class) {
    const tc_central *central = &look->heap->central[class];
    for (unsigned i = 0; i < al_min(central->used, TC_SLOTS_MOST); i++)
        gather_chain(look, central->transfer[i].head, class, NULL);
}

static void gather_cached(tc_look *look, tc_thread *thread) {
    for (unsigned class = 1; class < look->heap->base.classes.count; class++)
        gather_chain(look, thread->lists[class].head, class, thread);
}

void al_tc_look_open(tc_look *look, tc_heap *heap) {
    look->heap = heap;
    al_tc_hold(heap);
    al_finds_open(&look->kept, heap->base.heap.regions);
    for (tc_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        if (!thread->lost) gather_cached(look, thread);
    for (unsigned class = 1; class < heap->base.classes.count; class++) gather_slots(look, class);
    al_finds_sort(&look->kept);
}

void al_tc_look_close(tc_look *look) {
    al_finds_close(&look->kept);
    al_tc_let_go(look->heap);
}

bool al_tc_is_own(const tc_heap *heap, uintptr_t object) {
    for (unsigned i = 0; i < TC_OWN_BLOCKS; i++)
        if ((uintptr_t)heap->own[i] == object) return true;
    return false;
}

/* --- spans --- */

al_page_word al_tc_word_at(const tc_heap *heap, uintptr_t page) {
    if (page >> (AL_PAGES_LEAF_BITS + AL_PAGES_ROOT_BITS) != 0) return 0;
    const al_pages_leaf *leaf = al_pages_leaf_of(&heap->base.map, page);
    return leaf != NULL && al_tc_readable(heap, leaf, sizeof *leaf) ? al_pages_get(&heap->base.map, page) : 0;
}

/* Whether all of it is mapped; it may reach from one VMA into the next. */
static bool is_mapped(const tc_heap *heap, uintptr_t from, uintptr_t to) {
    al_vma vma;
    for (; from < to; from = vma.end) {
        if (!al_regions_vma_after(heap->base.heap.regions, from, &vma)) return false;
        if (vma.start > from || vma.prot != AL_PROT_READ_WRITE) return false;
    }
    return true;
}

static bool sound(const tc_heap *heap, const tc_span *span) {
    if (span->location >= TC_SPARE || span->class >= heap->base.classes.count) return false;
    return span->class == 0 ||
           (span->location == TC_IN_USE && span->pages == heap->base.classes.of[span->class].pages);
}

tc_span *al_tc_span_at(const tc_heap *heap, uintptr_t address) {
    const uintptr_t page = address >> TC_PAGE_BITS;
    tc_span *span = al_tc_word_span(al_tc_word_at(heap, page));
    if (!al_tc_readable(heap, span, sizeof *span) || span->address != address || !sound(heap, span)) return NULL;
    const bool fits = span->pages > 0 && span->pages <= ((uintptr_t)1 << 35) - page &&
                      is_mapped(heap, address, al_tc_end(span));
    return fits && al_tc_word_span(al_tc_word_at(heap, page + span->pages - 1)) == span ? span : NULL;
}

bool al_tc_span_known(const tc_heap *heap, const tc_span *span) {
    return al_tc_readable(heap, span, sizeof *span) && al_is_aligned(span->address, TC_PAGE) &&
           al_tc_span_at(heap, span->address) == span;
}

size_t al_tc_number_of(const tc_heap *heap, const tc_span *span, uintptr_t object) {
    const tc_class *shape = al_tc_shape(heap, span);
    const uintptr_t offset = object - span->address;
    return offset % shape->bytes == 0 ? al_min(offset / shape->bytes, shape->objects) : shape->objects;
}

/* --- stretches --- */

/* What begins at out->start, where a page does. */
static void begin(const tc_heap *heap, tc_stretch *out) {
    out->span = al_tc_span_at(heap, out->start);
    if (out->span != NULL) {
        out->kind = TC_SPAN;
        out->end = al_tc_end(out->span);
    } else if (al_tc_word_at(heap, out->start >> TC_PAGE_BITS) != 0) {
        out->kind = TC_STRANGE;
    }
}

/* What is strange ends where a span begins, what is in no span also where something strange does. */
static bool ends(const tc_heap *heap, const tc_stretch *s, uintptr_t at) {
    const bool entered = al_tc_word_at(heap, at >> TC_PAGE_BITS) != 0;
    return entered && (s->kind == TC_NO_SPAN || al_tc_span_at(heap, at) != NULL);
}

bool al_tc_stretch_after(const tc_look *look, uintptr_t at, tc_stretch *out) {
    const tc_heap *heap = look->heap;
    al_vma vma;
    do {
        if (!al_regions_vma_after(heap->base.heap.regions, at, &vma)) return false;
        at = al_max(at, vma.start);
    } while (vma.prot != AL_PROT_READ_WRITE && (at = vma.end));
    *out = (tc_stretch){TC_NO_SPAN, at, vma.end, NULL};
    if (al_is_aligned(at, TC_PAGE)) begin(heap, out);
    if (out->kind == TC_SPAN) return true;
    for (at = al_align_up(at + 1, TC_PAGE); at < vma.end && !ends(heap, out, at);) at += TC_PAGE;
    out->end = al_min(at, vma.end);
    return true;
}
