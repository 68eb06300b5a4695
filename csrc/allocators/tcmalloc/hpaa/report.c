/* malloc_stats, in the shape of the real library's own: the sum, then classes, CPUs and pages. What is counted is
 * counted first and printed then, without a lock: printing may allocate. */
#include "allocators/tcmalloc/hpaa/figures.h"

#include <inttypes.h>

static const char rule[] = "------------------------------------------------\n";

static void line(FILE *out, char sign, uint64_t bytes, const char *what) {
    fprintf(out, "MALLOC: %c %12" PRIu64 " (%7.1f MiB) %s\n", sign, bytes, (double)bytes / (1 << 20), what);
}

static void print_sum(FILE *out, const hp_figures *f) {
    fputs(rule, out);
    line(out, ' ', f->in_use, "Bytes in use by application");
    line(out, '+', f->pages.backed_free, "Bytes in page heap freelist");
    line(out, '+', f->central + f->tails, "Bytes in central cache freelist");
    line(out, '+', f->cpu, "Bytes in per-CPU cache freelist");
    line(out, '+', f->transfer, "Bytes in transfer cache freelist");
    line(out, '+', f->metadata, "Bytes in malloc metadata");
    fputs("MALLOC:   ------------\n", out);
    line(out, '=', f->mapped - f->pages.unbacked, "Actual memory used (physical + swap)");
    line(out, '+', f->pages.unbacked, "Bytes released to OS (aka unmapped)");
    fputs("MALLOC:   ------------\n", out);
    line(out, '=', f->mapped, "Virtual address space used");
    fprintf(out, "MALLOC:   %12" PRIu64 "               Spans in use\n", f->spans);
    fprintf(out, "MALLOC:   %12d               Tcmalloc page size\n", TC_PAGE);
    fputs(rule, out);
}

typedef struct class_account {
    uint64_t cpu, transfer, central, spans, out; /* objects, spans, objects */
} class_account;

static class_account count_class(hp_heap *heap, unsigned class) {
    hp_class *shared = &heap->classes[class];
    class_account a = {0};
    for (unsigned i = 0; i < heap->params.cpus; i++) {
        al_lock_take(&heap->cpus[i].lock);
        a.cpu += heap->cpus[i].stacks[class].used;
        al_lock_drop(&heap->cpus[i].lock);
    }
    al_lock_take(&shared->lock);
    a.transfer = shared->used;
    a.central = shared->spans.free;
    a.spans = shared->spans.count;
    a.out = a.spans * al_hp_shape(heap, class)->objects - a.central;
    al_lock_drop(&shared->lock);
    return a;
}

static void print_classes(FILE *out, hp_heap *heap) {
    fprintf(out, "Size classes: %s\n%5s %8s %12s %10s %10s %10s %10s\n", al_hp_classes_version, "class", "bytes", "out",
            "cpu", "transfer", "central", "spans");
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        const class_account a = count_class(heap, i);
        if (a.spans == 0) continue;
        fprintf(out, "%5u %8u %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", i,
                al_hp_shape(heap, i)->bytes, a.out, a.cpu, a.transfer, a.central, a.spans);
    }
    fputs(rule, out);
}

typedef struct cpu_account {
    uint64_t used, capacity, budget, underflows, overflows;
} cpu_account;

static cpu_account count_cpu(hp_heap *heap, hp_cpu *cpu) {
    al_lock_take(&cpu->lock);
    const cpu_account a = {al_hp_cpu_bytes(heap, cpu), cpu->capacity, cpu->budget, cpu->underflows, cpu->overflows};
    al_lock_drop(&cpu->lock);
    return a;
}

static void print_cpus(FILE *out, hp_heap *heap) {
    fputs("Bytes in per-CPU caches\n", out);
    for (unsigned i = 0; i < heap->params.cpus; i++) {
        const cpu_account a = count_cpu(heap, &heap->cpus[i]);
        if (a.underflows + a.overflows == 0) continue;
        fprintf(out,
                "cpu %3u: %12" PRIu64 " bytes (capacity %" PRIu64 " of %" PRIu64 ") underflows %" PRIu64
                " overflows %" PRIu64 "\n",
                i, a.used, a.capacity, a.budget, a.underflows, a.overflows);
    }
    fputs(rule, out);
}

static void print_pages(FILE *out, const hp_page_figures *p) {
    const al_stat figures[] = {
        {"hugepages", p->hugepages},
        {"hugepages, whole", p->hugepages_whole},
        {"bytes in use on whole hugepages", p->covered},
        {"filler: free bytes", p->filler_free},
        {"filler: unbacked bytes", p->filler_unbacked},
        {"donated pages", p->donated_pages},
        {"slack pages", p->slack_pages},
        {"regions: free bytes", p->regions_free},
        {"regions: unbacked bytes", p->regions_unbacked},
        {"hugepage cache: bytes", p->cache_free},
        {"huge allocator: unbacked bytes", p->allocator_unbacked},
        {"released so far: bytes", p->released_bytes},
        {"subreleased so far: pages", p->subreleased_pages},
        {"reservations", p->reservations},
    };
    fputs("HugePageAware\n", out);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        fprintf(out, "%12" PRIu64 "  %s\n", figures[i].value, figures[i].name);
    fputs(rule, out);
}

void al_hp_report(al_heap *base, FILE *out) {
    hp_heap *heap = al_hp_of(base);
    const hp_figures f = al_hp_figures(heap);
    print_sum(out, &f);
    print_classes(out, heap);
    print_cpus(out, heap);
    print_pages(out, &f.pages);
}
