#include "replay/null.h"

#include "replay/room.h"
#include "replay/strands.h"

enum { RING_BYTES = 1 << 20, STRANDS_APART = 16 /* begin in as many places of the ring */ };

bool al_null_init(al_null *null, size_t largest) {
    *null = (al_null){.ring = al_room_take(RING_BYTES, 1), .large = al_room_take(largest, 0), .largest = largest};
    return null->ring != NULL;
}

/* Not inlined: a malloc costs a call. */
__attribute__((noinline)) static void *null_malloc(void *self, size_t bytes) {
    al_null *null = self;
    null->mallocs++;
    if (bytes > RING_BYTES) return bytes > null->largest ? NULL : null->large;
    size_t whole = al_align_up(bytes, AL_MIN_ALIGNMENT);
    size_t at = null->at + whole <= RING_BYTES ? null->at : 0;
    null->at = at + whole;
    return null->ring + at;
}

__attribute__((noinline)) static void null_free(void *self, void *block) {
    al_null *null = self;
    null->frees += block != NULL;
}

static void *null_memalign(void *self, size_t alignment, size_t bytes) {
    (void)alignment;
    return null_malloc(self, bytes);
}

static void *null_realloc(void *self, void *block, size_t bytes) {
    null_free(self, block);
    return null_malloc(self, bytes);
}

static bool null_aside(void *self, const al_op *op) { return al_strand_aside(((al_null *)self)->strand, op); }

static const al_calls null_calls = {
    .malloc = null_malloc,
    .calloc = null_malloc,
    .memalign = null_memalign,
    .realloc = null_realloc,
    .free = null_free,
    .aside = null_aside,
};

static const al_watch nobody = {NULL, NULL};

void al_loop_null(void *self, const al_ops *ops, size_t touch_page) {
    al_replay(&null_calls, self, &nobody, NULL, ops, touch_page);
}

al_target al_null_target(al_null *null) {
    return (al_target){.calls = &null_calls, .self = null, .loop = al_loop_null};
}

static const al_null *of_all;

static void strand_loop(void *self, const al_ops *ops, size_t touch_page) {
    al_null own = *of_all;
    own.strand = self;
    own.at = (size_t)(own.strand - own.strand->all->strands) * RING_BYTES / STRANDS_APART % RING_BYTES;
    al_loop_null(&own, ops, touch_page);
}

al_target al_null_strands_target(const al_null *null) {
    of_all = null;
    return (al_target){.calls = &null_calls, .loop = strand_loop};
}
