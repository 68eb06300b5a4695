/* What threads share of a class: whole batches in slots, and spans. */
#include "allocators/tcmalloc/tcmalloc.h"

#include <pthread.h>
#include <unistd.h>

void al_tc_central_init(tc_heap *heap) {
    for (unsigned class = 0; class < heap->base.classes.count; class++) {
        tc_central *central = &heap->central[class];
        const tc_class *shape = &heap->base.classes.of[class];
        central->class = (uint8_t)class;
        al_tc_spans_init(&central->spans);
        /* Class 0, of no size, has slots, too: to lose. */
        const size_t bytes = class == 0 ? 1 : (size_t)shape->bytes * shape->batch;
        central->slots_most = (unsigned)al_min(TC_SLOTS_MOST, al_max(1, (1 << 20) / bytes));
        central->slots = (unsigned)al_min(TC_SLOTS_FIRST, central->slots_most);
    }
}

/* --- spans --- */

/* The objects of a new span, chained from the lowest up. */
static void *chained(const tc_span *span, const tc_class *shape) {
    char *object = (char *)span->address;
    for (unsigned i = 1; i < shape->objects; i++, object += shape->bytes) al_tc_link(object, object + shape->bytes);
    al_tc_link(object, NULL);
    return (void *)span->address;
}

/* A program's heap says so, as theirs does; but a thread is not cancelled for it, here within malloc. */
static void say_failed(tc_heap *heap, size_t bytes) {
    int cancelled;
    if (al_regions_base(heap->base.heap.regions) != NULL) return;
    char text[96] = "src/central_freelist.cc:330] tcmalloc: allocation failed ", digits[24];
    char *at = digits + sizeof digits - 3;
    strcpy(at, " \n");
    do *--at = (char)('0' + bytes % 10);
    while ((bytes /= 10) != 0);
    strcat(text, at);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
    pthread_setcancelstate(cancelled, NULL);
}

static tc_span *populate(tc_heap *heap, tc_central *central) {
    tc_span *span = al_tc_spans_add(&heap->base, &central->spans, central->class);
    if (span == NULL) {
        say_failed(heap, (size_t)heap->base.classes.of[central->class].pages << TC_PAGE_BITS);
        return NULL;
    }
    span->objects = chained(span, &heap->base.classes.of[central->class]);
    central->populated++;
    return span;
}

/* Up to `count` objects from the head of a span's chain. */
static unsigned take_from(tc_central *central, tc_span *span, unsigned count, tc_chain *out) {
    unsigned taken = 1;
    *out = (tc_chain){span->objects, span->objects};
    for (void *next; taken < count && (next = al_tc_after(out->tail)) != NULL; taken++) out->tail = next;
    span->objects = al_tc_after(out->tail);
    al_tc_link(out->tail, NULL);
    span->live += taken;
    central->spans.free -= taken;
    if (span->objects == NULL) al_tc_spans_file(&central->spans, span, TC_FULL);
    return taken;
}

/* From as many spans as it needs, but never from a new one if there was any: what comes later goes before. */
static unsigned take_from_spans(tc_heap *heap, tc_central *central, unsigned count, tc_chain *out) {
    tc_span *span = al_tc_spans_first(&central->spans);
    if (span == NULL) span = populate(heap, central);
    if (span == NULL) return 0;
    unsigned taken = take_from(central, span, count, out);
    while (taken < count && (span = al_tc_spans_first(&central->spans)) != NULL) {
        tc_chain more;
        taken += take_from(central, span, count - taken, &more);
        al_tc_link(more.tail, out->head);
        out->head = more.head;
    }
    return taken;
}

static void give_to_span(tc_heap *heap, tc_central *central, void *object) {
    tc_span *span = al_tc_span_of(&heap->base, object);
    if (span->objects == NULL) al_tc_spans_file(&central->spans, span, 0);
    central->spans.free++;
    if (--span->live == 0) {
        al_tc_spans_drop(&heap->base, &central->spans, span);
        central->emptied++;
        return;
    }
    al_tc_link(object, span->objects);
    span->objects = object;
}

static void give_to_spans(tc_heap *heap, tc_central *central, void *object) {
    for (void *next; object != NULL; object = next) {
        next = al_tc_after(object);
        give_to_span(heap, central, object);
    }
}

/* --- slots --- */

/* Takes a slot away; from a class whose slots are full only by force: then its last batch goes back to spans. */
static bool shrink(tc_heap *heap, tc_central *victim, bool force) {
    if (!al_lock_try(&victim->lock)) return false;
    const bool full = victim->used == victim->slots, shrunk = victim->slots > 0 && (force || !full);
    if (shrunk) victim->slots--;
    if (shrunk && full) give_to_spans(heap, victim, victim->transfer[--victim->used].head);
    al_lock_drop(&victim->lock);
    return shrunk;
}

/* Whose turn it is to lose a slot: 0, 1, ... count - 1, and then 0 once more. */
static unsigned next_victim(tc_heap *heap) {
    const unsigned count = heap->base.classes.count;
    const unsigned turn = __atomic_fetch_add(&heap->slot_victim, 1, __ATOMIC_RELAXED);
    if (turn < count) return turn;
    __atomic_store_n(&heap->slot_victim, turn % count, __ATOMIC_RELAXED);
    return turn % count;
}

static bool shrink_another(tc_heap *heap, const tc_central *central, bool force) {
    const unsigned victim = next_victim(heap);
    return victim != central->class && shrink(heap, &heap->central[victim], force);
}

static bool make_room(tc_heap *heap, tc_central *central) {
    if (central->used < central->slots) return true;
    if (central->slots == central->slots_most) return false;
    if (!shrink_another(heap, central, false) && !shrink_another(heap, central, true)) return false;
    central->slots++;
    return true;
}

/* --- both --- */

static void enter(tc_central *central) {
    if (al_lock_try(&central->lock)) return;
    al_lock_take(&central->lock);
    central->contended++;
}

unsigned al_tc_central_take(tc_heap *heap, unsigned class, unsigned count, tc_chain *out) {
    tc_central *central = &heap->central[class];
    enter(central);
    unsigned taken = count;
    central->fetches++;
    if (count == heap->base.classes.of[class].batch && central->used > 0) {
        *out = central->transfer[--central->used];
    } else {
        taken = take_from_spans(heap, central, count, out);
        central->from_spans++;
    }
    al_lock_drop(&central->lock);
    return taken;
}

void al_tc_central_give(tc_heap *heap, unsigned class, unsigned count, tc_chain chain) {
    tc_central *central = &heap->central[class];
    enter(central);
    const bool whole = count == heap->base.classes.of[class].batch, room = whole && make_room(heap, central);
    if (room)
        central->transfer[central->used++] = chain;
    else
        give_to_spans(heap, central, chain.head);
    central->slots_full += whole && !room;
    central->returns++;
    al_lock_drop(&central->lock);
}
