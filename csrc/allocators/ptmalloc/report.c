/* malloc_stats and malloc_info, to the letter. An arena is counted first and printed then, without a lock: printing may
 * allocate. */
#include "allocators/ptmalloc/figures.h"

/* --- malloc_stats: numbers of 32 bits, which wrap around, but for the mapped bytes --- */

static void print_use(FILE *out, unsigned system, unsigned in_use) {
    fprintf(out, "system bytes     = %10u\nin use bytes     = %10u\n", system, in_use);
}

void al_pt_report(al_heap *base, FILE *out) {
    pt_heap *heap = al_pt_of(base);
    unsigned number = 0, system = (unsigned)al_pt_count_mapped(heap).bytes, in_use = system;
    pt_census census;
    for (pt_arena *arena = &heap->main; arena != NULL; arena = al_pt_arena_after(arena)) {
        al_pt_count(arena, &census);
        unsigned used = (unsigned)al_pt_in_use(&census);
        fprintf(out, "Arena %u:\n", number++);
        print_use(out, (unsigned)census.system, used);
        system += (unsigned)census.system;
        in_use += used;
    }
    fputs("Total (incl. mmap):\n", out);
    print_use(out, system, in_use);
    const pt_mapped mapped = al_pt_count_mapped(heap);
    fprintf(out, "max mmap regions = %10u\nmax mmap bytes   = %10lu\n", (unsigned)mapped.count_peak, mapped.bytes_peak);
}

/* --- malloc_info --- */

/* What is said of an arena, and of all. */
typedef struct account {
    pt_row fast, rest;
    size_t system, system_peak, spanned, committed;
} account;

/* Sizes of chunks in bins have their flag still on, and it is always set: the chunk below is in use. */
static pt_row as_printed(const pt_row *row) {
    return (pt_row){row->count, row->bytes + row->count, row->least + 1, row->most + 1};
}

static void print_sizes(FILE *out, const char *name, const pt_row *row) {
    if (row->count == 0) return;
    fprintf(out, "  <%s from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n", name, row->least, row->most,
            row->bytes, row->count);
}

static void print_lists(FILE *out, const pt_census *census) {
    fputs("<sizes>\n", out);
    for (size_t i = 0; i < PT_FAST_BINS; i++) {
        pt_row row = census->fast[i];
        row.least = row.most - (PT_GRAIN - 1);
        print_sizes(out, "size", &row);
    }
    for (size_t i = PT_UNSORTED + 1; i < PT_BINS; i++) {
        const pt_row row = as_printed(&census->bins[i]);
        print_sizes(out, "size", &row);
    }
    const pt_row unsorted = as_printed(&census->bins[PT_UNSORTED]);
    print_sizes(out, "unsorted", &unsorted);
    fputs("</sizes>\n", out);
}

static void print_total(FILE *out, const char *type, size_t count, size_t bytes) {
    fprintf(out, "<total type=\"%s\" count=\"%zu\" size=\"%zu\"/>\n", type, count, bytes);
}

static void print_bytes(FILE *out, const char *element, const char *type, size_t bytes) {
    fprintf(out, "<%s type=\"%s\" size=\"%zu\"/>\n", element, type, bytes);
}

static void print_free(FILE *out, const account *a) {
    print_total(out, "fast", a->fast.count, a->fast.bytes);
    print_total(out, "rest", a->rest.count, a->rest.bytes);
}

static void print_memory(FILE *out, const account *a) {
    print_bytes(out, "system", "current", a->system);
    print_bytes(out, "system", "max", a->system_peak);
    print_bytes(out, "aspace", "total", a->spanned);
    print_bytes(out, "aspace", "mprotect", a->committed);
}

static account account_of(const pt_census *census) {
    bool main = census->subheaps == 0;
    const pt_row rows = al_pt_sum(census->bins, PT_BINS);
    account a = {.fast = al_pt_sum(census->fast, PT_FAST_BINS), .rest = as_printed(&rows)};
    a.rest.count++;
    a.rest.bytes += census->top;
    a.system = census->system;
    a.system_peak = census->system_peak;
    a.spanned = main ? census->system : census->spanned;
    a.committed = main ? census->system : census->committed;
    return a;
}

static void add(account *sum, const account *a) {
    sum->fast = al_pt_add(sum->fast, a->fast);
    sum->rest = al_pt_add(sum->rest, a->rest);
    sum->system += a->system;
    sum->system_peak += a->system_peak;
    sum->spanned += a->spanned;
    sum->committed += a->committed;
}

static void print_arena(FILE *out, const pt_census *census, const account *a, unsigned number) {
    fprintf(out, "<heap nr=\"%u\">\n", number);
    print_lists(out, census);
    print_free(out, a);
    print_memory(out, a);
    if (census->subheaps > 0) print_bytes(out, "aspace", "subheaps", census->subheaps);
    fputs("</heap>\n", out);
}

/* 0, whatever becomes of the writing. */
int al_pt_report_xml(al_heap *base, FILE *out) {
    pt_heap *heap = al_pt_of(base);
    account sum = {0};
    unsigned number = 0;
    pt_census census;
    fputs("<malloc version=\"1\">\n", out);
    for (pt_arena *arena = &heap->main; arena != NULL; arena = al_pt_arena_after(arena)) {
        al_pt_count(arena, &census);
        const account a = account_of(&census);
        print_arena(out, &census, &a, number++);
        add(&sum, &a);
    }
    print_free(out, &sum);
    const pt_mapped mapped = al_pt_count_mapped(heap);
    print_total(out, "mmap", mapped.count, mapped.bytes);
    print_memory(out, &sum);
    fputs("</malloc>\n", out);
    return 0;
}
