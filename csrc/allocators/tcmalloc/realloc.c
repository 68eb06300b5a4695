/* realloc: a block stays while it is large enough and not twice too large. One that grows gets a quarter more than it
 * had, if that is more than asked, so that growing step by step does not copy each time. */
#include "allocators/tcmalloc/tcmalloc.h"

#include "base/check.h"

void *al_tc_realloc(al_thread *thread, void *block, size_t bytes) {
    const size_t old = al_tc_size_of(al_tc_of(thread->heap), block), generous = old + old / 4;
    if (old == 0) al_die_at("src/tcmalloc.cc:337] Attempt to realloc invalid pointer ", block, " ");
    if (bytes <= old && bytes >= old / 2) return block;
    void *moved = bytes > old && bytes < generous ? al_tc_malloc(thread, generous) : NULL;
    if (moved == NULL) moved = al_tc_malloc(thread, bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, al_min(old, bytes));
    al_tc_free(thread, block);
    return moved;
}
