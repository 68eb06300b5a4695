/* Threads: their caches, their shares of the budget, their end; fork. */
#include "allocators/tcmalloc/tcmalloc.h"

/* --- shares --- */

void al_tc_share_grow(tc_heap *heap, tc_thread *thread) {
    size_t *share = &thread->share;
    if (heap->unclaimed > 0) {
        heap->unclaimed -= TC_SHARE_STEP;
        __atomic_store_n(share, *share + TC_SHARE_STEP, __ATOMIC_RELAXED);
        return;
    }
    for (unsigned tries = 0; tries < TC_STEALS_MOST; tries++) {
        tc_thread *victim = heap->victim == NULL ? heap->threads : heap->victim;
        heap->victim = victim->next;
        if (victim == thread || victim->share <= TC_SHARE_LEAST) continue;
        __atomic_store_n(&victim->share, victim->share - TC_SHARE_STEP, __ATOMIC_RELAXED);
        __atomic_store_n(share, *share + TC_SHARE_STEP, __ATOMIC_RELAXED);
        return;
    }
}

static void claim_share(tc_heap *heap, tc_thread *thread) {
    thread->share = 0;
    al_tc_share_grow(heap, thread);
    if (thread->share > 0) return;
    thread->share = TC_SHARE_LEAST;
    heap->unclaimed -= TC_SHARE_LEAST;
}

/* --- a thread comes and goes --- */

int al_tc_thread_create(al_thread *base) {
    tc_thread *thread = (tc_thread *)base;
    const tc_classes *classes = &al_tc_heap(thread)->base.classes;
    for (unsigned class = 1; class < classes->count; class++)
        thread->lists[class] = (tc_list){.bytes = classes->of[class].bytes, .most = 1};
    for (size_t place = 0; place < TC_PLACES; place++) {
        const uint16_t at = (uint16_t)(classes->places[place] * sizeof(tc_list));
        *(place <= TC_PLACE_FINE ? &thread->places[place] : &thread->coarse_places[place - TC_PLACE_FINE - 1]) = at;
    }
    return 0;
}

static void join(tc_heap *heap, tc_thread *thread) {
    thread->prev = NULL;
    thread->next = heap->threads;
    if (heap->threads != NULL) heap->threads->prev = thread;
    heap->threads = thread;
}

static void leave(tc_heap *heap, tc_thread *thread) {
    if (heap->victim == thread) heap->victim = thread->next;
    if (thread->next != NULL) thread->next->prev = thread->prev;
    *(thread->prev != NULL ? &thread->prev->next : &heap->threads) = thread->next;
}

/* A context that is lent for a call has no share and keeps nothing. */
bool al_tc_arrive(tc_thread *thread) {
    tc_heap *heap = al_tc_heap(thread);
    if (thread->thread.brief) return thread->arrived = true;
    al_lock_take(&heap->base.heap.lock);
    thread->record = al_tc_record_take(&heap->base, &heap->caches);
    thread->arrived = thread->record != NULL;
    if (thread->arrived) {
        claim_share(heap, thread);
        join(heap, thread);
    }
    al_lock_drop(&heap->base.heap.lock);
    return thread->arrived;
}

/* One that caches nothing any more is as before its first request. */
static void start_anew(tc_thread *thread) {
    thread->arrived = false;
    thread->share = 0;
    for (unsigned class = 1; class < al_tc_heap(thread)->base.classes.count; class++) {
        tc_list *list = &thread->lists[class];
        *list = (tc_list){.bytes = list->bytes, .most = 1};
    }
}

/* Puts the heap's own thread in the place of one that caches nothing, which starts anew. */
static void take_place(tc_heap *heap, tc_thread *thread) {
    tc_thread *first = &heap->first;
    leave(heap, thread);
    *first = (tc_thread){.thread = {.heap = &heap->base.heap, .id = UINT32_MAX}, .share = thread->share,
                         .arrived = true, .record = thread->record};
    al_tc_thread_create(&first->thread);
    join(heap, first);
    heap->victim = first;
    start_anew(thread);
}

void al_tc_begin(tc_thread *thread) {
    tc_heap *heap = al_tc_heap(thread);
    if (__atomic_exchange_n(&heap->beginning, true, __ATOMIC_RELAXED)) return;
    void *block = al_tc_malloc(&thread->thread, 1);
    if (block != NULL) al_tc_free(&thread->thread, block);
    al_tc_cache_empty(thread);
    al_lock_take(&heap->base.heap.lock);
    take_place(heap, thread);
    al_lock_drop(&heap->base.heap.lock);
    void *own[TC_OWN_BLOCKS];
    for (unsigned i = 0; i < TC_OWN_BLOCKS; i++) own[i] = al_tc_malloc(&thread->thread, (size_t)8 << i);
    al_lock_take(&heap->base.heap.lock);
    memcpy(heap->own, own, sizeof own);
    __atomic_store_n(&heap->begun, true, __ATOMIC_RELAXED);
    al_lock_drop(&heap->base.heap.lock);
}

void al_tc_thread_exit(al_thread *base) {
    tc_thread *thread = (tc_thread *)base;
    tc_heap *heap = al_tc_heap(thread);
    if (!thread->arrived) return;
    al_tc_cache_empty(thread);
    if (thread->thread.brief) return;
    al_lock_take(&heap->base.heap.lock);
    leave(heap, thread);
    heap->unclaimed += (int64_t)thread->share;
    al_tc_record_give(&heap->caches, thread->record);
    al_lock_drop(&heap->base.heap.lock);
}

void al_tc_thread_idle(tc_thread *thread) {
    al_tc_thread_exit(&thread->thread);
    start_anew(thread);
}

/* --- all of it at rest --- */

static void hold_central(tc_heap *heap) {
    for (unsigned class = 0; class < heap->base.classes.count; class++) al_lock_take(&heap->central[class].lock);
}

static void let_central_go(tc_heap *heap) {
    for (unsigned class = 0; class < heap->base.classes.count; class++) al_lock_drop(&heap->central[class].lock);
}

void al_tc_hold(tc_heap *heap) {
    hold_central(heap);
    al_lock_take(&heap->base.heap.lock);
}

void al_tc_let_go(tc_heap *heap) {
    al_lock_drop(&heap->base.heap.lock);
    let_central_go(heap);
}

/* Only the forking thread goes on in the child. Others may just have been about to change their caches, and the pages
 * of the heap are not copied at one moment: what they had cached is lost, and nobody looks at it again. */
static void lose_others(tc_heap *heap, const al_thread *survivor) {
    for (tc_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        thread->lost = &thread->thread != survivor;
}

/* heap->lock is taken and dropped around the fork by heap.c. */
void al_tc_fork(al_heap *base, al_thread *survivor, al_fork_moment moment) {
    tc_heap *heap = al_tc_of(base);
    if (moment == AL_FORK_PREPARE) {
        hold_central(heap);
        return;
    }
    if (moment == AL_FORK_CHILD) {
        lose_others(heap, survivor);
        heap->begun = heap->beginning; /* who was at it is gone */
    }
    let_central_go(heap);
}
