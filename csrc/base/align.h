/* Arithmetic on powers of two. Every `to` is a power of two. */
#ifndef AL_BASE_ALIGN_H
#define AL_BASE_ALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool al_is_power_of_two(uint64_t x) { return x != 0 && (x & (x - 1)) == 0; }

static inline uint64_t al_align_down(uint64_t x, uint64_t to) { return x & ~(to - 1); }

/* The caller has checked that x + to does not overflow. */
static inline uint64_t al_align_up(uint64_t x, uint64_t to) { return (x + to - 1) & ~(to - 1); }

static inline bool al_is_aligned(uint64_t x, uint64_t to) { return (x & (to - 1)) == 0; }

/* floor(log2(x)), x > 0. */
static inline unsigned al_log2_floor(uint64_t x) { return 63u - (unsigned)__builtin_clzll(x); }

/* ceil(log2(x)), x > 0. */
static inline unsigned al_log2_ceil(uint64_t x) { return x == 1 ? 0 : al_log2_floor(x - 1) + 1; }

static inline size_t al_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t al_max(size_t a, size_t b) { return a > b ? a : b; }

#endif
