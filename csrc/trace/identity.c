#include "trace/identity.h"

#include <stdlib.h>

enum { NO_OBJECT = -1, NAME_OF_NULL = -2, FIRST_BLOCKS = 1024 };

bool al_identity_init(al_identity *identity, bool unknown_realloc_is_malloc) {
    *identity = (al_identity){.free_block = -1, .unknown_realloc_is_malloc = unknown_realloc_is_malloc};
    if (al_addrmap_init(&identity->names) && al_addrmap_init(&identity->threads)) return true;
    al_identity_destroy(identity);
    return false;
}

void al_identity_destroy(al_identity *identity) {
    al_addrmap_destroy(&identity->names);
    al_addrmap_destroy(&identity->threads);
    free(identity->blocks);
    *identity = (al_identity){.free_block = -1};
}

/* --- the pool of live blocks --- */

static bool grow_pool(al_identity *id) {
    size_t from = id->blocks_capacity, to = from == 0 ? FIRST_BLOCKS : 2 * from;
    al_named_block *blocks = reallocarray(id->blocks, to, sizeof *blocks);
    if (blocks == NULL) return false;
    for (size_t i = from; i < to; i++) blocks[i].object = i + 1 < to ? (int64_t)i + 1 : -1;
    id->blocks = blocks;
    id->blocks_capacity = to;
    id->free_block = (int64_t)from;
    return true;
}

static void set_bytes(al_identity *id, al_named_block *block, uint64_t bytes) {
    id->live_bytes += bytes - block->bytes;
    block->bytes = bytes;
    if (id->live_bytes > id->peak_bytes) id->peak_bytes = id->live_bytes;
}

static void bury(al_identity *id, int64_t index) {
    al_named_block *block = &id->blocks[index];
    set_bytes(id, block, 0);
    id->live_blocks--;
    block->object = id->free_block;
    id->free_block = index;
}

/* --- one event --- */

typedef struct event {
    uint8_t *op;
    uint64_t name, old_name, bytes;
    bool *failed;
    int64_t *object;
} event;

enum outcome { FINE = AL_PROBLEM_NONE, NO_MEMORY = -1 };

static bool rename_to_null(al_identity *id, uint64_t name) {
    int64_t previous;
    return name == 0 || al_addrmap_put(&id->names, name, NAME_OF_NULL, &previous);
}

static int birth(al_identity *id, const event *e) {
    int64_t previous = e->name == 0 ? -1 : al_addrmap_get(&id->names, e->name);
    if (previous >= 0) return AL_PROBLEM_BORN_TWICE;
    if (*e->failed || e->name == 0) {
        *e->failed = true;
        return rename_to_null(id, e->name) ? FINE : NO_MEMORY;
    }
    if (e->bytes > PTRDIFF_MAX) return AL_PROBLEM_IMPOSSIBLE;
    if (id->free_block < 0 && !grow_pool(id)) return NO_MEMORY;
    int64_t index = id->free_block;
    if (!al_addrmap_put(&id->names, e->name, index, &previous)) return NO_MEMORY;
    id->free_block = id->blocks[index].object;
    id->blocks[index] = (al_named_block){.object = id->objects};
    id->live_blocks++;
    *e->object = id->objects++;
    set_bytes(id, &id->blocks[index], e->bytes);
    return FINE;
}

static int death(al_identity *id, const event *e) {
    if (e->name == 0) return FINE;
    int64_t index = al_addrmap_take(&id->names, e->name);
    if (index == NAME_OF_NULL) return FINE;
    if (index < 0) return AL_PROBLEM_UNKNOWN_FREE;
    *e->object = id->blocks[index].object;
    bury(id, index);
    return FINE;
}

static int resize(al_identity *id, const event *e) {
    int64_t index = e->old_name == 0 ? NAME_OF_NULL : al_addrmap_get(&id->names, e->old_name), previous;
    if (index == NAME_OF_NULL || (index < 0 && id->unknown_realloc_is_malloc)) {
        *e->op = AL_EVENT_MALLOC;
        return birth(id, e);
    }
    if (index < 0) return AL_PROBLEM_UNKNOWN_REALLOC;
    if (e->bytes > PTRDIFF_MAX && e->name != 0 && !*e->failed) return AL_PROBLEM_IMPOSSIBLE;
    bool moves = e->name != 0 && e->name != e->old_name;
    if (moves && al_addrmap_get(&id->names, e->name) >= 0) return AL_PROBLEM_BORN_TWICE;
    *e->object = id->blocks[index].object;
    if (e->bytes == 0) {
        *e->failed = false;
        (void)al_addrmap_take(&id->names, e->old_name);
        bury(id, index);
        return rename_to_null(id, e->name) ? FINE : NO_MEMORY;
    }
    if (*e->failed || e->name == 0) {
        *e->failed = true;
        return FINE;
    }
    if (moves) {
        (void)al_addrmap_take(&id->names, e->old_name);
        if (!al_addrmap_put(&id->names, e->name, index, &previous)) return NO_MEMORY;
    }
    set_bytes(id, &id->blocks[index], e->bytes);
    return FINE;
}

static int rename_block(al_identity *id, const event *e) {
    if (al_addrmap_get(&id->names, e->name) >= 0) return AL_PROBLEM_BORN_TWICE;
    int64_t index = al_addrmap_take(&id->names, e->old_name), previous;
    if (index == -1) return AL_PROBLEM_UNKNOWN_REALLOC;
    return al_addrmap_put(&id->names, e->name, index, &previous) ? FINE : NO_MEMORY;
}

static int apply(al_identity *id, const event *e) {
    switch (*e->op) {
    case AL_EVENT_MALLOC:
    case AL_EVENT_CALLOC:
    case AL_EVENT_ALIGNED: return birth(id, e);
    case AL_EVENT_REALLOC: return resize(id, e);
    case AL_EVENT_FREE: return death(id, e);
    case AL_ROW_RENAME: return rename_block(id, e);
    default: return FINE;
    }
}

/* Keys are not 0; the two greatest ids, which no system gives, share one. */
static uint64_t thread_key(uint64_t thread_id) { return thread_id == UINT64_MAX ? thread_id : thread_id + 1; }

/* The dense number of a thread id, or -1: no memory. */
static int64_t thread_number(al_identity *id, uint64_t thread_id) {
    uint64_t key = thread_key(thread_id);
    int64_t number = al_addrmap_get(&id->threads, key), previous;
    if (number >= 0) return number;
    return al_addrmap_put(&id->threads, key, id->thread_count, &previous) ? id->thread_count++ : -1;
}

int64_t al_identity_run(al_identity *identity, size_t n, uint8_t *op, const uint64_t *thread_id, const uint64_t *name,
                        const uint64_t *old_name, const uint64_t *size, const uint64_t *count, bool *failed,
                        int64_t *object, uint32_t *thread, uint8_t *problem) {
    int64_t problems = 0, number = -1;
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes;
        if (__builtin_mul_overflow(size[i], count[i], &bytes)) bytes = UINT64_MAX;
        object[i] = NO_OBJECT;
        int outcome = apply(identity, &(event){&op[i], name[i], old_name[i], bytes, &failed[i], &object[i]});
        if (outcome == NO_MEMORY) return -1;
        problem[i] = (uint8_t)outcome;
        thread[i] = 0;
        if (outcome != FINE) {
            problems++;
            number = -1;
            continue;
        }
        if (number < 0 || thread_id[i] != thread_id[i - 1]) number = thread_number(identity, thread_id[i]);
        if (number < 0) return -1;
        thread[i] = (uint32_t)number;
        if (op[i] == AL_EVENT_THREAD_EXIT) {
            (void)al_addrmap_take(&identity->threads, thread_key(thread_id[i]));
            number = -1;
        }
    }
    return problems;
}
