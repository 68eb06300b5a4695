/* tcmalloc-hpaa's own view of a heap, but for its pages: every kind of damage is found, by name, and looking at a
 * damaged heap in any way does no harm and changes nothing. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/tcmalloc/hpaa/inspect.h"
#include "tests/damage.h"
#include "tests/heaps.h"

extern const al_allocator al_tcmalloc_hpaa;

/* --- a heap with everything in it --- */

enum { BITMAP = 12, INDEXED = 2, WIDE = 22, SHALLOW = 21, CACHED = 100, BLOCKS = 2000 };

struct scene {
    al_heap *heap;
    al_thread *thread, *other;
    hp_heap *hp;
    tc_span *bitmap, *indexed, *wide, *large; /* of 208, 16 and 1152 bytes; without a class */
    void **cached;                            /* the stack of a class, with some */
};

static tc_span *span_of(const scene *s, const void *block) { return al_tc_span_of(&s->hp->base, block); }

static void *take(const scene *s, size_t bytes) {
    void *block = al_heap_malloc(s->thread, bytes);
    assert(block != NULL);
    return block;
}

/* Takes so many, and gives one of three back, past all caches. Returns the first that stays. */
static void *take_some(const scene *s, unsigned class, unsigned count) {
    static void *blocks[BLOCKS];
    void *given[BLOCKS];
    unsigned back = 0;
    for (unsigned i = 0; i < count; i++) blocks[i] = take(s, al_hp_shape(s->hp, class)->bytes);
    for (unsigned i = 0; i < count; i++)
        if (i % 3 == 1) given[back++] = blocks[i];
    s->hp->classes[class].capacity = 0;
    al_hp_class_give(s->hp, class, given, back);
    s->hp->classes[class].capacity = s->hp->classes[class].most;
    return blocks[0];
}

/* Takes so many, and gives them back in the name of a thread. */
static void give_some(const scene *s, al_thread *thread, size_t bytes) {
    void *blocks[CACHED];
    for (unsigned i = 0; i < CACHED; i++) blocks[i] = take(s, bytes);
    for (unsigned i = 0; i < CACHED; i++) al_heap_free(thread, blocks[i]);
}

static al_heap *make(scene *s) {
    const al_regions_config config = {.window_bytes = (size_t)4 << 30, .cpus = 2};
    *s = (scene){.heap = make_heap(&al_tcmalloc_hpaa, "", config)};
    s->thread = al_thread_create(s->heap);
    s->other = al_thread_create(s->heap);
    s->hp = al_hp_of(s->heap);
    s->bitmap = span_of(s, take_some(s, BITMAP, 500));
    s->indexed = span_of(s, take_some(s, INDEXED, BLOCKS));
    s->wide = span_of(s, take_some(s, WIDE, 100));
    s->large = span_of(s, take(s, 300000));
    take(s, 70000);
    give_some(s, s->other, 1024);
    give_some(s, s->thread, 208);
    s->cached = s->hp->cpus[0].stacks[BITMAP].slots;
    assert(s->hp->cpus[0].stacks[BITMAP].used > 2 && s->hp->classes[SHALLOW].used > 2);
    return s->heap;
}

/* --- it can be seen --- */

static bool count_kind(void *context, const al_binned *entry) {
    static const char *const kinds[] = {"cpu", "transfer", "span"};
    size_t *counts = context;
    for (size_t i = 0; i < 3; i++) counts[i] += strcmp(entry->kind, kinds[i]) == 0;
    return true;
}

static void a_sound_heap_is_sound(void) {
    scene s;
    al_heap *heap = make(&s);
    al_flaw flaw = {.what = "sound"};
    size_t counts[3] = {0}, bytes = 0;
    if (!al_heap_validate(heap, &flaw)) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(strcmp(flaw.what, "sound") == 0);
    al_heap_bins(heap, count_kind, counts);
    assert(counts[0] > 0 && counts[1] > 0 && counts[2] > BLOCKS / 3);
    al_heap_walk(heap, add_bytes, &bytes);
    assert(bytes == al_regions_counters(heap->regions)->mapped);
    look_everywhere(heap);
    al_heap_destroy(heap);
}

/* --- damage, and what is said of it --- */

static hp_cpu *cpu_of(const scene *s) { return &s->hp->cpus[0]; }
static hp_class *class_of(const scene *s, unsigned class) { return &s->hp->classes[class]; }
static hp_indices *indices_of(const scene *s) { return &al_hp_span_of(s->indexed)->indices; }
static al_page_word *word_of(const scene *s, uintptr_t address) {
    const uintptr_t page = address >> TC_PAGE_BITS;
    return al_pages_word_of(al_pages_leaf_of(&s->hp->base.map, page), page);
}

static void renumber(scene *s) { cpu_of(s)->number = 1; }
static void overfill(scene *s) { cpu_of(s)->stacks[BITMAP].used = cpu_of(s)->stacks[BITMAP].capacity + 1; }
static void lose_slots(scene *s) { cpu_of(s)->stacks[BITMAP].slots = NULL; }
static void shift_slots(scene *s) { cpu_of(s)->stacks[BITMAP].slots++; }
static void widen(scene *s) { cpu_of(s)->stacks[BITMAP].capacity++; }
static void spend(scene *s) { cpu_of(s)->budget = 10; }
static void enrich(scene *s) { cpu_of(s)->budget += 10; }
static void overfill_transfer(scene *s) { class_of(s, SHALLOW)->used = class_of(s, SHALLOW)->capacity + 1; }
static void crop_transfer(scene *s) { class_of(s, SHALLOW)->capacity -= 1; }
static void raise_low(scene *s) { class_of(s, SHALLOW)->low = class_of(s, SHALLOW)->used + 1; }
static void free_one(scene *s) {
    uint64_t *free = al_hp_span_of(s->bitmap)->free;
    al_bitmap_set(free, al_bitmap_next_clear(free, 39, 0));
}
static void free_beyond(scene *s) { al_bitmap_set(al_hp_span_of(s->bitmap)->free, 40); }
static void miscount(scene *s) { s->bitmap->live++; }
static void remember_twice(scene *s) { indices_of(s)->recent[0] = indices_of(s)->recent[1]; }
static void remember_none(scene *s) { indices_of(s)->recent[0] = 600; }
static void remember_many(scene *s) { indices_of(s)->recent_count = HP_RECENT + 1; }
static void lead_around(scene *s) { *(uint16_t *)(s->indexed->address + (uintptr_t)indices_of(s)->holder * 16) = 13; }
static void let_go(scene *s) {
    uint64_t *free = al_hp_span_of(s->bitmap)->free;
    for (unsigned i = 0; i < 39; i++) al_bitmap_set(free, i);
    s->bitmap->live = 0;
}
static void forget_page(scene *s) { *word_of(s, s->wide->address) = 0; }
static void misname_page(scene *s) { *word_of(s, s->large->address) |= (al_page_word)3 << 56; }
static void change_class(scene *s) { s->bitmap->class = WIDE; }
static void odd_class(scene *s) { s->bitmap->class = 200; }
static void lengthen(scene *s) { s->large->pages++; }
static void move(scene *s) { s->large->address += TC_PAGE; }
static void free_large(scene *s) { s->large->location = TC_SPARE; }
static void cache_twice(scene *s) { s->cached[0] = s->cached[1]; }
static void cache_other(scene *s) { s->cached[0] = (void *)s->large->address; }
static void cache_middle(scene *s) { s->cached[0] = (char *)s->cached[0] + 16; }
static void cache_nothing(scene *s) { s->cached[0] = NULL; }
static void misfile(scene *s) {
    al_tc_spans_file(&class_of(s, BITMAP)->spans, s->bitmap, s->bitmap->list == 7 ? 6 : 7);
}
static void mislead(scene *s) { class_of(s, BITMAP)->spans.lists[3].next = (al_link *)16; }
static void mislabel(scene *s) { s->bitmap->list = 7; }
static void cut_back(scene *s) { s->bitmap->link.prev = &s->bitmap->link; }
static void miscount_spans(scene *s) { class_of(s, BITMAP)->spans.count++; }
static void miscount_free(scene *s) { class_of(s, WIDE)->spans.free++; }
static void unlist(scene *s) { al_list_remove(&s->bitmap->link); }

#define FAULT(act, text) {act, "tcmalloc-hpaa: " text}

static const fault faults[] = {
    FAULT(renumber, "a CPU does not know its number"),
    FAULT(overfill, "a stack holds more than it may, or has no memory for it"),
    FAULT(lose_slots, "a stack holds more than it may, or has no memory for it"),
    FAULT(shift_slots, "stacks lie over each other, or apart"),
    FAULT(widen, "a CPU's capacities are miscounted"),
    FAULT(spend, "a CPU has more room than its budget"),
    FAULT(enrich, "the CPUs' budgets are not what was shared out"),
    FAULT(overfill_transfer, "a transfer cache holds more than it may, or has no memory"),
    FAULT(crop_transfer, "a transfer cache has room for less than a batch"),
    FAULT(raise_low, "a transfer cache held less than it ever did"),
    FAULT(free_one, "a span's objects are miscounted"),
    FAULT(free_beyond, "a span's free objects are none, or twice the same"),
    FAULT(miscount, "a span's objects are miscounted"),
    FAULT(remember_twice, "a span's free objects are none, or twice the same"),
    FAULT(remember_none, "a span's free objects are none, or twice the same"),
    FAULT(remember_many, "a span's free objects are none, or twice the same"),
    FAULT(lead_around, "a span's free objects are none, or twice the same"),
    FAULT(let_go, "a span is kept that nobody uses"),
    FAULT(forget_page, "pages in use are miscounted, or a span is lost"),
    FAULT(misname_page, "the map does not know a page"),
    FAULT(change_class, "pages in use are miscounted, or a span is lost"),
    FAULT(odd_class, "pages in use are miscounted, or a span is lost"),
    FAULT(lengthen, "pages in use are miscounted, or a span is lost"),
    FAULT(move, "pages in use are miscounted, or a span is lost"),
    FAULT(free_large, "pages in use are miscounted, or a span is lost"),
    FAULT(cache_twice, "an object is cached twice"),
    FAULT(cache_other, "what is cached is no object, of another class, or free"),
    FAULT(cache_middle, "what is cached is no object, of another class, or free"),
    FAULT(cache_nothing, "what is cached is no object, of another class, or free"),
    FAULT(misfile, "a span is not in the list of its occupancy"),
    FAULT(mislead, "a list of a class leads astray"),
    FAULT(mislabel, "a list of a class leads astray"),
    FAULT(cut_back, "a list of a class leads astray"),
    FAULT(miscount_spans, "a class's spans or free objects are miscounted"),
    FAULT(miscount_free, "a class's spans or free objects are miscounted"),
    FAULT(unlist, "a class's spans or free objects are miscounted"),
};

/* --- any damage at all --- */

static targets find_targets(const scene *s) {
    void *const at[TARGETS] = {
        s->bitmap,
        &s->bitmap->live,
        al_hp_span_of(s->bitmap)->free,
        s->indexed,
        indices_of(s),
        (void *)(s->indexed->address + (uintptr_t)indices_of(s)->holder * 16),
        s->wide,
        &s->wide->link,
        s->large,
        word_of(s, s->bitmap->address),
        word_of(s, s->large->address),
        &cpu_of(s)->stacks[BITMAP],
        &cpu_of(s)->habits[BITMAP],
        s->cached,
        &class_of(s, SHALLOW)->transfer,
        &class_of(s, BITMAP)->spans.lists[4],
        &class_of(s, WIDE)->spans.count,
        &cpu_of(s)->budget,
    };
    targets t;
    memcpy(t.at, at, sizeof at);
    return t;
}

/* The heap itself lies in no mapping. */
static uint64_t digest_heap(const scene *s, uint64_t sum) {
    const uint64_t caches = digest_range(sum, (uintptr_t)s->hp->cpus, (uintptr_t)(s->hp->cpus + 2));
    return digest_range(caches, (uintptr_t)s->hp->classes, (uintptr_t)(s->hp->classes + HP_CLASSES));
}

int main(void) {
    scene s;
    const stage here = {.scene = &s, .make = make, .faults = faults, .count = sizeof faults / sizeof *faults,
                        .find_targets = find_targets, .digest = digest_heap};
    a_sound_heap_is_sound();
    every_fault_is_found(&here);
    any_damage_does_no_harm_to_who_looks(&here);
    return 0;
}
