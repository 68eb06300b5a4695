#include "replay/inprocess.h"

#include "replay/loop.h"
#include "replay/observe.h"
#include "replay/room.h"
#include "replay/timing.h"
#include "replay/verify.h"

#include <string.h>

/* What is replayed on: a heap, and a context for every thread that the trace tells apart; there is one where it tells
 * none. */
typedef struct crew {
    al_heap *heap;
    al_thread *now;   /* whose operations follow; NULL: it has ended */
    al_thread **of;   /* by number; NULL: it has not begun, or has ended */
    uint64_t first;   /* the number of the trace's first thread */
    uint64_t numbers; /* all that have begun are below */
    bool short_of_memory;
} crew;

/* It begins, or goes on. Without memory for a context nothing is replayed any more. */
static void switch_to(crew *self, uint64_t number) {
    if (self->of[number] == NULL) self->of[number] = al_thread_create(self->heap);
    self->now = self->of[number];
    self->numbers = al_max(self->numbers, number + 1);
    self->short_of_memory |= self->now == NULL;
}

static void end(crew *self, uint64_t number) {
    if (self->of[number] == NULL) return;
    if (self->now == self->of[number]) self->now = NULL;
    al_thread_exit(self->of[number]);
    self->of[number] = NULL;
}

/* Where the last thread has ended, the first one frees what survives. */
static al_thread *now(crew *self) {
    if (self->now == NULL && !self->short_of_memory) switch_to(self, self->first);
    return self->now;
}

static void *heap_malloc(void *self, size_t bytes) {
    al_thread *thread = now(self);
    return thread ? al_heap_malloc(thread, bytes) : NULL;
}

static void *heap_calloc(void *self, size_t bytes) {
    al_thread *thread = now(self);
    return thread ? al_heap_calloc(thread, 1, bytes) : NULL;
}

static void *heap_memalign(void *self, size_t alignment, size_t bytes) {
    al_thread *thread = now(self);
    return thread ? al_heap_memalign(thread, al_max(alignment, sizeof(void *)), bytes) : NULL;
}

static void *heap_realloc(void *self, void *block, size_t bytes) {
    al_thread *thread = now(self);
    return thread ? al_heap_realloc(thread, block, bytes) : NULL;
}

static void heap_free(void *self, void *block) {
    al_thread *thread = now(self);
    if (thread) al_heap_free(thread, block);
}

static al_heap *heap_of(void *self) { return ((crew *)self)->heap; }

static size_t heap_usable_size(void *self, void *block) { return al_heap_usable_size(heap_of(self), block); }

static bool heap_aside(void *self, const al_op *op) {
    switch (op->kind) {
    case AL_OP_TICK:
        al_heap_advance(heap_of(self), op->size);
        break;
    case AL_OP_THREAD:
        switch_to(self, op->size);
        break;
    case AL_OP_EXIT:
        end(self, op->size);
        break;
    }
    return true;
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

static void run(const al_job *job, crew *self, const al_ops *ops, al_text *out) {
    al_target target = {.calls = &heap_calls, .self = self, .loop = heap_loop};
    size_t page = job->touch ? al_os_linux.page_size() : 0;
    if (job->pass == AL_PASS_VERIFY) {
        al_verify(&target, ops, NULL, out);
    } else if (job->pass == AL_PASS_TIME) {
        al_time(&target, ops, &(al_timing){.touch_page = page, .warm_passes = job->warm_passes}, out);
    } else {
        al_sources sources = {.resident = job->pass == AL_PASS_MEMORY ? resident : NULL, .context = self->heap};
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

/* One context is there before the first operation, as in a program. */
static bool crew_begin(crew *self, const al_job *job, al_heap *heap) {
    bool told = job->entries[0].kind == AL_OP_THREAD;
    *self = (crew){.heap = heap, .first = told ? job->entries[0].size : 0};
    /* numbers are less than the entries, or there is but 0; only what is used takes memory */
    self->of = al_room_take((job->head->entries + 1) * sizeof *self->of, 0);
    return self->of != NULL && now(self) != NULL;
}

static void crew_end(crew *self, const al_job *job) {
    if (self->of == NULL) return;
    for (uint64_t number = 0; number < self->numbers; number++) end(self, number);
    al_room_drop(self->of, (job->head->entries + 1) * sizeof *self->of);
}

size_t al_replay_in_process(const al_job *job, const char *allocator, const char *options, char *begin) {
    al_text out = {begin, begin + al_job_text_bytes(job)};
    if (!al_job_sound(job)) {
        al_text_line(&out, "trouble", "not a compiled trace, or a damaged one");
        return (size_t)(out.at - begin);
    }
    al_heap *heap = make_heap(allocator, options, &out);
    if (heap == NULL) return (size_t)(out.at - begin);
    crew all;
    al_ops ops = {.begin = job->entries, .end = job->entries + job->head->entries, .slot_count = job->head->slots};
    ops.slots = al_room_take(ops.slot_count * sizeof *ops.slots, 1);
    if (!crew_begin(&all, job, heap) || ops.slots == NULL)
        al_text_line(&out, "trouble", "no memory for the tables of the replay");
    else
        run(job, &all, &ops, &out);
    if (all.short_of_memory) {
        out.at = begin;
        al_text_line(&out, "trouble", "no memory for the context of a thread");
    }
    if (ops.slots) al_room_drop(ops.slots, ops.slot_count * sizeof *ops.slots);
    crew_end(&all, job);
    al_heap_destroy(heap);
    return (size_t)(out.at - begin);
}
