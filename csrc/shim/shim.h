/* How the malloc family finds the heap and its thread's context. */
#ifndef AL_SHIM_SHIM_H
#define AL_SHIM_SHIM_H

#include "allocators/rules.h"

extern __thread al_thread *al_shim_current;

al_heap *al_shim_heap(void); /* made if it is not there yet */
al_thread *al_shim_arrive(void);
void al_shim_depart(al_thread *borrowed);

/* Every call runs between these two. NULL: there is no memory for a context. */
static inline al_thread *al_shim_enter(void) {
    al_thread *thread = al_shim_current;
    return __builtin_expect(thread != NULL, 1) ? thread : al_shim_arrive();
}

static inline void al_shim_leave(al_thread *thread) {
    if (__builtin_expect(thread != al_shim_current, 0)) al_shim_depart(thread);
}

#endif
