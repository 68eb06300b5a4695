#include "shim/digest.h"

#include "base/align.h"

enum { FINE_MOST = 128, FINE_STEP = 16, FINE_SIZES = FINE_MOST / FINE_STEP };

size_t al_size_of(size_t bytes) {
    if (bytes <= FINE_MOST) return bytes == 0 ? 0 : (bytes - 1) / FINE_STEP;
    const unsigned power = al_log2_floor(bytes - 1);
    return FINE_SIZES + 4 * (power - 7) + ((bytes - 1) >> (power - 2) & 3);
}

uint64_t al_size_bound(size_t size) {
    if (size < FINE_SIZES) return (size + 1) * FINE_STEP;
    const size_t quarters = size - FINE_SIZES;
    return (5 + quarters % 4) << (quarters / 4 + 5);
}

static void add(al_some *some, uint64_t bytes) {
    some->count++;
    some->bytes += bytes;
}

static bool add_piece(void *context, const al_chunk *piece) {
    al_size *sizes = ((al_digest *)context)->sizes;
    if (piece->state == AL_STATE_LIVE) add(&sizes[al_size_of(piece->usable)].live, piece->usable);
    if (piece->state == AL_STATE_CACHED) add(&sizes[al_size_of(piece->bytes)].cached, piece->bytes);
    if (piece->state == AL_STATE_FREE) add(&sizes[al_size_of(piece->bytes)].free, piece->bytes);
    return true;
}

/* The list of that kind and number; a new one where there is none. NULL: no room. */
static al_list *list_of(al_lists *lists, const char *kind, uint32_t number) {
    const size_t room = sizeof lists->places / sizeof *lists->places;
    size_t at = ((uintptr_t)kind * 31 + number) * 0x9E3779B97F4A7C15 >> 32;
    for (; lists->places[at % room] != 0; at++) {
        al_list *list = &lists->all[lists->places[at % room] - 1];
        if (list->kind == kind && list->number == number) return list;
    }
    if (lists->count == AL_LISTS_MOST) return NULL;
    al_list *list = &lists->all[lists->count++];
    *list = (al_list){.kind = kind, .number = number};
    lists->places[at % room] = (uint16_t)lists->count;
    return list;
}

static bool add_entry(void *context, const al_binned *entry) {
    al_digest *digest = context;
    al_list *list = list_of(&digest->lists, entry->kind, entry->index);
    if (list != NULL) {
        list->least = entry->least;
        list->most = entry->most;
        add(&list->kept, entry->bytes);
    }
    al_list *owner = list_of(&digest->owners, entry->kind, entry->owner);
    if (owner != NULL) add(&owner->kept, entry->bytes);
    return true;
}

void al_digest_fill(al_digest *digest, al_heap *heap) {
    al_heap_walk(heap, add_piece, digest);
    al_heap_bins(heap, add_entry, digest);
}

static void put_list(al_text *text, const char *name, const al_list *list, const uint64_t *figures, size_t count) {
    al_text_put(text, name);
    al_text_put(text, " ");
    al_text_row(text, list->kind, figures, count);
}

void al_digest_put(const al_digest *digest, al_text *text) {
    for (size_t i = 0; i < AL_SIZES; i++) {
        const al_size *s = &digest->sizes[i];
        if (s->live.count + s->cached.count + s->free.count == 0) continue;
        const uint64_t figures[] = {al_size_bound(i), s->live.count,  s->live.bytes, s->cached.count,
                                    s->cached.bytes,  s->free.count, s->free.bytes};
        al_text_row(text, "size", figures, sizeof figures / sizeof *figures);
    }
    for (size_t i = 0; i < digest->owners.count; i++) {
        const al_list *l = &digest->owners.all[i];
        put_list(text, "owner", l, (const uint64_t[]){l->number, l->kept.count, l->kept.bytes}, 3);
    }
    for (size_t i = 0; i < digest->lists.count; i++) {
        const al_list *l = &digest->lists.all[i];
        put_list(text, "list", l, (const uint64_t[]){l->number, l->least, l->most, l->kept.count, l->kept.bytes}, 5);
    }
}
