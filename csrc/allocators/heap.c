/* Instances, thread contexts, and the rules of malloc as functions. */
#include "allocators/heap.h"
#include "allocators/rules.h"

#include <errno.h>
#include <string.h>

/* --- instances --- */

static al_heap *fail(al_regions *regions, int code, int *error) {
    if (regions != NULL) al_regions_destroy(regions);
    *error = code;
    return NULL;
}

al_heap *al_heap_create(const al_allocator *allocator, const al_settings *settings, const al_regions_config *config,
                        int *error) {
    al_regions *regions = al_regions_create(config, error);
    if (regions == NULL) return NULL;
    al_heap *heap = al_regions_own(regions, allocator->heap_bytes);
    if (heap == NULL) return fail(regions, ENOMEM, error);
    heap->allocator = allocator;
    heap->regions = regions;
    heap->settings = *settings;
    int code = allocator->create == NULL ? 0 : allocator->create(heap);
    return code == 0 ? heap : fail(regions, code, error);
}

void al_heap_destroy(al_heap *heap) {
    if (heap->allocator->destroy != NULL) heap->allocator->destroy(heap);
    al_regions_destroy(heap->regions); /* and with it the heap itself */
}

/* --- thread contexts --- */

/* An idle context or a new one, its head filled; under the heap's lock. */
static al_thread *context_take(al_heap *heap) {
    al_thread *thread = heap->idle;
    if (thread != NULL) {
        heap->idle = thread->next_idle;
        memset(thread, 0, heap->allocator->thread_bytes);
    } else {
        thread = al_regions_own(heap->regions, heap->allocator->thread_bytes);
        if (thread == NULL) return NULL;
    }
    thread->heap = heap;
    thread->id = heap->threads++;
    return thread;
}

static void context_keep(al_thread *thread) {
    thread->next_idle = thread->heap->idle;
    thread->heap->idle = thread;
}

static al_thread *make_thread(al_heap *heap, bool brief) {
    const al_allocator *allocator = heap->allocator;
    al_lock_take(&heap->lock);
    al_thread *thread = context_take(heap);
    if (thread != NULL) thread->brief = brief;
    if (allocator->locks_itself) al_lock_drop(&heap->lock);
    bool made = thread != NULL && (allocator->thread_create == NULL || allocator->thread_create(thread) == 0);
    if (allocator->locks_itself) al_lock_take(&heap->lock);
    if (thread != NULL && !made) {
        context_keep(thread);
        thread = NULL;
    }
    al_lock_drop(&heap->lock);
    return thread;
}

al_thread *al_thread_create(al_heap *heap) { return make_thread(heap, false); }

al_thread *al_thread_borrow(al_heap *heap) { return make_thread(heap, true); }

void al_thread_exit(al_thread *thread) {
    al_heap *heap = thread->heap;
    const al_allocator *allocator = heap->allocator;
    if (!allocator->locks_itself) al_lock_take(&heap->lock);
    if (allocator->thread_exit != NULL) allocator->thread_exit(thread);
    if (allocator->locks_itself) al_lock_take(&heap->lock);
    context_keep(thread);
    al_lock_drop(&heap->lock);
}

/* --- the rules --- */

void *al_heap_malloc(al_thread *thread, size_t bytes) {
    return al_rule_malloc(thread->heap->allocator, thread, bytes);
}

void *al_heap_calloc(al_thread *thread, size_t count, size_t bytes) {
    return al_rule_calloc(thread->heap->allocator, thread, count, bytes);
}

void *al_heap_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    return al_rule_memalign(thread->heap->allocator, thread, alignment, bytes);
}

void *al_heap_realloc(al_thread *thread, void *block, size_t bytes) {
    return al_rule_realloc(thread->heap->allocator, thread, block, bytes);
}

void al_heap_free(al_thread *thread, void *block) { al_rule_free(thread->heap->allocator, thread, block); }

size_t al_heap_usable_size(al_heap *heap, const void *block) {
    return al_rule_usable_size(heap->allocator, heap, block);
}

bool al_heap_trim(al_heap *heap, size_t pad) {
    if (heap->allocator->trim == NULL) return false;
    bool locked = al_heap_enter(heap);
    bool trimmed = heap->allocator->trim(heap, pad);
    al_heap_leave(heap, locked);
    return trimmed;
}

/* --- looking inside --- */

void al_heap_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    bool locked = al_heap_enter(heap);
    heap->allocator->walk(heap, visit, context);
    al_heap_leave(heap, locked);
}

typedef struct chunk_array {
    al_chunk *out;
    size_t count, room;
} chunk_array;

static bool collect(void *context, const al_chunk *chunk) {
    chunk_array *array = context;
    if (array->count < array->room) array->out[array->count] = *chunk;
    array->count++;
    return true;
}

size_t al_heap_chunks(al_heap *heap, al_chunk *out, size_t room) {
    chunk_array array = {.out = out, .room = room};
    al_heap_walk(heap, collect, &array);
    return array.count;
}

al_ledger al_heap_ledger(al_heap *heap) {
    bool locked = al_heap_enter(heap);
    const al_ledger ledger = al_rule_ledger(heap);
    al_heap_leave(heap, locked);
    return ledger;
}

size_t al_heap_stats(al_heap *heap, al_stat *out, size_t room) {
    al_stat none; /* allocators copy into `out`, were it no bytes */
    if (heap->allocator->stats == NULL) return 0;
    bool locked = al_heap_enter(heap);
    size_t count = heap->allocator->stats(heap, room == 0 ? &none : out, room);
    al_heap_leave(heap, locked);
    return count;
}

void al_heap_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    if (heap->allocator->bins == NULL) return;
    bool locked = al_heap_enter(heap);
    heap->allocator->bins(heap, visit, context);
    al_heap_leave(heap, locked);
}

typedef struct bin_array {
    al_binned *out;
    size_t count, room;
} bin_array;

static bool collect_binned(void *context, const al_binned *entry) {
    bin_array *array = context;
    if (array->count < array->room) array->out[array->count] = *entry;
    array->count++;
    return true;
}

size_t al_heap_binned(al_heap *heap, al_binned *out, size_t room) {
    bin_array array = {.out = out, .room = room};
    al_heap_bins(heap, collect_binned, &array);
    return array.count;
}

size_t al_heap_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room) {
    if (heap->allocator->explain == NULL) return 0;
    bool locked = al_heap_enter(heap);
    size_t count = heap->allocator->explain(heap, address, out, room);
    al_heap_leave(heap, locked);
    return count;
}

void al_heap_view(al_heap *heap, const char *view, al_row_fn *visit, void *context) {
    const char *const *name = heap->allocator->views;
    while (name != NULL && *name != NULL && strcmp(*name, view) != 0) name++;
    if (name == NULL || *name == NULL) return;
    bool locked = al_heap_enter(heap);
    heap->allocator->view(heap, *name, visit, context);
    al_heap_leave(heap, locked);
}

typedef struct fact_array {
    al_fact *out;
    size_t count, room;
} fact_array;

static bool collect_row(void *context, const al_fact *row, size_t columns) {
    fact_array *array = context;
    for (size_t i = 0; i < columns; i++, array->count++)
        if (array->count < array->room) array->out[array->count] = row[i];
    return true;
}

size_t al_heap_viewed(al_heap *heap, const char *view, al_fact *out, size_t room) {
    fact_array array = {.out = out, .room = room};
    al_heap_view(heap, view, collect_row, &array);
    return array.count;
}

static int read_stat(al_heap *heap, const char *name, uint64_t *value, bool set) {
    al_stat stats[AL_STATS_MOST];
    const size_t count = al_min(al_heap_stats(heap, stats, AL_STATS_MOST), AL_STATS_MOST);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(stats[i].name, name) != 0) continue;
        if (set) return EPERM;
        *value = stats[i].value;
        return 0;
    }
    return ENOENT;
}

int al_heap_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set) {
    int error = ENOENT;
    if (heap->allocator->control != NULL) {
        bool locked = al_heap_enter(heap);
        error = heap->allocator->control(heap, caller, name, value, set);
        al_heap_leave(heap, locked);
    }
    if (set && error == 0) al_heap_wake(heap);
    return error == ENOENT ? read_stat(heap, name, value, set) : error;
}

/* --- the background --- */

uint64_t al_heap_background(al_heap *heap) {
    if (heap->allocator->background == NULL) return UINT64_MAX;
    bool locked = al_heap_enter(heap);
    uint64_t wait = heap->allocator->background(heap);
    al_heap_leave(heap, locked);
    return al_max(wait, 1); /* so that time goes on */
}

static void move_clock(al_heap *heap, uint64_t nanoseconds) {
    al_lock_take(&heap->lock);
    al_regions_advance(heap->regions, nanoseconds);
    al_lock_drop(&heap->lock);
}

void al_heap_advance(al_heap *heap, uint64_t nanoseconds) {
    uint64_t wait;
    for (; (wait = al_heap_background(heap)) <= nanoseconds; nanoseconds -= wait) move_clock(heap, wait);
    move_clock(heap, nanoseconds);
}

/* --- fork --- */

/* The lock is held over the fork, single-threaded or not, so that the child finds the heap between two operations. */
void al_heap_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment) {
    void (*hook)(al_heap *, al_thread *, al_fork_moment) = heap->allocator->fork;
    if (hook != NULL && moment == AL_FORK_PREPARE) hook(heap, survivor, moment);
    if (moment == AL_FORK_PREPARE)
        al_lock_take(&heap->lock);
    else
        al_lock_drop(&heap->lock);
    if (hook != NULL && moment != AL_FORK_PREPARE) hook(heap, survivor, moment);
}
