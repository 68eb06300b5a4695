/* How the malloc family finds the heap and its thread's context. */
#ifndef AL_SHIM_SHIM_H
#define AL_SHIM_SHIM_H

#include "allocators/rules.h"

#include <stdatomic.h>

extern const al_allocator AL_SHIM __attribute__((visibility("hidden")));

al_heap *al_shim_heap(void); /* made if it is not there yet */

/* This thread's context: NULL before its first call, AL_SHIM_DEPARTED after it has handed the context back. */
extern __thread al_thread *al_shim_current;
#define AL_SHIM_DEPARTED ((al_thread *)1)

/* One comparison, as with NULL alone. */
static inline bool al_shim_is_context(const al_thread *thread) { return thread > AL_SHIM_DEPARTED; }

/* A call that finds none runs between these two. NULL: there is no memory for one; then there is nothing to leave. */
al_thread *al_shim_arrive(void);
void al_shim_leave(al_thread *thread);

/* --- background.c: all of it does nothing for an allocator without background work --- */

extern atomic_uint al_shim_users; /* threads that have a context of their own */

/* Starts the thread, if it is not there, somebody uses malloc and the hook has work for it. At a safe moment: outside
 * the allocator, after the loader's own work. */
void al_shim_background(al_heap *heap);
void al_shim_background_in_child(al_heap *heap); /* of a fork: the thread was not copied */
void al_shim_ring(void);                         /* the heap's `wake` */

/* --- summary.c: all of it does nothing unless a summary is asked for --- */

void al_shim_summary_begin(void); /* the first constructor */
void al_shim_summary_in_child(void); /* of a fork */

/* --- apart.c --- */

/* Runs it in a process of its own that shares our memory, and waits for that, but not for ever. */
void al_shim_apart(void (*run)(void));
/* For what runs apart: runs it in a process with a copy of our memory, the heap being between two operations, and waits
 * for that. */
void al_shim_in_copy(al_heap *heap, void (*run)(void));

/* --- alone.c --- */

void al_shim_alone(void); /* the first constructor: takes us out of the environment, if this process alone is meant */

#endif
