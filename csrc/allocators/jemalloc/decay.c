#include "allocators/jemalloc/decay.h"

#include <string.h>

/* floor((6x^5 - 15x^4 + 10x^3) * 2^24), x = k / 200. With k in all of it, 200^5 = 2^15 * 5^10 below:
 *
 *     k^3 (6k^2 - 3000k + 400000) * 2^24 / 200^5
 *
 * The bracket is positive, and what is left of it is at most 200^5 < 2^39: nothing overflows. */
static uint64_t weight(uint64_t k) {
    uint64_t part = k * k * k * (6 * k * k + 400000 - 3000 * k);
    return (part << (JE_DECAY_SHIFT - 15)) / 9765625;
}

/* Random, so that arenas and processes do not all purge at once. */
static void set_deadline(je_decay *decay) {
    decay->deadline = decay->epoch + decay->interval + al_rng_next(&decay->rng) % decay->interval;
}

void al_je_decay_init(je_decay *decay, int64_t ms, uint64_t now, uint64_t seed) {
    memset(decay, 0, sizeof *decay);
    decay->ms = ms;
    decay->epoch = now;
    decay->rng.state = seed;
    if (ms <= 0) return;
    decay->interval = (uint64_t)ms * (1000000 / JE_EPOCHS);
    set_deadline(decay);
}

bool al_je_decay_advance(je_decay *decay, uint64_t now, size_t pages) {
    if (now < decay->deadline) return false;
    uint64_t passed = (now - decay->epoch) / decay->interval;
    decay->epoch += passed * decay->interval;
    set_deadline(decay);
    size_t lost = passed < JE_EPOCHS ? (size_t)passed : JE_EPOCHS, kept = JE_EPOCHS - lost;
    memmove(decay->backlog, decay->backlog + lost, kept * sizeof *decay->backlog);
    memset(decay->backlog + kept, 0, lost * sizeof *decay->backlog);
    decay->backlog[JE_EPOCHS - 1] = pages > decay->unpurged ? pages - decay->unpurged : 0;
    size_t limit = al_je_decay_limit(decay);
    decay->unpurged = limit > pages ? limit : pages;
    return true;
}

size_t al_je_decay_limit(const je_decay *decay) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < JE_EPOCHS; i++) sum += decay->backlog[i] * weight(i + 1);
    return sum >> JE_DECAY_SHIFT;
}
