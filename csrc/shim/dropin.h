/* What a drop-in library exports beside the malloc family. A weak reference to it tells alloclab-replay that it runs
 * on a glass box, whose ledger, counters and log it may then read through heap.h and region.h. */
#ifndef AL_SHIM_DROPIN_H
#define AL_SHIM_DROPIN_H

#include "allocators/allocator.h"

__attribute__((visibility("default"))) al_heap *alloclab_heap(void); /* NULL before the first allocation */
/* The heap, and this thread's context, made as the first allocation makes them, without a block. */
__attribute__((visibility("default"))) al_heap *alloclab_begin(void);

#endif
