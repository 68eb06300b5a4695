/* A heap: one instance of an allocator with its own region manager, and the rules of malloc that are the same for all
 * of them. The drop-in libraries, the replay in process and Python's Heap all come through here.
 *
 * Rules (numbers as in the conformance list of the docs): malloc(0) is a unique block; more than PTRDIFF_MAX fails;
 * calloc's product is checked; realloc(NULL, n) is malloc(n); realloc(p, 0) frees p and returns NULL; a failure leaves
 * everything as it was. errno is the shim's business, not ours. */
#ifndef AL_ALLOCATORS_HEAP_H
#define AL_ALLOCATORS_HEAP_H

#include "allocators/allocator.h"

enum { AL_STATS_MOST = 64 };                /* that an allocator may have */

/* All allocators, ended by NULL. */
extern const al_allocator *const al_allocators[];
const al_allocator *al_allocator_find(const char *name); /* NULL where there is none */

/* Tunables: defaults, then settings. `text` is "name=value,name=value"; sizes take KiB to EiB. On error returns
 * EINVAL and writes one line to message. */
void al_tunables_default(const al_allocator *allocator, al_settings *settings);
int al_tunables_parse(const al_allocator *allocator, const char *text, al_settings *settings, char *message,
                      size_t message_bytes);
/* Sets a text, which is not checked. False: there is no room for it, and nothing is changed. */
bool al_tunables_set_text(al_settings *settings, size_t tunable, const char *text, size_t bytes);

al_heap *al_heap_create(const al_allocator *allocator, const al_settings *settings, const al_regions_config *config,
                        int *error);
void al_heap_destroy(al_heap *heap);

al_thread *al_thread_create(al_heap *heap); /* NULL: no memory */
al_thread *al_thread_borrow(al_heap *heap); /* the same, but brief: for a call or so */
void al_thread_exit(al_thread *thread);     /* the context may be handed out again */

void *al_heap_malloc(al_thread *thread, size_t bytes);
void *al_heap_calloc(al_thread *thread, size_t count, size_t bytes);
void *al_heap_memalign(al_thread *thread, size_t alignment, size_t bytes); /* NULL unless a power of two */
void *al_heap_realloc(al_thread *thread, void *block, size_t bytes);
void al_heap_free(al_thread *thread, void *block);
size_t al_heap_usable_size(al_heap *heap, const void *block);
bool al_heap_trim(al_heap *heap, size_t pad);

void al_heap_walk(al_heap *heap, al_walk_fn *visit, void *context);
/* The walk into an array: how many chunks there are; writes at most `room`. */
size_t al_heap_chunks(al_heap *heap, al_chunk *out, size_t room);
/* The allocator's own check, then: the walk covers every mapped byte once, its sums are the ledger, the ledger is
 * mapped. Of an allocator that locks for itself: while no other thread is inside. */
bool al_heap_validate(al_heap *heap, al_flaw *flaw);
al_ledger al_heap_ledger(al_heap *heap); /* between two operations, whatever other threads do */
size_t al_heap_stats(al_heap *heap, al_stat *out, size_t room);
void al_heap_bins(al_heap *heap, al_bin_fn *visit, void *context);
/* The same into an array: how many entries there are; writes at most `room`. */
size_t al_heap_binned(al_heap *heap, al_binned *out, size_t room);
size_t al_heap_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);
void al_heap_view(al_heap *heap, const char *view, al_row_fn *visit, void *context); /* no such view: nothing */
/* The same into an array, row after row: how many facts there are; writes at most `room`. A row begins wherever the
 * first column comes again. */
size_t al_heap_viewed(al_heap *heap, const char *view, al_fact *out, size_t room);
/* Names that the allocator does not know are those of its stats. `caller` may be NULL. */
int al_heap_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);

/* The background work that is due now; UINT64_MAX, or in how many nanoseconds there is more. */
uint64_t al_heap_background(al_heap *heap);
/* Moves the window's clock, and does on the way what a thread would have done in the background. */
void al_heap_advance(al_heap *heap, uint64_t nanoseconds);
void al_heap_fork(al_heap *heap, al_thread *survivor, al_fork_moment moment);

/* glibc's questions, answered as the real allocator would, or else from the ledger and the stats (report.c). */
int al_heap_mallopt(al_heap *heap, int parameter, int value);
struct mallinfo2 al_heap_mallinfo(al_heap *heap);
void al_heap_report(al_heap *heap, FILE *out);
int al_heap_report_xml(al_heap *heap, FILE *out);
/* For an allocator, of the process's own heap: as the process ends this is called, with standard error. */
void al_heap_report_at_exit(al_heap *heap, void (*report)(al_heap *heap, FILE *out));
/* Either of the two as text, without a final 0: how long it is; writes at most `room`. 0: no memory for it. */
size_t al_heap_report_text(al_heap *heap, bool xml, char *out, size_t room);

#endif
