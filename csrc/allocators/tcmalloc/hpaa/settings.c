#include "allocators/tcmalloc/hpaa/hpaa.h"

const al_tunable al_hp_tunables[HP_TUNABLES] = {
    [HP_CPUS] = {.name = "cpus", .type = AL_TUNABLE_COUNT, .most = HP_CPUS_MOST,
                 .help = "CPUs that have a cache; 0: as many as the process may run on"},
    [HP_CPU_OF] = {.name = "cpu_of", .type = AL_TUNABLE_CHOICE, .value = HP_CPU_OF_THREAD, .most = HP_CPU_OFS - 1,
                   .choices = "thread|system",
                   .help = "a thread's CPU: one for life, in turn, or the one that the system runs it on at the time"},
    [HP_MAX_PER_CPU_CACHE_SIZE] = {.name = "max_per_cpu_cache_size", .type = AL_TUNABLE_BYTES, .value = 3 << 19,
                                   .most = UINT32_MAX, .help = "bytes that a CPU's cache may have room for",
                                   .real_name = "SetMaxPerCpuCacheSize"},
    [HP_BACKGROUND] = {.name = "background", .type = AL_TUNABLE_BOOL, .most = true,
                       .help = "caches are looked after every few seconds: idle ones emptied, room moved to who misses",
                       .real_name = "ProcessBackgroundActions"},
    [HP_BACKGROUND_RELEASE_RATE] = {.name = "background_release_rate", .type = AL_TUNABLE_BYTES, .most = UINT64_MAX,
                                    .help = "free bytes that the background gives back each second",
                                    .real_name = "SetBackgroundReleaseRate"},
    [HP_HUGEPAGE_CACHE_LIMIT] = {.name = "hugepage_cache_limit", .type = AL_TUNABLE_COUNT, .value = 10,
                                 .most = 1 << 20,
                                 .help = "free hugepages that stay backed at first; demand moves this limit"},
    [HP_REGIONS] = {.name = "huge_regions", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                    .help = "blocks of 1MiB to 1GiB that would waste much of a hugepage share regions of 1GiB"},
    [HP_REGION_SLACK] = {.name = "region_slack", .type = AL_TUNABLE_BYTES, .value = 64 << 20, .most = UINT64_MAX,
                         .help = "a region is made when so many bytes are wasted at the ends of large blocks"},
    [HP_SUBRELEASE] = {.name = "subrelease", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                       .help = "parts of hugepages may be given back when memory is released"},
    [HP_SKIP_SUBRELEASE_SHORT_INTERVAL] =
        {.name = "skip_subrelease_short_ms", .type = AL_TUNABLE_COUNT, .value = 60000, .most = 600000,
         .help = "parts stay whose like was in use within so many milliseconds, by swings of demand"},
    [HP_SKIP_SUBRELEASE_LONG_INTERVAL] =
        {.name = "skip_subrelease_long_ms", .type = AL_TUNABLE_COUNT, .value = 300000, .most = 600000,
         .help = "the same by its trend"},
    [HP_SEED] = {.name = "seed", .type = AL_TUNABLE_COUNT, .most = UINT64_MAX,
                 .help = "of what is random: where memory is reserved"},
};

static unsigned cpus(const al_heap *heap) {
    const uint64_t given = heap->settings.values[HP_CPUS];
    return (unsigned)al_min(given != 0 ? given : al_max(al_regions_cpus(heap->regions), 1), HP_CPUS_MOST);
}

void al_hp_configure(hp_heap *heap) {
    const uint64_t *values = heap->base.heap.settings.values;
    heap->params = (hp_params){
        .cpus = cpus(&heap->base.heap),
        .cpu_of = (unsigned)values[HP_CPU_OF],
        .cpu_budget = values[HP_MAX_PER_CPU_CACHE_SIZE],
        .background = values[HP_BACKGROUND],
        .release_rate = values[HP_BACKGROUND_RELEASE_RATE],
        .cache_limit = values[HP_HUGEPAGE_CACHE_LIMIT],
        .regions = values[HP_REGIONS],
        .region_slack = values[HP_REGION_SLACK],
        .subrelease = values[HP_SUBRELEASE],
        .skip_short = values[HP_SKIP_SUBRELEASE_SHORT_INTERVAL] * (HP_SECOND / 1000),
        .skip_long = values[HP_SKIP_SUBRELEASE_LONG_INTERVAL] * (HP_SECOND / 1000),
        .seed = values[HP_SEED],
    };
}
