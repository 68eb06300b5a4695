#include "parts/top.h"

#include "base/check.h"

#include <errno.h>

/* The old top, which can grow no more: all but AL_TAG_BYTES of it becomes a chunk if that is at least `least`. */
static al_tag *fence(al_top *t, size_t least) {
    al_tag *old = t->top;
    size_t size = al_tag_size(old), chunk = size - AL_TAG_BYTES;
    if (chunk < least) {
        old->head |= AL_TAG_LIVE;
        t->ledger->free -= size;
        t->ledger->metadata += size;
        return NULL;
    }
    al_tag_resize(old, chunk);
    al_tag_at(old, chunk)->head = AL_TAG_BYTES | AL_TAG_LIVE;
    t->ledger->free -= AL_TAG_BYTES;
    t->ledger->metadata += AL_TAG_BYTES;
    return old;
}

/* What the old top leaves is *orphan. Most segments lie above the newest; mappings go downwards, towards those of the
 * break. */
static void begin_segment(al_top *t, uintptr_t start, uintptr_t end, size_t least, al_tag **orphan) {
    if (t->top != NULL) *orphan = fence(t, least);
    al_segment *segment = (al_segment *)start;
    al_segment **at = t->newest != NULL && (uintptr_t)t->newest < start ? &t->newest->next : &t->first;
    while (*at != NULL && (uintptr_t)*at < start) at = &(*at)->next;
    *segment = (al_segment){.next = *at, .end = end};
    t->newest = *at = segment;
    t->top = al_segment_chunks(segment);
    t->top->head = end - (uintptr_t)t->top;
    t->ledger->metadata += sizeof *segment;
    t->ledger->free += al_tag_size(t->top);
}

static bool within_reach(const al_top *t, uintptr_t end) {
    return t->first == NULL || end - (uintptr_t)t->first <= t->reach;
}

static void check_break(const al_top *t, uintptr_t at) {
    al_check(at >= t->break_end, "alloclab: the program break was moved below the heap");
}

/* The first segment, or one above the bytes of a stranger, or after a mapping. Where the break stands decides how much
 * must be asked for, so that the segment begins and ends at a page. */
static int start_segment(al_top *t, size_t bytes, size_t least, al_tag **orphan) {
    void *at, *old;
    int error = al_regions_brk(t->regions, 0, &at);
    if (error != 0) return error;
    check_break(t, (uintptr_t)at);
    uintptr_t start = al_align_up((uintptr_t)at, al_regions_page_size(t->regions));
    if (!within_reach(t, start + bytes)) return ENOMEM;
    error = al_regions_brk(t->regions, (intptr_t)(start + bytes - (uintptr_t)at), &old);
    if (error != 0) return error;
    al_check(old == at, "alloclab: the program break moved while the heap grew");
    begin_segment(t, start, start + bytes, least, orphan);
    t->break_end = start + bytes;
    return 0;
}

/* The break is where our newest segment ends: the top becomes longer. */
static void lengthen(al_top *t, size_t bytes) {
    t->break_end = t->newest->end += bytes;
    al_tag_resize(t->top, al_tag_size(t->top) + bytes);
    t->ledger->free += bytes;
}

/* Of a segment with so much room. */
static size_t segment_bytes(const al_top *t, size_t room) {
    return al_align_up(sizeof(al_segment) + room + AL_TOP_LEAST, al_regions_page_size(t->regions));
}

static int try_grow(al_top *t, size_t size, size_t pad, size_t least, al_tag **orphan) {
    size_t page = al_regions_page_size(t->regions), wanted;
    if (__builtin_add_overflow(size, pad, &wanted) || wanted > al_min(t->reach, PTRDIFF_MAX) / 2) return ENOMEM;
    size_t segment = segment_bytes(t, wanted);
    if (t->top == NULL || al_top_mapped(t)) return start_segment(t, segment, least, orphan);
    size_t missing = al_align_up(wanted - al_min(wanted, al_top_room(t)), page);
    if (!within_reach(t, t->newest->end + missing)) return ENOMEM;
    void *old;
    int error = al_regions_brk(t->regions, (intptr_t)missing, &old);
    if (error != 0) return error;
    if ((uintptr_t)old == t->newest->end) {
        lengthen(t, missing);
        return 0;
    }
    check_break(t, (uintptr_t)old);
    error = al_regions_brk(t->regions, -(intptr_t)missing, &old);
    return error != 0 ? error : start_segment(t, segment, least, orphan);
}

static int map(al_top *t, size_t bytes, void **at) {
    return al_regions_mmap(t->regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, at);
}

/* The break is refused. A quarter more than is asked for, so that a block which grows is not moved each time. */
static int map_segment(al_top *t, size_t size, size_t least, al_tag **orphan) {
    if (t->reach != SIZE_MAX || size > PTRDIFF_MAX / 2) return ENOMEM;
    size_t bytes = segment_bytes(t, size + size / 4);
    if (bytes < AL_TOP_MAPPING) bytes = AL_TOP_MAPPING;
    void *at;
    int error = map(t, bytes, &at);
    if (error == ENOMEM) error = map(t, bytes = segment_bytes(t, size), &at);
    if (error == 0) begin_segment(t, (uintptr_t)at, (uintptr_t)at + bytes, least, orphan);
    return error;
}

int al_top_grow(al_top *t, size_t size, size_t pad, size_t least, al_tag **orphan) {
    *orphan = NULL;
    int error = try_grow(t, size, pad, least, orphan);
    if (error == ENOMEM && pad > 0) error = try_grow(t, size, 0, least, orphan);
    return error == ENOMEM ? map_segment(t, size, least, orphan) : error;
}

bool al_top_trim(al_top *t, size_t pad) {
    size_t room = al_top_room(t);
    if (room <= pad) return false;
    size_t bytes = al_align_down(room - pad, al_regions_page_size(t->regions));
    void *at;
    if (bytes == 0 || al_regions_brk(t->regions, 0, &at) != 0 || (uintptr_t)at != t->newest->end) return false;
    if (al_regions_brk(t->regions, -(intptr_t)bytes, &at) != 0) return false;
    t->break_end = t->newest->end -= bytes;
    al_tag_resize(t->top, al_tag_size(t->top) - bytes);
    t->ledger->free -= bytes;
    return true;
}

/* --- looking inside --- */

static bool visit_piece(const al_top *t, const al_tag *chunk, al_walk_fn *visit, void *context) {
    al_chunk piece = {.address = (uintptr_t)chunk, .bytes = al_tag_size(chunk), .state = AL_STATE_FREE};
    if (al_tag_last(chunk) && chunk != t->top) {
        piece.state = AL_STATE_METADATA; /* a fence */
    } else if (al_tag_live(chunk)) {
        piece.state = AL_STATE_LIVE;
        piece.block = (uintptr_t)al_tag_block(chunk);
        piece.usable = al_tag_usable(chunk);
    }
    return visit(context, &piece);
}

bool al_top_walk(const al_top *t, al_walk_fn *visit, void *context) {
    for (const al_segment *s = t->first; s != NULL; s = s->next) {
        al_chunk head = {.address = (uintptr_t)s, .bytes = sizeof *s, .state = AL_STATE_METADATA};
        if (!visit(context, &head)) return false;
        for (const al_tag *chunk = al_segment_chunks(s);; chunk = al_tag_next(chunk)) {
            if (!visit_piece(t, chunk, visit, context)) return false;
            if (al_tag_last(chunk)) break;
        }
    }
    return true;
}
