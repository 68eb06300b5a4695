/* Figures and acts by MallocExtension's names: its numeric properties, and its calls. */
#include "allocators/tcmalloc/figures.h"

#include <errno.h>

/* --- properties --- */

static const struct property {
    const char *name;
    size_t offset;
} properties[] = {
    {"generic.current_allocated_bytes", offsetof(tc_figures, in_use)},
    {"generic.heap_size", offsetof(tc_figures, heap)},
    {"generic.total_physical_bytes", offsetof(tc_figures, physical)},
    {"tcmalloc.slack_bytes", offsetof(tc_figures, free)},
    {"tcmalloc.central_cache_free_bytes", offsetof(tc_figures, central)},
    {"tcmalloc.transfer_cache_free_bytes", offsetof(tc_figures, transfer)},
    {"tcmalloc.thread_cache_free_bytes", offsetof(tc_figures, threads)},
    {"tcmalloc.current_total_thread_cache_bytes", offsetof(tc_figures, threads)},
    {"tcmalloc.pageheap_free_bytes", offsetof(tc_figures, normal)},
    {"tcmalloc.pageheap_unmapped_bytes", offsetof(tc_figures, returned)},
    {"tcmalloc.pageheap_committed_bytes", offsetof(tc_figures, committed)},
    {"tcmalloc.pageheap_scavenge_count", offsetof(tc_figures, scavenges)},
    {"tcmalloc.pageheap_commit_count", offsetof(tc_figures, commits)},
    {"tcmalloc.pageheap_total_commit_bytes", offsetof(tc_figures, committed_total)},
    {"tcmalloc.pageheap_decommit_count", offsetof(tc_figures, decommits)},
    {"tcmalloc.pageheap_total_decommit_bytes", offsetof(tc_figures, decommitted_total)},
    {"tcmalloc.pageheap_reserve_count", offsetof(tc_figures, reserves)},
    {"tcmalloc.pageheap_total_reserve_bytes", offsetof(tc_figures, reserved_total)},
};

static int read_property(tc_heap *heap, const char *name, uint64_t *value, bool set) {
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        if (strcmp(properties[i].name, name) != 0) continue;
        if (set) return EPERM;
        tc_figures f;
        al_tc_figures(heap, &f);
        *value = *(const uint64_t *)((const char *)&f + properties[i].offset);
        return 0;
    }
    return ENOENT;
}

/* --- settings; heap->lock is held --- */

static void budget(tc_heap *heap, uint64_t *value, bool set) {
    if (set)
        al_tc_budget_set(heap, *value);
    else
        *value = heap->params.cache_budget;
}

static void decommit(tc_heap *heap, uint64_t *value, bool set) {
    if (set)
        heap->params.decommit = *value != 0;
    else
        *value = heap->params.decommit;
}

static void limit(tc_heap *heap, uint64_t *value, bool set) {
    uint64_t *mb = &heap->base.heap.settings.values[TC_HEAP_LIMIT_MB];
    if (set) {
        *mb = *value;
        heap->params.limit_pages = al_tc_limit_pages(*mb);
    } else {
        *value = *mb;
    }
}

/* Theirs is a fraction; here it is told in thousandths. */
static void rate(tc_heap *heap, uint64_t *value, bool set) {
    const double told = heap->params.release_rate * 1000, most = 9e15;
    if (set)
        heap->params.release_rate = (double)(int64_t)*value / 1000;
    else
        *value = told < most ? (uint64_t)(int64_t)told : INT64_MAX;
}

static const struct setting {
    const char *name;
    void (*turn)(tc_heap *heap, uint64_t *value, bool set);
} settings[] = {
    {"tcmalloc.max_total_thread_cache_bytes", budget},
    {"tcmalloc.aggressive_memory_decommit", decommit},
    {"tcmalloc.heap_limit_mb", limit},
    {"MemoryReleaseRate", rate},
};

/* --- acts --- */

/* At least so many bytes, less what was too much the last time. */
static void release(tc_heap *heap, uint64_t bytes) {
    tc_page_heap *pages = &heap->pages;
    al_lock_take(&heap->base.heap.lock);
    if (bytes <= pages->released_extra) {
        pages->released_extra -= bytes;
    } else {
        bytes -= pages->released_extra;
        const size_t released = al_tc_release(heap, al_max(bytes >> TC_PAGE_BITS, 1)) << TC_PAGE_BITS;
        pages->released_extra = released - al_min(released, bytes);
    }
    al_lock_drop(&heap->base.heap.lock);
}

static void release_all(tc_heap *heap, uint64_t bytes) {
    (void)bytes;
    release(heap, UINT64_MAX);
}

/* As theirs does: a thread that is busy asks for something. */
static void busy(tc_thread *thread) {
    void *block = al_tc_malloc(&thread->thread, 0);
    if (block != NULL) al_tc_free(&thread->thread, block);
}

static const struct act {
    const char *name;
    void (*of_heap)(tc_heap *heap, uint64_t bytes); /* or */
    void (*of_caller)(tc_thread *thread);
} acts[] = {
    {"ReleaseFreeMemory", .of_heap = release_all},
    {"ReleaseToSystem", .of_heap = release},
    {"MarkThreadIdle", .of_caller = al_tc_thread_idle},
    {"MarkThreadTemporarilyIdle", .of_caller = al_tc_cache_empty},
    {"MarkThreadBusy", .of_caller = busy},
};

static int act(tc_heap *heap, tc_thread *caller, const struct act *which, uint64_t value, bool set) {
    if (!set) return EPERM;
    if (which->of_heap != NULL)
        which->of_heap(heap, value);
    else if (caller != NULL)
        which->of_caller(caller);
    return 0;
}

int al_tc_control(al_heap *base, al_thread *caller, const char *name, uint64_t *value, bool set) {
    tc_heap *heap = al_tc_of(base);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(settings[i].name, name) != 0) continue;
        al_lock_take(&base->lock);
        settings[i].turn(heap, value, set);
        al_lock_drop(&base->lock);
        return 0;
    }
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(acts[i].name, name) == 0) return act(heap, (tc_thread *)caller, &acts[i], *value, set);
    if (strcmp(name, "ThreadCacheSize") == 0) {
        if (set) return EPERM;
        *value = caller == NULL ? 0 : al_tc_cached((tc_thread *)caller);
        return 0;
    }
    return read_property(heap, name, value, set);
}

/* Whatever is asked, it is said to be done. */
int al_tc_mallopt(al_heap *heap, int parameter, int value) {
    (void)heap;
    (void)parameter;
    (void)value;
    return 1;
}
