#include "trace/synth.h"

#include "trace/events.h"

#include <stdlib.h>

enum { RUN = 64 /* events a thread is at work before another may take over */, MOST_ALIGN_LOG2 = 12 };

/* Uniform in [0, 1). */
static double draw(al_synth *synth) { return (double)(al_rng_next(&synth->rng) >> 11) * 0x1p-53; }

static uint64_t draw_below(al_synth *synth, uint64_t limit) { return al_rng_next(&synth->rng) % limit; }

/* How many blocks should live now: between a tenth of the target and the target, up and down in each phase. */
static uint64_t wanted(const al_synth *synth) {
    if (synth->phase_events == 0) return synth->live_target;
    uint64_t at = synth->done % synth->phase_events, half = (synth->phase_events + 1) / 2;
    double height = (double)(at < half ? at : synth->phase_events - at) / (double)half;
    return (uint64_t)((0.1 + 0.9 * height) * (double)synth->live_target);
}

static bool reserve(al_synth *synth) {
    if (synth->count < synth->capacity) return true;
    size_t capacity = synth->capacity == 0 ? 1024 : 2 * synth->capacity;
    al_synth_block *larger = realloc(synth->live, capacity * sizeof *larger);
    if (larger == NULL) return false;
    synth->live = larger;
    synth->capacity = capacity;
    return true;
}

static bool birth(al_synth *synth, const al_synth_rows *rows, size_t i) {
    if (!reserve(synth)) return false;
    double kind = draw(synth);
    rows->op[i] = AL_EVENT_MALLOC;
    if (kind < synth->callocs) {
        rows->op[i] = AL_EVENT_CALLOC;
    } else if (kind < synth->callocs + synth->aligned) {
        rows->op[i] = AL_EVENT_ALIGNED;
        rows->align[i] = UINT64_C(16) << draw_below(synth, MOST_ALIGN_LOG2 - 3);
    }
    rows->size[i] = rows->sizes[i];
    rows->object[i] = synth->next;
    synth->live[synth->count++] = (al_synth_block){synth->next++, rows->sizes[i]};
    return true;
}

static void death(al_synth *synth, const al_synth_rows *rows, size_t i) {
    size_t victim = draw(synth) < synth->young ? synth->count - 1 : (size_t)draw_below(synth, synth->count);
    rows->op[i] = AL_EVENT_FREE;
    rows->object[i] = synth->live[victim].object;
    synth->live[victim] = synth->live[--synth->count];
}

/* Grows like a buffer that is filled, by half; sometimes it is cut to fit. */
static void resize(al_synth *synth, const al_synth_rows *rows, size_t i) {
    al_synth_block *block = &synth->live[draw_below(synth, synth->count)];
    block->bytes = draw(synth) < 0.8 && block->bytes < UINT64_C(1) << 30 ? block->bytes + block->bytes / 2 + 16
                                                                         : 1 + block->bytes / 2;
    rows->op[i] = AL_EVENT_REALLOC;
    rows->object[i] = block->object;
    rows->size[i] = block->bytes;
}

bool al_synth_add(al_synth *synth, const al_synth_rows *rows) {
    for (size_t i = 0; i < rows->rows; i++, synth->done++) {
        if (synth->done % RUN == 0) synth->thread = (uint32_t)draw_below(synth, synth->threads);
        rows->thread[i] = synth->thread;
        rows->count[i] = 1;
        rows->size[i] = rows->align[i] = 0;
        if (synth->count > 0 && draw(synth) < synth->reallocs) {
            resize(synth, rows, i);
            continue;
        }
        /* Below the mark births are twice as likely as deaths, above it half. */
        double births = synth->count < wanted(synth) ? 2.0 / 3 : 1.0 / 3;
        if (synth->count == 0 || draw(synth) < births) {
            if (!birth(synth, rows, i)) return false;
        } else {
            death(synth, rows, i);
        }
    }
    return true;
}

void al_synth_destroy(al_synth *synth) {
    free(synth->live);
    *synth = (al_synth){0};
}
