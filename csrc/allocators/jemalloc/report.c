/* malloc_stats, in the shape of the real library's own: the totals, then what each arena keeps and did, with tables of
 * its bins, large classes and free extents; of more than one arena their sum comes first. Rows of nothing are left out.
 * An arena is counted first and printed then, without a lock: printing may allocate. */
#include "allocators/jemalloc/figures.h"

#include <inttypes.h>

/* All that is said of an arena. */
typedef struct account {
    je_figures figures;
    je_bin bins[JE_SMALL_CLASSES];
    je_large large[JE_CLASSES - JE_SMALL_CLASSES];
    uint64_t counts[3][JE_PAGE_CLASSES], bytes[3][JE_PAGE_CLASSES]; /* dirty, muzzy, retained */
} account;

static void add_bin(je_bin *sum, const je_bin *bin) {
    sum->nmalloc += bin->nmalloc;
    sum->ndalloc += bin->ndalloc;
    sum->nrequests += bin->nrequests;
    sum->nfills += bin->nfills;
    sum->nflushes += bin->nflushes;
    sum->nslabs += bin->nslabs;
    sum->reslabs += bin->reslabs;
    sum->regions += bin->regions;
    sum->slabs += bin->slabs;
    sum->partials += bin->partials;
}

static void add_large(je_large *sum, const je_large *large) {
    sum->nmalloc += large->nmalloc;
    sum->ndalloc += large->ndalloc;
    sum->nrequests += large->nrequests;
    sum->current += large->current;
}

/* The arena is locked. */
static void add_arena(account *sum, const je_arena *arena) {
    const je_extents *const sets[] = {&arena->dirty, &arena->muzzy, &arena->retained};
    for (unsigned i = 0; i < JE_SMALL_CLASSES; i++) add_bin(&sum->bins[i], &arena->bins[i]);
    for (unsigned i = 0; i < JE_CLASSES - JE_SMALL_CLASSES; i++) add_large(&sum->large[i], &arena->large[i]);
    for (unsigned set = 0; set < 3; set++)
        for (unsigned i = 0; i < JE_PAGE_CLASSES; i++) {
            sum->counts[set][i] += sets[set]->counts[i];
            sum->bytes[set][i] += sets[set]->bytes[i];
        }
}

/* Of one arena, or of all (NULL). Returns of how many. */
static unsigned count(je_heap *heap, je_arena *arena, account *out) {
    unsigned arenas = 0;
    *out = (account){.figures = al_je_figures(heap, arena)};
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *each = al_je_arena(heap, i);
        if (each == NULL || (arena != NULL && each != arena)) continue;
        arenas++;
        al_lock_take(&each->lock);
        add_arena(out, each);
        al_lock_drop(&each->lock);
    }
    return arenas;
}

/* --- an arena --- */

static void print_decay(FILE *out, const char *name, uint64_t ms, uint64_t pages, const je_purges *p) {
    char time[24] = "N/A";
    if ((int64_t)ms >= 0) snprintf(time, sizeof time, "%" PRIu64, ms);
    fprintf(out, "%8s: %5s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", name, time, pages, p->purges,
            p->advices, p->pages);
}

static void print_part(FILE *out, const char *name, const je_part *p) {
    fprintf(out, "%-7s%30" PRIu64 " %15" PRIu64 " %15" PRIu64 " %15" PRIu64 " %15" PRIu64 " %15" PRIu64 "\n", name,
            p->allocated, p->nmalloc, p->ndalloc, p->nrequests, p->nfills, p->nflushes);
}

static void print_figures(FILE *out, const je_figures *f) {
    const je_part total = {
        .allocated = f->small.allocated + f->large.allocated, .nmalloc = f->small.nmalloc + f->large.nmalloc,
        .ndalloc = f->small.ndalloc + f->large.ndalloc,       .nrequests = f->small.nrequests + f->large.nrequests,
        .nfills = f->small.nfills + f->large.nfills,          .nflushes = f->small.nflushes + f->large.nflushes,
    };
    const al_stat rest[] = {
        {"active", f->pactive * JE_PAGE}, {"mapped", f->mapped},     {"retained", f->retained},
        {"base", f->base},                {"internal", f->internal}, {"tcache_bytes", f->tcache_bytes},
        {"resident", f->resident},        {"extent_avail", f->extent_avail},
    };
    fprintf(out, "assigned threads: %" PRIu64 "\ndecaying:  time       npages       sweeps     madvises       purged\n",
            f->nthreads);
    print_decay(out, "dirty", f->dirty_decay_ms, f->pdirty, &f->dirty_purges);
    print_decay(out, "muzzy", f->muzzy_decay_ms, f->pmuzzy, &f->muzzy_purges);
    fprintf(out, "%37s %15s %15s %15s %15s %15s\n", "allocated", "nmalloc", "ndalloc", "nrequests", "nfill", "nflush");
    print_part(out, "small:", &f->small);
    print_part(out, "large:", &f->large);
    print_part(out, "total:", &total);
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        fprintf(out, "%s:%*" PRIu64 "\n", rest[i].name, (int)(36 - strlen(rest[i].name)), rest[i].value);
}

/* --- tables --- */

/* Stands for rows that are left out, once for any number of them. */
static void print_gap(FILE *out, bool *gap) {
    if (*gap) fputs("                     ---\n", out);
    *gap = false;
}

static void print_use(FILE *out, uint64_t used, uint64_t room) {
    uint64_t share = room == 0 ? 1000 : used * 1000 / room;
    if (share >= 1000)
        fprintf(out, " %6d", 1);
    else
        fprintf(out, "  0.%03" PRIu64, share);
}

static void print_bins(FILE *out, const je_heap *heap, const account *a) {
    bool gap = false;
    fprintf(out, "bins: %14s %3s %12s %12s %12s %12s %8s %12s %12s %14s %4s %3s %6s %12s %12s %12s %12s\n", "size",
            "ind", "allocated", "nmalloc", "ndalloc", "nrequests", "nshards", "curregs", "curslabs", "nonfull_slabs",
            "regs", "pgs", "util", "nfills", "nflushes", "nslabs", "nreslabs");
    for (unsigned i = 0; i < JE_SMALL_CLASSES; i++) {
        const je_bin *bin = &a->bins[i];
        const je_slab_layout *layout = &heap->layouts[i];
        gap = gap || bin->nslabs == 0;
        if (bin->nslabs == 0) continue;
        print_gap(out, &gap);
        fprintf(out, "%20u %3u %12zu %12" PRIu64 " %12" PRIu64 " %12" PRIu64, layout->bytes, i,
                bin->regions * layout->bytes, bin->nmalloc, bin->ndalloc, bin->nrequests);
        fprintf(out, " %8u %12zu %12zu %14zu %4u %3u", al_je_shards(heap, i), bin->regions, bin->slabs,
                bin->partials, layout->regions, layout->slab_bytes / JE_PAGE);
        print_use(out, bin->regions, bin->slabs * layout->regions);
        fprintf(out, " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", bin->nfills, bin->nflushes,
                bin->nslabs, bin->reslabs);
    }
    print_gap(out, &gap);
}

static void print_large(FILE *out, const account *a) {
    bool gap = false;
    fprintf(out, "large: %13s %3s %12s %12s %12s %12s %12s\n", "size", "ind", "allocated", "nmalloc", "ndalloc",
            "nrequests", "curlextents");
    for (unsigned i = 0; i < JE_CLASSES - JE_SMALL_CLASSES; i++) {
        const je_large *large = &a->large[i];
        const size_t bytes = al_je_class_bytes(JE_SMALL_CLASSES + i);
        gap = gap || large->nmalloc == 0;
        if (large->nmalloc == 0) continue;
        print_gap(out, &gap);
        fprintf(out, "%20zu %3u %12zu %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12zu\n", bytes, JE_SMALL_CLASSES + i,
                large->current * bytes, large->nmalloc, large->ndalloc, large->nrequests, large->current);
    }
    print_gap(out, &gap);
}

static void print_extents(FILE *out, const account *a) {
    bool gap = false;
    fprintf(out, "extents: %11s %3s %12s %12s %12s %12s %12s %12s %12s %12s\n", "size", "ind", "ndirty", "dirty",
            "nmuzzy", "muzzy", "nretained", "retained", "ntotal", "total");
    for (unsigned i = 0; i < JE_PAGE_CLASSES; i++) {
        uint64_t count = a->counts[0][i] + a->counts[1][i] + a->counts[2][i];
        gap = gap || count == 0;
        if (count == 0) continue;
        print_gap(out, &gap);
        fprintf(out, "%20zu %3u", al_je_page_class_bytes(i), i);
        for (unsigned set = 0; set < 3; set++)
            fprintf(out, " %12" PRIu64 " %12" PRIu64, a->counts[set][i], a->bytes[set][i]);
        fprintf(out, " %12" PRIu64 " %12" PRIu64 "\n", count, a->bytes[0][i] + a->bytes[1][i] + a->bytes[2][i]);
    }
    print_gap(out, &gap);
}

static void print_account(FILE *out, const je_heap *heap, const account *a) {
    print_figures(out, &a->figures);
    print_bins(out, heap, a);
    print_large(out, a);
    print_extents(out, a);
}

/* --- all --- */

static const char *choice(const al_tunable *tunable, uint64_t value, int *bytes) {
    const char *at = tunable->choices;
    for (; value > 0; value--) at = strchr(at, '|') + 1;
    *bytes = (int)strcspn(at, "|");
    return at;
}

static void print_settings(FILE *out, const je_heap *heap) {
    fputs("Run-time option settings\n", out);
    for (size_t i = 0; i < JE_TUNABLES; i++) {
        const al_tunable *tunable = &al_je_tunables[i];
        uint64_t value = 0;
        int bytes;
        if (tunable->real_name == NULL) continue;
        al_je_control((al_heap *)&heap->heap, NULL, tunable->real_name, &value, false);
        fprintf(out, "  %s: ", tunable->real_name);
        if (tunable->type == AL_TUNABLE_CHOICE) {
            const char *word = choice(tunable, value, &bytes);
            fprintf(out, "\"%.*s\"\n", bytes, word);
        } else if (tunable->type == AL_TUNABLE_BOOL) {
            fprintf(out, "%s\n", value ? "true" : "false");
        } else {
            fprintf(out, "%" PRId64 "\n", (int64_t)value);
        }
    }
}

static uint64_t asked(je_heap *heap, const char *name) {
    uint64_t value = 0;
    al_je_control(&heap->heap, NULL, name, &value, false);
    return value;
}

static void print_totals(FILE *out, je_heap *heap, const je_figures *f) {
    const struct {
        const char *said, *name;
    } lines[] = {
        {"Arenas", "arenas.narenas"},
        {"Quantum size", "arenas.quantum"},
        {"Page size", "arenas.page"},
        {"Maximum thread-cached size class", "arenas.tcache_max"},
        {"Number of bin size classes", "arenas.nbins"},
        {"Number of thread-cache bin size classes", "arenas.nhbins"},
        {"Number of large size classes", "arenas.nlextents"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        fprintf(out, "%s: %" PRIu64 "\n", lines[i].said, asked(heap, lines[i].name));
    fprintf(out,
            "Allocated: %" PRIu64 ", active: %" PRIu64 ", metadata: %" PRIu64 ", resident: %" PRIu64
            ", mapped: %" PRIu64 ", retained: %" PRIu64 "\n",
            f->small.allocated + f->large.allocated, f->pactive * JE_PAGE, f->base + f->internal, f->resident,
            f->mapped, f->retained);
}

void al_je_report(al_heap *base, FILE *out) {
    je_heap *heap = al_je_of(base);
    account a;
    unsigned arenas = count(heap, NULL, &a);
    fputs("___ Begin jemalloc statistics ___\n", out);
    print_settings(out, heap);
    print_totals(out, heap, &a.figures);
    if (arenas > 1) {
        fputs("Merged arenas stats:\n", out);
        print_account(out, heap, &a);
    }
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *arena = al_je_arena(heap, i);
        if (arena == NULL) continue;
        count(heap, arena, &a);
        fprintf(out, "arenas[%u]:\n", i);
        print_account(out, heap, &a);
    }
    fputs("--- End jemalloc statistics ---\n", out);
}
