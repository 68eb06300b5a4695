/* What an arena keeps free, counted list by list: from this come mallinfo, malloc_stats, malloc_info and our own
 * stats. */
#ifndef AL_ALLOCATORS_PTMALLOC_FIGURES_H
#define AL_ALLOCATORS_PTMALLOC_FIGURES_H

#include "allocators/ptmalloc/bins.h"

typedef struct pt_row {
    size_t count, bytes, least, most; /* chunks, and their sizes */
} pt_row;

typedef struct pt_census {
    pt_row fast[PT_FAST_BINS], bins[PT_BINS];
    size_t top;
    size_t system, system_peak;         /* bytes from the system */
    size_t subheaps, spanned, committed; /* not of the main arena: how many, their bytes, those ever made usable */
} pt_census;

/* Takes the arena's lock. */
void al_pt_count(pt_arena *arena, pt_census *census);

typedef struct pt_mapped {
    size_t count, count_peak, bytes, bytes_peak;
} pt_mapped;

pt_mapped al_pt_count_mapped(pt_heap *heap);

/* The arena after this one; NULL after the last. */
static inline pt_arena *al_pt_arena_after(const pt_arena *arena) {
    pt_arena *next = al_pt_arena_next(arena);
    return al_pt_is_main(next) ? NULL : next;
}

static inline pt_row al_pt_add(pt_row a, pt_row b) {
    return (pt_row){.count = a.count + b.count, .bytes = a.bytes + b.bytes};
}

static inline pt_row al_pt_sum(const pt_row *rows, size_t count) {
    pt_row sum = {0};
    for (size_t i = 0; i < count; i++) sum = al_pt_add(sum, rows[i]);
    return sum;
}

/* Free chunks as glibc counts them: the top is always one, even before there is any; what thread caches hold is in use,
 * and so are the caches. */
static inline pt_row al_pt_sum_free(const pt_census *census) {
    pt_row sum = al_pt_sum(census->bins, PT_BINS);
    return (pt_row){.count = sum.count + 1, .bytes = sum.bytes + census->top};
}

static inline size_t al_pt_in_use(const pt_census *census) {
    return census->system - al_pt_sum_free(census).bytes - al_pt_sum(census->fast, PT_FAST_BINS).bytes;
}

#endif
