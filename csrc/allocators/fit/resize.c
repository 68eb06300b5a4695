/* realloc: in place where the bytes above are free, by mremap for mapped blocks, else by moving. */
#include "allocators/fit/fit.h"

#include <string.h>

/* What lies above a chunk, up to the size it shall have: free chunks to absorb, then perhaps a part of the top. */
typedef struct room {
    al_tag *end;     /* behind the last free chunk to absorb */
    size_t from_top; /* bytes to cut off the top, which then lies at `end` */
} room;

static bool find_room(const fit_heap *f, const al_tag *chunk, size_t size, room *found) {
    al_tag *end = al_tag_next(chunk);
    while ((size_t)((char *)end - (char *)chunk) < size && end != f->top.top) {
        if (al_tag_live(end)) return false;
        end = al_tag_next(end);
    }
    size_t reached = (size_t)((char *)end - (char *)chunk);
    *found = (room){end, reached < size ? size - reached : 0};
    return true;
}

/* Making the top large enough may begin a new one elsewhere; then it is no longer behind the chunk. */
static bool grow(fit_heap *f, al_tag *chunk, size_t size) {
    room above;
    if (!find_room(f, chunk, size, &above)) return false;
    if (above.from_top > 0 && (!al_fit_ensure_top(f, above.from_top) || above.end != f->top.top)) return false;
    for (al_tag *next = al_tag_next(chunk); next != above.end; next = al_tag_next(next)) {
        al_index_remove(&f->index, (al_free *)next);
        f->chunks--;
    }
    if (above.from_top > 0)
        al_fit_cut_top(f, above.from_top);
    else
        above.end->head &= ~(size_t)AL_TAG_PREV_FREE;
    size_t whole = (size_t)((char *)above.end - (char *)chunk) + above.from_top, more = whole - al_tag_size(chunk);
    al_tag_resize(chunk, whole);
    f->heap.ledger.free -= more;
    f->heap.ledger.usable += more;
    al_fit_cut_tail(f, chunk, size);
    return true;
}

static bool resize_chunk(fit_heap *f, al_tag *chunk, size_t bytes) {
    size_t size = al_tag_need(bytes, AL_FREE_LEAST);
    if (size > al_tag_size(chunk)) return grow(f, chunk, size);
    al_fit_cut_tail(f, chunk, size);
    return true;
}

void *al_fit_realloc(al_thread *thread, void *block, size_t bytes) {
    fit_heap *f = al_fit_of(thread->heap);
    al_tag *chunk = al_tag_of(block);
    if (chunk->head & AL_TAG_MAPPED) {
        void *resized = al_large_resize(&f->larges, block, bytes, true);
        if (resized != NULL) return resized;
    } else if (resize_chunk(f, chunk, bytes)) {
        return block;
    }
    void *moved = f->heap.allocator->malloc(thread, bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, al_min(al_tag_usable(chunk), bytes));
    f->heap.allocator->free(thread, block);
    return moved;
}
