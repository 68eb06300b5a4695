/* The thread's cache: what malloc and free do first. Lists are last in, first out. */
#ifndef AL_ALLOCATORS_PTMALLOC_CACHE_H
#define AL_ALLOCATORS_PTMALLOC_CACHE_H

#include "allocators/ptmalloc/bins.h"

/* The list of chunks that serve `bytes` < cache_bytes: al_pt_cache_list(al_pt_need(bytes)). */
static inline size_t al_pt_cache_list_for(size_t bytes) { return al_max((bytes + PT_WORD - 1) / PT_GRAIN, 1) - 1; }

static inline size_t al_pt_cache_count(const pt_cache *cache, size_t list) {
    return __atomic_load_n(&cache->counts[list], __ATOMIC_RELAXED);
}

static inline void al_pt_cache_set_count(pt_cache *cache, size_t list, size_t count) {
    __atomic_store_n(&cache->counts[list], (uint16_t)count, __ATOMIC_RELAXED);
}

/* pre: the list has room: it holds `count` chunks. */
static inline void al_pt_cache_put(const pt_thread *thread, pt_chunk *chunk, size_t list, size_t count) {
    pt_cache *cache = thread->cache;
    pt_entry *entry = al_pt_block(chunk);
    entry->key = thread->cache_key;
    entry->next = al_pt_protect(&entry->next, cache->entries[list]);
    cache->entries[list] = entry;
    al_pt_cache_set_count(cache, list, count + 1);
}

/* pre: the list is not empty: it holds `count` chunks. */
static inline void *al_pt_cache_pop(pt_cache *cache, size_t list, size_t count) {
    pt_entry *entry = cache->entries[list];
    al_check(al_is_aligned((uintptr_t)entry, PT_GRAIN), "malloc(): unaligned tcache chunk detected");
    cache->entries[list] = al_pt_protect(&entry->next, entry->next);
    al_pt_cache_set_count(cache, list, count - 1);
    entry->key = 0;
    return entry;
}

#endif
