/* Pairing heaps (Fredman, Sedgewick, Sleator, Tarjan 1986): a tree in which no extent comes before its parent; `child`
 * is the first of the children, `next` and `prev` link siblings, `prev` of a first child is its parent.
 *
 * A lazy queue, as in 5.3.0, lets new extents wait behind the root (Stasko, Vitter 1987), linked like siblings, until
 * the first is asked for; only one that comes before the root goes on top of it, and of all that wait there. That is
 * wrong where a root without children was removed: the next of the waiting takes its place, be it the first of them or
 * not. What then goes on top of it need not come before the others, and hides them until it is removed itself. */
#include "allocators/jemalloc/jemalloc.h"

static void adopt(je_extent *parent, je_extent *child) {
    child->prev = parent;
    child->next = parent->child;
    if (parent->child != NULL) parent->child->prev = child;
    parent->child = child;
}

static je_extent *meld(je_extent *a, je_extent *b) {
    if (a == NULL) return b;
    if (b == NULL) return a;
    bool a_first = al_je_before(a, b);
    adopt(a_first ? a : b, a_first ? b : a);
    return a_first ? a : b;
}

/* One tree of the siblings that begin here: pairs from left to right, then all from right to left. */
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

/* Of the first two that wait, one goes below the other. False: there are not two. */
static bool meld_waiting(je_extent *root) {
    je_extent *first = root->next, *second = first->next;
    if (second == NULL) return false;
    je_extent *rest = second->next;
    first->next = first->prev = second->next = second->prev = NULL;
    je_extent *pair = meld(first, second);
    pair->next = rest;
    if (rest != NULL) rest->prev = pair;
    pair->prev = root;
    root->next = pair;
    return true;
}

/* One more waits. Pairs of them are melded as if counting in binary, so that a few trees wait, not many extents: how
 * often with each was found by trying, against the real library. */
static void meld_some(je_queue *queue) {
    const unsigned before = queue->waiting++;
    unsigned pairs = before == 0 ? 0 : (unsigned)__builtin_ctz(before);
    while (pairs > 0 && meld_waiting(queue->root)) pairs--;
}

/* Those that wait join the tree. */
static void gather(je_queue *queue) {
    queue->waiting = 0;
    je_extent *waiting = queue->root->next;
    if (waiting == NULL) return;
    queue->root->next = NULL;
    queue->root = meld(queue->root, meld_siblings(waiting));
}

je_extent *al_je_queue_first(je_queue *queue) {
    if (queue->root != NULL) gather(queue);
    return queue->root;
}

void al_je_queue_insert(je_queue *queue, je_extent *extent) {
    je_extent *root = queue->root;
    extent->child = extent->next = extent->prev = NULL;
    if (!queue->lazy || root == NULL) {
        queue->root = meld(root, extent);
    } else if (al_je_before(extent, root)) {
        extent->child = root;
        root->prev = extent;
        queue->root = extent;
        queue->waiting = 0;
    } else {
        extent->next = root->next;
        extent->prev = root;
        if (root->next != NULL) root->next->prev = extent;
        root->next = extent;
        meld_some(queue);
    }
}

/* Puts a tree, or nothing, in the place of an extent that is not the root. */
static void replace(je_extent *extent, je_extent *by) {
    je_extent *next = extent->next, **link = extent->prev->child == extent ? &extent->prev->child : &extent->prev->next;
    *link = by == NULL ? next : by;
    if (by != NULL) {
        by->prev = extent->prev;
        by->next = next;
    }
    if (next != NULL) next->prev = by == NULL ? extent->prev : by;
}

void al_je_queue_remove(je_queue *queue, je_extent *extent) {
    if (extent == queue->root && extent->child == NULL) {
        queue->root = extent->next;
        if (queue->root != NULL) queue->root->prev = NULL;
        return;
    }
    if (extent == queue->root) gather(queue);
    je_extent *children = meld_siblings(extent->child);
    if (extent == queue->root)
        queue->root = children;
    else
        replace(extent, children);
}
