/* A thread's cache: how much is fetched, how long lists may grow, and what goes back. */
#include "allocators/tcmalloc/tcmalloc.h"

static const tc_class *shape_of(const tc_thread *thread, unsigned class) {
    return &al_tc_heap(thread)->base.classes.of[class];
}

/* Slow start: a list may be longer by one each time until it holds a batch, then by batches. */
static void lengthen(tc_list *list, uint32_t batch) {
    if (list->most < batch) {
        list->most++;
        return;
    }
    const uint32_t most = (uint32_t)al_min(list->most + batch, TC_CHAIN_MOST);
    list->most = most - most % batch;
}

void *al_tc_cache_fetch(tc_thread *thread, unsigned class) {
    tc_list *list = &thread->lists[class];
    const uint32_t batch = shape_of(thread, class)->batch;
    tc_chain chain;
    const unsigned count = al_tc_central_take(al_tc_heap(thread), class, (unsigned)al_min(list->most, batch), &chain);
    if (count == 0) return NULL;
    list->head = al_tc_after(chain.head);
    al_tc_set_length(list, count - 1);
    al_tc_set_cached(thread, thread->cached + (size_t)list->bytes * (count - 1));
    lengthen(list, batch);
    return chain.head;
}

static void give_chain(tc_thread *thread, tc_list *list, unsigned class, uint32_t count) {
    tc_chain chain = {list->head, list->head};
    for (uint32_t i = 1; i < count; i++) chain.tail = al_tc_after(chain.tail);
    list->head = al_tc_after(chain.tail);
    al_tc_link(chain.tail, NULL);
    al_tc_set_length(list, list->length - count);
    if (list->length < list->low) list->low = list->length;
    al_tc_set_cached(thread, thread->cached - (size_t)list->bytes * count);
    al_tc_central_give(al_tc_heap(thread), class, count, chain);
}

/* The newest `count` go back, by batches. */
static void give_back(tc_thread *thread, tc_list *list, unsigned class, uint32_t count) {
    const uint32_t batch = shape_of(thread, class)->batch;
    for (count = (uint32_t)al_min(count, list->length); count > batch; count -= batch)
        give_chain(thread, list, class, batch);
    if (count > 0) give_chain(thread, list, class, count);
}

/* Half of what a list has not used since the last time goes back, and the thread may cache more. */
static void scavenge(tc_thread *thread) {
    tc_heap *heap = al_tc_heap(thread);
    for (unsigned class = 1; class < heap->base.classes.count; class++) {
        tc_list *list = &thread->lists[class];
        const uint32_t batch = shape_of(thread, class)->batch;
        if (list->low > 0) {
            give_back(thread, list, class, list->low > 1 ? list->low / 2 : 1);
            if (list->most > batch) list->most = (uint32_t)al_max(list->most - batch, batch);
        }
        list->low = list->length;
    }
    if (thread->thread.brief) return;
    al_lock_take(&heap->base.heap.lock);
    al_tc_share_grow(heap, thread);
    al_lock_drop(&heap->base.heap.lock);
}

static void too_long(tc_thread *thread, tc_list *list, unsigned class) {
    const uint32_t batch = shape_of(thread, class)->batch;
    give_back(thread, list, class, batch);
    if (list->most < batch) {
        list->most++;
    } else if (list->most > batch && ++list->overages > TC_OVERAGES_MOST) {
        list->most -= batch;
        list->overages = 0;
    }
}

void al_tc_cache_overflow(tc_thread *thread, tc_list *list, unsigned class) {
    if (!thread->arrived) {
        give_back(thread, list, class, list->length);
        return;
    }
    if (list->length > list->most) too_long(thread, list, class);
    if (thread->cached > al_tc_share(thread)) scavenge(thread);
}

void al_tc_cache_empty(tc_thread *thread) {
    for (unsigned class = 1; class < al_tc_heap(thread)->base.classes.count; class++) {
        tc_list *list = &thread->lists[class];
        give_back(thread, list, class, list->length);
    }
}
