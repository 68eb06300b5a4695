/* The settings: jemalloc's options under their own names, then what it has not or fixes when it is built. */
#include "allocators/jemalloc/jemalloc.h"
#include "allocators/jemalloc/text.h"

enum { SLOTS_MOST = 2048, DIVISION_MOST = 16, MULTIPLE_MOST = 16 };

static const uint64_t decay_most = UINT64_C(18446744072000);

static bool are_page_ranges(const char *at, size_t bytes) {
    je_text text = {at, bytes};
    je_range range;
    while (text.bytes > 0)
        if (!al_je_take_range(&text, &range)) return false;
    return true;
}

static bool are_shard_ranges(const char *at, size_t bytes) {
    je_text text = {at, bytes};
    je_range range;
    while (text.bytes > 0)
        if (!al_je_take_range(&text, &range) || !al_je_are_shards(range.number)) return false;
    return true;
}

const al_tunable al_je_tunables[JE_TUNABLES] = {
    [JE_NARENAS] = {.name = "narenas", .type = AL_TUNABLE_COUNT, .most = JE_NARENAS_MOST,
                    .help = "arenas that threads are bound to; 0: four for each CPU, but one where there is one",
                    .real_name = "opt.narenas"},
    [JE_TCACHE] = {.name = "tcache", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                   .help = "threads have caches", .real_name = "opt.tcache"},
    [JE_TCACHE_MAX] = {.name = "tcache_max", .type = AL_TUNABLE_BYTES, .value = 32 << 10, .most = 8 << 20,
                       .help = "the largest request that thread caches serve, rounded up to a class",
                       .real_name = "opt.tcache_max"},
    [JE_LG_TCACHE_NSLOTS_MUL] = {.name = "lg_tcache_nslots_mul", .type = AL_TUNABLE_INTEGER, .value = 1,
                                 .least = (uint64_t)-MULTIPLE_MOST, .most = MULTIPLE_MOST,
                                 .help = "a thread's cache holds the regions of a slab times two to this power",
                                 .real_name = "opt.lg_tcache_nslots_mul"},
    [JE_TCACHE_NSLOTS_SMALL_MIN] = {.name = "tcache_nslots_small_min", .type = AL_TUNABLE_COUNT, .value = 20,
                                    .least = 1, .most = SLOTS_MOST,
                                    .help = "but of a small class at least so many blocks",
                                    .real_name = "opt.tcache_nslots_small_min"},
    [JE_TCACHE_NSLOTS_SMALL_MAX] = {.name = "tcache_nslots_small_max", .type = AL_TUNABLE_COUNT, .value = 200,
                                    .least = 1, .most = SLOTS_MOST,
                                    .help = "and at most so many", .real_name = "opt.tcache_nslots_small_max"},
    [JE_TCACHE_NSLOTS_LARGE] = {.name = "tcache_nslots_large", .type = AL_TUNABLE_COUNT, .value = 20, .least = 1,
                                .most = SLOTS_MOST, .help = "blocks of a large class that a thread's cache holds",
                                .real_name = "opt.tcache_nslots_large"},
    [JE_TCACHE_GC_INCR_BYTES] = {.name = "tcache_gc_incr_bytes", .type = AL_TUNABLE_BYTES, .value = 64 << 10,
                                 .least = 1024, .most = UINT64_MAX,
                                 .help = "bytes taken, or given, until a thread looks after a class of its cache",
                                 .real_name = "opt.tcache_gc_incr_bytes"},
    [JE_TCACHE_GC_DELAY_BYTES] = {.name = "tcache_gc_delay_bytes", .type = AL_TUNABLE_BYTES, .most = UINT64_MAX,
                                  .help = "small blocks stay cached until so many bytes of a class could have been",
                                  .real_name = "opt.tcache_gc_delay_bytes"},
    [JE_LG_TCACHE_FLUSH_SMALL_DIV] = {.name = "lg_tcache_flush_small_div", .type = AL_TUNABLE_COUNT, .value = 1,
                                      .least = 1, .most = DIVISION_MOST,
                                      .help = "a full cache gives back its small blocks divided by two to this power",
                                      .real_name = "opt.lg_tcache_flush_small_div"},
    [JE_LG_TCACHE_FLUSH_LARGE_DIV] = {.name = "lg_tcache_flush_large_div", .type = AL_TUNABLE_COUNT, .value = 1,
                                      .least = 1, .most = DIVISION_MOST, .help = "the same for large blocks",
                                      .real_name = "opt.lg_tcache_flush_large_div"},
    [JE_DIRTY_DECAY_MS] = {.name = "dirty_decay_ms", .type = AL_TUNABLE_INTEGER, .value = 10000,
                           .least = (uint64_t)-1, .most = decay_most,
                           .help = "milliseconds until freed pages are given back; 0: at once, -1: never",
                           .real_name = "opt.dirty_decay_ms"},
    [JE_MUZZY_DECAY_MS] = {.name = "muzzy_decay_ms", .type = AL_TUNABLE_INTEGER, .least = (uint64_t)-1,
                           .most = decay_most,
                           .help = "milliseconds more in which the system may take them; 0: none, -1: for ever",
                           .real_name = "opt.muzzy_decay_ms"},
    [JE_BACKGROUND_THREAD] = {.name = "background_thread", .type = AL_TUNABLE_BOOL, .most = true,
                              .help = "pages are given back when it is time, not when an operation notices",
                              .real_name = "opt.background_thread"},
    [JE_RETAIN] = {.name = "retain", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                   .help = "address space is kept, and asked for in growing pieces", .real_name = "opt.retain"},
    [JE_OVERSIZE_THRESHOLD] = {.name = "oversize_threshold", .type = AL_TUNABLE_BYTES, .value = 8 << 20,
                               .most = JE_LARGE_MOST,
                               .help = "requests of this size have an arena of their own; below 16KiB: none have",
                               .real_name = "opt.oversize_threshold"},
    [JE_LG_EXTENT_MAX_ACTIVE_FIT] = {.name = "lg_extent_max_active_fit", .type = AL_TUNABLE_COUNT, .value = 6,
                                     .most = 64,
                                     .help = "dirty pages are not cut for less than one part of two to this power",
                                     .real_name = "opt.lg_extent_max_active_fit"},
    [JE_THP] = {.name = "thp", .type = AL_TUNABLE_CHOICE, .value = JE_THP_DEFAULT, .most = JE_THPS - 1,
                .choices = "default|always|never", .help = "huge pages: as the system will, advised, advised against",
                .real_name = "opt.thp"},
    [JE_DSS] = {.name = "dss", .type = AL_TUNABLE_CHOICE, .value = JE_DSS_SECONDARY, .most = JE_DSSES - 1,
                .choices = "disabled|primary|secondary", .help = "the break: not moved, moved first, where mmap fails",
                .real_name = "opt.dss"},
    [JE_JUNK] = {.name = "junk", .type = AL_TUNABLE_CHOICE, .value = JE_JUNK_FALSE, .most = JE_JUNKS - 1,
                 .choices = "false|alloc|free|true", .help = "new blocks, freed ones or both are filled with junk",
                 .real_name = "opt.junk"},
    [JE_ZERO] = {.name = "zero", .type = AL_TUNABLE_BOOL, .most = true, .help = "new blocks are zero",
                 .real_name = "opt.zero"},
    [JE_STATS_PRINT] = {.name = "stats_print", .type = AL_TUNABLE_BOOL, .most = true,
                        .help = "drop-ins: as the process ends, its report is printed",
                        .real_name = "opt.stats_print"},
    [JE_SLAB_SIZES] = {.name = "slab_sizes", .type = AL_TUNABLE_TEXT, .choices = "FROM-TO:PAGES|FROM-TO:PAGES",
                       .help = "pages of the slabs for blocks of these sizes; of two ranges the later counts",
                       .takes = are_page_ranges},
    [JE_BIN_SHARDS] = {.name = "bin_shards", .type = AL_TUNABLE_TEXT, .choices = "FROM-TO:SHARDS|FROM-TO:SHARDS",
                       .help = "an arena's threads take blocks of these sizes from 1 to 64 sets of slabs, in turn",
                       .takes = are_shard_ranges},
    [JE_ZERO_REALLOC] = {.name = "zero_realloc", .type = AL_TUNABLE_CHOICE, .value = JE_ZERO_REALLOC_FREE,
                         .most = JE_ZERO_REALLOCS - 1, .choices = "alloc|free|abort",
                         .help = "realloc(p, 0): as to a smallest block, as free, in drop-ins the end of the process",
                         .real_name = "opt.zero_realloc"},
    [JE_CACHE_OBLIVIOUS] = {.name = "cache_oblivious", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                            .help = "large blocks have a page more, and begin anywhere in their first",
                            .real_name = "opt.cache_oblivious"},
    [JE_HEAP_ORDER] = {.name = "heap_order", .type = AL_TUNABLE_CHOICE, .value = JE_ORDER_STRICT,
                       .most = JE_ORDERS - 1, .choices = "strict|5.3.0",
                       .help = "5.3.0: with its fault, by which the oldest may hide behind a younger one"},
    [JE_SEED] = {.name = "seed", .type = AL_TUNABLE_COUNT, .most = UINT64_MAX,
                 .help = "of what is random: where large blocks begin, when the clock is looked at"},
};

static unsigned arenas(const al_heap *heap) {
    uint64_t given = heap->settings.values[JE_NARENAS];
    unsigned cpus = al_regions_cpus(heap->regions);
    uint64_t wanted = given != 0 ? given : cpus > 1 ? 4 * (uint64_t)cpus : 1;
    return (unsigned)al_min(wanted, JE_NARENAS_MOST);
}

/* What the environment gave may lie out of the ranges above where jemalloc takes it so. */
void al_je_configure(je_heap *heap) {
    const uint64_t *values = heap->heap.settings.values;
    heap->params = (je_params){
        .narenas = arenas(&heap->heap),
        .tcache = values[JE_TCACHE],
        .cache_classes = al_je_class_of(values[JE_TCACHE_MAX]) + 1,
        .gc_step = al_min(values[JE_TCACHE_GC_INCR_BYTES], SIZE_MAX / 2),
        .gc_delay = values[JE_TCACHE_GC_DELAY_BYTES],
        .flush_small_div = (unsigned)values[JE_LG_TCACHE_FLUSH_SMALL_DIV],
        .flush_large_div = (unsigned)values[JE_LG_TCACHE_FLUSH_LARGE_DIV],
        .dirty_ms = (int64_t)values[JE_DIRTY_DECAY_MS],
        .muzzy_ms = (int64_t)values[JE_MUZZY_DECAY_MS],
        .background = values[JE_BACKGROUND_THREAD],
        .retain = values[JE_RETAIN],
        .oversize = values[JE_OVERSIZE_THRESHOLD] >= JE_LARGE_LEAST ? values[JE_OVERSIZE_THRESHOLD] : 0,
        .active_fit = (unsigned)values[JE_LG_EXTENT_MAX_ACTIVE_FIT],
        .pad = values[JE_CACHE_OBLIVIOUS] ? JE_PAGE : 0,
        .dss = (unsigned)values[JE_DSS],
        .thp = (unsigned)values[JE_THP],
        .junk_new = values[JE_JUNK] == JE_JUNK_ALLOC || values[JE_JUNK] == JE_JUNK_TRUE,
        .junk_freed = values[JE_JUNK] == JE_JUNK_FREE || values[JE_JUNK] == JE_JUNK_TRUE,
        .zero = values[JE_ZERO],
    };
}
