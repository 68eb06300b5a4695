#include "replay/inprocess.h"

#include "replay/loop.h"
#include "replay/observe.h"
#include "replay/room.h"
#include "replay/timing.h"
#include "replay/verify.h"

#include <string.h>

static void *heap_malloc(void *self, size_t bytes) { return al_heap_malloc(self, bytes); }

static void *heap_calloc(void *self, size_t bytes) { return al_heap_calloc(self, 1, bytes); }

static void *heap_memalign(void *self, size_t alignment, size_t bytes) {
    return al_heap_memalign(self, al_max(alignment, sizeof(void *)), bytes);
}

static void *heap_realloc(void *self, void *block, size_t bytes) { return al_heap_realloc(self, block, bytes); }

static void heap_free(void *self, void *block) { al_heap_free(self, block); }

static al_heap *heap_of(void *self) { return ((al_thread *)self)->heap; }

static size_t heap_usable_size(void *self, void *block) { return al_heap_usable_size(heap_of(self), block); }

static void heap_aside(void *self, const al_op *op) {
    if (op->kind == AL_OP_TICK) al_heap_advance(heap_of(self), op->size);
}

static const al_calls heap_calls = {
    .malloc = heap_malloc,
    .calloc = heap_calloc,
    .memalign = heap_memalign,
    .realloc = heap_realloc,
    .free = heap_free,
    .usable_size = heap_usable_size,
    .aside = heap_aside,
    .glass = heap_of,
};

static const al_watch nobody = {NULL, NULL};

static void heap_loop(void *self, const al_ops *ops, size_t touch_page) {
    al_replay(&heap_calls, self, &nobody, NULL, ops, touch_page);
}

static size_t resident(void *context) {
    size_t bytes = 0;
    return al_regions_resident(((al_heap *)context)->regions, &bytes) == 0 ? bytes : 0;
}

static void run(const al_job *job, al_heap *heap, al_thread *thread, const al_ops *ops, al_text *out) {
    al_target target = {.calls = &heap_calls, .self = thread, .loop = heap_loop};
    size_t page = job->touch ? al_os_linux.page_size() : 0;
    if (job->pass == AL_PASS_VERIFY) {
        al_verify(&target, ops, NULL, out);
    } else if (job->pass == AL_PASS_TIME) {
        al_time(&target, ops, &(al_timing){.touch_page = page, .warm_passes = job->warm_passes}, out);
    } else {
        al_sources sources = {.resident = job->pass == AL_PASS_MEMORY ? resident : NULL, .context = heap};
        al_observation how = {.touch_page = page, .samples = job->samples};
        al_observe(&target, ops, job->head, &sources, &how, out);
    }
}

static al_heap *make_heap(const char *name, const char *options, al_text *out) {
    const al_allocator *allocator = al_allocator_find(name);
    if (allocator == NULL) {
        al_text_line(out, "trouble", "no such allocator in the laboratory");
        return NULL;
    }
    al_settings settings;
    char message[256];
    al_tunables_default(allocator, &settings);
    if (al_tunables_parse(allocator, options, &settings, message, sizeof message) != 0) {
        al_text_line(out, "trouble", message);
        return NULL;
    }
    int error = 0;
    al_heap *heap = al_heap_create(allocator, &settings, &(al_regions_config){.space = AL_SPACE_WINDOW}, &error);
    if (heap == NULL) al_text_line(out, "trouble", strerrordesc_np(error));
    return heap;
}

size_t al_replay_in_process(const al_job *job, const char *allocator, const char *options, char *begin) {
    al_text out = {begin, begin + al_job_text_bytes(job)};
    if (!al_job_sound(job)) {
        al_text_line(&out, "trouble", "not a compiled trace, or a damaged one");
        return (size_t)(out.at - begin);
    }
    al_heap *heap = make_heap(allocator, options, &out);
    if (heap == NULL) return (size_t)(out.at - begin);
    al_thread *thread = al_thread_create(heap);
    al_ops ops = {.begin = job->entries, .end = job->entries + job->head->entries, .slot_count = job->head->slots};
    ops.slots = al_room_take(ops.slot_count * sizeof *ops.slots, 1);
    if (thread == NULL || ops.slots == NULL)
        al_text_line(&out, "trouble", "no memory for the tables of the replay");
    else
        run(job, heap, thread, &ops, &out);
    if (ops.slots) al_room_drop(ops.slots, ops.slot_count * sizeof *ops.slots);
    if (thread) al_thread_exit(thread);
    al_heap_destroy(heap);
    return (size_t)(out.at - begin);
}
