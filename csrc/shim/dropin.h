/* What a drop-in library exports beside the malloc family. A weak reference tells alloclab-replay that it runs on a
 * glass box, whose ledger, counters and log it may then read through heap.h and region.h. */
#ifndef AL_SHIM_DROPIN_H
#define AL_SHIM_DROPIN_H

#include "allocators/allocator.h"

__attribute__((visibility("default"))) al_heap *alloclab_heap(void); /* NULL before the first allocation */
/* The heap, and this thread's context, made as the first allocation makes them, without a block. */
__attribute__((visibility("default"))) al_heap *alloclab_begin(void);
/* al_heap_control, on that heap, which is made if it is not there yet. */
__attribute__((visibility("default"))) int alloclab_control(const char *name, uint64_t *value, bool set);

#endif
