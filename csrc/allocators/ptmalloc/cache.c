/* The thread's cache as a whole; what malloc and free do with it is inline, in cache.h. */
#include "allocators/ptmalloc/cache.h"

#include <string.h>

static void enlist(pt_thread *thread, pt_cache *cache) {
    pt_heap *heap = al_pt_heap(thread);
    thread->cache_size = PT_LEAST + heap->params.cache_bins * PT_GRAIN;
    thread->cache_bytes = thread->cache_size - PT_GRAIN - PT_WORD + 1;
    thread->cache_count = heap->params.cache_count;
    thread->cache_key = heap->cache_key;
    al_lock_take(&heap->list_lock);
    thread->cache = cache;
    thread->prev = NULL;
    thread->next = heap->threads;
    if (thread->next != NULL) thread->next->prev = thread;
    heap->threads = thread;
    al_lock_drop(&heap->list_lock);
}

static void delist(pt_thread *thread) {
    pt_heap *heap = al_pt_heap(thread);
    al_lock_take(&heap->list_lock);
    thread->cache_bytes = thread->cache_size = 0;
    thread->cache = NULL;
    if (thread->next != NULL) thread->next->prev = thread->prev;
    if (thread->prev != NULL)
        thread->prev->next = thread->next;
    else
        heap->threads = thread->next;
    al_lock_drop(&heap->list_lock);
}

void al_pt_cache_open(pt_thread *thread) {
    bool refused = al_pt_heap(thread)->params.cache_bins == 0 || thread->cache_closed || thread->thread.brief;
    if (refused || thread->cache != NULL) return;
    pt_cache *cache = al_pt_take_anywhere(thread, sizeof *cache, false);
    if (cache == NULL) return; /* tried again at the next call */
    memset(cache, 0, sizeof *cache);
    enlist(thread, cache);
}

void al_pt_cache_close(pt_thread *thread) {
    pt_cache *cache = thread->cache;
    thread->cache_closed = true;
    if (cache == NULL) return;
    /* The lists first: what is freed here must not be counted as cached any more, nor go back into them. */
    delist(thread);
    for (size_t list = 0; list < PT_CACHE_BINS; list++) {
        for (pt_entry *entry = cache->entries[list], *next; entry != NULL; entry = next) {
            al_check(al_is_aligned((uintptr_t)entry, PT_GRAIN),
                     "tcache_thread_shutdown(): unaligned tcache chunk detected");
            next = al_pt_protect(&entry->next, entry->next);
            al_pt_free(&thread->thread, entry);
        }
    }
    al_pt_free(&thread->thread, cache); /* it may be a mapped chunk */
}

void al_pt_cache_refuse_twice(const pt_thread *thread, const pt_entry *entry, size_t list) {
    size_t count = 0;
    for (const pt_entry *at = thread->cache->entries[list]; at != NULL; at = al_pt_protect(&at->next, at->next)) {
        al_check(count++ < thread->cache_count, "free(): too many chunks detected in tcache");
        al_check(al_is_aligned((uintptr_t)at, PT_GRAIN), "free(): unaligned chunk detected in tcache 2");
        al_check(at != entry, "free(): double free detected in tcache 2");
    }
}
