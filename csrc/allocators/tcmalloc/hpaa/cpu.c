/* A CPU's cache: a stack of objects for each class, with a capacity that it has earned by misses.
 *
 *     an underflow, or an overflow, with capacity < 2 * batch     capacity + 1; the first underflow: a batch
 *     an underflow after an overflow                              capacity + batch: were it larger, neither had been
 *
 * but no more than `depth`, and the bytes of all capacities no more than the budget. Where that is spent capacity is
 * stolen from classes that had no miss since the last theft: what they do not use, and then what they hold.
 *
 * So many objects come, or go with the one that is freed, at a time; n: misses of the same kind that went before:
 *
 *     min((capacity + 1) / 2 + 1, batch * 2^min(n, 10))           capacity 1: one
 *
 * What came is handed out in the order in which it came, but the last one first: that needs not to be stacked. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

enum { DOUBLINGS_MOST = 10 };

/* --- memory --- */

/* Each stack has room for its depth, and one more: what is freed into a full one. */
static bool ready(hp_heap *heap, hp_cpu *cpu) {
    if (cpu->ready) return true;
    size_t slots = 0;
    for (unsigned i = 1; i < HP_CLASSES; i++) slots += heap->depths[i] + 1;
    void **next = al_hp_metadata_take(heap, slots * sizeof *next);
    if (next == NULL) return false;
    for (unsigned i = 1; i < HP_CLASSES; next += heap->depths[i] + 1, i++) cpu->stacks[i].slots = next;
    return cpu->ready = true;
}

/* --- capacity --- */

static void set_capacity(hp_heap *heap, hp_cpu *cpu, unsigned class, unsigned capacity) {
    const size_t bytes = al_hp_shape(heap, class)->bytes;
    cpu->capacity += capacity * bytes - cpu->stacks[class].capacity * bytes;
    cpu->stacks[class].capacity = capacity;
}

/* The oldest objects go. */
static void flush(hp_heap *heap, hp_cpu *cpu, unsigned class, unsigned count) {
    hp_stack *stack = &cpu->stacks[class];
    if (count == 0) return;
    al_hp_class_give(heap, class, stack->slots, count);
    stack->used -= count;
    memmove(stack->slots, stack->slots + count, stack->used * sizeof *stack->slots);
}

static size_t steal_from(hp_heap *heap, hp_cpu *cpu, unsigned class, size_t lacking, bool objects) {
    hp_stack *stack = &cpu->stacks[class];
    const size_t bytes = al_hp_shape(heap, class)->bytes;
    const size_t most = objects ? stack->capacity : stack->capacity - stack->used;
    const unsigned stolen = (unsigned)al_min((lacking + bytes - 1) / bytes, most);
    const unsigned unused = stack->capacity - stack->used;
    if (stolen > unused) flush(heap, cpu, class, stolen - unused);
    set_capacity(heap, cpu, class, stack->capacity - stolen);
    return stolen * bytes;
}

static size_t steal_round(hp_heap *heap, hp_cpu *cpu, unsigned thief, size_t lacking, bool objects) {
    size_t stolen = 0;
    for (unsigned i = 1; i < HP_CLASSES && stolen < lacking; i++) {
        cpu->steal_next = cpu->steal_next % (HP_CLASSES - 1) + 1;
        if (cpu->steal_next == thief || cpu->habits[cpu->steal_next].missed) continue;
        stolen += steal_from(heap, cpu, cpu->steal_next, lacking - stolen, objects);
    }
    return stolen;
}

void al_hp_cpu_steal(hp_heap *heap, hp_cpu *cpu, unsigned thief, size_t lacking) {
    cpu->steals++;
    const size_t stolen = steal_round(heap, cpu, thief, lacking, false);
    if (stolen < lacking) steal_round(heap, cpu, thief, lacking - stolen, true);
    for (unsigned i = 1; i < HP_CLASSES; i++) cpu->habits[i].missed = false;
}

void al_hp_cpu_grow(hp_heap *heap, hp_cpu *cpu, unsigned class, unsigned more) {
    const hp_stack *stack = &cpu->stacks[class];
    const size_t bytes = al_hp_shape(heap, class)->bytes;
    if (!ready(heap, cpu)) return;
    more = (unsigned)al_min(more, heap->depths[class] - stack->capacity);
    if (more * bytes > cpu->budget - cpu->capacity)
        al_hp_cpu_steal(heap, cpu, class, more * bytes - (cpu->budget - cpu->capacity));
    more = (unsigned)al_min(more, (cpu->budget - cpu->capacity) / bytes);
    set_capacity(heap, cpu, class, stack->capacity + more);
}

/* --- misses --- */

/* Notes one; how many objects are to come or go. */
static unsigned miss(hp_heap *heap, hp_cpu *cpu, unsigned class, hp_miss kind) {
    hp_habit *habit = &cpu->habits[class];
    const unsigned batch = al_hp_shape(heap, class)->batch, capacity = cpu->stacks[class].capacity;
    const bool turned = habit->last == HP_OVERFLOW && kind == HP_UNDERFLOW;
    *(kind == HP_UNDERFLOW ? &cpu->underflows : &cpu->overflows) += 1;
    habit->successive = habit->last == kind ? habit->successive + 1 : 0;
    habit->last = (uint8_t)kind;
    habit->missed = true;
    habit->misses++;
    if (turned)
        al_hp_cpu_grow(heap, cpu, class, batch);
    else if (capacity < 2 * batch)
        al_hp_cpu_grow(heap, cpu, class, kind == HP_UNDERFLOW && capacity < batch ? batch - capacity : 1);
    const size_t now = cpu->stacks[class].capacity;
    if (now == 1) return 1;
    return (unsigned)al_min((now + 1) / 2 + 1, (size_t)batch << al_min(habit->successive, DOUBLINGS_MOST));
}

static void reverse(void **objects, unsigned count) {
    for (unsigned i = 0, j = count; i + 1 < j; i++) {
        void *last = objects[--j];
        objects[j] = objects[i];
        objects[i] = last;
    }
}

void *al_hp_cpu_underflow(hp_heap *heap, hp_cpu *cpu, unsigned class) {
    hp_stack *stack = &cpu->stacks[class];
    const unsigned wanted = miss(heap, cpu, class, HP_UNDERFLOW);
    void *alone;
    void **objects = cpu->ready ? stack->slots : &alone;
    const unsigned got = al_hp_class_take(heap, class, objects, wanted);
    if (got == 0) return NULL;
    stack->used = got - 1;
    reverse(objects, stack->used);
    return objects[got - 1];
}

void al_hp_cpu_overflow(hp_heap *heap, hp_cpu *cpu, unsigned class, void *block) {
    hp_stack *stack = &cpu->stacks[class];
    const unsigned leave = miss(heap, cpu, class, HP_OVERFLOW);
    if (!cpu->ready) {
        al_hp_class_give(heap, class, &block, 1);
        return;
    }
    const unsigned old = (unsigned)al_min(leave - 1, stack->used);
    stack->slots[stack->used] = block;
    stack->used -= old;
    al_hp_class_give(heap, class, stack->slots + stack->used, old + 1);
}

/* --- from outside --- */

size_t al_hp_cpu_bytes(const hp_heap *heap, const hp_cpu *cpu) {
    size_t bytes = 0;
    for (unsigned i = 1; i < HP_CLASSES; i++) bytes += (size_t)cpu->stacks[i].used * al_hp_shape(heap, i)->bytes;
    return bytes;
}

size_t al_hp_cpu_drain(hp_heap *heap, hp_cpu *cpu) {
    const size_t bytes = al_hp_cpu_bytes(heap, cpu);
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        flush(heap, cpu, i, cpu->stacks[i].used);
        set_capacity(heap, cpu, i, 0);
    }
    cpu->reclaims++;
    return bytes;
}
