/* What a replay did to memory: exact after every operation where the account is at hand, sampled where only the
 * kernel knows. Lines written (N whole numbers, R decimals; `mapped`, `ledger` and `resident` lines only where they
 * are known):
 *
 *     MOMENT_live N  MOMENT_mapped N  MOMENT_resident N
 *     MOMENT_ledger_usable N  ..._metadata N  ..._cached N  ..._free N
 *                                MOMENT = at_peak (the first peak of live), at_end, drained (survivors freed too)
 *     peak_mapped N              largest ever, also within an operation
 *     live_at_peak_mapped N      live after the operation in which peak_mapped was first reached
 *     mean_mapped_per_live R     over the operations after which something is live
 *     peak_sampled_resident N    live_at_peak_resident N    mean_resident_per_live R       over the samples likewise
 *     calls_KIND N  bytes_KIND N for brk mmap munmap mremap madvise mprotect, from the first operation to the last
 *     peak_vmas N
 *     reallocs N  reallocs_in_place N  grows N  grows_in_place N  shrinks N  shrinks_in_place N
 *     reallocs_by_mremap N  realloc_bytes_copied N
 *     minor_faults N
 *     sample OP LIVE MAPPED RESIDENT     "-" where not known; OP operations were done by then
 *
 * live is the trace's own: the requested bytes of what the recorded program held. */
#ifndef AL_REPLAY_OBSERVE_H
#define AL_REPLAY_OBSERVE_H

#include "base/text.h"
#include "replay/loop.h"

typedef struct al_sources {
    const al_counters *counters; /* of a malloc that is no glass box; NULL: nobody counts. A glass box brings its own */
    size_t (*resident)(void *context); /* bytes; NULL: not sampled */
    void *context;
} al_sources;

typedef struct al_observation {
    size_t touch_page;
    uint32_t samples;      /* wanted; the peak and the end are added to them */
    void (*begin)(void *); /* called with sources->context right before the loop, ... */
    void (*finish)(void *); /* ... and right after it; NULL: nothing to do */
} al_observation;

void al_observe(const al_target *target, const al_ops *ops, const al_ops_head *head, const al_sources *sources,
                const al_observation *how, al_text *out);

#endif
