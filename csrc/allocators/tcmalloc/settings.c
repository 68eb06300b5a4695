/* The settings: the variables TCMALLOC_* of theirs, under names of ours. */
#include "allocators/tcmalloc/tcmalloc.h"

#include <stdlib.h>

enum { BUDGET_LEAST = 512 << 10, BUDGET_MOST = 1 << 30, BATCH_MOST = 8192, LIMIT_MOST = 1 << 27 };
enum { FAIR_LEAST = 512 << 10, FAIR_MOST = 4 << 20 };

static size_t digits_of(const char *text, size_t bytes) {
    size_t digits = 0;
    while (digits < bytes && text[digits] >= '0' && text[digits] <= '9') digits++;
    return digits;
}

/* 1, 0.5, 2.25 */
static bool is_decimal(const char *text, size_t bytes) {
    const size_t whole = digits_of(text, bytes);
    if (whole == 0 || whole == bytes) return whole > 0;
    const size_t part = digits_of(text + whole + 1, bytes - whole - 1);
    return text[whole] == '.' && part > 0 && whole + 1 + part == bytes;
}

const al_tunable al_tc_tunables[TC_TUNABLES] = {
    [TC_MAX_TOTAL_THREAD_CACHE_BYTES] = {.name = "max_total_thread_cache_bytes", .type = AL_TUNABLE_BYTES,
                                         .value = 32 << 20, .least = BUDGET_LEAST, .most = BUDGET_MOST,
                                         .help = "what the caches of all threads may hold together",
                                         .real_name = "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES"},
    [TC_RELEASE_RATE] = {.name = "release_rate", .type = AL_TUNABLE_TEXT, .takes = is_decimal,
                         .choices = "as a decimal, 0.5",
                         .help = "pages given back to the system for each 1000 freed: 1 unless set; 0: none",
                         .real_name = "TCMALLOC_RELEASE_RATE"},
    [TC_AGGRESSIVE_DECOMMIT] = {.name = "aggressive_decommit", .type = AL_TUNABLE_BOOL, .most = true,
                                .help = "free pages are given back at once",
                                .real_name = "TCMALLOC_AGGRESSIVE_DECOMMIT"},
    [TC_HEAP_LIMIT_MB] = {.name = "heap_limit_mb", .type = AL_TUNABLE_COUNT, .most = LIMIT_MOST,
                          .help = "MiB that the heap may hold, without what was given back; 0: no limit",
                          .real_name = "TCMALLOC_HEAP_LIMIT_MB"},
    [TC_TRANSFER_NUM_OBJ] = {.name = "transfer_num_obj", .type = AL_TUNABLE_COUNT, .value = 32, .least = 1,
                             .most = BATCH_MOST, .help = "the most objects that move between caches at a time",
                             .real_name = "TCMALLOC_TRANSFER_NUM_OBJ"},
    [TC_SKIP_SBRK] = {.name = "skip_sbrk", .type = AL_TUNABLE_BOOL, .most = true, .help = "the break is not moved",
                      .real_name = "TCMALLOC_SKIP_SBRK"},
    [TC_SKIP_MMAP] = {.name = "skip_mmap", .type = AL_TUNABLE_BOOL, .most = true, .help = "nothing is mapped",
                      .real_name = "TCMALLOC_SKIP_MMAP"},
    [TC_DISABLE_MEMORY_RELEASE] = {.name = "disable_memory_release", .type = AL_TUNABLE_BOOL, .most = true,
                                   .help = "nothing is given back to the system",
                                   .real_name = "TCMALLOC_DISABLE_MEMORY_RELEASE"},
    [TC_STATS_AT_EXIT] = {.name = "stats_at_exit", .type = AL_TUNABLE_COUNT, .most = 2,
                          .help = "1: malloc_stats is printed as the process ends; 2: with tables",
                          .real_name = "MALLOCSTATS"},
};

/* Of the budget, for each of so many caches. */
static size_t fair_share(size_t budget, size_t caches) {
    return al_max(FAIR_LEAST, al_min(budget / al_max(caches, 1), FAIR_MOST));
}

/* What the environment says may be no number, or none that can be told. */
static double rate_of(const char *text) {
    const double rate = *text == '\0' ? 1 : strtod(text, NULL), least = -9e12;
    return rate > least ? rate : 0;
}

/* What the environment gave may lie out of the ranges above where theirs takes it so. */
void al_tc_configure(tc_heap *heap) {
    const al_settings *settings = &heap->base.heap.settings;
    const uint64_t *values = settings->values;
    heap->params = (tc_params){
        .cache_budget = values[TC_MAX_TOTAL_THREAD_CACHE_BYTES],
        .fair_share = fair_share(values[TC_MAX_TOTAL_THREAD_CACHE_BYTES], 0),
        .release_rate = rate_of(al_setting_text(settings, TC_RELEASE_RATE)),
        .decommit = values[TC_AGGRESSIVE_DECOMMIT],
        .limit_pages = al_tc_limit_pages(values[TC_HEAP_LIMIT_MB]),
        .batch_most = (unsigned)values[TC_TRANSFER_NUM_OBJ],
        .skip_sbrk = values[TC_SKIP_SBRK],
        .skip_mmap = values[TC_SKIP_MMAP],
        .keep = values[TC_DISABLE_MEMORY_RELEASE],
    };
}

/* Shares do not grow by this; where the fair one has become smaller than it was, they shrink with it. */
void al_tc_budget_set(tc_heap *heap, size_t bytes) {
    tc_params *params = &heap->params;
    params->cache_budget = al_max(BUDGET_LEAST, al_min(bytes, BUDGET_MOST));
    const size_t fair = fair_share(params->cache_budget, heap->caches.taken);
    const double ratio = fair < params->fair_share ? (double)fair / (double)params->fair_share : 1;
    params->fair_share = fair;
    heap->unclaimed = (int64_t)params->cache_budget;
    for (tc_thread *thread = heap->threads; thread != NULL; thread = thread->next) {
        __atomic_store_n(&thread->share, (size_t)((double)thread->share * ratio), __ATOMIC_RELAXED);
        heap->unclaimed -= (int64_t)thread->share;
    }
}
