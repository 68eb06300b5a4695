/* What a malloc says of itself by MallocExtension's names, asked of the real library by its calls and of ours by
 * alloclab_control:
 *
 *     tcmalloc_figures options   the settings, as they are answered or felt
 *     tcmalloc_figures names     what becomes of names that are odd, or not to be set
 *     tcmalloc_figures tour      every figure, after each of some steps
 *     tcmalloc_figures random SEED STEPS   the same after steps by lot
 *     tcmalloc_figures report    malloc_stats, after some steps
 *     tcmalloc_figures tables    many sizes, for the report in the end */
#include "figures.h"

__attribute__((weak)) int MallocExtension_GetNumericProperty(const char *name, size_t *value);
__attribute__((weak)) int MallocExtension_SetNumericProperty(const char *name, size_t value);
__attribute__((weak)) void MallocExtension_ReleaseFreeMemory(void);
__attribute__((weak)) void MallocExtension_ReleaseToSystem(size_t bytes);
__attribute__((weak)) void MallocExtension_MarkThreadIdle(void);
__attribute__((weak)) void MallocExtension_MarkThreadTemporarilyIdle(void);
__attribute__((weak)) void MallocExtension_MarkThreadBusy(void);
__attribute__((weak)) size_t MallocExtension_GetThreadCacheSize(void);
__attribute__((weak)) void *instance(void) __asm__("_ZN15MallocExtension8instanceEv");
__attribute__((weak)) double get_rate(void *) __asm__("_ZN22TCMallocImplementation20GetMemoryReleaseRateEv");
__attribute__((weak)) void set_rate(void *, double) __asm__("_ZN22TCMallocImplementation20SetMemoryReleaseRateEd");

/* --- asking --- */

static bool ask(const char *name, uint64_t *value) {
    if (alloclab_control != NULL) return alloclab_control(name, value, false) == 0;
    if (strcmp(name, "ThreadCacheSize") == 0) {
        *value = MallocExtension_GetThreadCacheSize();
        return true;
    }
    if (strcmp(name, "MemoryReleaseRate") == 0) {
        const double rate = get_rate(instance()) * 1000;
        *value = rate < 9e15 ? (uint64_t)(int64_t)rate : INT64_MAX;
        return true;
    }
    return MallocExtension_GetNumericProperty(name, value);
}

static bool set(const char *name, uint64_t value) {
    if (alloclab_control != NULL) return alloclab_control(name, &value, true) == 0;
    if (strcmp(name, "MemoryReleaseRate") == 0) return set_rate(instance(), (double)(int64_t)value / 1000), true;
    if (strcmp(name, "ReleaseToSystem") == 0) return MallocExtension_ReleaseToSystem(value), true;
    if (strcmp(name, "ReleaseFreeMemory") == 0) return MallocExtension_ReleaseFreeMemory(), true;
    if (strcmp(name, "MarkThreadIdle") == 0) return MallocExtension_MarkThreadIdle(), true;
    if (strcmp(name, "MarkThreadTemporarilyIdle") == 0) return MallocExtension_MarkThreadTemporarilyIdle(), true;
    if (strcmp(name, "MarkThreadBusy") == 0) return MallocExtension_MarkThreadBusy(), true;
    return MallocExtension_SetNumericProperty(name, value);
}

static const char *const figures[] = {
    "generic.current_allocated_bytes", "generic.heap_size", "generic.total_physical_bytes",
    "tcmalloc.central_cache_free_bytes", "tcmalloc.transfer_cache_free_bytes", "tcmalloc.thread_cache_free_bytes",
    "tcmalloc.pageheap_free_bytes", "tcmalloc.pageheap_unmapped_bytes", "tcmalloc.pageheap_committed_bytes",
    "tcmalloc.pageheap_scavenge_count", "tcmalloc.pageheap_commit_count", "tcmalloc.pageheap_total_commit_bytes",
    "tcmalloc.pageheap_decommit_count", "tcmalloc.pageheap_total_decommit_bytes", "tcmalloc.pageheap_reserve_count",
    "tcmalloc.pageheap_total_reserve_bytes", "tcmalloc.max_total_thread_cache_bytes",
    "tcmalloc.current_total_thread_cache_bytes", "tcmalloc.aggressive_memory_decommit", "tcmalloc.heap_limit_mb",
    "tcmalloc.slack_bytes", "ThreadCacheSize", "MemoryReleaseRate"};

static void step(const char *title) {
    say("== %s\n", title);
    for (size_t i = 0; i < COUNT(figures); i++) {
        uint64_t value = 0;
        bool known = ask(figures[i], &value);
        say("%s %" PRId64 "\n", figures[i], known ? (int64_t)value : -1);
    }
    const struct mallinfo m = mallinfo();
    say("mallinfo %d %d %d %d %d %d %d %d %d %d\n", m.arena, m.ordblks, m.smblks, m.hblks, m.hblkhd, m.usmblks,
        m.fsmblks, m.uordblks, m.fordblks, m.keepcost);
}

/* --- settings --- */

/* The most objects of this size that came at a time, of so many. */
static size_t batch_of(size_t bytes, size_t count) {
    size_t most = 0;
    uint64_t before = 0, now = 0;
    ask("tcmalloc.thread_cache_free_bytes", &before);
    for (size_t i = 0; i < count; i++, before = now) {
        if (malloc(bytes) == NULL) break;
        ask("tcmalloc.thread_cache_free_bytes", &now);
        if (now > before && (now - before) / bytes + 1 > most) most = (now - before) / bytes + 1;
    }
    return most;
}

static void options(void) {
    static const char *const names[] = {"tcmalloc.max_total_thread_cache_bytes", "tcmalloc.aggressive_memory_decommit",
                                        "tcmalloc.heap_limit_mb", "MemoryReleaseRate"};
    for (size_t i = 0; i < COUNT(names); i++) {
        uint64_t value = 0;
        bool known = ask(names[i], &value);
        say("%s %d %" PRId64 "\n", names[i], known, (int64_t)value);
    }
    char *block = malloc(3000000);
    const char *end = sbrk(0);
    say("at the break: %d\n", block != NULL && block < end && block > end - (64 << 20));
    free(block);
    step("one freed");
    set("ReleaseFreeMemory", 0);
    step("all released");
    say("batches %zu %zu %zu\n", batch_of(48, 2500), batch_of(2048, 300), batch_of(20480, 100));
    step("the end");
}

/* --- names --- */

static void names(void) {
    static const char *const odd[] = {
        "", "x", "tcmalloc.", "generic.", "generic.heap_size ", "generic.heap_sizes", "GENERIC.HEAP_SIZE",
        "tcmalloc.slack", "tcmalloc.release_rate", "tcmalloc.metadata_bytes", "tcmalloc.sampling_period_bytes",
        "tcmalloc.large_alloc_report_threshold", "tcmalloc.thread_cache_count", "generic.physical_memory_used"};
    static const uint64_t values[] = {0, 1, 2, 524287, 3000000, UINT64_C(1) << 31, (uint64_t)-1, 32 << 20};
    for (size_t i = 0; i < COUNT(odd); i++) {
        uint64_t value = 7;
        bool known = ask(odd[i], &value);
        say("%s: %d, %" PRIu64 ", %d\n", odd[i], known, value, set(odd[i], 5));
    }
    for (size_t i = 0; i < COUNT(figures); i++) {
        if (strcmp(figures[i], "ThreadCacheSize") == 0) continue;
        uint64_t before = 0;
        ask(figures[i], &before);
        for (size_t j = 0; j < COUNT(values); j++) {
            uint64_t value = 7;
            bool can = set(figures[i], values[j]);
            ask(figures[i], &value);
            say("%s = %" PRIu64 ": %d, %" PRIu64 "\n", figures[i], values[j], can, value);
        }
        set(figures[i], before);
    }
    say("mallopt %d %d %d\n", mallopt(M_MXFAST, 100), mallopt(M_ARENA_MAX, -1), mallopt(77, 77));
}

/* --- the tour --- */

static pthread_barrier_t meeting;

static void *thread(void *unused) {
    take(1000, 1500, 1, 100, 1);
    take(1500, 1501, 1, 9 << 20, 0);
    give(1000, 1250, 1);
    step("in a thread");
    pthread_barrier_wait(&meeting);
    pthread_barrier_wait(&meeting);
    give(1250, 1500, 1);
    step("the thread frees");
    return unused;
}

static void with_a_thread(void) {
    pthread_t other;
    pthread_barrier_init(&meeting, NULL, 2);
    pthread_create(&other, NULL, thread, NULL);
    pthread_barrier_wait(&meeting);
    step("beside a thread");
    set("tcmalloc.max_total_thread_cache_bytes", 600000);
    take(0, 1000, 1, 2000, 0);
    give(0, 1000, 1);
    step("a smaller budget");
    set("tcmalloc.max_total_thread_cache_bytes", 4 << 20);
    take(0, 1000, 1, 1000, 3);
    give(0, 1000, 1);
    step("a larger one");
    pthread_barrier_wait(&meeting);
    pthread_join(other, NULL);
    step("it has ended");
}

static void large_blocks(void) {
    take(0, 60, 1, 300000, 1000);
    step("large ones");
    give(0, 60, 2);
    step("every second freed");
    take(0, 1, 1, 20 << 20, 0);
    step("a huge one");
    blocks[0] = realloc(blocks[0], 22 << 20);
    step("grown");
    give(0, 1, 1);
    blocks[0] = memalign(65536, 50000);
    blocks[2] = memalign(64, 1000);
    step("aligned ones");
}

static void releases(void) {
    set("ReleaseToSystem", 1);
    step("a byte");
    set("ReleaseToSystem", 5000000);
    step("five million");
    set("ReleaseToSystem", 100000);
    step("hundred thousand");
    set("ReleaseToSystem", 0);
    step("none");
    take(100, 110, 1, 500000, 0);
    step("some taken again");
    set("ReleaseFreeMemory", 0);
    step("all released");
    give(100, 110, 1);
    give(1, 60, 2);
    step("more freed");
    set("tcmalloc.aggressive_memory_decommit", 1);
    take(100, 200, 1, 40000, 1000);
    step("taken");
    give(100, 200, 3);
    step("given back at once");
    give(101, 200, 3);
    give(102, 200, 3);
    step("all of them");
    set("tcmalloc.aggressive_memory_decommit", 0);
    set("MemoryReleaseRate", 2500);
    take(100, 200, 1, 400000, 0);
    give(100, 200, 1);
    step("at another rate");
}

static void limited(void) {
    uint64_t heap = 0;
    ask("generic.heap_size", &heap);
    set("tcmalloc.heap_limit_mb", (heap >> 20) + 12);
    take(200, 230, 1, 2 << 20, 0);
    step("limited");
    give(200, 230, 1);
    take(200, 230, 1, 3 << 20, 0);
    step("and longer ones");
    give(200, 230, 1);
    set("tcmalloc.heap_limit_mb", 0);
    step("unlimited");
}

static void idle(void) {
    take(0, 500, 1, 100, 3);
    give(0, 500, 1);
    step("cached");
    set("MarkThreadTemporarilyIdle", 0);
    step("idle for a while");
    take(0, 500, 1, 100, 3);
    give(0, 400, 1);
    step("cached again");
    set("MarkThreadIdle", 0);
    step("idle");
    give(400, 450, 1);
    step("freed by an idle one");
    set("MarkThreadBusy", 0);
    step("busy");
    give(450, 500, 1);
    step("and all freed");
    set("MarkThreadIdle", 0);
    set("MarkThreadIdle", 0);
    set("MarkThreadTemporarilyIdle", 0);
    step("idle twice");
    take(0, 100, 1, 48, 0);
    step("taken");
}

static void tour(void) {
    step("the start");
    small_blocks();
    large_blocks();
    releases();
    idle();
    limited();
    with_a_thread();
}

/* --- steps by lot --- */

static uint64_t state;

static uint64_t draw(uint64_t below) {
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

/* Where blocks lie. */
static uint64_t placement(void) {
    static uintptr_t first;
    uint64_t sum = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        if (first == 0) first = (uintptr_t)blocks[i];
        if (blocks[i] != NULL) sum = (sum ^ ((uintptr_t)blocks[i] - first)) * UINT64_C(0x100000001b3) + i;
    }
    return sum;
}

static size_t any_size(void) { return draw((uint64_t)1 << draw(draw(8) == 0 ? 24 : 16)); }

static void calls(void) {
    for (uint64_t i = 0, count = draw(400); i < count; i++) {
        void **block = &blocks[draw(BLOCKS)];
        const uint64_t what = draw(8);
        if (*block != NULL && what < 6) {
            free(*block);
            *block = NULL;
        } else if (what == 7) {
            void *moved = realloc(*block, any_size() + 1);
            if (moved != NULL) *block = moved;
        } else if (*block == NULL) {
            *block = what == 6 ? memalign((size_t)16 << draw(12), any_size() + 1) : malloc(any_size());
        }
    }
}

static void random_steps(uint64_t seed, uint64_t steps) {
    static const char *const settings[] = {"tcmalloc.max_total_thread_cache_bytes",
                                           "tcmalloc.aggressive_memory_decommit", "MemoryReleaseRate"};
    static const char *const acts[] = {"ReleaseFreeMemory", "MarkThreadIdle", "MarkThreadTemporarilyIdle",
                                       "MarkThreadBusy"};
    const uint64_t mosts[] = {64 << 20, 2, 3000};
    state = seed;
    for (uint64_t i = 0; i < steps; i++) {
        const uint64_t what = draw(20), which = draw(3);
        if (what < 14) {
            calls();
        } else if (what < 16) {
            set("ReleaseToSystem", any_size());
        } else if (what < 18) {
            set(settings[which], draw(mosts[which]));
        } else {
            set(acts[draw(4)], 0);
        }
        char title[40];
        snprintf(title, sizeof title, "%d: %d", (int)i, (int)what);
        step(title);
        say("placement %" PRIu64 "\n", placement());
    }
}

/* --- the report --- */

static void report(void) {
    take(0, 3000, 1, 0, 5);
    give(0, 3000, 2);
    malloc_stats();
    take(0, 60, 1, 300000, 1000);
    give(0, 60, 2);
    set("ReleaseToSystem", 3000000);
    malloc_stats();
}

static void tables(void) {
    take(0, 2000, 1, 0, 131);
    give(0, 2000, 2);
    for (size_t i = 0; i < 140; i++) {
        blocks[2000 + 2 * i] = malloc((33 + i) << 13);
        blocks[2001 + 2 * i] = malloc(300000);
    }
    give(2000, 2280, 2);
    set("ReleaseToSystem", 10000000);
}

int main(int count, char **arguments) {
    const char *what = count >= 2 ? arguments[1] : "";
    if (strcmp(what, "options") == 0) options();
    if (strcmp(what, "names") == 0) names();
    if (strcmp(what, "tour") == 0) tour();
    if (strcmp(what, "random") == 0 && count == 4)
        random_steps(strtoull(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
    if (strcmp(what, "report") == 0) report();
    if (strcmp(what, "tables") == 0) tables();
    done();
    return 0;
}
