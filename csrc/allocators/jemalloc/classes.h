/* Size classes: the few sizes that blocks come in.
 *
 * Every request is rounded up to a class, so that blocks freed by one request fit the next. How many classes? With
 * one per power of two half of a block may be waste; with one per 16 bytes there are too many lists. The classes here
 * are spaced evenly between powers of two, four to a doubling, hence a request above 64 bytes wastes less than a fifth
 * of its block:
 *
 *     group      step    classes
 *                   8    8
 *     0            16    16 32 48 64
 *     1            16    80 96 112 128
 *     2            32    160 192 224 256
 *     3            64    320 384 448 512
 *     g        2^(g+3)   (5 6 7 8) * 2^(g+3)
 *
 * Number of a class. 8 is class 0. Let s > 8 and x = floor(log2(2s - 1)), so that 2^(x-1) < s <= 2^x: s lies in the
 * group that ends at 2^x, where the step is 2^(x-3). Up to 2^(x-1) there are 4 steps of this size, so
 * q = (s - 1) >> (x - 3) is 4, 5, 6 or 7 there, by the class; four classes come with each x:
 *
 *     class(s) = 4 (x - 7) + q + 1            for x >= 7
 *
 * Below, the step stays 16, as if x were 7, and q runs from 0; the formula still holds: class(16) = 1, class(64) = 4.
 *
 * Blocks up to 14336 bytes (36 classes) are small: regions of a slab. A slab is the shortest run of pages that regions
 * fill exactly: lcm(class, page); unless the setting slab_sizes wants others. Larger blocks have pages of their own.
 *
 * Free runs of pages are kept by page class: the classes that are multiples of a page, which are the same series with
 * the page in the place of 16. */
#ifndef AL_ALLOCATORS_JEMALLOC_CLASSES_H
#define AL_ALLOCATORS_JEMALLOC_CLASSES_H

#include "base/align.h"

enum {
    JE_PAGE_BITS = 12,
    JE_PAGE = 1 << JE_PAGE_BITS,
    JE_SMALL_CLASSES = 36,
    JE_CLASSES = 232,
    JE_NO_CLASS = 255,
    JE_SMALL_MOST = 14336,
    JE_LARGE_LEAST = 16384,
    JE_PAGE_CLASSES = 199,
    JE_SLAB_REGIONS_MOST = 512
};

/* The largest class; what asks for more asks for too much. */
#define JE_LARGE_MOST UINT64_C(0x7000000000000000)

/* pre: bytes <= JE_LARGE_MOST. */
static inline unsigned al_je_class_of(size_t bytes) {
    size_t s = bytes + (bytes == 0);
    unsigned x = al_log2_floor((2 * s - 1) | 128);
    return 4 * x - 27 + (unsigned)((s - 1) >> (x - 3)) - (s <= 8);
}

static inline size_t al_je_class_bytes(unsigned class) {
    if (class == 0) return 8;
    unsigned group = (class - 1) / 4, step = (class - 1) % 4;
    return group == 0 ? 16 * (size_t)(step + 1) : (size_t)(step + 5) << (group + 3);
}

/* --- page classes --- */

/* The smallest page class of at least `bytes`; pre: a multiple of the page, not 0. */
static inline unsigned al_je_page_class_of(size_t bytes) {
    return al_je_class_of(bytes >> (JE_PAGE_BITS - 4)) - 1;
}

static inline size_t al_je_page_class_bytes(unsigned page_class) {
    return al_je_class_bytes(page_class + 1) << (JE_PAGE_BITS - 4);
}

#endif
