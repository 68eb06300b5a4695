/* What a malloc says of itself by jemalloc's names, asked of the real library by mallctl and of ours by
 * alloclab_control:
 *
 *     jemalloc_figures options NAME...   these settings
 *     jemalloc_figures tour              every figure that is not 0, after each of some steps
 *     jemalloc_figures names             what becomes of names that are odd, or not to be set
 *     jemalloc_figures report            after some steps, what malloc_stats_print says; of ours, malloc_stats
 *     jemalloc_figures zero              whether realloc(p, 0) yields a block, and one of its own
 *
 * The clock stands still but where a step moves it. */
#include "figures.h"

#include <errno.h>
#include <time.h>

__attribute__((weak)) int mallctl(const char *, void *, size_t *, void *, size_t);
__attribute__((weak)) void malloc_stats_print(void (*print)(void *, const char *), void *, const char *options);

#ifdef CONF
const char *malloc_conf = CONF;
#endif

static uint64_t clock_at = UINT64_C(1000000000000);

int clock_gettime(clockid_t which, struct timespec *out) {
    (void)which;
    *out = (struct timespec){(time_t)(clock_at / 1000000000), (long)(clock_at % 1000000000)};
    return 0;
}

/* --- asking --- */

static int ask(const char *name, uint64_t *value) {
    const size_t sizes[] = {8, 4, 1};
    int error = EINVAL;
    if (alloclab_control != NULL) return alloclab_control(name, value, false);
    for (size_t i = 0; i < COUNT(sizes) && error == EINVAL; i++) {
        size_t size = sizes[i];
        *value = 0;
        error = mallctl(name, value, &size, NULL, 0);
    }
    return error;
}

static int set(const char *name, uint64_t value) {
    if (alloclab_control != NULL) return alloclab_control(name, &value, true);
    return mallctl(name, NULL, NULL, &value, sizeof value);
}

static int act(const char *name) {
    uint64_t none = 0;
    return alloclab_control != NULL ? alloclab_control(name, &none, true) : mallctl(name, NULL, NULL, NULL, 0);
}

static void options(int count, char **names) {
    for (int i = 0; i < count; i++) {
        uint64_t value = 0;
        int error = ask(names[i], &value);
        bool word = strcmp(names[i], "opt.dss") == 0 || strcmp(names[i], "opt.thp") == 0 ||
                    strcmp(names[i], "opt.junk") == 0 || strcmp(names[i], "opt.zero_realloc") == 0;
        if (error != 0)
            say("%s: error %d\n", names[i], error);
        else if (word && alloclab_control == NULL)
            say("%s: %s\n", names[i], (const char *)value);
        else
            say("%s: %" PRIu64 "\n", names[i], value);
    }
}

/* --- the tour --- */

static void tell(const char *format, ...) {
    char name[100];
    uint64_t value;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    int error = ask(name, &value);
    if (error != 0)
        say("%s error %d\n", name, error);
    else if (value != 0)
        say("%s %" PRId64 "\n", name, (int64_t)value);
}

static void tell_arena(unsigned arena) {
    static const char *const figures[] = {
        "nthreads", "pactive", "pdirty", "pmuzzy", "mapped", "retained", "base", "internal", "resident",
        "tcache_bytes", "tcache_stashed_bytes", "abandoned_vm", "metadata_thp", "extent_avail", "dirty_npurge", "dirty_nmadvise", "dirty_purged", "muzzy_npurge",
        "muzzy_nmadvise", "muzzy_purged", "dirty_decay_ms", "muzzy_decay_ms"};
    static const char *const parts[] = {"allocated", "nmalloc", "ndalloc", "nrequests", "nfills", "nflushes"};
    static const char *const bins[] = {"nmalloc", "ndalloc", "nrequests", "curregs", "nfills", "nflushes",
                                       "nslabs", "nreslabs", "curslabs", "nonfull_slabs"};
    static const char *const large[] = {"nmalloc", "ndalloc", "nrequests", "curlextents"};
    static const char *const extents[] = {"ndirty", "nmuzzy", "nretained", "dirty_bytes", "muzzy_bytes",
                                          "retained_bytes"};
    uint64_t any;
    char name[60];
    snprintf(name, sizeof name, "stats.arenas.%u.pactive", arena);
    if (ask(name, &any) != 0 || (ask("arenas.narenas", &any) == 0 && any == arena)) return;
    for (size_t i = 0; i < COUNT(figures); i++) tell("stats.arenas.%u.%s", arena, figures[i]);
    for (size_t i = 0; i < COUNT(parts); i++) tell("stats.arenas.%u.small.%s", arena, parts[i]);
    for (size_t i = 0; i < COUNT(parts); i++) tell("stats.arenas.%u.large.%s", arena, parts[i]);
    for (unsigned j = 0; j < 36; j++)
        for (size_t i = 0; i < COUNT(bins); i++) tell("stats.arenas.%u.bins.%u.%s", arena, j, bins[i]);
    for (unsigned j = 0; j < 60; j++)
        for (size_t i = 0; i < COUNT(large); i++) tell("stats.arenas.%u.lextents.%u.%s", arena, j, large[i]);
    for (unsigned j = 0; j < 60; j++)
        for (size_t i = 0; i < COUNT(extents); i++) tell("stats.arenas.%u.extents.%u.%s", arena, j, extents[i]);
}

static bool telling = true;

static void step(const char *what) {
    static const char *const totals[] = {"allocated", "active", "metadata", "resident", "mapped", "retained"};
    static const unsigned arenas[] = {0, 1, 2, 8, 4096};
    if (!telling) return;
    say("== %s\n", what);
    set("epoch", 1);
    for (size_t i = 0; i < COUNT(totals); i++) tell("stats.%s", totals[i]);
    for (size_t i = 0; i < COUNT(arenas); i++) tell_arena(arenas[i]);
}

static void *thread(void *unused) {
    take(0, 500, 1, 100, 1);
    take(500, 501, 1, 9 << 20, 0);
    take(501, 502, 1, 100000, 0);
    step("in a thread");
    give(0, 250, 1);
    return unused;
}

static void pass(unsigned milliseconds) {
    clock_at += milliseconds * UINT64_C(1000000);
    act("arena.0.decay");
    act("arena.4096.decay");
}

static void large_blocks(void) {
    take(0, 1, 1, 20000, 0);
    take(1, 2, 1, 40000, 0);
    take(2, 3, 1, 1000000, 0);
    step("large ones");
    give(0, 3, 1);
    step("large ones freed");
    take(0, 1, 1, 20000, 0);
    give(0, 1, 1);
    step("one again");
    take(0, 1, 1, 8 << 20, 0);
    step("a huge one");
    blocks[0] = realloc(blocks[0], 9 << 20);
    step("grown");
    give(0, 1, 1);
    step("freed");
    take(0, 60, 1, 300000, 0);
    give(0, 60, 2);
    step("sixty, and half of them freed");
}

static void other_calls(void) {
    blocks[0] = calloc(1, 300000);
    blocks[2] = memalign(65536, 50000);
    blocks[4] = memalign(64, 1000);
    step("calloc, memalign");
    blocks[1] = realloc(blocks[1], 100000);
    step("shrunk");
    blocks[1] = realloc(blocks[1], 280000);
    step("grown back");
    blocks[3] = realloc(blocks[3], 3000000);
    step("moved");
    blocks[0] = realloc(blocks[0], 0);
    give(2, 3, 1);
    give(4, 5, 1);
    step("given back");
}

static void time_passes(void) {
    act("arena.0.decay");
    step("decay begins");
    pass(3000);
    step("three seconds");
    pass(2000);
    step("five");
    set("arena.0.muzzy_decay_ms", 5000);
    pass(2000);
    step("muzzy ones from seven on");
    act("arena.0.purge");
    step("all purged");
    give(1, 60, 2);
    step("more freed");
    set("arena.0.dirty_decay_ms", 0);
    step("all at once");
    take(0, 1, 1, 500000, 0);
    give(0, 1, 1);
    step("one taken and freed");
    act("arena.4096.purge");
    set("arena.0.dirty_decay_ms", (uint64_t)-1);
    set("arena.0.muzzy_decay_ms", 0);
    take(0, 20, 1, 200000, 0);
    give(0, 20, 1);
    pass(100000);
    step("never");
}

static void tour(void) {
    step("the start");
    small_blocks();
    large_blocks();
    other_calls();
    time_passes();
    set("arenas.dirty_decay_ms", 7000);
    pthread_t other;
    pthread_create(&other, NULL, thread, NULL);
    pthread_join(other, NULL);
    step("it has ended");
}

/* --- names --- */

static void names(void) {
    static const char *const read[] = {
        "arenas.narenas", "arenas.nbins", "arenas.nlextents", "arenas.nhbins", "arenas.quantum", "arenas.page",
        "arenas.tcache_max", "arenas.dirty_decay_ms", "arenas.muzzy_decay_ms", "arenas.bin.0.nshards",
        "arenas.lextent.0.size", "arenas.lextent.195.size", "arena.0.dirty_decay_ms", "arena.00.dirty_decay_ms",
        "arena.0.muzzy_decay_ms", "arena.0.oversize_threshold", "arena.3.oversize_threshold",
        "arena.4096.oversize_threshold", "arena.3.dirty_decay_ms", "arena.4096.dirty_decay_ms", "arena.0.initialized",
        "arena.3.initialized", "arena.8.initialized", "arena.9.initialized",
        "arena.9.dirty_decay_ms", "stats.arenas.9.pactive", "arena.4096.initialized", "arena.0.purge", "arena.77.purge",
        "arena.0.decay", "arena.0.nothing", "arena..purge", "arena.0", "arena", "stats", "stats.", "stats.nothing",
        "stats.allocated.x", "stats.arenas", "stats.arenas.3.pactive", "stats.arenas.4095.pactive",
        "stats.arenas.5000.pactive", "stats.arenas.-1.pactive", "stats.arenas.0.", "stats.arenas.0.bins",
        "stats.arenas.0.bins.3", "stats.arenas.0.small", "stats.arenas.0.extents.199.ndirty", "opt.nothing", "opt",
        "nothing", "", "background_thread"};
    static const char *const settable[] = {
        "stats.allocated", "stats.arenas.0.pdirty", "stats.arenas.0.bins.3.nmalloc", "opt.retain", "arenas.narenas",
        "arena.0.initialized", "arenas.dirty_decay_ms", "arenas.muzzy_decay_ms", "arena.0.dirty_decay_ms",
        "arena.0.muzzy_decay_ms", "arena.3.dirty_decay_ms", "arena.4096.dirty_decay_ms", "nothing", "stats.nothing"};
    static const uint64_t values[] = {3, (uint64_t)-1, (uint64_t)-2, UINT64_C(18446744072000),
                                      UINT64_C(18446744072001), 10000};
    static const char *const acts[] = {"arena.0.purge", "arena.3.purge", "arena.8.decay", "arena.4096.decay",
                                       "arena.4096.purge", "arena.4000.decay", "arena.0.nothing"};
    for (size_t i = 0; i < COUNT(read); i++) {
        uint64_t value = 0;
        int error = ask(read[i], &value);
        say("%s: error %d, %" PRId64 "\n", read[i], error, error == 0 ? (int64_t)value : 0);
    }
    for (unsigned bin = 0; bin < 36; bin++) {
        tell("arenas.bin.%u.size", bin);
        tell("arenas.bin.%u.nregs", bin);
        tell("arenas.bin.%u.slab_size", bin);
        tell("arenas.bin.%u.nshards", bin);
    }
    for (unsigned class = 0; class < 196; class++) tell("arenas.lextent.%u.size", class);
    for (size_t i = 0; i < COUNT(settable); i++)
        for (size_t j = 0; j < COUNT(values); j++)
            say("%s = %" PRId64 ": error %d\n", settable[i], (int64_t)values[j], set(settable[i], values[j]));
    for (size_t i = 0; i < COUNT(acts); i++) say("%s: error %d\n", acts[i], act(acts[i]));
}

/* --- the report --- */

static void print(void *unused, const char *piece) {
    (void)unused;
    say("%s", piece);
}

static void report(void) {
    telling = false;
    small_blocks();
    large_blocks();
    if (malloc_stats_print != NULL)
        malloc_stats_print(print, NULL, "x");
    else
        malloc_stats();
}

static void zero(void) {
    static const size_t sizes[] = {1, 8, 100, 14336, 20000, 5000000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = malloc(sizes[i]), *other = realloc(block, 0);
        say("%zu: %d\n", sizes[i], other == NULL ? 0 : other == block ? 2 : 1);
        free(other);
    }
}

int main(int count, char **arguments) {
    if (count >= 2 && strcmp(arguments[1], "options") == 0) options(count - 2, arguments + 2);
    if (count == 2 && strcmp(arguments[1], "tour") == 0) tour();
    if (count == 2 && strcmp(arguments[1], "names") == 0) names();
    if (count == 2 && strcmp(arguments[1], "report") == 0) report();
    if (count == 2 && strcmp(arguments[1], "zero") == 0) zero();
    done();
    return 0;
}
