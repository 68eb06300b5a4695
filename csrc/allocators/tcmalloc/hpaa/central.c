/* What CPUs share of a class: the transfer cache, a stack of objects, and behind it the spans.
 *
 * Spans are taken from by how many of their objects are out, the most first: those with few are left to become empty.
 * With objects of a span out, 1 or more, it is kept in the list
 *
 *     8 - min(bits(out), 8)        2^7 and more out: list 0
 *     8 - min(out, 8)              in spans of at most 16 objects */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/check.h"

enum { FEW_OBJECTS = 16 };

unsigned al_hp_list_of(const tc_span *span, const tc_class *class) {
    if (span->live == class->objects) return TC_FULL;
    const unsigned scale = class->objects <= FEW_OBJECTS ? span->live : al_log2_floor(span->live) + 1;
    return TC_FULL - (unsigned)al_min(scale, TC_FULL);
}

/* --- the central list --- */

static tc_span *populate(hp_heap *heap, unsigned class) {
    hp_class *shared = &heap->classes[class];
    tc_span *span = al_tc_spans_add(&heap->base, &shared->spans, class);
    if (span == NULL) return NULL;
    al_hp_objects_init(al_hp_span_of(span), al_hp_shape(heap, class));
    shared->populated++;
    return span;
}

static unsigned take_from(hp_heap *heap, tc_span *span, unsigned class, void **out, unsigned count) {
    const tc_class *shape = al_hp_shape(heap, class);
    hp_class *shared = &heap->classes[class];
    count = (unsigned)al_min(count, shape->objects - span->live);
    al_hp_objects_take(al_hp_span_of(span), shape, out, count);
    span->live += count;
    shared->spans.free -= count;
    al_tc_spans_file(&shared->spans, span, al_hp_list_of(span, shape));
    return count;
}

/* A new span is the last that is taken from, be it too few. */
static unsigned take_from_spans(hp_heap *heap, unsigned class, void **out, unsigned count) {
    unsigned taken = 0;
    tc_span *span;
    while (taken < count && (span = al_tc_spans_first(&heap->classes[class].spans)) != NULL)
        taken += take_from(heap, span, class, out + taken, count - taken);
    if (taken < count && (span = populate(heap, class)) != NULL)
        taken += take_from(heap, span, class, out + taken, count - taken);
    return taken;
}

/* What was freed twice may lie on a span that has gone. */
static void give_to_span(hp_heap *heap, unsigned class, void *object) {
    hp_class *shared = &heap->classes[class];
    const tc_class *shape = al_hp_shape(heap, class);
    tc_span *span = al_tc_span_of(&heap->base, object);
    if (span->class != class) al_die_at("Attempted to free corrupted pointer ", object, "");
    al_hp_objects_give(al_hp_span_of(span), shape, al_hp_index_of(shared, span, object));
    span->live--;
    shared->spans.free++;
    if (span->live > 0) {
        al_tc_spans_file(&shared->spans, span, al_hp_list_of(span, shape));
        return;
    }
    shared->emptied++;
    al_tc_spans_drop(&heap->base, &shared->spans, span);
}

/* --- the transfer cache --- */

static void enter(hp_class *shared) {
    if (al_lock_try(&shared->lock)) return;
    al_lock_take(&shared->lock);
    shared->contended++;
}

static bool transfer_ready(hp_heap *heap, hp_class *shared) {
    if (shared->transfer == NULL)
        shared->transfer = al_hp_metadata_take(heap, shared->most * sizeof *shared->transfer);
    return shared->transfer != NULL;
}

unsigned al_hp_class_take(hp_heap *heap, unsigned class, void **out, unsigned count) {
    hp_class *shared = &heap->classes[class];
    enter(shared);
    unsigned taken = (unsigned)al_min(count, shared->used);
    shared->used -= taken;
    shared->low = (unsigned)al_min(shared->low, shared->used);
    if (taken > 0) memcpy(out, shared->transfer + shared->used, taken * sizeof *out);
    shared->takes++;
    shared->take_misses += taken < count;
    if (taken < count) taken += take_from_spans(heap, class, out + taken, count - taken);
    al_lock_drop(&shared->lock);
    return taken;
}

void al_hp_class_give(hp_heap *heap, unsigned class, void **objects, unsigned count) {
    hp_class *shared = &heap->classes[class];
    enter(shared);
    unsigned kept = transfer_ready(heap, shared) ? (unsigned)al_min(count, shared->capacity - shared->used) : 0;
    if (kept > 0) memcpy(shared->transfer + shared->used, objects, kept * sizeof *objects);
    shared->used += kept;
    shared->gives++;
    shared->give_misses += kept < count;
    for (; kept < count; kept++) give_to_span(heap, class, objects[kept]);
    al_lock_drop(&shared->lock);
}

/* The oldest, at the bottom, go. */
static void give_oldest(hp_heap *heap, unsigned class, unsigned count) {
    hp_class *shared = &heap->classes[class];
    for (unsigned i = 0; i < count; i++) give_to_span(heap, class, shared->transfer[i]);
    shared->used -= count;
    if (count > 0) memmove(shared->transfer, shared->transfer + count, shared->used * sizeof *shared->transfer);
}

void al_hp_class_plunder(hp_heap *heap, unsigned class) {
    hp_class *shared = &heap->classes[class];
    enter(shared);
    give_oldest(heap, class, shared->low);
    shared->low = shared->used;
    al_lock_drop(&shared->lock);
}

bool al_hp_class_resize(hp_heap *heap, unsigned class, int batches) {
    hp_class *shared = &heap->classes[class];
    const unsigned batch = al_hp_shape(heap, class)->batch;
    enter(shared);
    const bool can = batches > 0 ? shared->capacity < shared->most : shared->capacity > batch;
    if (can) shared->capacity = batches > 0 ? shared->capacity + batch : shared->capacity - batch;
    if (shared->used > shared->capacity) give_oldest(heap, class, shared->used - shared->capacity);
    shared->low = (unsigned)al_min(shared->low, shared->used);
    al_lock_drop(&shared->lock);
    return can;
}
