/* ptmalloc's own view of a heap: every kind of damage is found, by name, and looking at a damaged heap in any way does
 * no harm and changes nothing. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/ptmalloc/inspect.h"
#include "tests/damage.h"
#include "tests/heaps.h"

extern const al_allocator al_ptmalloc;

/* --- a heap with everything in it --- */

enum { CACHED = 7, FAST = 3, SMALL = 3, LARGE = 5, UNSORTED = 2, MAPPED = 2 };

struct scene {
    al_heap *heap;
    al_thread *thread;
    pt_heap *pt;
    pt_arena *second;    /* of another thread, with two subheaps, each with a large block, and something free */
    pt_chunk *other[2];
    pt_chunk *live, *cached[CACHED], *fast[FAST], *small[SMALL], *large[LARGE], *unsorted[UNSORTED], *mapped[MAPPED];
};

static pt_chunk *take(scene *s, size_t bytes) {
    void *block = al_heap_malloc(s->thread, bytes);
    assert(block != NULL);
    return al_pt_chunk(block);
}
static void give(scene *s, pt_chunk *chunk) { al_heap_free(s->thread, al_pt_block(chunk)); }

/* Chunks that do not touch each other. */
static void take_apart(scene *s, pt_chunk **chunks, size_t count, size_t bytes) {
    for (size_t i = 0; i < count; i++) {
        chunks[i] = take(s, bytes);
        memset(al_pt_block(chunks[i]), 0x77, bytes);
        take(s, 24);
    }
}
static void give_all(scene *s, pt_chunk **chunks, size_t count) {
    for (size_t i = 0; i < count; i++) give(s, chunks[i]);
}

static void fill_second_arena(scene *s) {
    al_thread *thread = al_thread_create(s->heap);
    void *unsorted = al_heap_malloc(thread, 2000);
    for (size_t i = 0; i < 2; i++) s->other[i] = al_pt_chunk(al_heap_malloc(thread, (size_t)40 << 20));
    al_heap_free(thread, unsorted);
    s->second = al_pt_arena_of(s->pt, s->other[0]);
    assert(s->second == al_pt_arena_of(s->pt, s->other[1]) && s->second != &s->pt->main);
}

/* Two blocks may be mapped, and both are. */
static al_heap *make(scene *s) {
    const al_regions_config config = {.window_bytes = (size_t)1 << 30};
    *s = (scene){.heap = make_heap(&al_ptmalloc, "mmap_max=2", config)};
    s->thread = al_thread_create(s->heap);
    s->pt = al_pt_of(s->heap);

    pt_chunk *filling[CACHED];
    static const size_t large[LARGE] = {13000, 15000, 14000, 13000, 14000};
    take_apart(s, s->cached, CACHED, 40);
    take_apart(s, s->fast, FAST, 40);
    take_apart(s, filling, CACHED, 500);
    take_apart(s, s->small, SMALL, 500);
    for (size_t i = 0; i < LARGE; i++) take_apart(s, &s->large[i], 1, large[i]);
    take_apart(s, s->unsorted, UNSORTED, 5000);
    take_apart(s, &s->live, 1, 100);
    s->mapped[0] = take(s, 300000);
    s->mapped[1] = al_pt_chunk(al_heap_memalign(s->thread, 8192, 300000));
    assert(al_regions_foreign_brk(s->heap->regions, 4096) == 0);
    take(s, 130000); /* from a new segment: the old top has fences now, and its rest is unsorted */

    give_all(s, filling, CACHED);
    give_all(s, s->small, SMALL);
    give_all(s, s->large, LARGE);
    take(s, 60000); /* sorts what is free so far */
    give_all(s, s->cached, CACHED);
    give_all(s, s->fast, FAST);
    give_all(s, s->unsorted, UNSORTED);
    fill_second_arena(s);
    return s->heap;
}

/* --- it can be seen --- */

static bool count_kind(void *context, const al_binned *entry) {
    static const char *const kinds[] = {"tcache", "fastbin", "unsorted", "smallbin", "largebin", "top"};
    size_t *counts = context;
    for (size_t i = 0; i < 6; i++) counts[i] += strcmp(entry->kind, kinds[i]) == 0;
    return true;
}

static void a_sound_heap_is_sound(void) {
    scene s;
    al_heap *heap = make(&s);
    al_flaw flaw = {0};
    size_t counts[6] = {0}, bytes = 0;
    assert(al_heap_validate(heap, &flaw));
    al_heap_bins(heap, count_kind, counts);
    static const size_t expected[6] = {2 * CACHED, FAST, UNSORTED + 2, SMALL, LARGE + 1, 2};
    assert(memcmp(counts, expected, sizeof counts) == 0);
    al_heap_walk(heap, add_bytes, &bytes);
    assert(bytes == al_regions_counters(heap->regions)->mapped);
    look_everywhere(heap);
    al_heap_destroy(heap);
}

/* --- damage, and what is said of it --- */

static void set_link(pt_chunk *chunk, const void *to) { chunk->fd = al_pt_protect(&chunk->fd, to); }
static pt_cache *cache_of(const scene *s) { return ((pt_thread *)s->thread)->cache; }
static pt_chunk *middle(const scene *s) { return al_pt_at(s->live, 32); }

static void enlarge_live(scene *s) { s->live->head += 16; }
static void shrink_live(scene *s) { s->live->head -= 64; }
static void odd_live(scene *s) { s->live->head += 8; }
static void empty_live(scene *s) { s->live->head = 1; }
static void huge_live(scene *s) { s->live->head = 0x4141414141414141; }
static void map_live(scene *s) { s->live->head |= PT_MAPPED; }
static void move_live_elsewhere(scene *s) { s->live->head |= PT_NON_MAIN; }
static void free_live(scene *s) { al_pt_next(s->live)->head &= ~(size_t)PT_PREV_INUSE; }
static void free_below_live(scene *s) { s->live->head &= ~(size_t)PT_PREV_INUSE; }
static void use_free(scene *s) { al_pt_next(s->unsorted[0])->head |= PT_PREV_INUSE; }
static void break_foot(scene *s) { al_pt_next(s->unsorted[0])->prev_size += 16; }
static void free_twice_over(scene *s) {
    al_pt_next(s->live)->head &= ~(size_t)PT_PREV_INUSE;
    al_pt_set_foot(s->live, al_pt_size(s->live));
}
static void free_two_neighbours(scene *s) { /* what is above an unsorted chunk becomes free, too, and unsorted */
    pt_chunk *above = al_pt_next(s->unsorted[1]);
    al_pt_next(above)->head &= ~(size_t)PT_PREV_INUSE;
    al_pt_set_foot(above, al_pt_size(above));
    al_pt_push_unsorted(&s->pt->main, above, al_pt_size(above), "");
}

static void wild_cached(scene *s) { set_link(s->cached[5], (void *)0x123456780); }
static void odd_cached(scene *s) { s->cached[5]->fd = (pt_chunk *)((uintptr_t)s->cached[5]->fd ^ 8); }
static void plain_cached(scene *s) { s->cached[5]->fd = (pt_chunk *)al_pt_block(s->cached[4]); }
static void circle_cached(scene *s) { set_link(s->cached[5], al_pt_block(s->cached[6])); }
static void poison_cached(scene *s) { set_link(s->cached[5], al_pt_block(s->live)); }
static void lose_cached(scene *s) { cache_of(s)->entries[1] = al_pt_block(s->cached[5]); }
static void miscount_cached(scene *s) { cache_of(s)->counts[1]--; }
static void overcount_cached(scene *s) { cache_of(s)->counts[1] = 0x4141; }
static void unkey_cached(scene *s) { ((pt_entry *)al_pt_block(s->cached[3]))->key++; }
static void resize_cached(scene *s) { s->cached[3]->head += 16; }
static void enlist_absent(scene *s) { cache_of(s)->entries[63] = (pt_entry *)0x10; }

static void wild_fast(scene *s) { set_link(s->fast[1], (void *)0x123456780); }
static void plain_fast(scene *s) { s->fast[1]->fd = s->fast[0]; }
static void circle_fast(scene *s) { set_link(s->fast[0], s->fast[2]); }
static void fake_fast(scene *s) { /* inside a live block, with a head of the right size */
    middle(s)->head = 48 | PT_PREV_INUSE;
    set_link(middle(s), NULL);
    set_link(s->fast[0], middle(s));
}
static void lose_fast(scene *s) { s->pt->main.fast[1] = s->fast[1]; }
static void forget_fast(scene *s) { s->pt->main.has_fast = false; }
static void fast_and_cached(scene *s) { set_link(s->fast[0], s->cached[0]); }
static void misfile_fast(scene *s) {
    s->pt->main.fast[2] = s->pt->main.fast[1];
    s->pt->main.fast[1] = NULL;
}

static void wild_small(scene *s) { s->small[0]->fd = (pt_chunk *)0x1000; }
static void lean_small(scene *s) { s->small[1]->bk = s->small[1]; }
static void lose_small(scene *s) { al_pt_unlink(s->small[1]); }
static void misfile_small(scene *s) {
    al_pt_unlink(s->small[1]);
    pt_chunk *bin = al_pt_bin(&s->pt->main, 40);
    al_pt_insert_between(bin, s->small[1], bin);
}
static void clear_binmap(scene *s) { s->pt->main.binmap[0] = 0; }
static void break_bin(scene *s) { al_pt_bin(&s->pt->main, PT_UNSORTED)->bk = s->unsorted[1]; }
static void break_bin_forward(scene *s) { al_pt_bin(&s->pt->main, 3)->fd = NULL; }
static void size_unsorted(scene *s) { s->unsorted[0]->fd_size = s->unsorted[0]; }

/* The bin holds 15000, 14000, 14000, 13000, 13000; large[] = {13000, 15000, 14000, 13000, 14000}, less their order. */
static void unsort_large(scene *s) {
    pt_chunk *bin = al_pt_bin(&s->pt->main, al_pt_bin_of(al_pt_size(s->large[1]))), *smallest = bin->bk;
    pt_chunk *before = smallest->bk;
    before->fd = bin;
    bin->bk = before;
    al_pt_insert_between(bin, smallest, bin->fd);
}
static void size_every_large(scene *s) {
    pt_chunk *second = s->large[2]->fd_size == NULL ? s->large[2] : s->large[4];
    second->fd_size = second->bk_size = second;
}
static void missize_large(scene *s) { s->large[1]->fd_size = s->large[1]; }
static void missize_large_back(scene *s) { s->large[1]->bk_size = NULL; }

static void long_top(scene *s) { s->pt->main.top->head += 4096; }
static void short_top(scene *s) { s->pt->main.top->head -= 4096; }
static void no_top(scene *s) { s->pt->main.top->head = 0; }
static void odd_top(scene *s) { s->pt->main.top->head += 8; }
static void free_below_top(scene *s) { s->pt->main.top->head &= ~(size_t)PT_PREV_INUSE; }
static void stray_top(scene *s) { s->pt->main.top = al_pt_at(s->pt->main.top, 32); }
static void lost_top(scene *s) { s->pt->main.top = &s->pt->main.none; }
static void odd_remainder(scene *s) { s->pt->main.last_remainder = (pt_chunk *)8; }

static void miscount_bytes(scene *s) { s->pt->main.taken_bytes += 16; }
static void miscount_chunks(scene *s) { s->pt->main.taken_chunks--; }
static void miscount_fixed(scene *s) { s->pt->main.fixed += 32; }
static void miscount_system(scene *s) { s->pt->main.system_mem -= 4096; }
static void miscount_system_beside_mappings(scene *s) {
    s->pt->main.contiguous = false;
    s->pt->main.system_mem -= 16;
}
static void miscount_mapped(scene *s) { s->pt->mapped_count++; }
static void miscount_mapped_bytes(scene *s) { s->pt->mapped_bytes -= 4096; }
static void miscount_heads(scene *s) { s->pt->mapped_heads += 16; }
static void miscount_arenas(scene *s) { s->pt->arena_count++; }
static void lose_cache(scene *s) { ((pt_thread *)s->thread)->cache = (pt_cache *)((char *)s->mapped[0] + 4096); }
static void wild_cache(scene *s) { ((pt_thread *)s->thread)->cache = (pt_cache *)0x1000; }

static void unmap_mapped(scene *s) { s->mapped[0]->head &= ~(size_t)PT_MAPPED; }
static void flag_mapped(scene *s) { s->mapped[0]->head |= PT_PREV_INUSE; }
static void long_mapped(scene *s) { s->mapped[0]->head += 1 << 30; }
static void odd_mapped(scene *s) { s->mapped[0]->head += 16; }
static void offset_mapped(scene *s) { s->mapped[0]->prev_size = 4096; }
static void resize_aligned(scene *s) { s->mapped[1]->head -= 4096; }
static void offset_aligned(scene *s) { s->mapped[1]->prev_size += 16; }
static void overrun_aligned(scene *s) { memset(al_pt_below(s->mapped[1]), 0x78, 64); }
static void overrun_live(scene *s) { memset(al_pt_block(s->live), 0x78, 128); }

static pt_chunk *lower_fence(const scene *s) { return (pt_chunk *)(s->pt->segments->end - 2 * PT_HEADER); }
static void unfence_segment(scene *s) { lower_fence(s)->head = 0; }
static void lengthen_fence_of_segment(scene *s) { lower_fence(s)->head += 16; }
static void free_fence(scene *s) { al_pt_next(lower_fence(s))->head &= ~(size_t)PT_PREV_INUSE; }
static void use_below_fence(scene *s) { lower_fence(s)->head |= PT_PREV_INUSE; }
static void move_segment(scene *s) { s->pt->segments->start += 4096; }

static pt_subheap *newest(const scene *s) { return al_pt_subheap_of(s->second->top); }
static void long_subheap(scene *s) { newest(s)->size += (size_t)1 << 30; }
static void short_subheap(scene *s) { newest(s)->size -= 4096; }
static void orphan_subheap(scene *s) { newest(s)->arena = NULL; }
static void adopt_subheap(scene *s) { newest(s)->arena = &s->pt->main; }
static void cut_chain(scene *s) { newest(s)->below = NULL; }
static void circle_chain(scene *s) { newest(s)->below = newest(s); }
static void wild_chain(scene *s) { newest(s)->below = (pt_subheap *)0x1000; }
static void unfence(scene *s) { al_pt_at((pt_chunk *)newest(s)->below, newest(s)->below->size - 16)->head = 0; }
static void lengthen_fence(scene *s) {
    al_pt_at((pt_chunk *)newest(s)->below, newest(s)->below->size - 32)->head += 32;
}
static void unfoot_fence(scene *s) {
    al_pt_at((pt_chunk *)newest(s)->below, newest(s)->below->size - 16)->prev_size = 0;
}
static void map_fence(scene *s) { al_pt_next(lower_fence(s))->head |= PT_MAPPED; }
static void flag_top(scene *s) { s->second->top->head |= PT_NON_MAIN; }
static void flag_head_of_aligned(scene *s) { al_pt_below(s->mapped[1])->head |= PT_PREV_INUSE; }
static void narrow_cache(scene *s) { ((pt_thread *)s->thread)->cache_size = PT_LEAST; }
static void move_to_main(scene *s) { s->other[0]->head &= ~(size_t)PT_NON_MAIN; }
static void miscount_second(scene *s) { s->second->system_mem += 4096; }
static void free_attached(scene *s) { s->pt->free_arenas = s->second; }

static const fault faults[] = {
    {enlarge_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {shrink_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {odd_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {empty_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {huge_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {overrun_live, "ptmalloc: a chunk's size leads to no other chunk"},
    {map_live, "ptmalloc: a chunk inside an arena counts as mapped"},
    {move_live_elsewhere, "ptmalloc: a chunk has the flag of another arena"},
    {free_live, "ptmalloc: foot and head differ"},
    {free_below_live, "ptmalloc: two free neighbours"},
    {use_free, "ptmalloc: a chunk is in a bin, but looks in use"},
    {break_foot, "ptmalloc: foot and head differ"},
    {free_twice_over, "ptmalloc: a free chunk is in no bin"},
    {free_two_neighbours, "ptmalloc: two free neighbours"},
    {wild_cached, "ptmalloc: a list leads to where no chunk can be, or around"},
    {odd_cached, "ptmalloc: a list leads to where no chunk can be, or around"},
    {plain_cached, "ptmalloc: a list leads to where no chunk can be, or around"},
    {circle_cached, "ptmalloc: a list leads to where no chunk can be, or around"},
    {poison_cached, "ptmalloc: a chunk is in a list of other sizes"},
    {lose_cached, "ptmalloc: a cache's count is not the length of its list"},
    {miscount_cached, "ptmalloc: a cache's count is not the length of its list"},
    {overcount_cached, "ptmalloc: a cache holds more chunks of a size than it may"},
    {unkey_cached, "ptmalloc: a cached chunk lacks the key"},
    {resize_cached, "ptmalloc: a chunk's size leads to no other chunk"},
    {enlist_absent, "ptmalloc: a list leads to where no chunk can be, or around"},
    {wild_fast, "ptmalloc: a list leads to where no chunk can be, or around"},
    {plain_fast, "ptmalloc: a list leads to where no chunk can be, or around"},
    {circle_fast, "ptmalloc: a list leads to where no chunk can be, or around"},
    {fake_fast, "ptmalloc: a list holds what is no chunk"},
    {lose_fast, "ptmalloc: what is handed out is miscounted"},
    {forget_fast, "ptmalloc: an arena says it has no fastbin chunks, but has"},
    {fast_and_cached, "ptmalloc: a chunk is in two lists, or twice in one"},
    {misfile_fast, "ptmalloc: a chunk is in a list of other sizes"},
    {wild_small, "ptmalloc: a list leads to where no chunk can be, or around"},
    {lean_small, "ptmalloc: links not symmetric"},
    {lose_small, "ptmalloc: a free chunk is in no bin"},
    {misfile_small, "ptmalloc: a chunk is in a list of other sizes"},
    {clear_binmap, "ptmalloc: a bin with chunks is mapped as empty"},
    {break_bin, "ptmalloc: links not symmetric"},
    {break_bin_forward, "ptmalloc: a list leads to where no chunk can be, or around"},
    {size_unsorted, "ptmalloc: an unsorted chunk is linked by size"},
    {unsort_large, "ptmalloc: a large bin is not sorted"},
    {size_every_large, "ptmalloc: not only the first chunk of a size is linked by size"},
    {missize_large, "ptmalloc: the links between sizes are wrong"},
    {missize_large_back, "ptmalloc: the links between sizes are wrong"},
    {long_top, "ptmalloc: the top does not end where its memory does"},
    {short_top, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {no_top, "ptmalloc: a chunk's size leads to no other chunk"},
    {odd_top, "ptmalloc: the top does not end where its memory does"},
    {free_below_top, "ptmalloc: foot and head differ"},
    {stray_top, "ptmalloc: a chunk's size leads to no other chunk"},
    {lost_top, "ptmalloc: a chunk's size leads to no other chunk"},
    {odd_remainder, "ptmalloc: the last remainder is no chunk"},
    {miscount_bytes, "ptmalloc: what is handed out is miscounted"},
    {miscount_chunks, "ptmalloc: what is handed out is miscounted"},
    {miscount_fixed, "ptmalloc: fixed bytes are miscounted"},
    {miscount_system, "ptmalloc: system_mem is not what the arena has"},
    {miscount_system_beside_mappings, "ptmalloc: system_mem is not what the arena has"},
    {miscount_mapped, "ptmalloc: mapped chunks are miscounted"},
    {miscount_mapped_bytes, "ptmalloc: mapped chunks are miscounted"},
    {miscount_heads, "ptmalloc: mapped chunks are miscounted"},
    {miscount_arenas, "ptmalloc: arenas miscounted"},
    {lose_cache, "ptmalloc: a thread's cache lies in no chunk"},
    {wild_cache, "ptmalloc: a thread's cache lies in no chunk"},
    {unmap_mapped, "ptmalloc: mapped chunks are miscounted"},
    {flag_mapped, "ptmalloc: a mapped chunk does not fill its mapping"},
    {long_mapped, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {odd_mapped, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {offset_mapped, "ptmalloc: a mapped chunk does not fill its mapping"},
    {resize_aligned, "ptmalloc: a mapped chunk does not fill its mapping"},
    {offset_aligned, "ptmalloc: a mapped chunk does not fill its mapping"},
    {unfence_segment, "ptmalloc: fences are damaged"},
    {lengthen_fence_of_segment, "ptmalloc: a chunk's size leads to no other chunk"},
    {free_fence, "ptmalloc: fences are damaged"},
    {use_below_fence, "ptmalloc: a chunk is in a bin, but looks in use"},
    {move_segment, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {long_subheap, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {short_subheap, "ptmalloc: the top does not end where its memory does"},
    {orphan_subheap, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {adopt_subheap, "ptmalloc: here begins no segment, subheap or mapped chunk"},
    {cut_chain, "ptmalloc: a chunk's size leads to no other chunk"},
    {circle_chain, "ptmalloc: an arena's subheaps are not linked from the newest down"},
    {wild_chain, "ptmalloc: an arena's subheaps are not linked from the newest down"},
    {unfence, "ptmalloc: fences are damaged"},
    {lengthen_fence, "ptmalloc: fences are damaged"},
    {unfoot_fence, "ptmalloc: fences are damaged"},
    {map_fence, "ptmalloc: fences are damaged"},
    {flag_top, "ptmalloc: the top does not end where its memory does"},
    {flag_head_of_aligned, "ptmalloc: a mapped chunk does not fill its mapping"},
    {narrow_cache, "ptmalloc: a cache holds more chunks of a size than it may"},
    {move_to_main, "ptmalloc: a chunk has the flag of another arena"},
    {miscount_second, "ptmalloc: system_mem is not what the arena has"},
    {free_attached, "ptmalloc: an arena with threads is in the list of free ones"},
    {overrun_aligned, "ptmalloc: here begins no segment, subheap or mapped chunk"},
};

/* --- damage of any kind --- */

static targets find_targets(const scene *s) {
    const void *const at[TARGETS] = {
        s->live,         s->cached[3],           s->fast[1],     s->small[1],      s->unsorted[0],
        s->large[0],     &s->large[1]->fd_size,  s->large[1],    s->mapped[0],     s->mapped[1],
        s->other[1],     al_pt_next(s->large[2]), s->pt->main.top, s->second->top, lower_fence(s),
        newest(s),       newest(s)->below,       cache_of(s),
    };
    targets t;
    memcpy(t.at, at, sizeof at);
    return t;
}

int main(void) {
    scene s;
    const stage here = {.scene = &s, .make = make, .faults = faults, .count = sizeof faults / sizeof *faults,
                        .find_targets = find_targets};
    a_sound_heap_is_sound();
    every_fault_is_found(&here);
    any_damage_does_no_harm_to_who_looks(&here);
    return 0;
}
