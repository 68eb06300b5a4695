/* The full self-check, in this order, each step trusting what those before have shown:
 *
 *     memory   check_memory.c: records, the map, chains and neighbours agree, and what is kept is out, once
 *     caches   check_caches.c: threads' lists and their figures
 *     central  check_central.c: slots, and every span of a class is where it is looked for
 *     pages    check_pages.c: every free span is where it is looked for; growths, metadata, and all sums
 *     own      the allocator's own blocks are out */
#include "allocators/tcmalloc/inspect.h"

static bool check_own(const tc_look *look, al_flaw *flaw) {
    const tc_heap *heap = look->heap;
    uint64_t free[TC_OBJECTS_MOST / 64];
    for (unsigned i = 0; i < TC_OWN_BLOCKS; i++) {
        const void *block = heap->own[i];
        if (block == NULL) continue;
        const tc_span *span = al_tc_word_span(al_tc_word_at(heap, al_tc_page_of(block)));
        const bool is_span = al_tc_span_known(heap, span) && span->class == al_tc_own_class(heap, i) &&
                             (uintptr_t)block >= span->address && (uintptr_t)block < al_tc_end(span);
        const size_t number = is_span ? al_tc_number_of(heap, span, (uintptr_t)block) : 0;
        if (!is_span || number == al_tc_shape(heap, span)->objects || !al_tc_free_objects(heap, span, free) ||
            al_bitmap_test(free, number) || al_finds_at(&look->kept, (uintptr_t)block) != NULL)
            return al_blame(flaw, block, "tcmalloc: a block of its own is none, or free");
    }
    return true;
}

bool al_tc_validate(al_heap *heap, al_flaw *flaw) {
    tc_look look;
    tc_census census = {0};
    al_tc_look_open(&look, al_tc_of(heap));
    const bool sound = look.kept.lost
                           ? al_blame(flaw, NULL, "tcmalloc: no memory for the check itself")
                           : al_tc_check_memory(&look, &census, flaw) && al_tc_check_caches(look.heap, flaw) &&
                                 al_tc_check_central(look.heap, &census, flaw) &&
                                 al_tc_check_pages(look.heap, &census, flaw) && check_own(&look, flaw);
    al_tc_look_close(&look);
    return sound;
}
