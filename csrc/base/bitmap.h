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

#endif
