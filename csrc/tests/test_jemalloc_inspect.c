/* jemalloc's own view of a heap: every kind of damage is found, by name, and looking at a damaged heap in any way does
 * no harm and changes nothing. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/jemalloc/inspect.h"
#include "tests/damage.h"
#include "tests/heaps.h"

extern const al_allocator al_jemalloc;

/* --- a heap with everything in it --- */

enum { SMALL = 40, KEPT = 3, APART = 3, SMALL_BYTES = 1024, SMALL_CLASS = 20, KEPT_CLASS = 4, LARGE_CLASS = 38 };

struct scene {
    al_heap *heap;
    al_thread *thread;
    je_heap *je;
    je_arena *arena, *second, *oversize;
    je_bin *bin;                    /* of the small blocks; four to a slab, ten slabs, four with room */
    je_shard *shard;                /* the first of two of that bin: it has all of them */
    char *small[SMALL], *kept[KEPT]; /* kept: in the thread's cache */
    je_extent *slab[SMALL / 4];
    je_extent *live;                /* large */
    je_extent *kept_large;
    je_extent *wide;                /* a slab of three pages */
    je_extent *dirty[APART], *muzzy[APART]; /* of a queue each */
    je_extent *retained;
};

static je_thread *thread_of(const scene *s) { return (je_thread *)s->thread; }
static je_stack *stack_of(const scene *s, unsigned class) { return &thread_of(s)->stacks[class]; }
static je_extent *extent_of(const scene *s, const void *block) { return al_je_extent_of(s->je, block); }

static void *take(scene *s, size_t bytes) {
    void *block = al_heap_malloc(s->thread, bytes);
    assert(block != NULL);
    return block;
}

/* Extents that do not touch each other. */
static void take_apart(scene *s, void **blocks, size_t bytes) {
    for (size_t i = 0; i < APART; i++) {
        blocks[i] = take(s, bytes);
        take(s, 40000);
    }
}

static void free_all(scene *s, void **blocks, je_extent **extents) {
    for (size_t i = 0; i < APART; i++) {
        extents[i] = extent_of(s, blocks[i]);
        al_heap_free(s->thread, blocks[i]);
    }
}

static void make_small(scene *s) {
    for (size_t i = 0; i < SMALL; i++) s->small[i] = take(s, SMALL_BYTES);
    for (size_t i = 0; i < SMALL; i += 4) s->slab[i / 4] = extent_of(s, s->small[i]);
    for (size_t i = 0; i < 16; i += 4) al_heap_free(s->thread, s->small[i + 1]);
    al_je_cache_flush(thread_of(s), SMALL_CLASS, 0);
    s->bin = &s->arena->bins[SMALL_CLASS];
    s->shard = al_je_shard(s->je, s->arena, SMALL_CLASS, 0);
    assert(s->bin->partials == 3 && s->shard->current == s->slab[0]);
    for (size_t i = 0; i < KEPT; i++) s->kept[i] = take(s, 64);
    for (size_t i = 0; i < KEPT; i++) al_heap_free(s->thread, s->kept[i]);
    s->wide = extent_of(s, take(s, 96));
}

static void make_large(scene *s) {
    void *kept = take(s, 24000), *muzzy[APART], *dirty[APART];
    s->live = extent_of(s, take(s, 100000));
    take_apart(s, muzzy, 150000);
    take_apart(s, dirty, 200000);
    s->kept_large = extent_of(s, kept);
    al_heap_free(s->thread, kept);
    free_all(s, muzzy, s->muzzy);
    al_je_purge(s->arena, &s->arena->dirty, 0, false);
    free_all(s, dirty, s->dirty);
    s->retained = al_container(s->arena->retained.recency.next, je_extent, recency);
}

static void make_other_arenas(scene *s) {
    s->oversize = extent_of(s, take(s, (size_t)9 << 20))->arena;
    al_thread *thread = al_thread_create(s->heap);
    s->second = extent_of(s, al_heap_malloc(thread, 100))->arena;
    al_heap_free(thread, al_heap_malloc(thread, 200000));
    assert(s->second != s->arena && s->oversize != s->arena && s->oversize != s->second);
}

static al_heap *make(scene *s) {
    const al_regions_config config = {.window_bytes = (size_t)1 << 30, .cpus = 2};
    *s = (scene){.heap = make_heap(&al_jemalloc, "muzzy_decay_ms=9000,bin_shards=1024-1024:2", config)};
    s->thread = al_thread_create(s->heap);
    s->je = al_je_of(s->heap);
    s->arena = al_je_arena(s->je, 0);
    make_small(s);
    make_other_arenas(s);
    make_large(s);
    return s->heap;
}

/* --- it can be seen --- */

static bool count_kind(void *context, const al_binned *entry) {
    static const char *const kinds[] = {"tcache", "slab", "dirty", "muzzy", "retained", "lost"};
    size_t *counts = context;
    for (size_t i = 0; i < 6; i++) counts[i] += strcmp(entry->kind, kinds[i]) == 0;
    return true;
}

static void a_sound_heap_is_sound(void) {
    scene s;
    al_heap *heap = make(&s);
    al_flaw flaw = {.what = "sound"};
    size_t counts[6] = {0}, bytes = 0;
    if (!al_heap_validate(heap, &flaw)) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(strcmp(flaw.what, "sound") == 0);
    al_heap_bins(heap, count_kind, counts);
    assert(counts[2] == APART + 1 && counts[3] == APART && counts[5] == 0);
    al_heap_walk(heap, add_bytes, &bytes);
    assert(bytes == al_regions_counters(heap->regions)->mapped);
    look_everywhere(heap);
    al_heap_destroy(heap);
}

/* --- damage, and what is said of it --- */

static al_page_word *word_at(const scene *s, uintptr_t address) {
    const uintptr_t page = al_je_page_of(address);
    return al_pages_word_of(al_pages_leaf_of(&s->je->map, page), page);
}
static al_pages_leaf **leaf_of(const scene *s) {
    return &s->je->map.leaves[al_je_page_of(s->live->address) >> AL_PAGES_LEAF_BITS];
}

static void lengthen(scene *s) { s->live->bytes += JE_PAGE; }
static void shorten(scene *s) { s->live->bytes -= 64; }
static void move(scene *s) { s->live->address += JE_PAGE; }
static void disown(scene *s) { s->live->arena = NULL; }
static void give_to_nobody(scene *s) { s->live->arena = (je_arena *)(s->live->address + 64); }
static void odd_state(scene *s) { s->live->state = JE_STATES; }
static void odd_class(scene *s) { s->live->class = 250; }
static void grow_slab(scene *s) { s->slab[0]->class++; }
static void use_dirty(scene *s) { s->dirty[0]->state = JE_ACTIVE; }
static void free_live(scene *s) { s->live->state = JE_DIRTY; }
static void shrink_class(scene *s) { s->live->class--; }
static void behead(scene *s) { s->live->head = true; }
static void rejuvenate(scene *s) { s->dirty[1]->serial = 99; }
static void age_apart(scene *s) {
    s->dirty[1]->serial = 1;
    s->arena->next_serial = 2;
}
static void odd_offset(scene *s) { s->live->offset ^= 1; }
static void far_offset(scene *s) { s->live->offset = JE_PAGE; }
static void very_far_offset(scene *s) { s->live->offset = UINT16_MAX; }
static void own_live(scene *s) { s->live->internal = true; }
static void own_slab(scene *s) { s->slab[5]->internal = true; }
static void own_dirty(scene *s) { s->dirty[2]->internal = true; }
static void name_free(scene *s) {
    s->dirty[2]->class = 60;
    al_je_map_enter(s->je, s->dirty[2]);
}

static void free_region(scene *s) { s->slab[5]->free[0] |= 4; }
static void miscount_region(scene *s) { s->slab[5]->free_regions++; }
static void free_beyond(scene *s) {
    s->slab[5]->free[3] = 1;
    s->slab[5]->free_regions++;
}
static void empty_slab(scene *s) {
    s->slab[5]->free[0] = 15;
    s->slab[5]->free_regions = 4;
}

static void forget_first(scene *s) { *word_at(s, s->live->address) = 0; }
static void forget_last(scene *s) { *word_at(s, al_je_end(s->live) - JE_PAGE) = 0; }
static void forget_inner(scene *s) { *word_at(s, s->wide->address + JE_PAGE) = 0; }
static void mistake_first(scene *s) { *word_at(s, s->live->address) = *word_at(s, s->dirty[0]->address); }
static void reclass_first(scene *s) { *word_at(s, s->live->address) ^= UINT64_C(1) << 56; }
static void wild_word(scene *s) { *word_at(s, s->live->address) = UINT64_C(0x414141414141); }
static void forget_leaf(scene *s) { *leaf_of(s) = NULL; }
static void wild_leaf(scene *s) { *leaf_of(s) = (al_pages_leaf *)0x1000; }

static void forget_head(scene *s) {
    je_extent *first = extent_of(s, thread_of(s)->slots);
    first->head = false;
    al_je_map_enter(s->je, first);
}
static void leave_unmerged(scene *s) {
    al_je_extents_remove(&s->arena->muzzy, s->muzzy[1]);
    al_je_extents_insert(&s->arena->muzzy, al_je_pages_split(s->arena, s->muzzy[1], 2 * JE_PAGE));
    al_je_extents_insert(&s->arena->muzzy, s->muzzy[1]);
}

static void miscount_set(scene *s) { s->arena->dirty.pages++; }
static void lose_recency(scene *s) { al_list_remove(&s->dirty[1]->recency); }
static void wild_recency(scene *s) { s->dirty[1]->recency.next = (al_link *)0x1000; }
static void circle_recency(scene *s) { s->dirty[2]->recency.next = &s->dirty[1]->recency; }
static void no_recency(scene *s) { s->arena->dirty.recency.next = NULL; }
static void recent_live(scene *s) { al_list_insert_after(&s->dirty[1]->recency, &s->live->recency); }
static void swap_state(scene *s) { s->dirty[1]->state = JE_MUZZY; }
static void misname_set(scene *s) { s->arena->dirty.state = JE_MUZZY; }

static je_queue *queue_of(const scene *s) {
    return &s->arena->dirty.queues[al_je_extents_queue(s->dirty[0]->bytes)];
}
static void wild_queue(scene *s) { queue_of(s)->root = (je_extent *)0x1000; }
static void wild_child(scene *s) { queue_of(s)->root->child = (je_extent *)s->small[2]; }
static void circle_queue(scene *s) { queue_of(s)->root->child->child = queue_of(s)->root; }
static void twin_queue(scene *s) { queue_of(s)->root->next = queue_of(s)->root->child; }
static void lose_queued(scene *s) {
    al_je_queue_remove(queue_of(s), s->dirty[1]);
    s->arena->dirty.counts[al_je_extents_queue(s->dirty[1]->bytes)]--;
}
static void hide_queue(scene *s) { al_bitmap_clear(s->arena->dirty.nonempty, al_je_extents_queue(s->dirty[0]->bytes)); }
static void show_queue(scene *s) { al_bitmap_set(s->arena->retained.nonempty, 3); }
static void misfile(scene *s) {
    lose_queued(s);
    al_je_queue_insert(queue_of(s) + 3, s->dirty[1]);
    al_bitmap_set(s->arena->dirty.nonempty, al_je_extents_queue(s->dirty[1]->bytes) + 3);
}
static void disorder(scene *s) { /* the last comes first */
    je_extent *first = queue_of(s)->root;
    for (size_t i = 0; i < APART; i++) al_je_queue_remove(queue_of(s), s->dirty[i]);
    je_extent *last = first == s->dirty[0] ? s->dirty[1] : s->dirty[0];
    for (size_t i = 0; i < APART; i++)
        if (al_je_before(last, s->dirty[i])) last = s->dirty[i];
    queue_of(s)->lazy = true;
    al_je_queue_insert(queue_of(s), last);
    for (size_t i = 0; i < APART; i++)
        if (s->dirty[i] != last) al_je_queue_insert(queue_of(s), s->dirty[i]);
    queue_of(s)->lazy = false;
}
static void two_first(scene *s) {
    al_je_queue_remove(queue_of(s), s->dirty[1]);
    je_extent *root = queue_of(s)->root;
    root->next = s->dirty[1];
    *s->dirty[1] = (je_extent){.address = s->dirty[1]->address, .bytes = s->dirty[1]->bytes, .arena = s->arena,
                               .state = JE_DIRTY, .class = JE_NO_CLASS, .prev = root,
                               .recency = s->dirty[1]->recency};
}

static void wild_current(scene *s) { s->shard->current = (je_extent *)0x40; }
static void other_current(scene *s) { s->shard->current = s->live; }
static void no_current(scene *s) { s->shard->current = NULL; }
static void miscount_slabs(scene *s) { s->bin->slabs--; }
static void miscount_regions(scene *s) { s->bin->regions++; }
static void miscount_taken(scene *s) { s->bin->nmalloc++; }
static void miscount_partials(scene *s) { s->bin->partials++; }
static void lose_partial(scene *s) { al_je_queue_remove(&s->shard->partial, s->slab[2]); }
static void keep_full(scene *s) { al_je_queue_insert(&s->shard->partial, s->slab[6]); }
static void no_shard(scene *s) { s->slab[5]->shard = 2; }
static void swap_shard(scene *s) { s->slab[2]->shard = 1; }
static void share_current(scene *s) { s->shard[1].current = s->slab[0]; }
static void move_partial(scene *s) {
    lose_partial(s);
    al_je_queue_insert(&s->shard[1].partial, s->slab[2]);
}
static void miscount_active(scene *s) { s->arena->active_pages--; }
static void miscount_large(scene *s) { s->arena->large[0].current++; }
static void miscount_large_taken(scene *s) { s->arena->large[0].nmalloc++; }
static void miscount_internal(scene *s) { s->arena->internal_bytes -= 64; }

static void miscount_threads(scene *s) { s->second->threads++; }
static void unbind(scene *s) { thread_of(s)->arena = NULL; }
static void bind_nowhere(scene *s) { thread_of(s)->arena = (je_arena *)s->live->address; }
static void lean_thread(scene *s) { thread_of(s)->prev = thread_of(s); }
static void low_top(scene *s) { stack_of(s, KEPT_CLASS)->top = stack_of(s, KEPT_CLASS)->bottom + 1; }
static void odd_top(scene *s) { stack_of(s, KEPT_CLASS)->top = (void **)((char *)stack_of(s, KEPT_CLASS)->top + 4); }
static void high_low(scene *s) { stack_of(s, KEPT_CLASS)->low = stack_of(s, KEPT_CLASS)->full; }
static void wild_stack(scene *s) { stack_of(s, KEPT_CLASS)->full = NULL; }
static void narrow_stack(scene *s) { stack_of(s, KEPT_CLASS)->full++; }
static void shift_stack(scene *s) {
    je_stack *stack = stack_of(s, KEPT_CLASS);
    void *first = *stack->top;
    stack->top++;
    stack->low++;
    stack->full++;
    stack->bottom++;
    *stack->top = first;
}
static void misname_stack(scene *s) { stack_of(s, KEPT_CLASS)->bytes = 80; }
static void wild_slots(scene *s) { thread_of(s)->slots = (void *)0x1000; }
static void no_slots(scene *s) { thread_of(s)->slots = NULL; }
static void keep(const scene *s, const void *what) { *stack_of(s, KEPT_CLASS)->top = (void *)what; }
static void keep_wild(scene *s) { keep(s, (void *)0x123456780); }
static void keep_inside(scene *s) { keep(s, s->kept[0] + 8); }
static void keep_twice(scene *s) { keep(s, stack_of(s, KEPT_CLASS)->top[1]); }
static void keep_other(scene *s) { keep(s, s->small[0]); }
static void keep_free(scene *s) { keep(s, s->small[1]); }
static void keep_page(scene *s) { keep(s, (void *)(s->live->address + JE_PAGE)); }
static void keep_dirty(scene *s) { keep(s, (void *)s->dirty[0]->address); }
static void free_kept(scene *s) { /* and nothing is miscounted */
    je_extent *slab = extent_of(s, s->kept[0]);
    al_bitmap_set(slab->free, al_je_region_of(&s->je->layouts[KEPT_CLASS], slab, s->kept[0]));
    slab->free_regions++;
}

static void wild_spare(scene *s) { s->arena->spare = (je_extent *)0x1000; }
static void circle_spare(scene *s) {
    je_extent *record = al_je_record_take(s->arena);
    record->next = record;
    s->arena->spare = record;
}
static void spare_live(scene *s) {
    s->live->next = NULL;
    s->arena->spare = s->live;
}
static void miscount_spare(scene *s) { s->arena->spares++; }
static void miscount_queue(scene *s) { s->arena->dirty.counts[0]++; }
static void miscount_bytes(scene *s) { s->arena->dirty.bytes[0]++; }
static void miscount_base(scene *s) { s->arena->base.mapped += JE_PAGE; }
static void miscount_taken_of_base(scene *s) { s->arena->base.allocated += (size_t)1 << 30; }
static void overfill_block(scene *s) { s->arena->base.blocks->at = s->arena->base.blocks->end + 64; }
static void move_block(scene *s) { s->arena->base.blocks->start -= JE_PAGE; }
static void wild_block(scene *s) { s->arena->base.blocks->next = (je_block *)0x1000; }
static void circle_block(scene *s) { s->arena->base.blocks->next = s->arena->base.blocks; }
static void before_never(scene *s) { s->arena->dirty_decay.ms = -2; }
static void odd_interval(scene *s) { s->arena->muzzy_decay.interval++; }
static void late_deadline(scene *s) { s->arena->dirty_decay.deadline *= 2; }
static void future_epoch(scene *s) { s->arena->dirty_decay.epoch = s->arena->dirty_decay.deadline - 1; }
static void misnumber(scene *s) { s->second->number++; }
static void leave_heap(scene *s) { s->second->heap = NULL; }
static void endless_growth(scene *s) { s->second->growth = 1000; }
static void forget_serials(scene *s) { s->arena->next_serial = 0; }

#define NO_EXTENT "jemalloc: the map leads to no sound extent"
#define OTHER_WORD "jemalloc: the map says something else of an extent than its record"
#define NO_MEMBER "jemalloc: a set leads to where no free extent is, or around"
#define NO_QUEUED "jemalloc: a queue leads to where no extent is, or around"
#define NO_BLOCK "jemalloc: a thread keeps what is no block, or free"
#define NO_ORDER "jemalloc: a stack's pointers are out of order"
#define NO_BASE "jemalloc: a base leads to no block of metadata, or around"
#define NO_TIME "jemalloc: an epoch ends when it should not"

static const fault faults[] = {
    {lengthen, NO_EXTENT},
    {shorten, NO_EXTENT},
    {move, NO_EXTENT},
    {disown, NO_EXTENT},
    {give_to_nobody, NO_EXTENT},
    {odd_state, NO_EXTENT},
    {odd_class, NO_EXTENT},
    {grow_slab, NO_EXTENT},
    {use_dirty, NO_EXTENT},
    {very_far_offset, NO_EXTENT},
    {forget_last, NO_EXTENT},
    {mistake_first, NO_EXTENT},
    {wild_word, NO_EXTENT},
    {free_live, "jemalloc: a free extent has a class"},
    {name_free, "jemalloc: a free extent has a class"},
    {shrink_class, OTHER_WORD},
    {behead, OTHER_WORD},
    {forget_inner, OTHER_WORD},
    {reclass_first, OTHER_WORD},
    {rejuvenate, "jemalloc: an extent has a serial number that is not given out yet"},
    {forget_serials, "jemalloc: an extent has a serial number that is not given out yet"},
    {age_apart, "jemalloc: extents of one mapping have different serial numbers"},
    {odd_offset, "jemalloc: a large block begins where none may"},
    {far_offset, "jemalloc: a large block begins where none may"},
    {own_live, "jemalloc: the allocator's own blocks are miscounted"},
    {own_slab, "jemalloc: a slab counts as the allocator's own"},
    {own_dirty, "jemalloc: a free extent counts as the allocator's own"},
    {free_region, "jemalloc: a slab's free regions are miscounted"},
    {miscount_region, "jemalloc: a slab's free regions are miscounted"},
    {free_beyond, "jemalloc: a slab has free regions beyond its end"},
    {empty_slab, "jemalloc: an empty slab was not given back"},
    {forget_first, "jemalloc: a mapping begins with an extent that is no head"},
    {forget_head, "jemalloc: a mapping begins with an extent that is no head"},
    {leave_unmerged, "jemalloc: two free neighbours were not merged"},
    {forget_leaf, NO_BLOCK},
    {wild_leaf, NO_BLOCK},
    {miscount_set, "jemalloc: a set's pages are miscounted"},
    {lose_recency, "jemalloc: a free extent is in no set"},
    {wild_recency, NO_MEMBER},
    {circle_recency, NO_MEMBER},
    {no_recency, NO_MEMBER},
    {recent_live, NO_MEMBER},
    {swap_state, "jemalloc: a set holds an extent of another"},
    {misname_set, "jemalloc: a set is not of its state"},
    {wild_queue, NO_QUEUED},
    {wild_child, NO_QUEUED},
    {circle_queue, NO_QUEUED},
    {twin_queue, NO_QUEUED},
    {lose_queued, "jemalloc: a free extent is in no queue"},
    {hide_queue, "jemalloc: the map of nonempty queues is wrong"},
    {show_queue, "jemalloc: the map of nonempty queues is wrong"},
    {misfile, "jemalloc: a queue holds what belongs elsewhere"},
    {disorder, "jemalloc: a queue's order is wrong"},
    {two_first, "jemalloc: a queue's order is wrong"},
    {wild_current, "jemalloc: a bin's current slab is none of its slabs"},
    {other_current, "jemalloc: a bin's current slab is none of its slabs"},
    {no_current, "jemalloc: a slab with room is not in its bin's queue"},
    {miscount_slabs, "jemalloc: a bin's slabs are miscounted"},
    {miscount_regions, "jemalloc: a bin's regions are miscounted"},
    {miscount_taken, "jemalloc: a bin's regions are not those taken and not given back"},
    {miscount_partials, "jemalloc: a slab with room is not in its bin's queue"},
    {lose_partial, "jemalloc: a slab with room is not in its bin's queue"},
    {keep_full, "jemalloc: a bin's queue holds what is no slab of it with room"},
    {no_shard, NO_EXTENT},
    {swap_shard, "jemalloc: a bin's queue holds what is no slab of it with room"},
    {share_current, "jemalloc: a bin's current slab is none of its slabs"},
    {move_partial, "jemalloc: a bin's queue holds what is no slab of it with room"},
    {miscount_active, "jemalloc: active pages are miscounted"},
    {miscount_large, "jemalloc: large blocks are miscounted"},
    {miscount_large_taken, "jemalloc: large blocks are miscounted"},
    {miscount_internal, "jemalloc: the allocator's own blocks are miscounted"},
    {miscount_threads, "jemalloc: an arena's threads are miscounted"},
    {unbind, "jemalloc: a thread is bound to no arena"},
    {bind_nowhere, "jemalloc: a thread is bound to no arena"},
    {lean_thread, "jemalloc: threads are listed wrongly"},
    {low_top, NO_ORDER},
    {odd_top, NO_ORDER},
    {high_low, NO_ORDER},
    {wild_stack, NO_ORDER},
    {wild_slots, NO_ORDER},
    {no_slots, NO_ORDER},
    {narrow_stack, "jemalloc: a stack has room for more or less than it should"},
    {shift_stack, "jemalloc: stacks lie over each other, or apart"},
    {misname_stack, "jemalloc: a stack does not know its class"},
    {keep_wild, NO_BLOCK},
    {keep_inside, NO_BLOCK},
    {keep_free, NO_BLOCK},
    {keep_page, NO_BLOCK},
    {keep_dirty, NO_BLOCK},
    {free_kept, NO_BLOCK},
    {keep_twice, "jemalloc: a block is kept twice"},
    {keep_other, "jemalloc: a thread keeps a block of another class"},
    {wild_spare, "jemalloc: spare records lead to none, or around"},
    {circle_spare, "jemalloc: spare records lead to none, or around"},
    {spare_live, "jemalloc: a spare record is in use"},
    {miscount_spare, "jemalloc: spare records are miscounted"},
    {miscount_queue, "jemalloc: a queue's extents are miscounted"},
    {miscount_bytes, "jemalloc: a set's pages are miscounted"},
    {miscount_base, "jemalloc: a base's mapped bytes are miscounted"},
    {miscount_taken_of_base, "jemalloc: a base gave out more than its blocks did"},
    {overfill_block, NO_BASE},
    {move_block, "jemalloc: a base's mapped bytes are miscounted"},
    {wild_block, NO_BASE},
    {circle_block, NO_BASE},
    {before_never, "jemalloc: a decay time is less than never"},
    {odd_interval, "jemalloc: an epoch has not its length"},
    {late_deadline, NO_TIME},
    {future_epoch, NO_TIME},
    {misnumber, "jemalloc: an arena does not know itself"},
    {leave_heap, "jemalloc: an arena does not know itself"},
    {endless_growth, "jemalloc: an arena's next mapping has no size"},
};

/* --- damage of any kind --- */

static targets find_targets(const scene *s) {
    void *const at[TARGETS] = {
        s->live,           &s->live->child,         s->slab[0],           &s->slab[1]->child,
        s->dirty[0],       &s->dirty[1]->child,     &s->dirty[0]->recency, &s->muzzy[1]->state,
        s->retained,       word_at(s, s->live->address), word_at(s, s->slab[0]->address), s->shard,
        &s->arena->dirty.recency, queue_of(s),      stack_of(s, KEPT_CLASS), thread_of(s)->stacks[KEPT_CLASS].top,
        s->arena->base.blocks, &s->arena->spare,
    };
    targets t;
    memcpy(t.at, at, sizeof at);
    return t;
}

/* The main arena lies in no mapping's edges. */
static uint64_t digest_arena(const scene *s, uint64_t sum) {
    return digest_range(sum, (uintptr_t)s->arena, (uintptr_t)s->arena + al_je_arena_bytes(s->je));
}

int main(void) {
    scene s;
    const stage here = {.scene = &s, .make = make, .faults = faults, .count = sizeof faults / sizeof *faults,
                        .find_targets = find_targets, .digest = digest_arena};
    a_sound_heap_is_sound();
    every_fault_is_found(&here);
    any_damage_does_no_harm_to_who_looks(&here);
    return 0;
}
