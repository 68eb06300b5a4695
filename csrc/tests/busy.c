/* bump with work in the background, for the drop-in's thread: it counts how often it was done, every `period`. */
#include "allocators/bump/bump.c"

#include <errno.h>

enum { PERIOD = TUNABLES, BUSY_TUNABLES };

static const al_tunable busy_tunables[BUSY_TUNABLES] = {
    [TOP_PAD] = {.name = "top_pad", .type = AL_TUNABLE_BYTES, .value = 128 << 10, .most = 1 << 30, .help = "bump's"},
    [PERIOD] = {.name = "period", .type = AL_TUNABLE_COUNT, .most = UINT64_MAX, .help = "nanoseconds; 0: no work"},
};

static uint64_t done;

static int busy_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set) {
    (void)caller;
    bool is_period = strcmp(name, "period") == 0;
    if (!is_period && strcmp(name, "done") != 0) return ENOENT;
    uint64_t *figure = is_period ? &heap->settings.values[PERIOD] : &done;
    if (set)
        *figure = *value;
    else
        *value = *figure;
    return 0;
}

static uint64_t background(al_heap *heap) {
    uint64_t period = heap->settings.values[PERIOD];
    if (period == 0) return UINT64_MAX;
    done++;
    return period;
}

const al_allocator al_busy = {
    .name = "busy",
    .summary = "bump, and something to do",
    .tunables = busy_tunables,
    .tunable_count = BUSY_TUNABLES,
    .heap_bytes = sizeof(bump_heap),
    .thread_bytes = sizeof(al_thread),
    .create = create,
    .malloc = bump_malloc,
    .calloc = bump_malloc,
    .memalign = bump_memalign,
    .realloc = bump_realloc,
    .free = bump_free,
    .usable_size = bump_usable_size,
    .walk = walk,
    .validate = validate,
    .control = busy_control,
    .background = background,
};
