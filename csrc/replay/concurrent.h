/* The passes of alloclab-replay on strands: threads side by side, each waiting only where another must be first.
 * verify, memory and calls give the lines of the serial passes, but that
 *
 *     at_peak            is the sample with most live bytes, the first of these: nobody knows when the peak will be
 *     reallocs_by_mremap, realloc_bytes_copied    are missing: whose the mremap was is not known
 *     verify             checks ledger and heap at the end alone: before, others are inside
 *
 * and operations are counted in the order in which they were done. time gives
 *
 *     pass_ns N          CPU time of all threads, without their starts and ends
 *     wall_ns N          from the first start to the last end
 *     waits N            WAITs that were not over at once               sleeps N       of these, those that slept
 *     waited_ns N        time spent in them, of all threads */
#ifndef AL_REPLAY_CONCURRENT_H
#define AL_REPLAY_CONCURRENT_H

#include "base/text.h"
#include "replay/strands.h"

/* What `serial` is, over all strands at once. The slots of the operations it is called with are those of `all`. */
al_target al_concurrent_target(const al_target *serial, al_strands *all);

void al_concurrent_time(const al_target *target, size_t touch_page, al_text *out);

#endif
