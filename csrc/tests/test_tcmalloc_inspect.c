/* tcmalloc's own view of a heap: every kind of damage is found, by name, and looking at a damaged heap in any way does
 * no harm and changes nothing. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/tcmalloc/inspect.h"
#include "tests/damage.h"
#include "tests/heaps.h"

extern const al_allocator al_tcmalloc;

/* --- a heap with everything in it --- */

enum {
    SMALL = 40,      /* blocks of 1 KiB, eight to a span */
    SMALL_CLASS = 31,
    KEPT = 5,        /* blocks of 48 bytes in the thread's cache */
    KEPT_CLASS = 4,
    SLOT_CLASS = 5,  /* blocks of 64 bytes, of which two slots have a batch */
    WIDE_CLASS = 48, /* blocks of 8 KiB, two to a span */
    APART = 3,       /* free spans of a kind and length */
    SHORT = 50,
    LONG = 200
};

struct scene {
    al_heap *heap;
    al_thread *thread, *second;
    tc_heap *tc;
    char *small[SMALL];
    tc_span *span[SMALL / 8]; /* of them; the first three have free objects */
    tc_span *wide;
    tc_span *live;            /* a large block */
    tc_span *normal[APART], *returned[APART], *long_normal[APART], *long_returned[APART];
};

static tc_thread *thread_of(const scene *s) { return (tc_thread *)s->thread; }
static tc_list *list_of(const scene *s) { return &thread_of(s)->lists[KEPT_CLASS]; }
static tc_central *central_of(const scene *s, unsigned class) { return &s->tc->central[class]; }
static tc_span *span_of(const scene *s, const void *block) { return al_tc_span_of(&s->tc->base, block); }

static void *take(scene *s, size_t bytes) {
    void *block = al_heap_malloc(s->thread, bytes);
    assert(block != NULL);
    return block;
}

/* Spans that do not touch each other. */
static void take_apart(scene *s, void **blocks, size_t pages) {
    for (size_t i = 0; i < APART; i++) {
        blocks[i] = take(s, pages << TC_PAGE_BITS);
        take(s, 40 << TC_PAGE_BITS);
    }
}

static void free_all(scene *s, void **blocks, tc_span **spans) {
    for (size_t i = 0; i < APART; i++) {
        spans[i] = span_of(s, blocks[i]);
        al_heap_free(s->thread, blocks[i]);
    }
}

static void make_small(scene *s) {
    void *many[600]; /* so that a whole batch is fetched at last, and more may be cached */
    for (size_t i = 0; i < 600; i++) many[i] = take(s, 64);
    for (size_t i = 0; i < 80; i++) al_heap_free(s->thread, many[i]);
    for (size_t i = 0; i < SMALL; i++) s->small[i] = take(s, 1024);
    for (size_t i = 0; i < SMALL; i += 8) s->span[i / 8] = span_of(s, s->small[i]);
    for (size_t i = 0; i < 24; i += 8) {
        al_heap_free(s->thread, s->small[i + 1]);
        al_heap_free(s->thread, s->small[i + 2]);
    }
    al_tc_thread_idle(thread_of(s));
    assert(central_of(s, SMALL_CLASS)->spans.free >= 6 && central_of(s, SLOT_CLASS)->used == 2);
    void *kept[KEPT + 5];
    for (size_t i = 0; i < KEPT + 5; i++) kept[i] = take(s, 48);
    for (size_t i = 0; i < KEPT; i++) al_heap_free(s->thread, kept[i]);
    assert(list_of(s)->length == KEPT);
    s->wide = span_of(s, take(s, 8192));
}

static void make_large(scene *s) {
    void *normal[APART], *returned[APART], *long_normal[APART], *long_returned[APART];
    s->live = span_of(s, take(s, 45 << TC_PAGE_BITS));
    take_apart(s, normal, SHORT);
    take_apart(s, returned, SHORT);
    take_apart(s, long_normal, LONG);
    take_apart(s, long_returned, LONG);
    free_all(s, returned, s->returned);
    free_all(s, long_returned, s->long_returned);
    assert(al_heap_trim(s->heap, 0));
    free_all(s, normal, s->normal);
    free_all(s, long_normal, s->long_normal);
    for (size_t i = 0; i < APART; i++) {
        assert(s->normal[i]->location == TC_NORMAL && s->normal[i]->pages == SHORT);
        assert(s->returned[i]->location == TC_RETURNED && s->long_returned[i]->location == TC_RETURNED);
        assert(s->long_normal[i]->location == TC_NORMAL && s->long_normal[i]->pages == LONG);
    }
}

static al_heap *make(scene *s) {
    const al_regions_config config = {.window_bytes = (size_t)1 << 30};
    *s = (scene){.heap = make_heap(&al_tcmalloc, "", config)};
    s->thread = al_thread_create(s->heap);
    s->second = al_thread_create(s->heap);
    s->tc = al_tc_of(s->heap);
    make_small(s);
    make_large(s);
    assert(al_heap_malloc(s->second, 100) != NULL);
    return s->heap;
}

/* --- it can be seen --- */

static bool count_kind(void *context, const al_binned *entry) {
    static const char *const kinds[] = {"thread", "transfer", "span", "normal", "returned"};
    size_t *counts = context;
    for (size_t i = 0; i < 5; i++) counts[i] += strcmp(entry->kind, kinds[i]) == 0;
    return true;
}

static void a_sound_heap_is_sound(void) {
    scene s;
    make(&s);
    al_flaw flaw = {.what = "sound"};
    size_t counts[5] = {0}, bytes = 0;
    if (!al_heap_validate(s.heap, &flaw)) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(strcmp(flaw.what, "sound") == 0);
    al_heap_bins(s.heap, count_kind, counts);
    assert(counts[0] >= KEPT && counts[1] == 64 && counts[2] >= 6 && counts[3] >= 2 * APART && counts[4] >= 2 * APART);
    al_heap_walk(s.heap, add_bytes, &bytes);
    assert(bytes == al_regions_counters(s.heap->regions)->mapped);
    look_everywhere(s.heap);
    al_heap_destroy(s.heap);
}

static void spans_have_no_more_objects_than_looks_have_room_for(void) {
    static tc_classes classes;
    for (unsigned batch = 1; batch <= TC_CHAIN_MOST; batch++) {
        al_tc_classes_generate(&classes, batch);
        for (unsigned class = 1; class < classes.count; class++) assert(classes.of[class].objects <= TC_OBJECTS_MOST);
    }
}

/* What other threads had cached is lost to the child, and so live. */
static void the_child_of_a_fork_trusts_no_other_threads_cache(void) {
    scene s;
    make(&s);
    void *const block = al_heap_malloc(s.second, 48);
    al_heap_free(s.second, block);
    const al_ledger before = al_heap_ledger(s.heap);
    al_heap_fork(s.heap, s.thread, AL_FORK_PREPARE);
    al_heap_fork(s.heap, s.thread, AL_FORK_CHILD);
    ((tc_thread *)s.second)->lists[KEPT_CLASS].head = (void *)0x1000; /* torn */
    const al_ledger after = al_heap_ledger(s.heap);
    al_flaw flaw;
    assert(before.cached - after.cached == ((tc_thread *)s.second)->cached && after.free == before.free);
    assert(after.cached >= KEPT * 48 && al_heap_validate(s.heap, &flaw));
    look_everywhere(s.heap);
    al_heap_destroy(s.heap);
}

/* --- damage, and what is said of it --- */

static al_page_word *word_of(const scene *s, uintptr_t address) {
    const uintptr_t page = address >> TC_PAGE_BITS;
    return al_pages_word_of(al_pages_leaf_of(&s->tc->base.map, page), page);
}
static al_pages_leaf **leaf_of(const scene *s) {
    return &s->tc->base.map.leaves[s->live->address >> (TC_PAGE_BITS + AL_PAGES_LEAF_BITS)];
}

/* records and the map */
static void lengthen(scene *s) { s->live->pages++; }
static void endless(scene *s) { s->live->pages = SIZE_MAX >> TC_PAGE_BITS; }
static void empty(scene *s) { s->live->pages = 0; }
static void move(scene *s) { s->live->address += TC_PAGE; }
static void odd_location(scene *s) { s->live->location = TC_SPARE; }
static void odd_class(scene *s) { s->live->class = TC_CLASSES_MOST; }
static void other_class(scene *s) { s->wide->class--; }
static void class_free(scene *s) { s->normal[0]->class = SMALL_CLASS; }
static void forget_first(scene *s) { *word_of(s, s->live->address) = 0; }
static void forget_last(scene *s) { *word_of(s, al_tc_end(s->live) - TC_PAGE) = 0; }
static void forget_second(scene *s) { *word_of(s, s->wide->address + TC_PAGE) = 0; }
static void mistake_first(scene *s) { *word_of(s, s->live->address) = *word_of(s, s->normal[0]->address); }
static void reclass_first(scene *s) { *word_of(s, s->live->address) ^= UINT64_C(1) << 56; }
static void wild_word(scene *s) { *word_of(s, s->live->address) = UINT64_C(0x414141414140); }
static void forget_leaf(scene *s) { *leaf_of(s) = NULL; }
static void wild_leaf(scene *s) { *leaf_of(s) = (al_pages_leaf *)0x1000; }
static void use_normal(scene *s) { s->normal[0]->location = TC_IN_USE; }
static void use_long(scene *s) { s->long_normal[0]->location = TC_IN_USE; }
static void free_live(scene *s) { s->live->location = TC_NORMAL; }
static void free_long_live(scene *s) {
    tc_span *span = span_of(s, take(s, LONG << TC_PAGE_BITS));
    span->location = TC_RETURNED;
}
static void note_normal(scene *s) { s->normal[0]->objects = s->small[0]; }
static void in_metadata(scene *s) { s->tc->pages.chunk_end = s->live->address + 64; }
static void in_pending(scene *s) {
    s->tc->pages.pending = s->live->address;
    s->tc->pages.pending_bytes = TC_PAGE;
}
static void leave_unmerged(scene *s) {
    s->normal[0]->location = TC_IN_USE;
    al_list_remove(&s->normal[0]->link);
    tc_span *rest = al_tc_pages_split(s->tc, s->normal[0], 20);
    al_list_insert_after(&s->tc->pages.shelves[20][0], &s->normal[0]->link);
    al_list_insert_after(&s->tc->pages.shelves[SHORT - 20][0], &rest->link);
    s->normal[0]->location = rest->location = TC_NORMAL;
}

/* objects */
static void miscount_live(scene *s) { s->span[4]->live++; }
static void forget_live(scene *s) { s->span[0]->live--; }
static void wild_object(scene *s) { s->span[0]->objects = (void *)0x1000; }
static void odd_object(scene *s) { s->span[0]->objects = s->small[1] + 8; }
static void far_object(scene *s) { s->span[0]->objects = s->small[9]; }
static void wild_link(scene *s) { al_tc_link(s->span[0]->objects, (void *)0x123456780); }
static void circle_objects(scene *s) { al_tc_link(s->span[0]->objects, s->span[0]->objects); }
static void lose_objects(scene *s) { s->span[0]->objects = NULL; }
static void empty_span(scene *s) {
    tc_span *span = s->span[0];
    for (size_t i = 0; i < 8; i++) al_tc_link(s->small[0] + 1024 * i, i == 7 ? NULL : s->small[0] + 1024 * (i + 1));
    span->objects = s->small[0];
    span->live = 0;
}

/* threads' lists */
static void keep(const scene *s, const void *what) {
    void *second = al_tc_after(list_of(s)->head);
    if (al_tc_readable(s->tc, what, 8)) al_tc_link((void *)what, al_tc_after(second));
    al_tc_link(list_of(s)->head, (void *)what);
}
static void keep_wild(scene *s) { keep(s, (void *)0x123456780); }
static void keep_odd(scene *s) { keep(s, (char *)list_of(s)->head + 12); }
static void keep_inside(scene *s) { keep(s, (char *)list_of(s)->head + 8); }
static void keep_other(scene *s) { keep(s, s->small[0]); }
static void keep_free(scene *s) { al_tc_link(list_of(s)->head, s->span[0]->objects); }
static void keep_large(scene *s) { keep(s, (void *)(s->live->address + TC_PAGE)); }
static void keep_normal(scene *s) { keep(s, (void *)s->normal[0]->address); }
static void keep_metadata(scene *s) { keep(s, (void *)s->tc->pages.chunk_at); }
static void keep_twice(scene *s) {
    tc_list *list = &((tc_thread *)s->second)->lists[KEPT_CLASS];
    *list = *list_of(s);
    ((tc_thread *)s->second)->cached += (size_t)list->length * list->bytes;
}
static void circle_list(scene *s) { al_tc_link(al_tc_after(list_of(s)->head), list_of(s)->head); }
static void cut_list(scene *s) { al_tc_link(list_of(s)->head, NULL); }
static void miscount_list(scene *s) { list_of(s)->length++; }
static void misname_list(scene *s) { list_of(s)->bytes = 64; }
static void high_low(scene *s) { list_of(s)->low = list_of(s)->length + 1; }
static void no_most(scene *s) { list_of(s)->most = 0; }
static void far_most(scene *s) { list_of(s)->most = TC_CHAIN_MOST + 1; }
static void many_overages(scene *s) { list_of(s)->overages = TC_OVERAGES_MOST + 1; }
static void miscount_cached(scene *s) { thread_of(s)->cached += 8; }
static void miscount_share(scene *s) { thread_of(s)->share += TC_SHARE_STEP; }
static void lean_thread(scene *s) { thread_of(s)->prev = NULL; }
static void leave(scene *s) { thread_of(s)->arrived = false; }
static void wild_victim(scene *s) { s->tc->victim = (tc_thread *)s->small[0]; }

/* slots */
static tc_chain *slot_of(const scene *s) { return &central_of(s, SLOT_CLASS)->transfer[0]; }
static void wild_slot(scene *s) { slot_of(s)->head = (void *)0x1000; }
static void circle_slot(scene *s) { al_tc_link(slot_of(s)->tail, slot_of(s)->head); }
static void cut_slot(scene *s) { al_tc_link(slot_of(s)->head, NULL); }
static void no_tail(scene *s) { slot_of(s)->tail = slot_of(s)->head; }
static void twin_slot(scene *s) { central_of(s, SLOT_CLASS)->transfer[1] = *slot_of(s); }
static void more_used(scene *s) { central_of(s, SLOT_CLASS)->used = TC_SLOTS_MOST + 1; }
static void more_slots(scene *s) { central_of(s, SLOT_CLASS)->slots = TC_SLOTS_MOST + 1; }
static void many_slots(scene *s) { central_of(s, SLOT_CLASS)->slots_most = 1000; }
static void lose_slot(scene *s) { central_of(s, SLOT_CLASS)->slots--; }
static void forget_used(scene *s) { central_of(s, SLOT_CLASS)->used = 3; }

/* spans of a class */
static tc_spans *spans_of(const scene *s) { return &central_of(s, SMALL_CLASS)->spans; }
static void misname_central(scene *s) { central_of(s, SMALL_CLASS)->class++; }
static void lose_span(scene *s) { al_list_remove(&s->span[1]->link); }
static void wild_listed(scene *s) { s->span[1]->link.next = (al_link *)0x1000; }
static void no_listed(scene *s) { spans_of(s)->lists[0].next = NULL; }
static void circle_listed(scene *s) {
    al_link *first = spans_of(s)->lists[0].next;
    first->next->next = first;
}
static void no_last(scene *s) { spans_of(s)->lists[0].prev = &s->span[1]->link; }
static void misfile(scene *s) { al_tc_spans_file(spans_of(s), s->span[0], TC_FULL); }
static void misfile_full(scene *s) { al_tc_spans_file(spans_of(s), s->span[4], 0); }
static void misfile_between(scene *s) { al_tc_spans_file(spans_of(s), s->span[0], 3); }
static void unname_file(scene *s) { s->span[0]->list = TC_FULL; }
static void list_other(scene *s) { al_list_insert_after(&spans_of(s)->lists[0], &s->live->link); }
static void miscount_spans(scene *s) { spans_of(s)->count++; }
static void miscount_free(scene *s) { spans_of(s)->free--; }
static void miscount_populated(scene *s) { central_of(s, SMALL_CLASS)->populated++; }

/* free spans */
static tc_page_heap *pages_of(const scene *s) { return &s->tc->pages; }
static al_link *shelf_of(const scene *s) { return &pages_of(s)->shelves[SHORT][0]; }
static void lose_shelved(scene *s) { al_list_remove(&s->normal[1]->link); }
static void wild_shelved(scene *s) { s->normal[1]->link.next = (al_link *)0x1000; }
static void no_shelved(scene *s) { shelf_of(s)->next = NULL; }
static void circle_shelf(scene *s) { shelf_of(s)->next->next->next = shelf_of(s)->next; }
static void misshelve(scene *s) {
    al_list_remove(&s->normal[1]->link);
    al_list_insert_after(&pages_of(s)->shelves[SHORT + 1][0], &s->normal[1]->link);
}
static void mislocate(scene *s) { s->returned[1]->location = TC_NORMAL; }
static void shelve_live(scene *s) { al_list_insert_after(shelf_of(s), &s->live->link); }

static tc_node *root_of(const scene *s) { return pages_of(s)->sets[0]; }
static void wild_root(scene *s) { pages_of(s)->sets[0] = (tc_node *)0x1000; }
static void no_root(scene *s) { pages_of(s)->sets[0] = NULL; }
static void wild_child(scene *s) { root_of(s)->left = root_of(s)->right = (tc_node *)s->small[0]; }
static void circle_set(scene *s) { root_of(s)->left = root_of(s)->right = root_of(s); }
static void swap_children(scene *s) {
    tc_node *left = root_of(s)->left;
    root_of(s)->left = root_of(s)->right;
    root_of(s)->right = left;
}
static void deep_root(scene *s) { root_of(s)->priority = 0; }
static void mislength_node(scene *s) { root_of(s)->length++; }
static void misplace_node(scene *s) { root_of(s)->address += TC_PAGE; }
static void disown_node(scene *s) { root_of(s)->owner = s->live; }
static void lose_node(scene *s) { al_tc_set_remove(&pages_of(s)->sets[1], s->long_returned[0]->objects); }
static void hide_node(scene *s) {
    lose_node(s);
    pages_of(s)->set_counts[1]--;
}
static void twin_node(scene *s) { s->long_normal[0]->objects = s->long_normal[1]->objects; }
static void swap_sets(scene *s) {
    tc_node *normal = pages_of(s)->sets[0];
    pages_of(s)->sets[0] = pages_of(s)->sets[1];
    pages_of(s)->sets[1] = normal;
}
static void miscount_set(scene *s) { pages_of(s)->set_counts[0]++; }
static void miscount_normal(scene *s) { pages_of(s)->normal_bytes += TC_PAGE; }
static void miscount_returned(scene *s) { pages_of(s)->returned_bytes -= TC_PAGE; }
static void miscount_system(scene *s) { pages_of(s)->system_bytes += TC_PAGE; }
static void miscount_committed(scene *s) { pages_of(s)->committed_bytes += TC_PAGE; }
static void miscount_total(scene *s) { pages_of(s)->decommitted_total += TC_PAGE; }

/* growths and metadata */
static void wild_growth(scene *s) { pages_of(s)->growths = (tc_growth *)0x1000; }
static void circle_growths(scene *s) { pages_of(s)->growths->older->older = pages_of(s)->growths; }
static void lose_growth(scene *s) { pages_of(s)->growths = pages_of(s)->growths->older; }
static void mislength_growth(scene *s) { pages_of(s)->growths->bytes += TC_PAGE; }
static void miscount_growths(scene *s) { pages_of(s)->growth_records.taken++; }
static void miscount_reserves(scene *s) { pages_of(s)->reserves++; }
static void turn_chunk(scene *s) { pages_of(s)->chunk_at = pages_of(s)->chunk_end + 8; }
static void wild_chunk(scene *s) { pages_of(s)->chunk_at = 0x1000; }
static void miscount_metadata(scene *s) { pages_of(s)->metadata_bytes += TC_CHUNK_BYTES; }
static void miscount_nodes(scene *s) { pages_of(s)->nodes.taken++; }
static void miscount_records(scene *s) { s->tc->base.spans.taken--; }
static void miscount_caches(scene *s) { s->tc->caches.taken++; }
static void wild_spare(scene *s) { s->tc->base.spans.spare = (void *)0x1000; }
static void circle_spare(scene *s) {
    tc_span *record = al_tc_span_new(&s->tc->base, 0, 0);
    al_tc_span_forget(&s->tc->base, record);
    al_tc_link(record, record);
}
static void spare_live(scene *s) {
    tc_span *record = al_tc_span_new(&s->tc->base, 0, 0);
    al_tc_span_forget(&s->tc->base, record);
    record->location = TC_IN_USE;
}
static void turn_unit(scene *s) { s->tc->base.spans.at = s->tc->base.spans.end + 48; }
static void wild_unit(scene *s) { pages_of(s)->nodes.at = 0x1000; }
static void mislength_records(scene *s) { pages_of(s)->nodes.bytes = 40; }

/* the allocator's own */
static void wild_own(scene *s) { s->tc->own[0] = (void *)0x1000; }
static void odd_own(scene *s) { s->tc->own[1] = (char *)s->tc->own[1] + 8; }
static void live_own(scene *s) { s->tc->own[0] = s->small[0]; }
static void free_own(scene *s) { s->tc->own[1] = span_of(s, s->tc->own[1])->objects; }

#define NO_SPAN "tcmalloc: the map leads to no sound span"
#define OTHER_WORD "tcmalloc: the map says something else of a span than its record"
#define NO_NODE "tcmalloc: a free span has a node and is short, or has none and is long"
#define NO_OBJECT "tcmalloc: a span's chain leads to no object of it, or around"
#define LIVE_OBJECTS "tcmalloc: a span's objects are miscounted"
#define NOT_KEPT "tcmalloc: what is kept is no object, or free"
#define NO_LIST "tcmalloc: a thread's list leads to no memory, or around"
#define NO_LENGTH "tcmalloc: a list may have no such length"
#define NO_SLOT "tcmalloc: a slot leads to no memory, or around"
#define NO_BATCH "tcmalloc: a slot does not hold a batch"
#define MANY_SLOTS "tcmalloc: a class has more slots than there may be"
#define NO_LISTED "tcmalloc: a class's list leads to no span, or around"
#define MISFILED "tcmalloc: a class's list holds what belongs elsewhere"
#define NO_SHELVED "tcmalloc: a shelf leads to no span, or around"
#define MISSHELVED "tcmalloc: a shelf holds what belongs elsewhere"
#define NO_MEMBER "tcmalloc: a set leads to no free span, or is out of order"
#define NOWHERE "tcmalloc: a free span is on no shelf and in no set"
#define COMMITTED "tcmalloc: committed bytes are miscounted"
#define NO_GROWTH "tcmalloc: growths lead to none, or around"
#define GROWTHS "tcmalloc: growths are miscounted"
#define NO_CHUNK "tcmalloc: the last chunk of metadata is damaged"
#define RECORDS "tcmalloc: records are miscounted"
#define NO_SPARE "tcmalloc: spare records lead to none, or around"
#define NO_UNIT "tcmalloc: a unit of records is damaged"
#define NO_OWN "tcmalloc: a block of its own is none, or free"

static const fault faults[] = {
    {lengthen, NO_SPAN},
    {endless, NO_SPAN},
    {empty, NO_SPAN},
    {move, NO_SPAN},
    {odd_location, NO_SPAN},
    {odd_class, NO_SPAN},
    {other_class, NO_SPAN},
    {class_free, NO_SPAN},
    {forget_first, NO_SPAN},
    {forget_last, NO_SPAN},
    {forget_second, NO_SPAN},
    {mistake_first, NO_SPAN},
    {reclass_first, OTHER_WORD},
    {wild_word, NO_SPAN},
    {forget_leaf, NOT_KEPT},
    {wild_leaf, NOT_KEPT},
    {use_normal, MISSHELVED},
    {use_long, "tcmalloc: a large block has a chain"},
    {free_live, "tcmalloc: two normal neighbours were not merged"},
    {free_long_live, NO_NODE},
    {note_normal, NO_NODE},
    {in_metadata, "tcmalloc: a span lies in metadata"},
    {in_pending, "tcmalloc: a span lies in what is no span yet"},
    {leave_unmerged, "tcmalloc: two normal neighbours were not merged"},
    {miscount_live, LIVE_OBJECTS},
    {forget_live, LIVE_OBJECTS},
    {lose_objects, LIVE_OBJECTS},
    {wild_object, NO_OBJECT},
    {odd_object, NO_OBJECT},
    {far_object, NO_OBJECT},
    {wild_link, NO_OBJECT},
    {circle_objects, NO_OBJECT},
    {empty_span, "tcmalloc: an empty span was not given back"},
    {keep_wild, NO_LIST},
    {keep_odd, NO_LIST},
    {keep_inside, NOT_KEPT},
    {keep_other, "tcmalloc: an object is kept as of another class"},
    {keep_free, NOT_KEPT},
    {keep_large, NOT_KEPT},
    {keep_normal, NOT_KEPT},
    {keep_metadata, NOT_KEPT},
    {keep_twice, "tcmalloc: an object is kept twice"},
    {circle_list, "tcmalloc: an object is kept twice"},
    {cut_list, "tcmalloc: a thread's list is miscounted"},
    {miscount_list, "tcmalloc: a thread's list is miscounted"},
    {misname_list, "tcmalloc: a list does not know its class"},
    {high_low, "tcmalloc: a list never had as few objects as it has"},
    {no_most, NO_LENGTH},
    {far_most, NO_LENGTH},
    {many_overages, NO_LENGTH},
    {miscount_cached, "tcmalloc: what a thread caches is miscounted"},
    {miscount_share, "tcmalloc: the shares are not the budget"},
    {lean_thread, "tcmalloc: threads are listed wrongly"},
    {leave, "tcmalloc: threads are listed wrongly"},
    {wild_victim, "tcmalloc: who is to give of its share is no thread"},
    {wild_slot, NO_SLOT},
    {circle_slot, "tcmalloc: an object is kept twice"},
    {cut_slot, NO_BATCH},
    {no_tail, NO_BATCH},
    {forget_used, NO_BATCH},
    {twin_slot, "tcmalloc: an object is kept twice"},
    {more_used, MANY_SLOTS},
    {more_slots, MANY_SLOTS},
    {many_slots, MANY_SLOTS},
    {lose_slot, "tcmalloc: slots are lost, or too many"},
    {misname_central, "tcmalloc: a central list does not know its class"},
    {lose_span, "tcmalloc: a class's span is in no list"},
    {wild_listed, NO_LISTED},
    {no_listed, NO_LISTED},
    {circle_listed, NO_LISTED},
    {no_last, NO_LISTED},
    {misfile, MISFILED},
    {misfile_full, MISFILED},
    {misfile_between, MISFILED},
    {unname_file, MISFILED},
    {list_other, MISFILED},
    {miscount_spans, "tcmalloc: a class's spans are miscounted"},
    {miscount_populated, "tcmalloc: a class's spans are miscounted"},
    {miscount_free, "tcmalloc: a class's free objects are miscounted"},
    {lose_shelved, NOWHERE},
    {wild_shelved, NO_SHELVED},
    {no_shelved, NO_SHELVED},
    {circle_shelf, NO_SHELVED},
    {misshelve, MISSHELVED},
    {mislocate, NOWHERE},
    {shelve_live, MISSHELVED},
    {wild_root, NO_MEMBER},
    {wild_child, NO_MEMBER},
    {circle_set, NO_MEMBER},
    {swap_children, NO_MEMBER},
    {deep_root, NO_MEMBER},
    {mislength_node, NO_MEMBER},
    {misplace_node, NO_MEMBER},
    {disown_node, NO_MEMBER},
    {twin_node, NO_MEMBER},
    {swap_sets, NO_MEMBER},
    {no_root, "tcmalloc: a set is miscounted"},
    {lose_node, "tcmalloc: a set is miscounted"},
    {miscount_set, "tcmalloc: a set is miscounted"},
    {hide_node, NOWHERE},
    {miscount_normal, "tcmalloc: free bytes are miscounted"},
    {miscount_returned, "tcmalloc: free bytes are miscounted"},
    {miscount_system, "tcmalloc: the spans' bytes are miscounted"},
    {miscount_committed, COMMITTED},
    {miscount_total, COMMITTED},
    {wild_growth, NO_GROWTH},
    {circle_growths, NO_GROWTH},
    {lose_growth, GROWTHS},
    {mislength_growth, GROWTHS},
    {miscount_growths, GROWTHS},
    {miscount_reserves, "tcmalloc: not every growth was counted"},
    {turn_chunk, NO_CHUNK},
    {wild_chunk, NO_CHUNK},
    {miscount_metadata, "tcmalloc: there is not as much metadata as was counted"},
    {miscount_nodes, RECORDS},
    {miscount_records, RECORDS},
    {miscount_caches, RECORDS},
    {wild_spare, NO_SPARE},
    {circle_spare, NO_SPARE},
    {spare_live, "tcmalloc: a spare record is in use"},
    {turn_unit, NO_UNIT},
    {wild_unit, NO_UNIT},
    {mislength_records, NO_UNIT},
    {wild_own, NO_OWN},
    {odd_own, NO_OWN},
    {live_own, NO_OWN},
    {free_own, NO_OWN},
};

/* --- damage of any kind --- */

static targets find_targets(const scene *s) {
    void *const at[TARGETS] = {
        s->live, &s->live->objects, s->span[0], &s->span[0]->objects, s->normal[0], &s->normal[1]->link,
        s->long_normal[0]->objects, root_of(s), s->returned[1], word_of(s, s->live->address),
        word_of(s, s->span[0]->address), list_of(s), list_of(s)->head, slot_of(s), slot_of(s)->head, spans_of(s),
        shelf_of(s), pages_of(s)->growths,
    };
    targets t;
    memcpy(t.at, at, sizeof at);
    return t;
}

/* The heap itself is in no mapping. */
static uint64_t digest_heap(const scene *s, uint64_t sum) {
    return digest_range(sum, (uintptr_t)s->tc, (uintptr_t)(s->tc + 1));
}

int main(void) {
    scene s;
    const stage here = {.scene = &s, .make = make, .faults = faults, .count = sizeof faults / sizeof *faults,
                        .find_targets = find_targets, .digest = digest_heap};
    a_sound_heap_is_sound();
    spans_have_no_more_objects_than_looks_have_room_for();
    the_child_of_a_fork_trusts_no_other_threads_cache();
    every_fault_is_found(&here);
    any_damage_does_no_harm_to_who_looks(&here);
    return 0;
}
