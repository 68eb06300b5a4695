/* Sets of free extents.
 *
 * Queue 0 holds single pages, queue i the extents of bytes with
 *
 *     page class i - 1 <= bytes - page < page class i
 *
 * as if each carried the pad of a large block: a hole left by one is then exactly in the place where a request for its
 * like begins to look. From that queue on, every extent is large enough. */
#include "allocators/jemalloc/jemalloc.h"

/* The first queue all whose extents hold `bytes`. */
static unsigned queue_from(size_t bytes) {
    return bytes == JE_PAGE ? 0 : 1 + al_je_page_class_of(bytes - JE_PAGE);
}

unsigned al_je_extents_queue(size_t bytes) {
    unsigned from = queue_from(bytes);
    bool exact = from == 0 || al_je_page_class_bytes(from - 1) == bytes - JE_PAGE;
    return exact ? from : from - 1;
}

void al_je_extents_init(je_extents *set, je_state state) {
    set->state = state;
    al_list_init(&set->recency);
}

void al_je_extents_insert(je_extents *set, je_extent *extent) {
    unsigned queue = al_je_extents_queue(extent->bytes);
    extent->state = (uint8_t)set->state;
    al_je_queue_insert(&set->queues[queue], extent);
    al_bitmap_set(set->nonempty, queue);
    set->counts[queue]++;
    set->bytes[queue] += extent->bytes;
    al_list_insert_before(&set->recency, &extent->recency);
    set->pages += extent->bytes / JE_PAGE;
}

void al_je_extents_remove(je_extents *set, je_extent *extent) {
    unsigned queue = al_je_extents_queue(extent->bytes);
    al_je_queue_remove(&set->queues[queue], extent);
    if (set->queues[queue].root == NULL) al_bitmap_clear(set->nonempty, queue);
    set->counts[queue]--;
    set->bytes[queue] -= extent->bytes;
    al_list_remove(&extent->recency);
    set->pages -= extent->bytes / JE_PAGE;
}

/* The oldest and lowest of all that are large enough, not the one that fits best. */
static je_extent *first_fit(je_extents *set, size_t bytes, unsigned active_fit) {
    je_extent *best = NULL;
    unsigned queue = queue_from(bytes);
    while ((queue = (unsigned)al_bitmap_next(set->nonempty, JE_PAGE_CLASSES, queue)) < JE_PAGE_CLASSES) {
        if (active_fit < 64 && al_je_page_class_bytes(queue) >> active_fit > bytes) break;
        je_extent *first = al_je_queue_first(&set->queues[queue]);
        if (best == NULL || al_je_before(first, best)) best = first;
        queue++;
    }
    return best;
}

/* Of those that may or may not hold it, each queue's first is tried, the smallest first. */
static je_extent *aligned_fit(je_extents *set, size_t bytes, size_t alignment, unsigned end) {
    unsigned queue = queue_from(bytes);
    while ((queue = (unsigned)al_bitmap_next(set->nonempty, end, queue)) < end) {
        je_extent *first = al_je_queue_first(&set->queues[queue]);
        uintptr_t at = al_align_up(first->address, alignment);
        if (at < al_je_end(first) && al_je_end(first) - at >= bytes) return first;
        queue++;
    }
    return NULL;
}

je_extent *al_je_extents_fit(je_extents *set, size_t bytes, size_t alignment, unsigned active_fit) {
    if (alignment <= JE_PAGE) return first_fit(set, bytes, active_fit);
    size_t enough;
    if (__builtin_add_overflow(bytes, alignment - JE_PAGE, &enough) || enough > PTRDIFF_MAX) return NULL;
    je_extent *extent = first_fit(set, enough, active_fit);
    return extent != NULL ? extent : aligned_fit(set, bytes, alignment, queue_from(enough));
}
