/* The hooks by which an allocator shows tables, answers by name and works in the background: bump, with all of them. */
#undef NDEBUG
#include "allocators/heap.h"
#include "tests/heaps.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { PERIOD = 1000, MOMENTS = 8 };

static uint64_t period; /* how often there is work; 0: never */
static uint64_t due;
static uint64_t moments[MOMENTS]; /* when work was done */
static size_t done;
static unsigned woken;

static int control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set) {
    if (strcmp(name, "thread.id") == 0 && !set && caller != NULL) {
        *value = caller->id;
        return 0;
    }
    if (strcmp(name, "stats.done") == 0) {
        if (set) return EPERM;
        *value = done;
        return 0;
    }
    if (strcmp(name, "opt.period") != 0) return ENOENT;
    if (!set) {
        *value = period;
        return 0;
    }
    if (*value > PERIOD) return EINVAL;
    period = *value;
    due = al_regions_now(heap->regions) + period;
    return 0;
}

static const char *const views[] = {"moments", "nothing", NULL};

static void view(al_heap *heap, const char *name, al_row_fn *visit, void *context) {
    (void)heap;
    for (size_t i = 0; name == views[0] && i < done; i++) {
        const al_fact row[] = {{"number", AL_FACT_COUNT, i, NULL}, {"when", AL_FACT_COUNT, moments[i], NULL}};
        if (!visit(context, row, 2)) return;
    }
}

static uint64_t background(al_heap *heap) {
    uint64_t now = al_regions_now(heap->regions);
    if (period == 0) return UINT64_MAX;
    if (now >= due) {
        assert(done < MOMENTS);
        moments[done++] = now;
        due += period;
    }
    return due - now;
}

static void wake(void) { woken++; }

static al_heap *make(const al_allocator *allocator) {
    return make_heap(allocator, "", (al_regions_config){.space = AL_SPACE_WINDOW});
}

/* A minute passes at once, yet all is done when it was due. */
static void work_when_it_is_due(al_heap *heap) {
    al_heap_advance(heap, 5);
    assert(al_regions_now(heap->regions) == 5 && done == 0);
    assert(al_heap_control(heap, NULL, "opt.period", &(uint64_t){100}, true) == 0);
    al_heap_advance(heap, 99);
    assert(done == 0);
    al_heap_advance(heap, 0);
    assert(done == 0);
    al_heap_advance(heap, 1);
    assert(done == 1 && moments[0] == 105);
    al_heap_advance(heap, 250);
    assert(done == 3 && moments[1] == 205 && moments[2] == 305 && al_regions_now(heap->regions) == 355);
    al_regions_advance(heap->regions, 50); /* behind the heap's back */
    al_heap_advance(heap, 0);
    assert(done == 4 && moments[3] == 405);
}

static void answer_by_name(al_heap *heap) {
    uint64_t value = 7;
    heap->wake = wake;
    assert(al_heap_control(heap, NULL, "stats.undone", &value, false) == ENOENT && value == 7);
    assert(al_heap_control(heap, NULL, "stats.done", &value, true) == EPERM && woken == 0);
    assert(al_heap_control(heap, NULL, "stats.done", &value, false) == 0 && value == 4 && woken == 0);
    value = PERIOD + 1;
    assert(al_heap_control(heap, NULL, "opt.period", &value, true) == EINVAL && woken == 0);
    value = 0;
    assert(al_heap_control(heap, NULL, "opt.period", &value, true) == 0 && woken == 1);
    assert(al_heap_control(heap, NULL, "opt.period", &value, false) == 0 && value == 0 && woken == 1);
    heap->wake = NULL;
    al_thread *first = al_thread_create(heap), *second = al_thread_create(heap);
    assert(al_heap_control(heap, first, "thread.id", &value, false) == 0 && value == first->id);
    assert(al_heap_control(heap, second, "thread.id", &value, false) == 0 && value == second->id);
    assert(al_heap_control(heap, NULL, "thread.id", &value, false) == ENOENT);
    al_thread_exit(second);
    al_thread_exit(first);
}

static bool stop(void *context, const al_fact *row, size_t columns) {
    (void)row;
    assert(columns == 2);
    return ++*(int *)context < 2;
}

static void show_tables(al_heap *heap) {
    al_fact facts[8], two[3] = {0};
    int rows = 0;
    assert(al_heap_viewed(heap, "moments", NULL, 0) == 8 && al_heap_viewed(heap, "moments", facts, 8) == 8);
    assert(strcmp(facts[6].name, "number") == 0 && facts[6].value == 3 && facts[7].value == 405);
    assert(al_heap_viewed(heap, "moments", two, 2) == 8 && two[1].value == 105 && two[2].name == NULL);
    assert(al_heap_viewed(heap, "nothing", NULL, 0) == 0 && al_heap_viewed(heap, "moment", NULL, 0) == 0);
    al_heap_view(heap, "moments", stop, &rows);
    assert(rows == 2);
}

static size_t stats(al_heap *heap, al_stat *out, size_t room) {
    (void)heap, (void)room;
    *out = (al_stat){"works", 3};
    return 1;
}

/* Stats have names, too: for those who cannot call for all of them. */
static void answer_by_stats(const al_allocator *allocator) {
    al_allocator counts = *allocator;
    counts.stats = stats;
    al_heap *heap = make(&counts);
    uint64_t value = 0;
    assert(al_heap_control(heap, NULL, "works", &value, true) == EPERM && value == 0);
    assert(al_heap_control(heap, NULL, "works", &value, false) == 0 && value == 3);
    assert(al_heap_control(heap, NULL, "work", &value, false) == ENOENT);
    al_heap_destroy(heap);
}

/* Whoever has none of the hooks. */
static void do_without(const al_allocator *allocator) {
    al_heap *heap = make(allocator);
    uint64_t value = 0;
    assert(al_heap_control(heap, NULL, "version", &value, false) == ENOENT);
    assert(al_heap_viewed(heap, "moments", NULL, 0) == 0);
    assert(al_heap_background(heap) == UINT64_MAX);
    al_heap_advance(heap, 60);
    assert(al_regions_now(heap->regions) == 60);
    al_heap_destroy(heap);
}

int main(void) {
    const al_allocator *bump = al_allocator_find("bump");
    al_allocator busy = *bump;
    busy.control = control;
    busy.views = views;
    busy.view = view;
    busy.background = background;
    al_heap *heap = make(&busy);
    work_when_it_is_due(heap);
    answer_by_name(heap);
    show_tables(heap);
    al_heap_destroy(heap);
    answer_by_stats(bump);
    do_without(bump);
    return 0;
}
