/* Size classes: the few sizes that small objects come in, and the spans they are cut from.
 *
 * The classic rule is a walk over sizes with three aims: an object may waste little of itself, a span may waste little
 * of its end, and a span shall hold a fair part of a batch, which is what moves between caches at a time.
 *
 *     step        from 8 on, each size is the last one plus the alignment of the last one:
 *                     below 16: 8; below 128: 16; else 2^floor(log2 size) / 8, at most a page
 *                 An eighth of the power of two below: so rounding up wastes at most an eighth of a request.
 *     batch       64 KiB in objects, at least 2, and at most 32 (a setting): many small ones move at once, few large
 *                 ones
 *     span        pages are added until what is left over at the end is at most an eighth of it, and it holds a
 *                 quarter of a batch
 *     merging     a size whose span has as many pages and holds as many objects as that of the size before serves
 *                 nobody better: the class before grows to this size, and there is one class less
 *
 * That makes 85 classes for pages of 8 KiB and the default batch. 832 has none of its own: a page holds nine objects of
 * it, and of 896.
 *
 * A request finds its class in a table with a place for each multiple of 8 up to 1024, and of 128 above:
 *
 *     place(s) = (s + 7) >> 3                   s <= 1024: 0 .. 128
 *              = (s + 127 + (120 << 7)) >> 7    above: 129 .. 2168, as (1025 + 127) >> 7 = 9 = 129 - 120
 *
 * so a class above 1024 must be a multiple of 128, which eighths of 1024 and more are. */
#ifndef AL_ALLOCATORS_TCMALLOC_CLASSES_H
#define AL_ALLOCATORS_TCMALLOC_CLASSES_H

#include "base/align.h"

enum {
    TC_PAGE_BITS = 13,
    TC_PAGE = 1 << TC_PAGE_BITS,
    TC_SMALL_MOST = 262144,    /* the largest class */
    TC_CLASSES_MOST = 96,      /* with class 0, which is none */
    TC_FINE_MOST = 1024,       /* up to here sizes are told apart by 8 bytes, above by 128 */
    TC_PLACE_FINE = TC_FINE_MOST / 8,
    TC_PLACES = 2169
};

typedef struct tc_class {
    uint32_t bytes;            /* of an object */
    uint16_t pages;            /* of a span */
    uint16_t objects;          /* of a span */
    uint32_t batch;            /* objects */
} tc_class;

typedef struct tc_classes {
    unsigned count;            /* classes are 1 .. count - 1; 0 is none */
    tc_class of[TC_CLASSES_MOST];
    uint8_t places[TC_PLACES];
} tc_classes;

static inline size_t al_tc_place(size_t bytes) {
    return __builtin_expect(bytes <= TC_FINE_MOST, 1) ? (bytes + 7) >> 3 : (bytes + 127 + (120 << 7)) >> 7;
}

/* pre: bytes <= TC_SMALL_MOST. */
static inline unsigned al_tc_class_of(const tc_classes *classes, size_t bytes) {
    return classes->places[al_tc_place(bytes)];
}

/* What a span has behind its last object. */
static inline size_t al_tc_end_bytes(const tc_class *shape) {
    return ((size_t)shape->pages << TC_PAGE_BITS) - (size_t)shape->objects * shape->bytes;
}

/* The classic ones. batch_most: 1 .. 8192. */
void al_tc_classes_generate(tc_classes *classes, unsigned batch_most);
/* Fills the table of places, from the classes, which ascend. */
void al_tc_classes_index(tc_classes *classes);

#endif
