/* Bitmaps of 64-bit words. */
#ifndef AL_BASE_BITMAP_H
#define AL_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t al_bitmap_words(size_t bits) { return (bits + 63) / 64; }
static inline void al_bitmap_set(uint64_t *map, size_t bit) { map[bit / 64] |= UINT64_C(1) << (bit % 64); }
static inline void al_bitmap_clear(uint64_t *map, size_t bit) { map[bit / 64] &= ~(UINT64_C(1) << (bit % 64)); }
static inline bool al_bitmap_test(const uint64_t *map, size_t bit) { return map[bit / 64] >> (bit % 64) & 1; }

/* The first set bit at or after `from`, or `bits` where there is none. */
static inline size_t al_bitmap_next(const uint64_t *map, size_t bits, size_t from) {
    if (from >= bits) return bits;
    size_t word = from / 64;
    uint64_t rest = map[word] & (~UINT64_C(0) << (from % 64));
    while (rest == 0) {
        if (++word >= al_bitmap_words(bits)) return bits;
        rest = map[word];
    }
    size_t found = word * 64 + (size_t)__builtin_ctzll(rest);
    return found < bits ? found : bits;
}

/* The first clear bit at or after `from`, or `bits` where there is none. */
static inline size_t al_bitmap_next_clear(const uint64_t *map, size_t bits, size_t from) {
    if (from >= bits) return bits;
    size_t word = from / 64;
    uint64_t rest = ~map[word] & (~UINT64_C(0) << (from % 64));
    while (rest == 0) {
        if (++word >= al_bitmap_words(bits)) return bits;
        rest = ~map[word];
    }
    size_t found = word * 64 + (size_t)__builtin_ctzll(rest);
    return found < bits ? found : bits;
}

/* The next run of clear bits, [*start, *end), at or after `from`. False: there is none. */
static inline bool al_bitmap_next_gap(const uint64_t *map, size_t bits, size_t from, size_t *start, size_t *end) {
    *start = al_bitmap_next_clear(map, bits, from);
    *end = al_bitmap_next(map, bits, *start);
    return *start < bits;
}

/* The length of the longest run of clear bits in [from, to); 0: none is clear. */
static inline size_t al_bitmap_longest_gap(const uint64_t *map, size_t from, size_t to) {
    size_t start, end = from, longest = 0;
    while (al_bitmap_next_gap(map, to, end, &start, &end))
        if (end - start > longest) longest = end - start;
    return longest;
}

/* The shortest run of at least `least` clear bits, the lowest of these, and its length; pre: there is one. */
static inline size_t al_bitmap_fit(const uint64_t *map, size_t bits, size_t least, size_t *length) {
    size_t start, end = 0, at = 0;
    *length = SIZE_MAX;
    while (al_bitmap_next_gap(map, bits, end, &start, &end))
        if (end - start >= least && end - start < *length) {
            *length = end - start;
            at = start;
        }
    return at;
}

/* Behind the last set bit before `to`: where the run of clear bits begins that ends there. */
static inline size_t al_bitmap_gap_start(const uint64_t *map, size_t to) {
    size_t word = to / 64;
    uint64_t rest = to % 64 == 0 ? 0 : map[word] & ~(~UINT64_C(0) << (to % 64));
    while (rest == 0) {
        if (word == 0) return 0;
        rest = map[--word];
    }
    return word * 64 + 64 - (size_t)__builtin_clzll(rest);
}

/* The length of the run of clear bits that [from, to), all clear, is part of. */
static inline size_t al_bitmap_gap_around(const uint64_t *map, size_t bits, size_t from, size_t to) {
    return al_bitmap_next(map, bits, to) - al_bitmap_gap_start(map, from);
}

/* Of a word, the bits that lie in [from, to). */
static inline uint64_t al_bitmap_mask(size_t word, size_t from, size_t to) {
    uint64_t mask = ~UINT64_C(0);
    if (from > word * 64) mask &= ~UINT64_C(0) << (from - word * 64);
    if (to < word * 64 + 64) mask &= ~(~UINT64_C(0) << (to - word * 64));
    return mask;
}

/* [from, to), not empty. */
static inline void al_bitmap_set_all(uint64_t *map, size_t from, size_t to) {
    for (size_t word = from / 64; word <= (to - 1) / 64; word++) map[word] |= al_bitmap_mask(word, from, to);
}
static inline void al_bitmap_clear_all(uint64_t *map, size_t from, size_t to) {
    for (size_t word = from / 64; word <= (to - 1) / 64; word++) map[word] &= ~al_bitmap_mask(word, from, to);
}
/* How many of [from, to), not empty, are set. */
static inline size_t al_bitmap_count(const uint64_t *map, size_t from, size_t to) {
    size_t count = 0;
    for (size_t word = from / 64; word <= (to - 1) / 64; word++)
        count += (size_t)__builtin_popcountll(map[word] & al_bitmap_mask(word, from, to));
    return count;
}

#endif
