/* Tables of what there is, for those who want to count and draw. Those of pages are in pageviews.c. */
#include "allocators/tcmalloc/hpaa/inspect.h"

typedef struct viewer {
    hp_look look;
    al_rows rows;
} viewer;

static al_facts *begin_class(viewer *v, unsigned class) {
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", al_hp_shape(v->look.heap, class)->bytes);
    return f;
}

/* --- a row for each class --- */

static bool view_class(viewer *v, unsigned class) {
    const tc_class *shape = al_hp_shape(v->look.heap, class);
    al_facts *f = begin_class(v, class);
    al_tell_count(f, "pages", shape->pages);
    al_tell_count(f, "objects", shape->objects);
    al_tell_count(f, "batch", shape->batch);
    al_tell_count(f, "cpu_most", v->look.heap->depths[class]);
    al_tell_count(f, "transfer_most", v->look.heap->classes[class].most);
    al_tell_flag(f, "bitmap", al_hp_has_bitmap(shape));
    al_tell_text(f, "table", al_hp_classes_version);
    return al_row_end(&v->rows);
}

static bool view_transfer(viewer *v, unsigned class) {
    const hp_class *shared = &v->look.heap->classes[class];
    al_facts *f = begin_class(v, class);
    al_tell_count(f, "used", shared->used);
    al_tell_count(f, "capacity", shared->capacity);
    al_tell_count(f, "most", shared->most);
    al_tell_count(f, "low_water", shared->low);
    al_tell_count(f, "takes", shared->takes);
    al_tell_count(f, "take_misses", shared->take_misses);
    al_tell_count(f, "gives", shared->gives);
    al_tell_count(f, "give_misses", shared->give_misses);
    al_tell_count(f, "contended", shared->contended);
    return al_row_end(&v->rows);
}

static bool view_central(viewer *v, unsigned class) {
    static const char *const names[TC_OCCUPANCIES] = {"list_0", "list_1", "list_2", "list_3", "list_4",
                                                      "list_5", "list_6", "list_7", "full"};
    const hp_class *shared = &v->look.heap->classes[class];
    size_t counts[TC_OCCUPANCIES] = {0};
    for (hp_member m = {0}; al_hp_listed_next(v->look.heap, class, &m);) counts[m.list]++;
    al_facts *f = begin_class(v, class);
    al_tell_count(f, "spans", shared->spans.count);
    al_tell_count(f, "free_objects", shared->spans.free);
    al_tell_count(f, "populated", shared->populated);
    al_tell_count(f, "emptied", shared->emptied);
    for (unsigned i = 0; i < TC_OCCUPANCIES; i++) al_tell_count(f, names[i], counts[i]);
    return al_row_end(&v->rows);
}

static bool each_class(viewer *v, bool (*view)(viewer *, unsigned class)) {
    bool more = true;
    for (unsigned class = 1; more && class < HP_CLASSES; class++) more = view(v, class);
    return more;
}

/* --- spans with a class, in the order in which they are taken from --- */

static bool view_spans(viewer *v, unsigned class) {
    bool more = true;
    for (hp_member m = {0}; more && al_hp_listed_next(v->look.heap, class, &m);) {
        al_facts *f = begin_class(v, class);
        al_tell_address(f, "address", (const void *)m.span->span.address);
        al_tell_count(f, "pages", m.span->span.pages);
        al_tell_count(f, "objects", al_hp_shape(v->look.heap, class)->objects);
        al_tell_count(f, "out", m.span->span.live);
        al_tell_count(f, "list", m.list);
        al_tell_count(f, "position", m.position);
        more = al_row_end(&v->rows);
    }
    return more;
}

/* --- CPUs --- */

static bool view_cpu(viewer *v, const hp_cpu *cpu) {
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "cpu", (uint64_t)(cpu - v->look.heap->cpus));
    al_tell_bytes(f, "budget", cpu->budget);
    al_tell_bytes(f, "capacity_bytes", cpu->capacity);
    al_tell_bytes(f, "used_bytes", al_hp_cpu_bytes(v->look.heap, cpu));
    al_tell_count(f, "underflows", cpu->underflows);
    al_tell_count(f, "overflows", cpu->overflows);
    al_tell_count(f, "steals", cpu->steals);
    al_tell_count(f, "reclaims", cpu->reclaims);
    return al_row_end(&v->rows);
}

static bool view_stack(viewer *v, const hp_cpu *cpu, unsigned class) {
    static const char *const kinds[] = {"none", "underflow", "overflow"};
    const hp_stack *stack = &cpu->stacks[class];
    const hp_habit *habit = &cpu->habits[class];
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "cpu", (uint64_t)(cpu - v->look.heap->cpus));
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", al_hp_shape(v->look.heap, class)->bytes);
    al_tell_count(f, "used", stack->used);
    al_tell_count(f, "capacity", stack->capacity);
    al_tell_count(f, "most", v->look.heap->depths[class]);
    al_tell_count(f, "misses", habit->misses);
    al_tell_text(f, "last_miss", kinds[habit->last <= HP_OVERFLOW ? habit->last : 0]);
    al_tell_count(f, "successive", habit->successive);
    return al_row_end(&v->rows);
}

/* Stacks that were ever asked. */
static bool view_stacks(viewer *v, const hp_cpu *cpu) {
    for (unsigned class = 1; class < HP_CLASSES; class++)
        if (cpu->habits[class].misses > 0 && !view_stack(v, cpu, class)) return false;
    return true;
}

static void each_cpu(viewer *v, bool (*view)(viewer *, const hp_cpu *)) {
    const hp_heap *heap = v->look.heap;
    for (const hp_cpu *cpu = heap->cpus; cpu < heap->cpus + heap->params.cpus && view(v, cpu); cpu++) {}
}

/* --- all of them --- */

const char *const al_hp_views[] = {"classes", "cpus",      "cpu_caches", "transfer", "central",
                                   "spans",   "hugepages", "regions",    "hugecache", NULL};

void al_hp_view(al_heap *heap, const char *view, al_row_fn *visit, void *context) {
    static const struct {
        const char *name;
        bool (*view)(viewer *, unsigned class);
    } of_classes[] = {
        {"classes", view_class}, {"transfer", view_transfer}, {"central", view_central}, {"spans", view_spans}};
    viewer v = {.rows = {.visit = visit, .context = context}};
    al_hp_look_open(&v.look, al_hp_of(heap));
    for (size_t i = 0; i < sizeof of_classes / sizeof *of_classes; i++)
        if (strcmp(view, of_classes[i].name) == 0) each_class(&v, of_classes[i].view);
    if (strcmp(view, "cpus") == 0) each_cpu(&v, view_cpu);
    if (strcmp(view, "cpu_caches") == 0) each_cpu(&v, view_stacks);
    al_hp_pages_view(v.look.heap, view, &v.rows);
    al_hp_look_close(&v.look);
}
