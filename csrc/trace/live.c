#include "trace/live.h"

#include <stdlib.h>

enum { FIRST_SLOTS = 1024 };

bool al_live_init(al_live *live) {
    *live = (al_live){.used = 1, .capacity = FIRST_SLOTS, .bytes = malloc(FIRST_SLOTS * sizeof *live->bytes)};
    if (live->bytes != NULL && al_addrmap_init(&live->slots)) return true;
    al_live_destroy(live);
    return false;
}

void al_live_destroy(al_live *live) {
    al_addrmap_destroy(&live->slots);
    free(live->bytes);
    *live = (al_live){0};
}

/* 0: no memory, or more blocks than 32 bits can number. */
static uint32_t take_slot(al_live *live) {
    if (live->spare != 0) {
        uint32_t slot = live->spare;
        live->spare = (uint32_t)live->bytes[slot];
        return slot;
    }
    if (live->used == UINT32_MAX) return 0;
    if (live->used == live->capacity) {
        uint64_t *larger = realloc(live->bytes, 2 * live->capacity * sizeof *larger);
        if (larger == NULL) return 0;
        live->bytes = larger;
        live->capacity *= 2;
    }
    return live->used++;
}

static void give_slot(al_live *live, uint32_t slot) {
    live->bytes[slot] = live->spare;
    live->spare = slot;
}

al_fault al_live_birth(al_live *live, int64_t object, uint64_t bytes, uint32_t *slot) {
    /* the greatest number has none above it for `next` */
    if (object == INT64_MAX || (object >= 0 && object < live->next)) return AL_FAULT_BORN_TWICE;
    *slot = take_slot(live);
    if (*slot == 0) return AL_FAULT_NO_MEMORY;
    if (object >= 0) {
        int64_t previous;
        if (!al_addrmap_put(&live->slots, (uint64_t)object + 1, *slot, &previous)) {
            give_slot(live, *slot);
            return AL_FAULT_NO_MEMORY;
        }
        live->next = object + 1;
    }
    live->bytes[*slot] = bytes;
    live->sum += bytes;
    live->count++;
    return AL_FAULT_NONE;
}

al_fault al_live_find(const al_live *live, int64_t object, uint32_t *slot) {
    int64_t found = al_addrmap_get(&live->slots, (uint64_t)object + 1);
    if (found < 0) return object < live->next ? AL_FAULT_REALLOC_DEAD : AL_FAULT_REALLOC_UNKNOWN;
    *slot = (uint32_t)found;
    return AL_FAULT_NONE;
}

al_fault al_live_death(al_live *live, int64_t object, uint32_t *slot, uint64_t *bytes) {
    int64_t found = al_addrmap_take(&live->slots, (uint64_t)object + 1);
    if (found < 0) return object < live->next ? AL_FAULT_DOUBLE_FREE : AL_FAULT_UNKNOWN_FREE;
    *slot = (uint32_t)found;
    *bytes = live->bytes[*slot];
    live->sum -= *bytes;
    live->count--;
    give_slot(live, *slot);
    return AL_FAULT_NONE;
}
