/* CPU time of the loop with nobody looking on. */
#ifndef AL_REPLAY_TIMING_H
#define AL_REPLAY_TIMING_H

#include "base/text.h"
#include "replay/loop.h"

typedef struct al_timing {
    size_t touch_page;
    uint32_t warm_passes; /* after the first; every pass begins with all blocks freed */
} al_timing;

/* Memory that the host or another process had until now is slow to fault in for the first time; so what the pass will
 * need is faulted in and given back before, as huge pages and as small ones. Best effort: without memory, nothing. */
void al_pretouch(uint64_t bytes);

/* Writes "pass_ns N" once per pass, the first one first. */
void al_time(const al_target *target, const al_ops *ops, const al_timing *how, al_text *out);

#endif
