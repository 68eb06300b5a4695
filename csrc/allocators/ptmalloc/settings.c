/* The settings: glibc's tunables under their own names, then the policies, of which it has but the default. mallopt
 * changes them while the heap lives. */
#include "allocators/ptmalloc/cache.h"

#include <fcntl.h>
#include <unistd.h>

enum { FAST_MAX = 160, CACHE_MAX = PT_CACHE_LARGEST - PT_WORD, ARENAS_MAX = 1 << 16 };
/* Setting one of these stops the thresholds from following freed mappings. */
enum { FREEZING = 1 << PT_MMAP_THRESHOLD | 1 << PT_TRIM_THRESHOLD | 1 << PT_TOP_PAD | 1 << PT_MMAP_MAX };

const al_tunable al_pt_tunables[PT_TUNABLES] = {
    [PT_TCACHE_COUNT] = {.name = "tcache_count", .type = AL_TUNABLE_COUNT, .value = 7, .most = UINT16_MAX,
                         .help = "chunks that each list of a thread's cache holds",
                         .real_name = "glibc.malloc.tcache_count"},
    [PT_TCACHE_MAX] = {.name = "tcache_max", .type = AL_TUNABLE_BYTES, .value = CACHE_MAX, .most = CACHE_MAX,
                       .help = "the largest request that thread caches serve", .real_name = "glibc.malloc.tcache_max"},
    [PT_TCACHE_UNSORTED_LIMIT] = {.name = "tcache_unsorted_limit", .type = AL_TUNABLE_COUNT, .most = UINT32_MAX,
                                  .help = "unsorted chunks put into bins while a request fills the cache; 0: all",
                                  .real_name = "glibc.malloc.tcache_unsorted_limit"},
    [PT_MMAP_THRESHOLD] = {.name = "mmap_threshold", .type = AL_TUNABLE_BYTES, .value = 128 << 10,
                           .most = UINT64_C(1) << 40,
                           .help = "chunks of this size get a mapping of their own; rises with freed ones unless set",
                           .real_name = "glibc.malloc.mmap_threshold"},
    [PT_TRIM_THRESHOLD] = {.name = "trim_threshold", .type = AL_TUNABLE_BYTES, .value = 128 << 10,
                           .most = UINT64_C(1) << 40,
                           .help = "a top of this size is given back, but top_pad; rises with mmap_threshold",
                           .real_name = "glibc.malloc.trim_threshold"},
    [PT_TOP_PAD] = {.name = "top_pad", .type = AL_TUNABLE_BYTES, .value = 128 << 10, .most = UINT64_C(1) << 40,
                    .help = "bytes asked of the system beyond what a request needs",
                    .real_name = "glibc.malloc.top_pad"},
    [PT_MMAP_MAX] = {.name = "mmap_max", .type = AL_TUNABLE_COUNT, .value = 65536, .most = INT32_MAX,
                     .help = "blocks that may have a mapping of their own", .real_name = "glibc.malloc.mmap_max"},
    [PT_ARENA_MAX] = {.name = "arena_max", .type = AL_TUNABLE_COUNT, .most = ARENAS_MAX,
                      .help = "arenas there may be; 0: eight for each core", .real_name = "glibc.malloc.arena_max"},
    [PT_ARENA_TEST] = {.name = "arena_test", .type = AL_TUNABLE_COUNT, .value = 8, .least = 1, .most = ARENAS_MAX,
                       .help = "arenas there may be before the cores are counted",
                       .real_name = "glibc.malloc.arena_test"},
    [PT_MXFAST] = {.name = "mxfast", .type = AL_TUNABLE_BYTES, .value = 128, .most = FAST_MAX,
                   .help = "the largest request, about, that fastbins serve; 0: none",
                   .real_name = "glibc.malloc.mxfast"},
    [PT_PERTURB] = {.name = "perturb", .type = AL_TUNABLE_COUNT, .most = UINT8_MAX,
                    .help = "freed blocks are filled with this byte, new ones with its complement; 0: neither",
                    .real_name = "glibc.malloc.perturb"},
    [PT_HUGETLB] = {.name = "hugetlb", .type = AL_TUNABLE_COUNT, .most = 1,
                    .help = "1: huge pages are advised, and the break moves by them; reserved ones (2) are not built",
                    .real_name = "glibc.malloc.hugetlb"},
    [PT_TCACHE] = {.name = "tcache", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                   .help = "threads have caches"},
    [PT_FASTBINS] = {.name = "fastbins", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                     .help = "small chunks are kept unmerged in fastbins"},
    [PT_LARGE_FIT] = {.name = "large_fit", .type = AL_TUNABLE_CHOICE, .value = PT_LARGE_BEST,
                      .most = PT_LARGE_FITS - 1, .choices = "best|first",
                      .help = "of a large bin: the smallest that fits, or the one that has waited longest"},
    [PT_COALESCE] = {.name = "coalesce", .type = AL_TUNABLE_CHOICE, .value = PT_COALESCE_DEFERRED,
                     .most = PT_COALESCES - 1, .choices = "deferred|immediate",
                     .help = "immediate: a freed chunk merges at once, as without thread caches and fastbins"},
    [PT_DYNAMIC_THRESHOLDS] = {.name = "dynamic_thresholds", .type = AL_TUNABLE_BOOL, .value = true, .most = true,
                               .help = "the two thresholds rise, unless one of them, top_pad or mmap_max is set"},
    [PT_REALLOC_BACKWARD] = {.name = "realloc_backward", .type = AL_TUNABLE_BOOL, .most = true,
                             .help = "a growing block may take the free chunk below it, and move down"},
};

static bool merges_at_once(const uint64_t *values) { return values[PT_COALESCE] == PT_COALESCE_IMMEDIATE; }

/* The largest chunk for fastbins. Rounded down, as glibc does, so it is not quite for requests of that size. */
static size_t fast_max(const uint64_t *values, size_t request) {
    bool any = values[PT_FASTBINS] && !merges_at_once(values);
    return any ? (request + PT_WORD) & ~(size_t)(PT_GRAIN - 1) : 0;
}

static size_t cache_bins(const uint64_t *values) {
    bool any = values[PT_TCACHE] && !merges_at_once(values);
    return any ? al_pt_cache_list_for(values[PT_TCACHE_MAX]) + 1 : 0;
}

/* --- huge pages --- */

static bool read_file(const char *path, char *text, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t bytes = read(fd, text, room - 1);
    close(fd);
    text[bytes > 0 ? bytes : 0] = '\0';
    return bytes > 0;
}

/* How large one is, where the system gives them on advice only; else 0. A window has them. */
static size_t huge_page(const al_heap *heap) {
    enum { WINDOW_HUGE_PAGE = 2 << 20 };
    char text[64];
    if (al_regions_base(heap->regions) != NULL) return WINDOW_HUGE_PAGE;
    if (!read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text)) return 0;
    if (strstr(text, "[madvise]") == NULL) return 0;
    if (!read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof text)) return 0;
    return strtoul(text, NULL, 10);
}

/* --- the settings in force --- */

void al_pt_configure(pt_heap *heap) {
    const al_settings *settings = &heap->heap.settings;
    const uint64_t *values = settings->values;
    heap->params = (pt_params){
        .mmap_threshold = values[PT_MMAP_THRESHOLD],
        .trim_threshold = values[PT_TRIM_THRESHOLD],
        .top_pad = values[PT_TOP_PAD],
        .dynamic = values[PT_DYNAMIC_THRESHOLDS] && (settings->given & FREEZING) == 0,
        .mmap_max = values[PT_MMAP_MAX],
        .fast_max = fast_max(values, values[PT_MXFAST]),
        .cache_bins = cache_bins(values),
        .cache_count = values[PT_TCACHE_COUNT],
        .cache_unsorted = values[PT_TCACHE_UNSORTED_LIMIT],
        .arena_max = values[PT_ARENA_MAX],
        .arena_test = values[PT_ARENA_TEST],
        .huge_page = values[PT_HUGETLB] != 0 ? huge_page(&heap->heap) : 0,
        .perturb = (int)values[PT_PERTURB],
        .first_fit = values[PT_LARGE_FIT] == PT_LARGE_FIRST,
        .backward = values[PT_REALLOC_BACKWARD],
    };
}

/* Thresholds are sizes: -1 is the largest. */
static void set_threshold(pt_params *params, size_t *threshold, int value) {
    al_pt_set(threshold, (size_t)value);
    params->dynamic = false;
}

static bool set(pt_heap *heap, int parameter, int value) {
    pt_params *params = &heap->params;
    switch (parameter) {
    case M_MXFAST:
        if (value < 0 || value > FAST_MAX) return false;
        params->fast_max = fast_max(heap->heap.settings.values, (size_t)value);
        break;
    case M_TRIM_THRESHOLD: set_threshold(params, &params->trim_threshold, value); break;
    case M_TOP_PAD: set_threshold(params, &params->top_pad, value); break;
    case M_MMAP_THRESHOLD: set_threshold(params, &params->mmap_threshold, value); break;
    case M_MMAP_MAX: set_threshold(params, &params->mmap_max, value > 0 ? value : 0); break;
    case M_PERTURB: params->perturb = value; break;
    case M_ARENA_TEST:
        if (value > 0) params->arena_test = (size_t)value;
        break;
    case M_ARENA_MAX:
        if (value > 0) params->arena_max = (size_t)value;
        break;
    }
    return true;
}

/* Whatever the parameter, known or not, fastbins are consolidated first: their largest size may change. As with glibc,
 * other threads must be at rest. */
int al_pt_mallopt(al_heap *base, int parameter, int value) {
    pt_heap *heap = al_pt_of(base);
    al_pt_arena_lock(&heap->main);
    al_pt_consolidate(&heap->main);
    bool done = set(heap, parameter, value);
    al_pt_arena_leave(&heap->main);
    return done;
}
