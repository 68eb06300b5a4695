#include "replay/places.h"

#include "replay/room.h"

#include <errno.h>
#include <unistd.h>

/* The block is there after the operation: not so what a failed call, replayed, got and gave back. */
static bool stays(const al_op *op, const void *block) {
    if (block == NULL || op->kind == AL_OP_REALLOC_ZERO) return false;
    return op->kind != AL_OP_FAILED || (op->original == AL_OP_REALLOC && op->slot != 0);
}

static bool after(void *watcher, const al_op *op, void *old, void *block) {
    (void)old;
    al_places *p = watcher;
    const al_calls *calls = p->target->calls;
    p->places[p->count++] = (al_place){
        .address = (uintptr_t)block,
        .usable = calls->usable_size && stays(op, block) ? calls->usable_size(p->target->self, block) : 0,
        .calls = p->events(p->context).count,
    };
    *p->progress = p->count;
    return p->count < p->stop;
}

static const al_watch watch = {NULL, after};

bool al_places_take(al_places *places, uint64_t operations) {
    places->places = al_room_take(operations * sizeof *places->places, 1);
    places->count = 0;
    return places->places != NULL;
}

void al_places_replay(al_places *places, const al_ops *ops, size_t touch_page) {
    if (places->stop == 0) return;
    al_replay(places->target->calls, places->target->self, &watch, places, ops, touch_page);
}

/* --- what is where --- */

typedef struct piece {
    uintptr_t address;
    al_chunk found; /* no bytes: none holds it */
} piece;

static bool holds(void *context, const al_chunk *chunk) {
    piece *p = context;
    if (p->address - chunk->address < chunk->bytes) p->found = *chunk;
    return p->found.bytes == 0;
}

static void put_number(al_text *out, uint64_t n, const char *after) {
    al_text_u64(out, n);
    al_text_put(out, after);
}

static void put_fact(al_text *out, uint64_t index, const al_fact *fact) {
    al_text_put(out, "fact ");
    put_number(out, index, "\t");
    put_number(out, fact->kind, "\t");
    al_text_put(out, fact->name);
    al_text_put(out, "\t");
    if (fact->kind == AL_FACT_TEXT)
        al_text_put(out, fact->text);
    else
        al_text_u64(out, fact->value);
    al_text_put(out, "\n");
}

void al_places_explain(al_heap *heap, uintptr_t address, uint64_t index, al_text *out) {
    static const char *const states[] = {"live ", "free ", "cached ", "metadata "};
    enum { FACTS = 64 };
    al_fact facts[FACTS];
    piece p = {.address = address};
    al_heap_walk(heap, holds, &p);
    if (p.found.bytes == 0) return;
    al_text_put(out, "piece ");
    put_number(out, index, " ");
    al_text_put(out, states[p.found.state]);
    put_number(out, p.found.address, " ");
    put_number(out, p.found.bytes, "\n");
    size_t count = al_heap_explain(heap, address, facts, FACTS);
    for (size_t i = 0; i < al_min(count, FACTS); i++) put_fact(out, index, &facts[i]);
}

/* --- the file --- */

static bool write_bytes(int file, const void *bytes, size_t count) {
    for (const char *at = bytes, *end = at + count; at < end;) {
        ssize_t wrote = write(file, at, (size_t)(end - at));
        if (wrote < 0 && errno != EINTR) return false;
        if (wrote > 0) at += wrote;
    }
    return true;
}

const char *al_places_write(const al_places *places, int file, const al_event *held, size_t held_count, al_text *out) {
    al_events_so_far made = places->events(places->context);
    if (made.dropped > 0) return "no memory to keep the log of system calls";
    bool written = write_bytes(file, places->places, places->count * sizeof *places->places) &&
                   write_bytes(file, held, held_count * sizeof *held) &&
                   write_bytes(file, made.events, made.count * sizeof *made.events);
    if (!written) return "the file of places cannot be written";
    al_text_figure(out, "operations", places->count);
    al_text_figure(out, "held", held_count);
    al_text_figure(out, "calls", made.count);
    if (places->target->calls->usable_size) al_text_figure(out, "sized", 1);
    return NULL;
}
