/* Ways through a heap at rest, for whoever looks inside: its stretches of memory in address order, what caches and
 * slots keep, chains, lists and sets. No pointer is followed, and no size believed, before it is known to lead to
 * mapped memory and to what must be there; only the list of threads, the classes and the map's root are trusted. */
#ifndef AL_ALLOCATORS_TCMALLOC_INSPECT_H
#define AL_ALLOCATORS_TCMALLOC_INSPECT_H

#include "allocators/tcmalloc/tcmalloc.h"
#include "base/bitmap.h"
#include "parts/finds.h"

enum { TC_OBJECTS_MOST = 2048 }; /* on a span: of 8 bytes, where a batch may be 8192 */

/* --- look.c --- */

/* No span and no slot changes from open to close; what threads do with their own caches has no lock, so they must be
 * at rest. */
typedef struct tc_look {
    tc_heap *heap;
    al_finds kept; /* key = an object, next = the class it is kept as, what = the tc_thread; NULL: a slot has it */
} tc_look;

/* Gathers what is kept, as far as it makes sense. */
void al_tc_look_open(tc_look *look, tc_heap *heap);
void al_tc_look_close(tc_look *look);

static inline bool al_tc_readable(const tc_heap *heap, const void *at, size_t bytes) {
    return al_readable(heap->base.heap.regions, at, bytes, 8);
}

/* The word of any page; 0 where there is none. */
al_page_word al_tc_word_at(const tc_heap *heap, uintptr_t page);
/* The span that begins there, if all that leads to it and its own sizes are sound; else NULL. */
tc_span *al_tc_span_at(const tc_heap *heap, uintptr_t address);
/* Whether it is the record of the span that begins where it says. */
bool al_tc_span_known(const tc_heap *heap, const tc_span *span);

typedef enum tc_stretch_kind {
    TC_SPAN,
    TC_NO_SPAN, /* chunks of metadata, what alignment lost, what is pending */
    TC_STRANGE  /* damaged: the map leads to no sound span here */
} tc_stretch_kind;

typedef struct tc_stretch {
    tc_stretch_kind kind;
    uintptr_t start, end;
    tc_span *span;
} tc_stretch;

/* The first one from `at` on, which is where another ends, or 0; false: there is none. */
bool al_tc_stretch_after(const tc_look *look, uintptr_t at, tc_stretch *out);

static inline const tc_class *al_tc_shape(const tc_heap *heap, const tc_span *span) {
    return &heap->base.classes.of[span->class];
}
static inline uintptr_t al_tc_object(const tc_heap *heap, const tc_span *span, size_t number) {
    return span->address + number * al_tc_shape(heap, span)->bytes;
}
/* The number of the object that begins there; their count: none does. */
size_t al_tc_number_of(const tc_heap *heap, const tc_span *span, uintptr_t object);
/* Whether it is one of the allocator's own blocks. */
bool al_tc_is_own(const tc_heap *heap, uintptr_t object);

/* --- members.c: chains, lists, sets --- */

const char *al_tc_location_name(unsigned location);

/* The way along a chain, to be started with {0}. */
typedef struct tc_trail {
    void *at, *anchor;  /* anchor: one that was passed, ever further on */
    size_t passed;
    bool strayed;       /* the way does not end but leads, at `at`, to no memory, or around */
} tc_trail;

/* The next of a chain of things of so many bytes; false: that was all. */
bool al_tc_trail_next(const tc_heap *heap, void *head, size_t bytes, tc_trail *trail);
/* The next growth, the newest first. */
bool al_tc_growth_next(const tc_heap *heap, tc_trail *trail);
/* The free object of a span that comes after `object`, NULL: the first; NULL: there is none, or it is no object. The
 * way may go around. */
const void *al_tc_free_after(const tc_heap *heap, const tc_span *span, const void *object);

/* Which objects of a span, which has a class, are free; false: its chain is damaged. */
bool al_tc_free_objects(const tc_heap *heap, const tc_span *span, uint64_t *free);

/* The way along a list of spans or through a set; to be started with {0}. */
typedef struct tc_member {
    tc_span *span;
    size_t position;
    bool strayed;       /* the way does not end but leads ... */
    const void *stray;  /* ... here: to no span, to one that does not lead back, or out of order */
} tc_member;

bool al_tc_listed_next(const tc_heap *heap, const al_link *head, tc_member *member);
/* Of a set, in order; each of its spans is free, and as long and where its node says. */
bool al_tc_set_member_next(const tc_heap *heap, unsigned kind, tc_member *member);

/* --- what validate.c is made of --- */

/* What memory was found to hold. */
typedef struct tc_census {
    size_t spans, bytes;
    size_t nodes;                                     /* of long free spans, where they lie in metadata */
    size_t free_bytes[TC_KINDS], free_spans[TC_KINDS];
    size_t class_spans[TC_CLASSES_MOST], class_free[TC_CLASSES_MOST];
} tc_census;

/* check_memory.c: every stretch, by itself and beside the one before, and that what is kept is out. */
bool al_tc_check_memory(const tc_look *look, tc_census *census, al_flaw *flaw);
/* check_caches.c: threads, their lists, their shares. */
bool al_tc_check_caches(const tc_heap *heap, al_flaw *flaw);
/* check_central.c: slots, and the spans of each class. */
bool al_tc_check_central(const tc_heap *heap, const tc_census *census, al_flaw *flaw);
/* check_pages.c: free spans, growths, metadata. */
bool al_tc_check_pages(const tc_heap *heap, const tc_census *census, al_flaw *flaw);

#endif
