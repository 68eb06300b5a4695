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

/* --- for the background --- */

/* By how much the limit will have sunk after so many epochs. */
static uint64_t due_after(const je_decay *decay, uint64_t epochs) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < JE_EPOCHS; i++)
        sum += decay->backlog[i] * (weight(i + 1) - (i < epochs ? 0 : weight(i + 1 - epochs)));
    return sum >> JE_DECAY_SHIFT;
}

static bool is_empty(const je_decay *decay) {
    size_t any = 0;
    for (int i = 0; i < JE_EPOCHS; i++) any |= decay->backlog[i];
    return any == 0;
}

/* When will JE_DECAY_WORTH pages be due? Not sought exactly: between `least` and `most` epochs, which are halved until
 * no more than as many again become due between them; then in the middle. At least two, for within two the next epoch
 * is sure to have come. */
uint64_t al_je_decay_sleep(const je_decay *decay, size_t pages) {
    uint64_t least = 2, most = JE_EPOCHS;
    if (decay->ms <= 0 || (pages == 0 && is_empty(decay))) return UINT64_MAX;
    if (pages <= JE_DECAY_WORTH) return most * decay->interval;
    uint64_t due_least = due_after(decay, least), due_most = due_after(decay, most);
    if (due_least > JE_DECAY_WORTH) return least * decay->interval;
    if (due_most < JE_DECAY_WORTH) return most * decay->interval;
    while (due_least + JE_DECAY_WORTH < due_most && least + 2 < most) {
        const uint64_t middle = (least + most) / 2, due = due_after(decay, middle);
        if (due > JE_DECAY_WORTH)
            most = middle, due_most = due;
        else
            least = middle, due_least = due;
    }
    return (least + most) * (decay->interval / 2);
}

uint64_t al_je_decay_newest_due(const je_decay *decay, uint64_t nanoseconds) {
    const uint64_t epochs = nanoseconds / decay->interval;
    const uint64_t stays = epochs < JE_EPOCHS ? weight(JE_EPOCHS - epochs) : 0;
    return decay->backlog[JE_EPOCHS - 1] * (weight(JE_EPOCHS) - stays) >> JE_DECAY_SHIFT;
}
