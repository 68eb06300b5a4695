/* What the two tcmallocs share: spans, the map from pages to them, records in metadata, the spans of a class.
 *
 * A span is a run of pages, either in use - cut into objects of a class, or one large block - or free:
 *
 *     span (1 page, class 80)                              the map says the span for its first and its last page,
 *     | object | object | ... 102 objects | waste |        and for all pages where it has a class
 *
 * Words of other pages may be stale. They are read without a lock: the class and the span of a live block's pages do
 * not change while it lives. Records of spans are never given back to the system, so that a stale one can be read. */
#ifndef AL_ALLOCATORS_TCMALLOC_SPAN_H
#define AL_ALLOCATORS_TCMALLOC_SPAN_H

#include "allocators/allocator.h"
#include "allocators/tcmalloc/classes.h"
#include "base/list.h"
#include "parts/pages.h"

typedef enum tc_location {
    TC_IN_USE,
    TC_NORMAL,                /* free; its pages may be resident */
    TC_RETURNED,              /* free; given back to the system: they read zero */
    TC_SPARE                  /* the record is that of no span */
} tc_location;

enum { TC_OCCUPANCIES = 9, TC_FULL = TC_OCCUPANCIES - 1 };

typedef struct tc_span {
    uintptr_t address;        /* page aligned */
    size_t pages;
    al_link link;             /* in use, with a class: in a list of it; free: in a list of its length */
    void *objects;            /* classic, with a class: a chain of free ones; free and long: its node in a set */
    uint32_t live;            /* objects that are out: in blocks, caches and the transfer cache */
    uint8_t class;            /* 0: a large block, or free */
    uint8_t location;         /* tc_location */
    uint8_t list;             /* with a class: which one of tc_spans */
} tc_span;

_Static_assert(sizeof(tc_span) == 48, "as many to a unit of metadata as theirs");

typedef struct tc_base tc_base;

/* --- records.c: records of one kind, in metadata; heap->lock is held --- */

enum { TC_UNIT = 128 << 10 };

/* Records come in units of 128 KiB, and are never given back but to the next who wants one: the last given first. */
typedef struct tc_records {
    size_t bytes;             /* of a record, a multiple of 8 */
    void *spare;              /* linked by their first words */
    uintptr_t at, end;        /* the unused part of the last unit */
    size_t taken;             /* how many are in use */
} tc_records;

/* False: there is no memory for a first unit; it is asked for again with the first record. */
bool al_tc_records_init(tc_base *base, tc_records *records, size_t bytes);
/* Whether there is one to take; asks for a unit where there is none. */
bool al_tc_records_ready(tc_base *base, tc_records *records);
/* Not zeroed. NULL: no memory. */
void *al_tc_record_take(tc_base *base, tc_records *records);
void al_tc_record_give(tc_records *records, void *record);

/* --- the head of both heaps --- */

struct tc_base {
    al_heap heap;
    tc_classes classes;
    tc_records spans;
    /* heap->lock is held for each: */
    void *(*metadata)(tc_base *base, size_t bytes);           /* zeroed, for good; NULL: no memory */
    tc_span *(*pages_take)(tc_base *base, size_t pages);      /* in use, entered; NULL: no memory */
    void (*pages_give)(tc_base *base, tc_span *span);         /* in use, without a class */
    al_pages map;
    bool writes_leaves; /* the zeros of a new leaf of the map are written, so that it is resident, as the real one's */
};

static inline uintptr_t al_tc_end(const tc_span *span) { return span->address + (span->pages << TC_PAGE_BITS); }

static inline uintptr_t al_tc_page_of(const void *block) { return (uintptr_t)block >> TC_PAGE_BITS; }

/* --- span.c --- */

/* Makes the leaves for these pages; heap->lock is held. False: no memory. */
bool al_tc_map_prepare(tc_base *base, uintptr_t from, uintptr_t to);
/* Enters the first and last page of a span; with its class, where it has one, all. */
void al_tc_map_enter(tc_base *base, const tc_span *span);

/* A record for these pages, in no list, not entered. NULL: no memory. heap->lock is held for both. */
tc_span *al_tc_span_new(tc_base *base, uintptr_t address, size_t pages);
void al_tc_span_forget(tc_base *base, tc_span *span);

/* The span that a page which has one lies in. */
static inline tc_span *al_tc_word_span(al_page_word word) { return al_page_word_pointer(word, 3); }
static inline tc_span *al_tc_span_of(const tc_base *base, const void *block) {
    return al_tc_word_span(al_pages_get(&base->map, al_tc_page_of(block)));
}
/* The same for any address at all: NULL where there is none. It may be a span that does not hold the address. */
static inline tc_span *al_tc_span_or_none(const tc_base *base, uintptr_t address) {
    return al_tc_word_span(al_pages_get_or_none(&base->map, address >> TC_PAGE_BITS));
}

/* --- the spans of a class, by how many of their objects are out; their owner locks --- */

/* lists[0] .. lists[TC_FULL - 1]: spans with objects to give, to be taken from in that order, the last filed first.
 * Classic has them all in lists[0]; the modern one in eight by occupancy. Last those with none left. */
typedef struct tc_spans {
    al_link lists[TC_OCCUPANCIES];
    size_t count;             /* spans */
    size_t free;              /* objects on them */
} tc_spans;

void al_tc_spans_init(tc_spans *spans);
/* The span to take from; NULL: none has an object. */
tc_span *al_tc_spans_first(const tc_spans *spans);
/* Puts a span that is filed elsewhere at the head of this list; one that is there already stays where it is. */
void al_tc_spans_file(tc_spans *spans, tc_span *span, unsigned list);
/* A new span of the class, entered, at the head of list 0, all its objects free; takes heap->lock. NULL: no memory. */
tc_span *al_tc_spans_add(tc_base *base, tc_spans *spans, unsigned class);
/* A span none of whose objects is out leaves the lists, and its pages go back; takes heap->lock. */
void al_tc_spans_drop(tc_base *base, tc_spans *spans, tc_span *span);

/* --- set.c: free runs by (length, address) --- */

typedef struct tc_node {
    struct tc_node *left, *right;
    uint64_t priority;        /* a treap: no node has a higher one than its parent */
    uintptr_t address;
    size_t length;            /* in the unit of whose set it is */
    void *owner;
} tc_node;

_Static_assert(sizeof(tc_node) == 48, "as many to a unit of metadata as theirs");

/* The order of a set. */
static inline bool al_tc_node_before(const tc_node *a, const tc_node *b) {
    return a->length != b->length ? a->length < b->length : a->address < b->address;
}

/* pre: address, length and owner are set. */
void al_tc_set_insert(tc_node **root, tc_node *node);
void al_tc_set_remove(tc_node **root, tc_node *node);
/* The shortest that is at least so long, of those the lowest; NULL: none is. */
tc_node *al_tc_set_fit(tc_node *root, size_t length);
/* The one that follows `node`, which may be NULL, in this order; NULL: it is the last. */
tc_node *al_tc_set_next(tc_node *root, const tc_node *node);

#endif
