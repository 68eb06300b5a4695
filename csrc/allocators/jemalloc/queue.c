/* Pairing heaps (Fredman, Sedgewick, Sleator, Tarjan 1986). `prev` of a first child is its parent. */
#include "allocators/jemalloc/jemalloc.h"

static je_extent *meld(je_extent *a, je_extent *b) {
    if (a == NULL) return b;
    if (b == NULL) return a;
    if (al_je_before(b, a)) {
        je_extent *first = b;
        b = a;
        a = first;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL) a->child->prev = b;
    a->child = b;
    return a;
}

/* One heap of the siblings that begin here: pairs from left to right, then all from right to left. */
static je_extent *meld_siblings(je_extent *first) {
    je_extent *pairs = NULL, *whole = NULL;
    while (first != NULL) {
        je_extent *second = first->next, *rest = second == NULL ? NULL : second->next;
        first->next = first->prev = NULL;
        if (second != NULL) second->next = second->prev = NULL;
        je_extent *pair = meld(first, second);
        pair->next = pairs;
        pairs = pair;
        first = rest;
    }
    while (pairs != NULL) {
        je_extent *next = pairs->next;
        pairs->next = NULL;
        whole = meld(whole, pairs);
        pairs = next;
    }
    return whole;
}

je_extent *al_je_queue_first(je_queue *queue) { return queue->root; }

void al_je_queue_insert(je_queue *queue, je_extent *extent) {
    extent->child = extent->next = extent->prev = NULL;
    queue->root = meld(queue->root, extent);
}

void al_je_queue_remove(je_queue *queue, je_extent *extent) {
    je_extent *children = meld_siblings(extent->child);
    if (extent == queue->root) {
        queue->root = children;
        return;
    }
    if (extent->prev->child == extent)
        extent->prev->child = extent->next;
    else
        extent->prev->next = extent->next;
    if (extent->next != NULL) extent->next->prev = extent->prev;
    queue->root = meld(queue->root, children);
}
