/* What lies in which page: a word for each page, in a radix tree of two levels, read without a lock.
 *
 *     | class | 8 bits 0 | pointer, aligned to 8 at least            | low bits |      0: nothing
 *      63    56           47                                        0
 *
 * The class is the allocator's business, and so is what the low bits of an aligned pointer may say. free() needs no
 * more than the class to put a block into a thread's cache.
 *
 * Pages are numbered, and how large they are is the allocator's affair, too: 35 bits of number cover 47 bits of
 * address for pages of 4 KiB, and 48 for 8 KiB. */
#ifndef AL_PARTS_PAGES_H
#define AL_PARTS_PAGES_H

#include <stddef.h>
#include <stdint.h>

enum { AL_PAGES_LEAF_BITS = 18, AL_PAGES_ROOT_BITS = 17 };

typedef uintptr_t al_page_word;

typedef struct al_pages_leaf {
    al_page_word words[1 << AL_PAGES_LEAF_BITS]; /* 2 MiB */
} al_pages_leaf;

typedef struct al_pages {
    al_pages_leaf *leaves[1 << AL_PAGES_ROOT_BITS]; /* NULL: nothing there yet */
} al_pages;

/* pre: page < 2^35. */
static inline al_pages_leaf *al_pages_leaf_of(const al_pages *pages, uintptr_t page) {
    return __atomic_load_n(&pages->leaves[page >> AL_PAGES_LEAF_BITS], __ATOMIC_ACQUIRE);
}

static inline void al_pages_set_leaf(al_pages *pages, uintptr_t page, al_pages_leaf *leaf) {
    __atomic_store_n(&pages->leaves[page >> AL_PAGES_LEAF_BITS], leaf, __ATOMIC_RELEASE);
}

static inline al_page_word *al_pages_word_of(al_pages_leaf *leaf, uintptr_t page) {
    return &leaf->words[page & ((1 << AL_PAGES_LEAF_BITS) - 1)];
}

/* pre: its leaf is there. */
static inline al_page_word al_pages_get(const al_pages *pages, uintptr_t page) {
    return __atomic_load_n(al_pages_word_of(al_pages_leaf_of(pages, page), page), __ATOMIC_RELAXED);
}

/* The same for any page; 0 where there is no leaf. What the pointer pointed at by then may be read. */
static inline al_page_word al_pages_get_or_none(const al_pages *pages, uintptr_t page) {
    if (__builtin_expect(page >> (AL_PAGES_LEAF_BITS + AL_PAGES_ROOT_BITS) != 0, 0)) return 0;
    al_pages_leaf *leaf = al_pages_leaf_of(pages, page);
    return __builtin_expect(leaf == NULL, 0) ? 0 : __atomic_load_n(al_pages_word_of(leaf, page), __ATOMIC_ACQUIRE);
}

/* pre: its leaf is there. */
static inline void al_pages_put(al_pages *pages, uintptr_t page, al_page_word word) {
    __atomic_store_n(al_pages_word_of(al_pages_leaf_of(pages, page), page), word, __ATOMIC_RELEASE);
}

static inline al_page_word al_page_word_of(const void *pointer, unsigned class) {
    return (uintptr_t)pointer | (al_page_word)class << 56;
}

static inline unsigned al_page_word_class(al_page_word word) { return (unsigned)(word >> 56); }

/* Without its `low` low bits. */
static inline void *al_page_word_pointer(al_page_word word, unsigned low) {
    return (void *)(word & ((UINT64_C(1) << 48) - 1) >> low << low);
}

#endif
