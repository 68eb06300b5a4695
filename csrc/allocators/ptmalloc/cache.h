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
    __atomic_store_n(&cache->entries[list], entry, __ATOMIC_RELEASE); /* after its link: a fork may come in between */
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

/* The first step of free: a chunk that is one goes into the cache, if that has room in a list for it. */
static inline bool al_pt_cache_give(const pt_thread *thread, pt_chunk *chunk) {
    size_t size = al_pt_size(chunk);
    bool wraps = (uintptr_t)chunk > (uintptr_t)-size;
    al_check(!wraps && al_is_aligned((uintptr_t)chunk, PT_GRAIN), "free(): invalid pointer");
    al_check(size >= PT_LEAST && al_is_aligned(size, PT_GRAIN), "free(): invalid size");
    if (size >= thread->cache_size) return false;
    const pt_entry *entry = al_pt_block(chunk);
    size_t list = al_pt_cache_list(size), count = al_pt_cache_count(thread->cache, list);
    if (__builtin_expect(entry->key == thread->cache_key, 0)) al_pt_cache_refuse_twice(thread, entry, list);
    if (count >= thread->cache_count) return false;
    al_pt_cache_put(thread, chunk, list, count);
    return true;
}

#endif
