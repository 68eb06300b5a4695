#include "trace/history.h"

#include <stdlib.h>

bool al_history_init(al_history *history) {
    *history = (al_history){0};
    return al_live_init(&history->live);
}

void al_history_destroy(al_history *history) {
    al_live_destroy(&history->live);
    free(history->blocks);
    *history = (al_history){0};
}

static bool reserve(al_history *history) {
    if (history->capacity >= history->live.capacity) return true;
    al_block *larger = realloc(history->blocks, history->live.capacity * sizeof *larger);
    if (larger == NULL) return false;
    for (size_t i = history->capacity; i < history->live.capacity; i++) larger[i].object = AL_NO_BLOCK;
    history->blocks = larger;
    history->capacity = history->live.capacity;
    return true;
}

static al_fault birth(al_history *history, const al_events *events, size_t i, al_change *change) {
    change->new_bytes = al_event_bytes(events, i);
    if (change->new_bytes > PTRDIFF_MAX) return AL_FAULT_IMPOSSIBLE_SIZE;
    al_fault fault = al_live_birth(&history->live, events->object[i], change->new_bytes, &change->slot);
    if (fault != AL_FAULT_NONE) return fault;
    if (!reserve(history)) return AL_FAULT_NO_MEMORY;
    history->blocks[change->slot] = (al_block){
        .object = events->object[i] < 0 ? -1 : events->object[i],
        .birth_ns = events->time_ns[i],
        .birth_op = history->operations,
        .born_bytes = change->new_bytes,
        .align = events->op[i] == AL_EVENT_ALIGNED ? events->align[i] : 0,
        .thread = events->thread[i],
    };
    return AL_FAULT_NONE;
}

static al_fault resize(al_history *history, const al_events *events, size_t i, al_change *change) {
    change->new_bytes = events->size[i];
    if (change->new_bytes > PTRDIFF_MAX) return AL_FAULT_IMPOSSIBLE_SIZE;
    al_fault fault = al_live_find(&history->live, events->object[i], &change->slot);
    if (fault != AL_FAULT_NONE) return fault;
    change->old_bytes = history->live.bytes[change->slot];
    al_live_resize(&history->live, change->slot, change->new_bytes);
    history->blocks[change->slot].reallocs++;
    return AL_FAULT_NONE;
}

static al_fault death(al_history *history, const al_events *events, size_t i, al_change *change) {
    al_fault fault = al_live_death(&history->live, events->object[i], &change->slot, &change->old_bytes);
    if (fault == AL_FAULT_NONE) history->blocks[change->slot].object = AL_NO_BLOCK;
    return fault;
}

static al_fault step(al_history *history, const al_events *events, size_t i, al_change *change) {
    switch (change->deed) {
    case AL_DEED_BIRTH: return birth(history, events, i, change);
    case AL_DEED_RESIZE: return resize(history, events, i, change);
    case AL_DEED_DEATH: return death(history, events, i, change);
    case AL_DEED_NONE: break;
    }
    bool named = events->op[i] == AL_EVENT_REALLOC && events->object[i] >= 0;
    return named ? al_live_find(&history->live, events->object[i], &change->slot) : AL_FAULT_NONE;
}

al_fault al_history_add(al_history *history, const al_events *events, size_t i, al_change *change) {
    *change = (al_change){.deed = al_event_deed(events, i)};
    al_fault fault = step(history, events, i, change);
    history->operations += events->op[i] < AL_EVENT_THREAD_START;
    return fault;
}

al_fault al_history_add_rows(al_history *history, const al_events *events, size_t *row) {
    al_change change;
    for (*row = 0; *row < events->rows; ++*row) {
        al_fault fault = al_history_add(history, events, *row, &change);
        if (fault != AL_FAULT_NONE) return fault;
    }
    return AL_FAULT_NONE;
}
