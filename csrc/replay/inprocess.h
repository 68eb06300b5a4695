/* The passes on a glass-box heap in a window of this process: quick, and the account is exact, residency included. */
#ifndef AL_REPLAY_INPROCESS_H
#define AL_REPLAY_INPROCESS_H

#include "replay/job.h"

/* Makes a heap, replays on it, destroys it. Writes the same lines as alloclab-replay (memory gives what calls gives,
 * too), or "trouble WHAT", to `out`, which has al_job_text_bytes(job). Returns how many bytes it wrote. */
size_t al_replay_in_process(const al_job *job, const char *allocator, const char *options, char *out);

#endif
