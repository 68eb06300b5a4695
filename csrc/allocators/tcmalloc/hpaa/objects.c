/* Which objects of a span are free: a bitmap, of which the lowest is taken first; for small objects, whose bitmap would
 * be long, indices. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

static void *object(const hp_span *span, const tc_class *class, unsigned index) {
    return (void *)(span->span.address + (size_t)index * class->bytes);
}

/* --- indices --- */

/* The half-words of a free object. */
static uint16_t *words(const hp_span *span, const tc_class *class, unsigned index) {
    return object(span, class, index);
}

/* How many indices a holder has room for, behind the next holder's. */
static unsigned held_most(const tc_class *class) { return class->bytes / sizeof(uint16_t) - 1; }

static unsigned pop_index(hp_span *span, const tc_class *class) {
    hp_indices *of = &span->indices;
    if (of->recent_count > 0) return of->recent[--of->recent_count];
    if (of->holder == HP_NO_OBJECT) return of->fresh++;
    const unsigned holder = of->holder;
    const uint16_t *held = words(span, class, holder);
    if (of->held > 0) return held[of->held--];
    of->holder = held[0];
    of->held = (uint16_t)held_most(class);
    return holder;
}

static void push_index(hp_span *span, const tc_class *class, unsigned index) {
    hp_indices *of = &span->indices;
    if (of->recent_count < HP_RECENT) {
        of->recent[of->recent_count++] = (uint16_t)index;
        return;
    }
    if (of->holder != HP_NO_OBJECT && of->held < held_most(class)) {
        words(span, class, of->holder)[++of->held] = (uint16_t)index;
        return;
    }
    words(span, class, index)[0] = of->holder;
    of->holder = (uint16_t)index;
    of->held = 0;
}

bool al_hp_indices_visit(const hp_span *span, const tc_class *class, al_hp_index_fn *visit, void *context) {
    const hp_indices *of = &span->indices;
    if (of->fresh > class->objects || of->recent_count > HP_RECENT || of->held > held_most(class)) return false;
    for (unsigned i = of->fresh; i < class->objects; i++)
        if (!visit(context, i)) return false;
    for (unsigned i = 0; i < of->recent_count; i++)
        if (!visit(context, of->recent[i])) return false;
    unsigned held = of->held;
    for (unsigned holder = of->holder; holder != HP_NO_OBJECT; held = held_most(class)) {
        if (!visit(context, holder)) return false;
        const uint16_t *in = words(span, class, holder);
        for (unsigned i = 1; i <= held; i++)
            if (!visit(context, in[i])) return false;
        holder = in[0];
    }
    return true;
}

/* --- both --- */

void al_hp_objects_init(hp_span *span, const tc_class *class) {
    if (!al_hp_has_bitmap(class)) {
        span->indices = (hp_indices){.holder = HP_NO_OBJECT};
        return;
    }
    memset(span->free, 0, sizeof span->free);
    for (unsigned i = 0; i < class->objects; i++) al_bitmap_set(span->free, i);
}

static void take_lowest(hp_span *span, const tc_class *class, void **out, unsigned count) {
    for (unsigned word = 0; count > 0; word++)
        for (uint64_t *left = &span->free[word]; *left != 0 && count > 0; count--, *left &= *left - 1)
            *out++ = object(span, class, word * 64 + (unsigned)__builtin_ctzll(*left));
}

void al_hp_objects_take(hp_span *span, const tc_class *class, void **out, unsigned count) {
    if (al_hp_has_bitmap(class))
        take_lowest(span, class, out, count);
    else
        for (unsigned i = 0; i < count; i++) out[i] = object(span, class, pop_index(span, class));
}

void al_hp_objects_give(hp_span *span, const tc_class *class, unsigned index) {
    if (al_hp_has_bitmap(class))
        al_bitmap_set(span->free, index);
    else
        push_index(span, class, index);
}
