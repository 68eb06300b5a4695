/* CPU time of the loop with nobody looking on. */
#ifndef AL_REPLAY_TIMING_H
#define AL_REPLAY_TIMING_H

#include "replay/loop.h"
#include "replay/text.h"

typedef struct al_timing {
    size_t touch_page;
    uint32_t warm_passes; /* after the first; every pass begins with all blocks freed */
    uint64_t pretouch;    /* bytes to fault in and give back before the first pass */
} al_timing;

/* Writes "pass_ns N" once per pass, the first one first. */
void al_time(const al_target *target, const al_ops *ops, const al_timing *how, al_text *out);

#endif
