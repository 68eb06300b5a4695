/* Damage to a heap: of every kind, which is found by name; and at random, where words at places that matter take values
 * that might pass. Looking at a damaged heap in any way does no harm and changes nothing. */
#ifndef AL_TESTS_DAMAGE_H
#define AL_TESTS_DAMAGE_H

#include "allocators/heap.h"
#include "base/rng.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct scene scene; /* the test's own: a heap with everything in it, and where that is */

typedef struct fault {
    void (*damage)(scene *s);
    const char *what; /* validate says */
} fault;

enum { TARGETS = 18 };

/* Where pointers, heads, sizes and counts are, four words at least. */
typedef struct targets {
    uint64_t *at[TARGETS];
} targets;

typedef struct stage {
    scene *scene;
    al_heap *(*make)(scene *s); /* fills it, the same each time */
    const fault *faults;
    size_t count;
    targets (*find_targets)(const scene *s);
    uint64_t (*digest)(const scene *s, uint64_t sum); /* of what lies in no mapping's edges; NULL: nothing does */
} stage;

/* --- looking --- */

static inline bool add_bytes(void *context, const al_chunk *chunk) {
    *(size_t *)context += chunk->bytes;
    return true;
}

static bool pass_bin(void *context, const al_binned *entry) {
    (void)context;
    return entry->kind != NULL;
}

static bool pass_row(void *context, const al_fact *row, size_t columns) {
    (void)context;
    assert(columns > 0 && columns <= 20 && row->name != NULL);
    return true;
}

/* All that can be asked, whatever the state of the heap. */
static void look_everywhere(al_heap *heap) {
    size_t bytes = 0;
    al_fact facts[32];
    al_vma vma;
    al_heap_walk(heap, add_bytes, &bytes);
    al_heap_bins(heap, pass_bin, NULL);
    for (const char *const *view = heap->allocator->views; view != NULL && *view != NULL; view++)
        al_heap_view(heap, *view, pass_row, NULL);
    for (uintptr_t at = 0; al_regions_vma_after(heap->regions, at, &vma); at = vma.end)
        for (at = vma.start; at < vma.end; at += (vma.end - vma.start) / 300 + 1)
            assert(al_heap_explain(heap, at, facts, 32) <= 32);
}

static inline uint64_t digest_range(uint64_t sum, uintptr_t from, uintptr_t to) {
    for (const uint64_t *word = (const uint64_t *)from; (uintptr_t)word < to; word++)
        sum = (sum ^ *word) * 0x9e3779b97f4a7c15;
    return sum;
}

/* Of all the heap's memory, but the middle of what is large: there is nothing that one who looks could reach. */
static uint64_t digest(const stage *here, al_heap *heap) {
    enum { EDGE = 1 << 20 };
    uint64_t sum = 0;
    al_vma vma;
    for (uintptr_t at = 0; al_regions_vma_after(heap->regions, at, &vma); at = vma.end) {
        if (vma.prot != AL_PROT_READ_WRITE) continue;
        size_t edge = al_min(vma.end - vma.start, EDGE);
        sum = digest_range(digest_range(sum, vma.start, vma.start + edge), vma.end - edge, vma.end);
    }
    return here->digest == NULL ? sum : here->digest(here->scene, sum);
}

/* --- of every kind --- */

static inline void every_fault_is_found(const stage *here) {
    for (size_t i = 0; i < here->count; i++) {
        al_heap *heap = here->make(here->scene);
        here->faults[i].damage(here->scene);
        uint64_t before = digest(here, heap);
        al_flaw flaw = {.what = "nothing"};
        bool sound = al_heap_validate(heap, &flaw);
        look_everywhere(heap);
        if (sound || strcmp(flaw.what, here->faults[i].what) != 0 || digest(here, heap) != before) {
            fprintf(stderr, "fault %zu: found %s, not %s\n", i, flaw.what, here->faults[i].what);
            abort();
        }
        al_heap_destroy(heap);
    }
}

/* --- at random --- */

static uint64_t *some_word(const targets *t, al_rng *rng) {
    uint64_t draw = al_rng_next(rng);
    return (uint64_t *)((uintptr_t)t->at[draw % TARGETS] & ~(uintptr_t)7) + (draw >> 32) % 4;
}

static uint64_t some_value(const targets *t, al_rng *rng, uint64_t old) {
    uint64_t draw = al_rng_next(rng);
    switch (draw % 6) {
    case 0: return old ^ (UINT64_C(1) << (draw >> 32) % 64);
    case 1: return old + ((draw >> 32) % 512 - 256) * 8;
    case 2: return *some_word(t, rng);
    case 3: return (uintptr_t)some_word(t, rng);
    case 4: return al_rng_next(rng);
    default: return 0;
    }
}

/* One word to three. */
static void damage_somewhere(const targets *t, al_rng *rng) {
    for (uint64_t words = 1 + al_rng_next(rng) % 3; words > 0; words--) {
        uint64_t *word = some_word(t, rng);
        *word = some_value(t, rng, *word);
    }
}

static inline void any_damage_does_no_harm_to_who_looks(const stage *here) {
    al_rng rng = {11};
    for (int round = 0; round < 150; round++) {
        al_heap *heap = here->make(here->scene);
        const targets t = here->find_targets(here->scene);
        damage_somewhere(&t, &rng);
        uint64_t before = digest(here, heap);
        al_flaw flaw = {0};
        assert(al_heap_validate(heap, &flaw) == (flaw.what == NULL));
        look_everywhere(heap);
        assert(digest(here, heap) == before);
        al_heap_destroy(heap);
    }
}

#endif
