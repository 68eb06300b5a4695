/* Seeded synthetic traces: births, deaths and resizes around a working set that may swell and shrink in phases. */
#ifndef AL_TRACE_SYNTH_H
#define AL_TRACE_SYNTH_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct al_synth_block {
    int64_t object;
    uint64_t bytes;
} al_synth_block;

typedef struct al_synth {
    uint64_t live_target;                         /* blocks, at the top of a phase */
    uint64_t phase_events;                        /* one swelling and shrinking; 0: none */
    double reallocs, callocs, aligned, young;     /* shares, 0..1; young: deaths that take the last block */
    uint32_t threads;
    al_rng rng;
    uint64_t done;      /* events so far */
    int64_t next;       /* object */
    uint32_t thread;    /* at work */
    al_synth_block *live; /* in no order; the latest birth stands last until another block dies */
    size_t count, capacity;
} al_synth;

/* The columns to fill; `sizes` holds one drawn size per row, used where the row asks for bytes. */
typedef struct al_synth_rows {
    size_t rows;
    const uint64_t *sizes;
    uint8_t *op;
    uint32_t *thread;
    int64_t *object;
    uint64_t *size, *count, *align;
} al_synth_rows;

bool al_synth_add(al_synth *synth, const al_synth_rows *rows); /* false: no memory */
void al_synth_destroy(al_synth *synth);

#endif
