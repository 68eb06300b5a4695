/* The page allocator of tcmalloc-hpaa when it is damaged: every kind of damage is found, by name, and looking at it in
 * any way does no harm. */
#undef NDEBUG
#include "tests/hpaa_window.h"

/* --- a heap with hugepages of every kind --- */

typedef struct scene {
    hp_pages *pages;
    hp_hugepage *regular, *donated, *partly, *released; /* the filler's */
    hp_hugepage *cached, *unbacked, *in_region;         /* of free ranges, the first */
    hp_region *region;
} scene;

static hp_hugepage *find(hp_state state, hp_shelf_kind shelf) {
    for (uintptr_t at = 0; al_hp_next(&heap->pages, &at); at += HP_HUGE) {
        hp_hugepage *h = al_hp_hugepage(&heap->pages, at);
        if (h->state == state && (state != HP_FILLED || (h->shelf == shelf && h->longest > 0))) return h;
    }
    abort();
}

/* Ranges of one hugepage to RANGES, apart: three hugepages stay cached. The addresses decide the shape of the set that
 * they are in: a tree of so many has a fork somewhere but for one in a billion. */
static void make_ranges(void) {
    enum { RANGES = 17 };
    tc_span *ranges[RANGES];
    for (size_t i = 0; i < RANGES; i++) {
        ranges[i] = take((i + 1) * HP_HUGE_PAGES);
        take(HP_HUGE_PAGES);
    }
    for (size_t i = 0; i < RANGES; i++) give(ranges[i]);
}

static scene make_scene(void) {
    hp_params params = hasty();
    params.region_slack = 300 * TC_PAGE;
    params.cache_limit = 3;
    make(params);
    const full first = make_full(), second = make_full(), third = make_full();
    make_gap(&first, 0, 20);
    make_gap(&second, 0, 20);
    al_hp_pages_release(heap, SIZE_MAX);
    give(take(5)); /* it was given back, and is not any more */
    make_gap(&third, 0, 30);
    for (int i = 0; i < 3; i++) take(600); /* two leave slack enough for the third's region */
    make_ranges();
    validate();
    assert(heap->pages.cache.free.hugepages == 3 && heap->pages.unbacked.count > 3);
    return (scene){
        .pages = &heap->pages,
        .regular = find(HP_FILLED, HP_REGULAR),
        .donated = find(HP_FILLED, HP_DONATED),
        .partly = find(HP_FILLED, HP_PARTLY),
        .released = find(HP_FILLED, HP_RELEASED),
        .cached = find(HP_CACHED, HP_REGULAR),
        .unbacked = find(HP_UNBACKED, HP_REGULAR),
        .in_region = find(HP_IN_REGION, HP_REGULAR),
        .region = heap->pages.regions.of[0],
    };
}

/* --- looking --- */

static bool pass_bin(void *context, const al_binned *entry) {
    (void)context;
    return entry->kind != NULL;
}
static bool pass_row(void *context, const al_fact *row, size_t columns) {
    (void)context;
    return row->name != NULL && columns <= 20;
}

static void look_everywhere(void) {
    al_fact facts[20];
    uintptr_t end_of;
    al_hp_pages_bins(heap, pass_bin, NULL);
    al_rows rows = {.visit = pass_row};
    al_hp_pages_view(heap, "hugepages", &rows);
    al_hp_pages_view(heap, "regions", &rows);
    al_hp_pages_view(heap, "hugecache", &rows);
    for (uintptr_t at = 0; al_hp_next(&heap->pages, &at); at += HP_HUGE) {
        const uintptr_t in = at + (at >> HP_HUGE_BITS) % HP_HUGE_PAGES * TC_PAGE;
        al_facts f = {.out = facts, .room = 20};
        al_hp_pages_explain(heap, in, &f);
        if (al_hp_free_at(heap, in, &end_of)) assert(end_of > in);
    }
}

/* --- by name --- */

static hp_area *area(const scene *s) { return &s->pages->system.areas[HP_FOR_PAGES][0]; }
static hp_shelf *shelf_of(const scene *s, const hp_hugepage *h) { return &s->pages->filler.shelves[h->shelf]; }
static tc_node *root(const scene *s) { return s->pages->unbacked.root; }
/* A node of the set with two below it. */
static tc_node *fork_of(tc_node *node) {
    while (node->left == NULL || node->right == NULL) node = node->left != NULL ? node->left : node->right;
    return node;
}

static void cut_area(const scene *s) { area(s)->at += HP_HUGE; }
static void turn_area(const scene *s) { area(s)->start = area(s)->at + HP_HUGE; }
static void add_metadata(const scene *s) { s->pages->metadata_bytes += HP_HUGE; }

static void move(const scene *s) { s->regular->node.address += HP_HUGE; }
static void unstate(const scene *s) { s->cached->state = 77; }
static void forget(const scene *s) { s->regular->state = HP_NOTHING; }
static void release_used(const scene *s) {
    al_bitmap_set(s->partly->released, al_bitmap_next(s->partly->used, HP_HUGE_PAGES, 0));
}
static void add_used(const scene *s) { s->regular->used_pages++; }
static void add_released(const scene *s) { s->released->released_pages--; }
static void lengthen_gap(const scene *s) { s->regular->longest++; }
static void unblock(const scene *s) { s->regular->blocks = 0; }
static void donate(const scene *s) { s->regular->donated = true; }
static void donate_more(const scene *s) { s->donated->donation++; }
static void lengthen(const scene *s) { s->unbacked->node.length++; }
static void loosen(const scene *s) {
    al_hp_nth(s->pages, s->unbacked, s->unbacked->node.length - 1)->first = NULL;
}
static void deport(const scene *s) { s->in_region->region = 900; }

static void empty_set(const scene *s) { s->pages->unbacked.root = NULL; }
static void loop_set(const scene *s) { root(s)->left = root(s); }
static void mislead_set(const scene *s) { fork_of(root(s))->right = (tc_node *)16; }
static void lower(const scene *s) { fork_of(root(s))->priority = 0; }
static void swap(const scene *s) {
    tc_node *node = fork_of(root(s)), *left = node->left;
    node->left = node->right;
    node->right = left;
}
static void mix(const scene *s) { s->pages->cache.free.root = root(s); }

static void misname(const scene *s) { s->regular->list++; }
static void mislead(const scene *s) { shelf_of(s, s->partly)->lists[s->partly->list].next = (al_link *)16; }
static void loop(const scene *s) { s->partly->link.next = &s->partly->link; }
static void use_none(const scene *s) { al_bitmap_set(s->pages->filler.shelves[HP_REGULAR].used, HP_LISTS - 1); }
static void use_empty(const scene *s) {
    al_list_init(&s->pages->filler.shelves[HP_REGULAR].lists[HP_LISTS - 1]);
    use_none(s);
}
static void misfile(const scene *s) {
    hp_hugepage *h = s->released;
    hp_shelf *shelf = shelf_of(s, h);
    al_list_remove(&h->link);
    if (al_list_empty(&shelf->lists[h->list])) al_bitmap_clear(shelf->used, h->list);
    h->list = HP_LISTS - 1;
    al_list_init(&shelf->lists[h->list]);
    al_list_insert_after(&shelf->lists[h->list], &h->link);
    al_bitmap_set(shelf->used, h->list);
}
static void add_to_shelf(const scene *s) { shelf_of(s, s->regular)->count++; }
static void add_hugepage(const scene *s) { s->pages->filler.hugepages++; }

static void add_in_region(const scene *s) { s->region->used_in[0]++; }
static void add_region_pages(const scene *s) { s->region->used_pages++; }
static void lengthen_region_gap(const scene *s) { s->region->longest++; }
static void add_regions_pages(const scene *s) { s->pages->regions.used_pages++; }

static void add_slack(const scene *s) { s->pages->filler.slack_pages++; }
static void add_demand(const scene *s) { s->pages->filler.demand.value++; }
static void add_whole(const scene *s) { s->pages->whole_hugepages++; }
static void add_usage(const scene *s) { s->pages->cache.usage++; }
static void add_in_use(const scene *s) { s->pages->in_use_pages++; }

static const struct {
    void (*damage)(const scene *s);
    const char *what;
} faults[] = {
    {cut_area, "committed hugepages are miscounted"},
    {turn_area, "a reservation is none"},
    {add_metadata, "committed metadata is miscounted"},
    {move, "a hugepage does not know where it is"},
    {unstate, "a hugepage is in no state"},
    {forget, "a hugepage is in no state"},
    {release_used, "a page in use was given back"},
    {add_used, "a hugepage's pages are miscounted"},
    {add_released, "a hugepage's pages are miscounted"},
    {lengthen_gap, "a hugepage's longest free run is another"},
    {unblock, "a hugepage has no blocks, or too many"},
    {donate, "a donation does not fit its hugepage"},
    {donate_more, "a donation does not fit its hugepage"},
    {lengthen, "a free range has not its length"},
    {loosen, "a free range has not its length"},
    {deport, "a hugepage does not lie in its region"},
    {empty_set, "free ranges are miscounted, or one is in no set"},
    {loop_set, "a set of free ranges leads to none, or around"},
    {mislead_set, "a set of free ranges leads to none, or around"},
    {lower, "a set's node is above one of higher priority"},
    {swap, "a set is out of order"},
    {mix, "a set holds what is no such range"},
    {misname, "a list holds a hugepage that is not filed there"},
    {mislead, "a list of hugepages leads to none, or around"},
    {loop, "a list of hugepages leads to none, or around"},
    {use_none, "a list of hugepages leads to none, or around"},
    {use_empty, "an empty list counts as used"},
    {misfile, "a hugepage is filed where it does not belong"},
    {add_to_shelf, "a shelf's hugepages are miscounted"},
    {add_hugepage, "the filler's hugepages are miscounted, or one is in no list"},
    {add_in_region, "pages of a region's hugepage are miscounted"},
    {add_region_pages, "a region's pages are miscounted"},
    {lengthen_region_gap, "a region's longest free run is another"},
    {add_regions_pages, "regions are miscounted"},
    {add_slack, "the filler's pages are miscounted"},
    {add_demand, "the filler's pages are miscounted"},
    {add_whole, "hugepages in use are miscounted"},
    {add_usage, "hugepages in use are miscounted"},
    {add_in_use, "pages in use are miscounted"},
};

static void test_every_kind_is_found(void) {
    static const char by[] = "tcmalloc-hpaa: ";
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const scene s = make_scene();
        al_flaw flaw = {0};
        faults[i].damage(&s);
        const bool sound = al_hp_pages_validate(heap, &flaw);
        if (sound || strncmp(flaw.what, by, sizeof by - 1) != 0 ||
            strcmp(flaw.what + sizeof by - 1, faults[i].what) != 0) {
            fprintf(stderr, "not \"%s\": %s\n", faults[i].what, sound ? "sound" : flaw.what);
            abort();
        }
        look_everywhere();
        al_regions_destroy(heap->base.heap.regions);
    }
}

/* --- any --- */

/* Every word of the record takes values that might pass. Returns how often validate said so. */
static unsigned damage_words(hp_hugepage *h, al_rng *rng) {
    unsigned noticed = 0;
    for (size_t i = 0; i < sizeof *h / 8; i++) {
        uint64_t *word = (uint64_t *)h + i, kept = *word;
        const uint64_t values[] = {0,           kept ^ 1,           kept + 8,        ~kept,
                                   (uint64_t)h, (uint64_t)&h->link, al_rng_next(rng)};
        *word = values[al_rng_next(rng) % 7];
        al_flaw flaw = {0};
        noticed += !al_hp_pages_validate(heap, &flaw);
        look_everywhere();
        *word = kept;
    }
    return noticed;
}

static void test_any_word(void) {
    const scene s = make_scene();
    hp_hugepage *const of[] = {s.regular, s.donated, s.partly, s.released, s.cached, s.unbacked, s.in_region};
    al_rng rng = {7};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) assert(damage_words(of[i], &rng) > 0);
    end();
}

int main(void) {
    test_every_kind_is_found();
    test_any_word();
    return 0;
}
