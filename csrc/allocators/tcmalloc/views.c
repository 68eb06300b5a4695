/* Tables of what there is, for those who want to count and draw: a row for each class, span, slot, thread, ... */
#include "allocators/tcmalloc/inspect.h"
#include "parts/facts.h"

typedef struct viewer {
    tc_look look;
    al_rows rows;
} viewer;

/* --- classes --- */

static bool view_class(viewer *v, unsigned class) {
    const tc_class *shape = &v->look.heap->base.classes.of[class];
    const tc_central *central = &v->look.heap->central[class];
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", shape->bytes);
    al_tell_count(f, "pages", shape->pages);
    al_tell_count(f, "objects", shape->objects);
    al_tell_count(f, "batch", shape->batch);
    al_tell_count(f, "spans", central->spans.count);
    al_tell_count(f, "free", central->spans.free);
    al_tell_count(f, "slots", central->slots);
    al_tell_count(f, "slots_used", central->used);
    al_tell_count(f, "slots_most", central->slots_most);
    al_tell_count(f, "fetches", central->fetches);
    al_tell_count(f, "returns", central->returns);
    al_tell_count(f, "from_spans", central->from_spans);
    al_tell_count(f, "slots_full", central->slots_full);
    al_tell_count(f, "populated", central->populated);
    al_tell_count(f, "emptied", central->emptied);
    al_tell_count(f, "contended", central->contended);
    return al_row_end(&v->rows);
}

static bool view_classes(viewer *v) {
    for (unsigned class = 1; class < v->look.heap->base.classes.count; class++)
        if (!view_class(v, class)) return false;
    return true;
}

static bool view_slot(viewer *v, unsigned class, unsigned slot) {
    const tc_class *shape = &v->look.heap->base.classes.of[class];
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", shape->bytes);
    al_tell_count(f, "slot", slot);
    al_tell_count(f, "objects", shape->batch);
    al_tell_address(f, "head", v->look.heap->central[class].transfer[slot].head);
    return al_row_end(&v->rows);
}

/* Those that hold a batch. */
static bool view_slots(viewer *v) {
    for (unsigned class = 1; class < v->look.heap->base.classes.count; class++)
        for (unsigned slot = 0; slot < al_min(v->look.heap->central[class].used, TC_SLOTS_MOST); slot++)
            if (!view_slot(v, class, slot)) return false;
    return true;
}

/* --- spans --- */

static bool view_span(viewer *v, const tc_span *span) {
    const tc_class *shape = al_tc_shape(v->look.heap, span); /* class 0 has no objects */
    al_facts *f = al_row_begin(&v->rows);
    al_tell_address(f, "address", (const void *)span->address);
    al_tell_count(f, "pages", span->pages);
    al_tell_text(f, "location", al_tc_location_name(span->location));
    al_tell_count(f, "class", span->class);
    al_tell_bytes(f, "bytes", shape->bytes);
    al_tell_count(f, "objects", shape->objects);
    al_tell_count(f, "out", span->class == 0 ? 0 : span->live);
    return al_row_end(&v->rows);
}

static bool view_spans(viewer *v) {
    tc_stretch s;
    for (uintptr_t at = 0; al_tc_stretch_after(&v->look, at, &s); at = s.end)
        if (s.kind == TC_SPAN && !view_span(v, s.span)) return false;
    return true;
}

/* --- threads --- */

static bool view_thread(viewer *v, const tc_thread *thread) {
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "thread", thread->thread.id);
    al_tell_bytes(f, "share", thread->share);
    al_tell_bytes(f, "cached", al_tc_cached(thread));
    al_tell_flag(f, "dropped", thread == &v->look.heap->first);
    al_tell_flag(f, "lost", thread->lost);
    al_tell_flag(f, "gives_next", thread == v->look.heap->victim);
    return al_row_end(&v->rows);
}

/* The last come first. */
static bool view_threads(viewer *v) {
    for (const tc_thread *thread = v->look.heap->threads; thread != NULL; thread = thread->next)
        if (!view_thread(v, thread)) return false;
    return true;
}

static bool view_list(viewer *v, const tc_thread *thread, unsigned class) {
    const tc_list *list = &thread->lists[class];
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "thread", thread->thread.id);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", list->bytes);
    al_tell_count(f, "length", list->length);
    al_tell_count(f, "low_water", list->low);
    al_tell_count(f, "most", list->most);
    al_tell_count(f, "overages", list->overages);
    return al_row_end(&v->rows);
}

/* Those that were ever used. */
static bool view_lists(viewer *v) {
    const tc_heap *heap = v->look.heap;
    for (const tc_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        for (unsigned class = 1; class < heap->base.classes.count; class++) {
            const tc_list *list = &thread->lists[class];
            if ((list->length > 0 || list->most > 1) && !view_list(v, thread, class)) return false;
        }
    return true;
}

/* --- pages --- */

typedef struct sum {
    size_t spans[TC_KINDS], pages[TC_KINDS];
} sum;

static void add(sum *to, unsigned kind, const tc_span *span) {
    to->spans[kind]++;
    to->pages[kind] += span->pages;
}

static bool view_shelf(viewer *v, size_t length, const sum *of) {
    if (of->spans[0] + of->spans[1] == 0) return true;
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "least", length);
    al_tell_flag(f, "set", length > TC_LISTED_PAGES);
    al_tell_count(f, "normal", of->spans[0]);
    al_tell_count(f, "normal_pages", of->pages[0]);
    al_tell_count(f, "returned", of->spans[1]);
    al_tell_count(f, "returned_pages", of->pages[1]);
    al_tell_flag(f, "released_next", v->look.heap->pages.release_next == length);
    return al_row_end(&v->rows);
}

/* Of each length that there is up to 128 pages, then of all that are longer. */
static bool view_shelves(viewer *v) {
    const tc_heap *heap = v->look.heap;
    for (size_t length = 1; length <= TC_LISTED_PAGES; length++) {
        sum of = {0};
        for (unsigned kind = 0; kind < TC_KINDS; kind++)
            for (tc_member m = {0}; al_tc_listed_next(heap, &heap->pages.shelves[length][kind], &m);)
                add(&of, kind, m.span);
        if (!view_shelf(v, length, &of)) return false;
    }
    sum of = {0};
    for (unsigned kind = 0; kind < TC_KINDS; kind++)
        for (tc_member m = {0}; al_tc_set_member_next(heap, kind, &m);) add(&of, kind, m.span);
    return view_shelf(v, TC_LISTED_PAGES + 1, &of);
}

static bool view_release(viewer *v) {
    const tc_page_heap *pages = &v->look.heap->pages;
    al_facts *f = al_row_begin(&v->rows);
    al_tell_bytes(f, "system", pages->system_bytes);
    al_tell_bytes(f, "normal", pages->normal_bytes);
    al_tell_bytes(f, "returned", pages->returned_bytes);
    al_tell_count(f, "pages_to_go", pages->release_counter < 0 ? 0 : (uint64_t)pages->release_counter);
    al_tell_count(f, "next_length", pages->release_next);
    al_tell_count(f, "scavenges", pages->scavenges);
    al_tell_count(f, "released", pages->decommits);
    al_tell_bytes(f, "released_bytes", pages->decommitted_total);
    return al_row_end(&v->rows);
}

/* The newest first. */
static bool view_growths(viewer *v) {
    for (tc_trail t = {0}; al_tc_growth_next(v->look.heap, &t);) {
        const tc_growth *growth = t.at;
        al_facts *f = al_row_begin(&v->rows);
        al_tell_address(f, "address", (const void *)growth->address);
        al_tell_bytes(f, "bytes", growth->bytes);
        if (!al_row_end(&v->rows)) return false;
    }
    return true;
}

/* --- all of them --- */

const char *const al_tc_views[] = {"classes", "spans",    "slots",   "threads", "lists",
                                   "pageheap", "release", "growths", NULL};

void al_tc_view(al_heap *heap, const char *view, al_row_fn *visit, void *context) {
    static const struct {
        const char *name;
        bool (*view)(viewer *v);
    } all[] = {
        {"classes", view_classes}, {"spans", view_spans},      {"slots", view_slots},
        {"threads", view_threads}, {"lists", view_lists},      {"pageheap", view_shelves},
        {"release", view_release}, {"growths", view_growths},
    };
    viewer v = {.rows = {.visit = visit, .context = context}};
    al_tc_look_open(&v.look, al_tc_of(heap));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, view) == 0) all[i].view(&v);
    al_tc_look_close(&v.look);
}
