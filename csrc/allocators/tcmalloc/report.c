/* malloc_stats, word for word as theirs; with tables, what its environment variable MALLOCSTATS has printed in the end.
 * All is counted first, under every lock, and printed then: printing may allocate.
 *
 * Theirs asks itself for the text's memory, and so reports 16384 bytes in use of its own: so does a drop-in. */
#include "allocators/tcmalloc/figures.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

enum { TEXT_ROOM = 16 << 10 };

/* What does not fit is cut. */
typedef struct text {
    char *at;
    size_t used;
} text;

__attribute__((format(printf, 2, 3))) static void say(text *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const size_t room = TEXT_ROOM - t->used;
    const int bytes = vsnprintf(t->at + t->used, room, format, arguments);
    va_end(arguments);
    t->used += al_min(bytes > 0 ? (size_t)bytes : 0, room - 1);
}

static void say_line(text *t) { say(t, "------------------------------------------------\n"); }

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* --- the totals --- */

static void say_bytes(text *t, char sign, uint64_t bytes, const char *what) {
    say(t, "MALLOC: %c %12" PRIu64 " (%7.1f MiB) %s\n", sign, bytes, mib(bytes), what);
}

static void say_count(text *t, uint64_t count, const char *what) {
    say(t, "MALLOC:   %12" PRIu64 "              %s\n", count, what);
}

static void say_totals(text *t, const tc_figures *f) {
    say_line(t);
    say_bytes(t, ' ', f->in_use, "Bytes in use by application");
    say_bytes(t, '+', f->normal, "Bytes in page heap freelist");
    say_bytes(t, '+', f->central, "Bytes in central cache freelist");
    say_bytes(t, '+', f->transfer, "Bytes in transfer cache freelist");
    say_bytes(t, '+', f->threads, "Bytes in thread cache freelists");
    say_bytes(t, '+', f->metadata, "Bytes in malloc metadata");
    say(t, "MALLOC:   ------------\n");
    say_bytes(t, '=', f->physical, "Actual memory used (physical + swap)");
    say_bytes(t, '+', f->returned, "Bytes released to OS (aka unmapped)");
    say(t, "MALLOC:   ------------\n");
    say_bytes(t, '=', f->physical + f->returned, "Virtual address space used");
    say(t, "MALLOC:\n");
    say_count(t, f->spans, "Spans in use");
    say_count(t, f->caches, "Thread heaps in use");
    say_count(t, TC_PAGE, "Tcmalloc page size");
    say_line(t);
    say(t, "Call ReleaseFreeMemory() to release freelist memory to the OS (via madvise()).\n"
           "Bytes released to the OS take up virtual address space but no physical memory.\n");
}

/* --- tables --- */

static void say_classes(text *t, const tc_classes *classes, const tc_figures *f) {
    uint64_t sum = 0, waste = 0;
    say_line(t);
    say(t, "Total size of freelists for per-thread caches,\ntransfer cache, and central cache, by size class\n");
    say_line(t);
    for (unsigned class = 1; class < classes->count; class++) {
        const tc_class_figures *each = &f->classes[class];
        if (each->objects == 0) continue;
        const uint64_t bytes = each->objects * classes->of[class].bytes;
        sum += bytes;
        waste += each->waste_bytes;
        say(t, "class %3u [ %8" PRIu32 " bytes ] : %8" PRIu64 " objs; %5.1f MiB; %5.1f cum MiB; "
               "%8.3f overhead MiB; %8.3f cum overhead MiB\n", class, classes->of[class].bytes, each->objects,
            mib(bytes), mib(sum), mib(each->waste_bytes), mib(waste));
    }
}

/* Free spans of each length; [0]: of those longer than all that have a list. */
typedef struct lengths {
    unsigned counts[TC_LISTED_PAGES + 1][TC_KINDS];
    uint64_t bytes[TC_LISTED_PAGES + 1][TC_KINDS];
} lengths;

static uint64_t bytes_in(tc_node *set) {
    uint64_t bytes = 0;
    for (const tc_node *node = NULL; (node = al_tc_set_next(set, node)) != NULL;)
        bytes += (uint64_t)node->length << TC_PAGE_BITS;
    return bytes;
}

static void count_lengths(const tc_page_heap *pages, lengths *out) {
    *out = (lengths){0};
    for (unsigned kind = 0; kind < TC_KINDS; kind++) {
        for (unsigned length = 1; length <= TC_LISTED_PAGES; length++) {
            const al_link *list = &pages->shelves[length][kind];
            for (const al_link *at = list->next; at != list; at = at->next) out->counts[length][kind]++;
            out->bytes[length][kind] = (uint64_t)out->counts[length][kind] * length << TC_PAGE_BITS;
        }
        out->counts[0][kind] = (unsigned)pages->set_counts[kind];
        out->bytes[0][kind] = bytes_in(pages->sets[kind]);
    }
}

static void say_spans(text *t, const tc_figures *f, const lengths *spans) {
    const uint64_t(*bytes)[TC_KINDS] = spans->bytes;
    const unsigned(*counts)[TC_KINDS] = spans->counts;
    uint64_t sum = 0, returned = 0;
    unsigned any = 0;
    for (unsigned length = 1; length <= TC_LISTED_PAGES; length++) any += counts[length][0] + counts[length][1] > 0;
    say_line(t);
    say(t, "PageHeap: %u sizes; %6.1f MiB free; %6.1f MiB unmapped\n", any, mib(f->normal), mib(f->returned));
    say_line(t);
    for (unsigned i = 1; i <= TC_LISTED_PAGES + 1; i++) {
        const unsigned length = i > TC_LISTED_PAGES ? 0 : i, count = counts[length][0] + counts[length][1];
        if (length != 0 && count == 0) continue;
        sum += bytes[length][0] + bytes[length][1];
        returned += bytes[length][1];
        const char *format = length == 0 ? ">%-5u large" : "%6u pages";
        say(t, format, length == 0 ? TC_LISTED_PAGES : length);
        say(t, " * %6u spans ~ %6.1f MiB; %6.1f MiB cum; unmapped: %6.1f MiB; %6.1f MiB cum\n", count,
            mib(bytes[length][0] + bytes[length][1]), mib(sum), mib(bytes[length][1]), mib(returned));
    }
}

static void report(al_heap *base, bool tables, FILE *out) {
    tc_heap *heap = al_tc_of(base);
    tc_figures f;
    lengths spans;
    text t = {.at = malloc(TEXT_ROOM)};
    if (t.at == NULL) return;
    al_tc_hold(heap);
    al_tc_count(heap, &f);
    if (tables) count_lengths(&heap->pages, &spans);
    al_tc_let_go(heap);
    say_totals(&t, &f);
    if (tables) {
        say_classes(&t, &heap->base.classes, &f);
        say_spans(&t, &f, &spans);
    }
    fwrite(t.at, 1, t.used, out);
    free(t.at);
}

void al_tc_report(al_heap *heap, FILE *out) { report(heap, false, out); }

void al_tc_report_with_tables(al_heap *heap, FILE *out) { report(heap, true, out); }
