/* The full self-check, in this order, each step trusting what those before have shown:
 *
 *     books    capacities and budgets of CPUs; stacks and transfer caches are where and as large as they say
 *     spans    every one, by itself: its objects, its words of the map
 *     caches   what lies in them was taken from a span of its class, and once
 *     lists    every span of a class is in one of its lists, the right one; and their sums
 *     pages    al_hp_pages_validate */
#include "allocators/tcmalloc/hpaa/inspect.h"

/* --- books --- */

static bool check_cpu(const hp_heap *heap, const hp_cpu *cpu, al_flaw *flaw) {
    size_t capacity = 0;
    if (cpu != &heap->cpus[cpu->number]) return al_blame(flaw, cpu, "tcmalloc-hpaa: a CPU does not know its number");
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        const hp_stack *stack = &cpu->stacks[i];
        if (!al_hp_stack_sound(heap, cpu, i) || (stack->slots != NULL) != cpu->ready)
            return al_blame(flaw, stack, "tcmalloc-hpaa: a stack holds more than it may, or has no memory for it");
        if (i > 1 && cpu->ready && stack->slots != stack[-1].slots + heap->depths[i - 1] + 1)
            return al_blame(flaw, stack, "tcmalloc-hpaa: stacks lie over each other, or apart");
        capacity += (size_t)stack->capacity * al_hp_shape(heap, i)->bytes;
    }
    if (capacity != cpu->capacity) return al_blame(flaw, cpu, "tcmalloc-hpaa: a CPU's capacities are miscounted");
    return capacity <= cpu->budget || al_blame(flaw, cpu, "tcmalloc-hpaa: a CPU has more room than its budget");
}

static bool check_transfer(const hp_heap *heap, unsigned class, al_flaw *flaw) {
    const hp_class *shared = &heap->classes[class];
    if (!al_hp_transfer_sound(heap, class))
        return al_blame(flaw, shared, "tcmalloc-hpaa: a transfer cache holds more than it may, or has no memory");
    const unsigned batch = al_hp_shape(heap, class)->batch;
    if (shared->capacity % batch != 0 || shared->most != (shared->most / batch) * batch)
        return al_blame(flaw, shared, "tcmalloc-hpaa: a transfer cache has room for less than a batch");
    return shared->low <= shared->used ||
           al_blame(flaw, shared, "tcmalloc-hpaa: a transfer cache held less than it ever did");
}

static bool check_books(const hp_heap *heap, al_flaw *flaw) {
    size_t budgets = 0;
    for (const hp_cpu *cpu = heap->cpus; cpu < heap->cpus + heap->params.cpus; cpu++) {
        if (!check_cpu(heap, cpu, flaw)) return false;
        budgets += cpu->budget;
    }
    for (unsigned class = 1; class < HP_CLASSES; class++)
        if (!check_transfer(heap, class, flaw)) return false;
    return budgets == heap->params.cpus * heap->params.cpu_budget ||
           al_blame(flaw, heap->cpus, "tcmalloc-hpaa: the CPUs' budgets are not what was shared out");
}

/* --- spans --- */

/* What the memory was found to hold. */
typedef struct census {
    size_t pages;
    size_t spans[HP_CLASSES], free[HP_CLASSES]; /* objects */
} census;

static bool check_map(const hp_heap *heap, const tc_span *span, al_flaw *flaw) {
    const al_page_word word = al_page_word_of(span, span->class);
    const uintptr_t first = al_tc_page_of((const void *)span->address), last = first + span->pages - 1;
    const uintptr_t step = span->class != 0 ? 1 : al_max(last - first, 1);
    for (uintptr_t page = first; page <= last; page += step)
        if (al_hp_word_at(heap, page) != word)
            return al_blame(flaw, (const void *)(page << TC_PAGE_BITS), "tcmalloc-hpaa: the map does not know a page");
    return true;
}

static bool check_span(const hp_heap *heap, const hp_span *span, census *found, al_flaw *flaw) {
    const unsigned class = span->span.class;
    uint64_t map[HP_MAP_WORDS];
    found->pages += span->span.pages;
    if (!check_map(heap, &span->span, flaw)) return false;
    if (class == 0) return true;
    const tc_class *shape = al_hp_shape(heap, class);
    unsigned free = 0;
    if (!al_hp_free_objects(heap, span, map))
        return al_blame(flaw, span, "tcmalloc-hpaa: a span's free objects are none, or twice the same");
    for (unsigned i = 0; i < HP_MAP_WORDS; i++) free += (unsigned)__builtin_popcountll(map[i]);
    if (free + span->span.live != shape->objects)
        return al_blame(flaw, span, "tcmalloc-hpaa: a span's objects are miscounted");
    if (span->span.live == 0) return al_blame(flaw, span, "tcmalloc-hpaa: a span is kept that nobody uses");
    found->spans[class]++;
    found->free[class] += free;
    return true;
}

static bool check_spans(const hp_look *look, census *found, al_flaw *flaw) {
    hp_stretch s;
    for (uintptr_t at = 0; al_hp_stretch_after(look, at, &s); at = s.end)
        if (s.kind == HP_SPAN && !check_span(look->heap, s.span, found, flaw)) return false;
    return found->pages == look->heap->pages.in_use_pages ||
           al_blame(flaw, &look->heap->pages, "tcmalloc-hpaa: pages in use are miscounted, or a span is lost");
}

/* --- caches --- */

/* The span that an object lies in was checked, if its page's word leads to one. */
static bool is_object(const hp_heap *heap, uintptr_t object, uint64_t class) {
    const tc_span *span = al_tc_word_span(al_hp_word_at(heap, object >> TC_PAGE_BITS));
    if (!al_hp_span_known(heap, span) || span->class != class) return false;
    if (object < span->address || object >= al_tc_end(span)) return false;
    const tc_class *shape = al_hp_shape(heap, span->class);
    const size_t index = (object - span->address) / shape->bytes;
    uint64_t free[HP_MAP_WORDS];
    return index < shape->objects && span->address + index * shape->bytes == object &&
           al_hp_free_objects(heap, (const hp_span *)span, free) && !al_bitmap_test(free, index);
}

static bool check_caches(const hp_look *look, al_flaw *flaw) {
    const al_finds *kept = &look->kept;
    for (size_t i = 0; i < kept->count; i++) {
        const void *object = (const void *)kept->all[i].key;
        if (i > 0 && kept->all[i].key == kept->all[i - 1].key)
            return al_blame(flaw, object, "tcmalloc-hpaa: an object is cached twice");
        if (!is_object(look->heap, kept->all[i].key, kept->all[i].next))
            return al_blame(flaw, object, "tcmalloc-hpaa: what is cached is no object, of another class, or free");
    }
    return true;
}

/* --- lists --- */

static bool check_members(const hp_heap *heap, unsigned class, size_t *count, al_flaw *flaw) {
    hp_member m = {0};
    while (al_hp_listed_next(heap, class, &m)) {
        if (al_hp_list_of(&m.span->span, al_hp_shape(heap, class)) != m.list)
            return al_blame(flaw, m.span, "tcmalloc-hpaa: a span is not in the list of its occupancy");
        ++*count;
    }
    return !m.strayed || al_blame(flaw, m.stray, "tcmalloc-hpaa: a list of a class leads astray");
}

static bool check_lists(const hp_heap *heap, const census *found, al_flaw *flaw) {
    for (unsigned class = 1; class < HP_CLASSES; class++) {
        const tc_spans *spans = &heap->classes[class].spans;
        size_t listed = 0;
        if (!check_members(heap, class, &listed, flaw)) return false;
        if (listed != found->spans[class] || spans->count != listed || spans->free != found->free[class])
            return al_blame(flaw, spans, "tcmalloc-hpaa: a class's spans or free objects are miscounted");
    }
    return true;
}

/* --- all of it --- */

static bool check_all(const hp_look *look, al_flaw *flaw) {
    hp_heap *heap = look->heap;
    census found = {0};
    if (look->kept.lost) return al_blame(flaw, NULL, "tcmalloc-hpaa: no memory for the check itself");
    return check_books(heap, flaw) && check_spans(look, &found, flaw) && check_caches(look, flaw) &&
           check_lists(heap, &found, flaw) && al_hp_pages_validate(heap, flaw);
}

bool al_hp_validate(al_heap *heap, al_flaw *flaw) {
    hp_look look;
    al_hp_look_open(&look, al_hp_of(heap));
    const bool sound = check_all(&look, flaw);
    al_hp_look_close(&look);
    return sound;
}
