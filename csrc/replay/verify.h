/* Is it a malloc? Every block is filled with a pattern of its own and checked when it is resized or freed, and at the
 * end:
 *
 *     aligned      to what was asked, else to the largest power of two <= its size, at most 16
 *     disjoint     from every other live block
 *     zero         if calloc made it
 *     usable       malloc_usable_size >= the request
 *     kept         min(old, new) bytes over a realloc; all of it until then
 *     served       a call that succeeded when it was recorded succeeds
 *     accounted    glass boxes: mapped = the sum of the ledger, after every operation; al_heap_validate now and then
 */
#ifndef AL_REPLAY_VERIFY_H
#define AL_REPLAY_VERIFY_H

#include "base/text.h"
#include "replay/loop.h"

/* Writes "verified 1", or "verified 0" and "failure WHAT"; or "trouble WHAT" where it could not find out. `progress`,
 * if not NULL, holds the number of the operation under way, for whoever has to explain a crash. */
void al_verify(const al_target *target, const al_ops *ops, volatile uint64_t *progress, al_text *out);

#endif
