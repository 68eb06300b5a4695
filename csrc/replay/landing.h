/* Where the next mappings land. The kernel puts them into the highest gap that fits, which differs from process to
 * process, and with it what an alignment above a page costs. */
#ifndef AL_REPLAY_LANDING_H
#define AL_REPLAY_LANDING_H

/* Fills the gaps among what is mapped, and the free range below down to a multiple of 1 GiB: what is mapped from now on
 * lands alike in every process, as in a window. Without memory for that, it lands anywhere. */
void al_landing_align(void);

#endif
