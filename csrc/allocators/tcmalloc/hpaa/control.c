/* Figures and acts by the names that they have in theirs: MallocExtension's properties, and its functions. */
#include "allocators/tcmalloc/hpaa/figures.h"

/* --- figures --- */

static int read_figure(hp_heap *heap, const char *name, uint64_t *value) {
    const hp_figures f = al_hp_figures(heap);
    const hp_page_figures *p = &f.pages;
    const uint64_t page_bytes = f.mapped - f.metadata; /* of pages, in use and free */
    const al_stat figures[] = {
        {"generic.current_allocated_bytes", f.in_use},
        {"generic.bytes_in_use_by_app", f.in_use},
        {"generic.heap_size", page_bytes - p->unbacked},
        {"generic.physical_memory_used", f.mapped - p->unbacked},
        {"generic.virtual_memory_used", f.mapped},
        {"tcmalloc.central_cache_free", f.central + f.tails},
        {"tcmalloc.cpu_free", f.cpu},
        {"tcmalloc.transfer_cache_free", f.transfer},
        {"tcmalloc.thread_cache_free", 0},
        {"tcmalloc.thread_cache_count", 0},
        {"tcmalloc.current_total_thread_cache_bytes", f.cpu},
        {"tcmalloc.per_cpu_caches_active", 1},
        {"tcmalloc.max_per_cpu_cache_size", heap->params.cpu_budget},
        {"tcmalloc.metadata_bytes", f.metadata},
        {"tcmalloc.page_heap_free", p->backed_free},
        {"tcmalloc.page_heap_unmapped", p->unbacked},
        {"tcmalloc.pageheap_free_bytes", p->backed_free},
        {"tcmalloc.pageheap_unmapped_bytes", p->unbacked},
        {"tcmalloc.slack_bytes", p->backed_free + p->unbacked},
        {"tcmalloc.hugepage_coverage", p->covered},
        {"tcmalloc.num_released_total_bytes", p->released_bytes},
        {"tcmalloc.required_bytes", f.in_use + f.tails + f.cpu + f.transfer + f.central + f.metadata},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (strcmp(name, figures[i].name) == 0) {
            *value = figures[i].value;
            return 0;
        }
    return ENOENT;
}

/* --- acts --- */

static int release_memory(hp_heap *heap, uint64_t bytes) {
    al_lock_take(&heap->base.heap.lock);
    al_hp_pages_release(heap, bytes);
    al_lock_drop(&heap->base.heap.lock);
    return 0;
}

static int release_cpu(hp_heap *heap, uint64_t number) {
    if (number >= heap->params.cpus) return EINVAL;
    hp_cpu *cpu = &heap->cpus[number];
    al_lock_take(&cpu->lock);
    al_hp_cpu_drain(heap, cpu);
    al_lock_drop(&cpu->lock);
    return 0;
}

static int switch_background(hp_heap *heap, uint64_t on) {
    if (on > 1) return EINVAL;
    __atomic_store_n(&heap->params.background, on == 1, __ATOMIC_RELAXED);
    return 0;
}

static int set_release_rate(hp_heap *heap, uint64_t rate) {
    __atomic_store_n(&heap->params.release_rate, (size_t)rate, __ATOMIC_RELAXED);
    return 0;
}

static const struct {
    const char *name;
    int (*act)(hp_heap *heap, uint64_t value);
} acts[] = {
    {"ReleaseMemoryToSystem", release_memory}, /* bytes */
    {"ReleaseCpuMemory", release_cpu},         /* the CPU's number */
    {"ProcessBackgroundActions", switch_background},
    {"SetBackgroundReleaseRate", set_release_rate},
};

int al_hp_control(al_heap *base, al_thread *caller, const char *name, uint64_t *value, bool set) {
    (void)caller;
    hp_heap *heap = al_hp_of(base);
    uint64_t read;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(name, acts[i].name) == 0) return set ? acts[i].act(heap, *value) : EPERM;
    const int error = read_figure(heap, name, &read);
    if (error != 0 || set) return error != 0 ? error : EPERM;
    *value = read;
    return 0;
}
