/* What the tests of ptmalloc's arenas share: a heap in a window, and what it asks of the system, as a text. Threads are
 * contexts, all of one thread of ours. */
#ifndef AL_TESTS_PTMALLOC_WINDOW_H
#define AL_TESTS_PTMALLOC_WINDOW_H

#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/ptmalloc/ptmalloc.h"
#include "tests/heaps.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const al_allocator al_ptmalloc;

enum { MIB = 1 << 20, FIRST = 0xb70 /* the first block of a secondary arena, after the cache */ };

static al_heap *heap;
static size_t seen; /* events that `asked` has told of */

static inline pt_heap *pt(void) { return al_pt_of(heap); }

static inline void make(const char *options, const al_regions_config *config) {
    al_regions_config full = *config;
    full.log = true;
    if (full.cpus == 0) full.cpus = 2;
    heap = make_heap(&al_ptmalloc, options, full);
    seen = 0;
}

static inline size_t within(const void *at) { return (uintptr_t)at & (PT_SUBHEAP_BYTES - 1); }

/* What was asked for since the last time: hexadecimal, places within 64 MiB; the break and mappings of blocks left out
 * by their places being nobody's business. */
static inline const char *asked(void) {
    static char text[2000];
    size_t count, used = 0;
    uint64_t dropped;
    const al_event *events = al_regions_events(heap->regions, &count, &dropped);
    text[0] = 0;
    for (; seen < count; seen++) {
        const al_event *e = &events[seen];
        static const char *const names[] = {"brk", "mmap", "munmap", "mremap", "madvise", "mprotect"};
        size_t place = e->address & (PT_SUBHEAP_BYTES - 1);
        char at[32] = "";
        if (e->call != AL_CALL_BRK && !(e->call == AL_CALL_MMAP && e->extra == AL_PROT_READ_WRITE) && e->error == 0)
            snprintf(at, sizeof at, " %zx", place);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s +%zx%s", used > 0 ? ", " : "", names[e->call],
                                 at, (size_t)e->bytes, e->error != 0 ? " no" : "");
    }
    return text;
}

static inline void expect(const char *text) {
    const char *was = asked();
    if (strcmp(was, text) == 0) return;
    fputs(text, stderr);
    fputs(" was expected, but asked for was ", stderr);
    fputs(was, stderr);
    abort();
}

static inline void check_system_mem(const pt_arena *arena) {
    size_t bytes = 0;
    for (const pt_subheap *s = al_pt_subheap_of(arena->top); s != NULL; s = s->below) {
        bytes += s->size;
        assert(s->arena == arena && s->committed >= s->size);
    }
    assert(arena->system_mem == bytes && arena->max_system_mem >= bytes);
}

static inline void check(void) {
    al_flaw flaw = {0};
    bool sound = al_heap_validate(heap, &flaw);
    if (!sound) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(sound);
    for (const pt_arena *a = pt()->main.next; a != &pt()->main; a = a->next) check_system_mem(a);
}

static inline void end(void) {
    check();
    al_heap_destroy(heap);
}

static inline al_thread *thread(void) { return al_thread_create(heap); }

static inline char *take(al_thread *t, size_t bytes) {
    char *block = al_heap_malloc(t, bytes);
    assert(block != NULL);
    return block;
}

static inline void give(al_thread *t, void *block) {
    al_heap_free(t, block);
    check();
}

static inline const pt_arena *arena_of(const void *block) { return al_pt_arena_of(pt(), al_pt_chunk(block)); }

#endif
