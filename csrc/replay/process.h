/* The process's own malloc, whoever provides it: libc's, or a preloaded library's. Only alloclab-replay replays on
 * it. */
#ifndef AL_REPLAY_PROCESS_H
#define AL_REPLAY_PROCESS_H

#include "base/text.h"
#include "replay/loop.h"

al_target al_process_target(void);
/* The same calls, and the clock follows the trace where clock.h's library is loaded. */
al_calls al_process_timed(const al_calls *calls);
/* Its loop, by a name that instruction counters can be told. */
void al_loop_process(void *self, const al_ops *ops, size_t touch_page);
bool al_process_is_glass(void); /* a drop-in of the laboratory is preloaded */
enum { AL_BREAK_ALIGNMENT = 2 << 20 };

al_heap *al_process_begin(void); /* makes the drop-in's heap, without a block; NULL: none is preloaded */
/* Where from `now` on a heap may begin, so many bytes beyond a multiple of AL_BREAK_ALIGNMENT. */
uintptr_t al_process_break_for(uintptr_t now, size_t beyond);
/* A heap begins where the break is when the first block is asked for. Aligned as in a window (`beyond` 0), or as it was
 * elsewhere, blocks of large alignments fall alike wherever the program was loaded. Not while a malloc has begun there:
 * it would think that others take from its heap. */
void al_process_align_break(size_t beyond);

/* Writes "malloc_from FILE", the object that malloc resolves to, or "not_malloc WHAT" (then returns false): no
 * library beside libc defines malloc although one was to be preloaded, or the family comes from more than one object.
 * `aligned`: posix_memalign will be needed too. */
bool al_process_identify(bool preloaded, bool aligned, al_text *out);

#endif
