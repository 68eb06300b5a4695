/* splitmix64: a seeded generator, so that what is random repeats. */
#ifndef AL_BASE_RNG_H
#define AL_BASE_RNG_H

#include <stdint.h>

typedef struct al_rng {
    uint64_t state;
} al_rng;

static inline uint64_t al_rng_next(al_rng *rng) {
    uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
