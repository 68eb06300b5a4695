/* Threads: their lists, their shares of the budget, and the allocator's own blocks. What the lists keep was looked at
 * with memory. */
#include "allocators/tcmalloc/inspect.h"

static bool check_list(const tc_heap *heap, const tc_list *list, unsigned class, al_flaw *flaw) {
    tc_trail t = {0};
    while (al_tc_trail_next(heap, list->head, sizeof(void *), &t)) {}
    if (t.strayed) return al_blame(flaw, t.at, "tcmalloc: a thread's list leads to no memory, or around");
    if (t.passed != list->length) return al_blame(flaw, list, "tcmalloc: a thread's list is miscounted");
    if (list->low > list->length) return al_blame(flaw, list, "tcmalloc: a list never had as few objects as it has");
    if (list->most == 0 || list->most > TC_CHAIN_MOST || list->overages > TC_OVERAGES_MOST)
        return al_blame(flaw, list, "tcmalloc: a list may have no such length");
    return list->bytes == heap->base.classes.of[class].bytes ||
           al_blame(flaw, list, "tcmalloc: a list does not know its class");
}

static bool check_lists(const tc_heap *heap, const tc_thread *thread, al_flaw *flaw) {
    size_t cached = 0;
    for (unsigned class = 1; class < heap->base.classes.count; class++) {
        const tc_list *list = &thread->lists[class];
        if (!check_list(heap, list, class, flaw)) return false;
        cached += (size_t)list->length * list->bytes;
    }
    return cached == al_tc_cached(thread) || al_blame(flaw, thread, "tcmalloc: what a thread caches is miscounted");
}

static bool check_threads(const tc_heap *heap, al_flaw *flaw) {
    const tc_thread *before = NULL;
    int64_t shares = heap->unclaimed;
    for (const tc_thread *thread = heap->threads; thread != NULL; before = thread, thread = thread->next) {
        if (thread->prev != before || !thread->arrived)
            return al_blame(flaw, thread, "tcmalloc: threads are listed wrongly");
        if (!thread->lost && !check_lists(heap, thread, flaw)) return false;
        shares += (int64_t)thread->share;
    }
    return shares == (int64_t)heap->params.cache_budget ||
           al_blame(flaw, &heap->unclaimed, "tcmalloc: the shares are not the budget");
}

/* On the victim nothing depends but fairness; yet it must be one of them. */
static bool check_victim(const tc_heap *heap, al_flaw *flaw) {
    const tc_thread *thread = heap->threads;
    while (thread != NULL && thread != heap->victim) thread = thread->next;
    return thread == heap->victim || al_blame(flaw, heap->victim, "tcmalloc: who is to give of its share is no thread");
}

bool al_tc_check_caches(const tc_heap *heap, al_flaw *flaw) {
    return check_threads(heap, flaw) && check_victim(heap, flaw);
}
