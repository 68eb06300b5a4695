#include "allocators/tcmalloc/hpaa/hpaa.h"

#include <sched.h>

int al_hp_thread_create(al_thread *base) {
    hp_thread *thread = (hp_thread *)base;
    hp_heap *heap = al_hp_heap(thread);
    if (heap->params.cpu_of == HP_CPU_OF_THREAD) thread->cpu = &heap->cpus[base->id % heap->params.cpus];
    return 0;
}

hp_cpu *al_hp_cpu_now(hp_heap *heap) {
    const int cpu = sched_getcpu();
    return &heap->cpus[cpu < 0 ? 0 : (unsigned)cpu % heap->params.cpus];
}

/* --- all locks --- */

static void each(hp_heap *heap, void (*act)(al_lock *)) {
    for (unsigned i = 0; i < heap->params.cpus; i++) act(&heap->cpus[i].lock);
    for (unsigned i = 1; i < HP_CLASSES; i++) act(&heap->classes[i].lock);
}

void al_hp_hold(hp_heap *heap) {
    each(heap, al_lock_take);
    al_lock_take(&heap->base.heap.lock);
}

void al_hp_let_go(hp_heap *heap) {
    al_lock_drop(&heap->base.heap.lock);
    each(heap, al_lock_drop);
}

/* heap->lock is taken and dropped by heap.c. CPUs stay as they are: the child's only thread may use them all. */
void al_hp_fork(al_heap *base, al_thread *survivor, al_fork_moment moment) {
    (void)survivor;
    hp_heap *heap = al_hp_of(base);
    void (*act)(al_lock *) = moment == AL_FORK_PREPARE ? al_lock_take : al_lock_drop;
    act(&heap->background.lock);
    each(heap, act);
}
