/* Ways through a heap at rest, for whoever looks inside: its stretches of memory in address order, and what lies in
 * caches. No pointer is followed, and no size believed, before it is known to lead to mapped memory and to what must be
 * there; only the heap's own struct is trusted to be where it is. */
#ifndef AL_ALLOCATORS_TCMALLOC_HPAA_INSPECT_H
#define AL_ALLOCATORS_TCMALLOC_HPAA_INSPECT_H

#include "allocators/tcmalloc/hpaa/hpaa.h"
#include "parts/facts.h"
#include "parts/finds.h"

/* --- look.c --- */

enum { HP_MAP_WORDS = 16 };       /* a bit for each object of any span */

/* All locks are held from open to close. */
typedef struct hp_look {
    hp_heap *heap;
    al_finds kept;                /* objects in caches: key = the object, what = the CPU's cache, or NULL for a transfer
                                     cache, next = the class */
} hp_look;

void al_hp_look_open(hp_look *look, hp_heap *heap);
void al_hp_look_close(hp_look *look);

/* Whether what a stack, or a transfer cache, says of itself can be, so that its objects may be read. */
bool al_hp_stack_sound(const hp_heap *heap, const hp_cpu *cpu, unsigned class);
bool al_hp_transfer_sound(const hp_heap *heap, unsigned class);

/* The word of any page; 0 where there is none. */
al_page_word al_hp_word_at(const hp_heap *heap, uintptr_t page);
/* The span in use that begins there and ends by `end`, if all that leads to it and its own sizes are sound; or NULL. */
hp_span *al_hp_span_at(const hp_heap *heap, uintptr_t address, uintptr_t end);
/* Whether it is the record of a span in use. */
bool al_hp_span_known(const hp_heap *heap, const tc_span *span);
/* Of a span with a class: a bit for each free object. False: it is damaged. */
bool al_hp_free_objects(const hp_heap *heap, const hp_span *span, uint64_t free[HP_MAP_WORDS]);

typedef enum hp_stretch_kind { HP_METADATA, HP_SPAN, HP_FREE } hp_stretch_kind;

typedef struct hp_stretch {
    hp_stretch_kind kind;
    uintptr_t start, end;
    hp_span *span;
} hp_stretch;

/* The first one from `at` on, which is where another ends, or 0; false: there is none. */
bool al_hp_stretch_after(const hp_look *look, uintptr_t at, hp_stretch *out);

static inline uintptr_t al_hp_object(const hp_heap *heap, const hp_span *span, unsigned index) {
    return span->span.address + (uintptr_t)index * al_hp_shape(heap, span->span.class)->bytes;
}

/* --- members.c --- */

/* A span in the lists of a class. */
typedef struct hp_member {
    hp_span *span;
    unsigned list;
    size_t position;              /* of all */
    bool strayed;                 /* the way does not end but lead ... */
    const void *stray;            /* ... here: to no span of the class, to one of another list, or not back */
} hp_member;

/* In the order in which they are taken from, at last those without a free object; to be started with {0}. */
bool al_hp_listed_next(const hp_heap *heap, unsigned class, hp_member *member);

#endif
