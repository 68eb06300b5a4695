/* glibc's questions about a heap: mallopt, mallinfo2, malloc_stats, malloc_info. An allocator that has no answer of its
 * own gets one from its ledger and its stats. */
#include "allocators/rules.h"

#include <stdlib.h>
#include <string.h>

/* 0: nothing is set this way, tunables are given when the heap is made. */
int al_heap_mallopt(al_heap *heap, int parameter, int value) {
    if (heap->allocator->mallopt == NULL) return 0;
    bool locked = al_heap_enter(heap);
    int done = heap->allocator->mallopt(heap, parameter, value);
    al_heap_leave(heap, locked);
    return done;
}

static struct mallinfo2 info_of(const al_ledger *ledger) {
    return (struct mallinfo2){
        .arena = al_ledger_sum(ledger),
        .uordblks = ledger->usable + ledger->metadata,
        .fordblks = ledger->free + ledger->cached,
    };
}

struct mallinfo2 al_heap_mallinfo(al_heap *heap) {
    struct mallinfo2 info = {0};
    bool locked = al_heap_enter(heap);
    if (heap->allocator->mallinfo != NULL) {
        heap->allocator->mallinfo(heap, &info);
    } else {
        const al_ledger ledger = al_rule_ledger(heap);
        info = info_of(&ledger);
    }
    al_heap_leave(heap, locked);
    return info;
}

static void report_any(al_heap *heap, FILE *out) {
    const al_ledger ledger = al_heap_ledger(heap);
    al_stat stats[AL_STATS_MOST];
    size_t count = al_min(al_heap_stats(heap, stats, AL_STATS_MOST), AL_STATS_MOST);
    fprintf(out, "alloclab %s\nusable %zu\nmetadata %zu\ncached %zu\nfree %zu\n", heap->allocator->name,
            ledger.usable, ledger.metadata, ledger.cached, ledger.free);
    for (size_t i = 0; i < count; i++) fprintf(out, "%s %ju\n", stats[i].name, (uintmax_t)stats[i].value);
}

static int report_any_xml(al_heap *heap, FILE *out) {
    const al_ledger ledger = al_heap_ledger(heap);
    int written = fprintf(out,
                          "<malloc version=\"alloclab\"><heap allocator=\"%s\" usable=\"%zu\" metadata=\"%zu\" "
                          "cached=\"%zu\" free=\"%zu\"/></malloc>\n",
                          heap->allocator->name, ledger.usable, ledger.metadata, ledger.cached, ledger.free);
    return written < 0 ? -1 : 0;
}

static struct {
    al_heap *heap;
    void (*report)(al_heap *, FILE *);
} at_exit;

void al_heap_report_at_exit(al_heap *heap, void (*report)(al_heap *, FILE *)) {
    at_exit.heap = heap;
    at_exit.report = report;
}

__attribute__((destructor)) static void report_at_exit(void) {
    if (at_exit.heap != NULL) at_exit.report(at_exit.heap, stderr);
}

void al_heap_report(al_heap *heap, FILE *out) {
    (heap->allocator->report == NULL ? report_any : heap->allocator->report)(heap, out);
}

int al_heap_report_xml(al_heap *heap, FILE *out) {
    return (heap->allocator->report_xml == NULL ? report_any_xml : heap->allocator->report_xml)(heap, out);
}

size_t al_heap_report_text(al_heap *heap, bool xml, char *out, size_t room) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) return 0;
    if (xml)
        al_heap_report_xml(heap, file);
    else
        al_heap_report(heap, file);
    bool whole = fclose(file) == 0;
    if (whole && room > 0) memcpy(out, text, al_min(bytes, room));
    free(text);
    return whole ? bytes : 0;
}
