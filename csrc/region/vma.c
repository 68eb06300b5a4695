#include "region/vma.h"

#include "base/align.h"
#include "base/check.h"

#include <errno.h>

/* What is known of a subtree; all of it follows from the node and its two children (update). */
struct al_vma_node {
    al_vma vma;
    al_vma_node *below, *above;
    uint64_t priority; /* no child's is higher */
    uintptr_t low, high; /* start of the first VMA, end of the last */
    size_t gap;          /* the largest between two VMAs of the subtree */
    al_vma_sums sums;
};

/* A carve cuts at most two VMAs in two, set adds one; a move clears one range and sets another. */
enum { NODES_NEEDED = 5, NODES_AT_ONCE = 64 };

/* --- nodes --- */

void al_vma_init(al_vma_list *list, al_own *own) { *list = (al_vma_list){.own = own, .rng = {1}}; }

static void recycle(al_vma_list *list, al_vma_node *node) {
    node->below = list->idle;
    list->idle = node;
    list->idle_count++;
}

static void recycle_all(al_vma_list *list, al_vma_node *tree) {
    if (tree == NULL) return;
    recycle_all(list, tree->above);
    recycle_all(list, tree->below);
    recycle(list, tree);
}

int al_vma_prepare(al_vma_list *list) {
    if (list->idle_count >= NODES_NEEDED) return 0;
    al_vma_node *nodes = al_own_take(list->own, NODES_AT_ONCE * sizeof *nodes);
    if (nodes == NULL) return ENOMEM;
    for (size_t i = 0; i < NODES_AT_ONCE; i++) recycle(list, nodes + i);
    return 0;
}

static al_vma_sums sums_of(const al_vma *vma, uintptr_t start, uintptr_t end) {
    if (vma->foreign) return (al_vma_sums){0};
    return (al_vma_sums){1, end - start, vma->prot == AL_PROT_READ_WRITE ? end - start : 0};
}

static void add(al_vma_sums *to, al_vma_sums more) {
    to->count += more.count;
    to->reserved += more.reserved;
    to->mapped += more.mapped;
}

static void update(al_vma_node *node) {
    const al_vma_node *below = node->below, *above = node->above;
    const al_vma *vma = &node->vma;
    node->low = vma->start;
    node->high = vma->end;
    node->gap = 0;
    node->sums = sums_of(vma, vma->start, vma->end);
    if (below != NULL) {
        node->low = below->low;
        node->gap = al_max(below->gap, vma->start - below->high);
        add(&node->sums, below->sums);
    }
    if (above != NULL) {
        node->high = above->high;
        node->gap = al_max(node->gap, al_max(above->gap, above->low - vma->end));
        add(&node->sums, above->sums);
    }
}

static al_vma_node *make(al_vma_list *list, al_vma vma) {
    al_check(list->idle != NULL, "alloclab: a VMA list was changed without being prepared");
    al_vma_node *node = list->idle;
    list->idle = node->below;
    list->idle_count--;
    *node = (al_vma_node){.vma = vma, .priority = al_rng_next(&list->rng)};
    update(node);
    return node;
}

/* --- the treap: take apart, put together --- */

/* lower gets the VMAs that start below address, upper the others. */
static void split(al_vma_node *tree, uintptr_t address, al_vma_node **lower, al_vma_node **upper) {
    if (tree == NULL) {
        *lower = *upper = NULL;
        return;
    }
    if (tree->vma.start < address) {
        split(tree->above, address, &tree->above, upper);
        *lower = tree;
    } else {
        split(tree->below, address, lower, &tree->below);
        *upper = tree;
    }
    update(tree);
}

/* All of lower lies below all of upper. */
static al_vma_node *join(al_vma_node *lower, al_vma_node *upper) {
    if (lower == NULL) return upper;
    if (upper == NULL) return lower;
    if (lower->priority >= upper->priority) {
        lower->above = join(lower->above, upper);
        update(lower);
        return lower;
    }
    upper->below = join(lower, upper->below);
    update(upper);
    return upper;
}

static al_vma_node *detach_first(al_vma_node **tree) {
    al_vma_node *node = *tree;
    if (node->below != NULL) {
        al_vma_node *first = detach_first(&node->below);
        update(node);
        return first;
    }
    *tree = node->above;
    node->above = NULL;
    update(node);
    return node;
}

static al_vma_node *detach_last(al_vma_node **tree) {
    al_vma_node *node = *tree;
    if (node->above != NULL) {
        al_vma_node *last = detach_last(&node->above);
        update(node);
        return last;
    }
    *tree = node->below;
    node->below = NULL;
    update(node);
    return node;
}

/* Gives the part at and after address of the VMA that lies across it, the last of the tree, a node of its own. */
static al_vma_node *cut_last(al_vma_list *list, al_vma_node **tree, uintptr_t address) {
    if (*tree == NULL || (*tree)->high <= address) return NULL;
    al_vma_node *last = detach_last(tree);
    al_vma rest = last->vma;
    rest.start = last->vma.end = address;
    update(last);
    *tree = join(*tree, last);
    return make(list, rest);
}

/* Takes the list apart at start and end; middle is exactly what lies in [start, end). */
static void carve(al_vma_list *list, uintptr_t start, uintptr_t end, al_vma_node **lower, al_vma_node **middle,
                  al_vma_node **upper) {
    split(list->root, start, lower, middle);
    *middle = join(cut_last(list, lower, start), *middle);
    split(*middle, end, middle, upper);
    *upper = join(cut_last(list, middle, end), *upper);
}

static bool joinable(const al_vma *low, const al_vma *high) {
    return low->end == high->start && low->prot == high->prot && low->heap == high->heap &&
           low->foreign == high->foreign;
}

/* Adds a node above the whole tree. */
static void append(al_vma_list *list, al_vma_node **tree, al_vma_node *node) {
    if (*tree != NULL && (*tree)->high == node->vma.start) {
        al_vma_node *last = detach_last(tree);
        if (joinable(&last->vma, &node->vma)) {
            last->vma.end = node->vma.end;
            update(last);
            recycle(list, node);
            node = last;
        } else {
            *tree = join(*tree, last);
        }
    }
    *tree = join(*tree, node);
}

static void put_together(al_vma_list *list, al_vma_node *lower, al_vma_node *upper) {
    if (lower != NULL && upper != NULL && lower->high == upper->low) append(list, &lower, detach_first(&upper));
    list->root = join(lower, upper);
}

static void put(al_vma_list *list, al_vma vma) {
    al_vma_node *lower, *middle, *upper;
    carve(list, vma.start, vma.end, &lower, &middle, &upper);
    recycle_all(list, middle);
    append(list, &lower, make(list, vma));
    put_together(list, lower, upper);
}

void al_vma_set(al_vma_list *list, uintptr_t start, uintptr_t end, al_prot prot, bool heap) {
    put(list, (al_vma){.start = start, .end = end, .prot = prot, .heap = heap});
}

void al_vma_block(al_vma_list *list, uintptr_t start, uintptr_t end) {
    put(list, (al_vma){.start = start, .end = end, .foreign = true});
}

void al_vma_clear(al_vma_list *list, uintptr_t start, uintptr_t end) {
    al_vma_node *lower, *middle, *upper;
    carve(list, start, end, &lower, &middle, &upper);
    recycle_all(list, middle);
    list->root = join(lower, upper);
}

void al_vma_protect(al_vma_list *list, uintptr_t start, uintptr_t end, al_prot prot) {
    al_vma_node *lower, *middle, *upper;
    carve(list, start, end, &lower, &middle, &upper);
    while (middle != NULL) {
        al_vma_node *first = detach_first(&middle);
        first->vma.prot = prot;
        update(first);
        append(list, &lower, first);
    }
    put_together(list, lower, upper);
}

/* --- questions --- */

bool al_vma_after(const al_vma_list *list, uintptr_t address, al_vma *out) {
    const al_vma_node *found = NULL;
    for (const al_vma_node *node = list->root; node != NULL;) {
        if (node->vma.end > address) {
            found = node;
            node = node->below;
        } else {
            node = node->above;
        }
    }
    if (found != NULL) *out = found->vma;
    return found != NULL;
}

al_vma_sums al_vma_all(const al_vma_list *list) { return list->root == NULL ? (al_vma_sums){0} : list->root->sums; }

uintptr_t al_vma_end(const al_vma_list *list) { return list->root == NULL ? 0 : list->root->high; }

static void add_within(const al_vma_node *node, uintptr_t start, uintptr_t end, al_vma_sums *sums) {
    if (node == NULL || node->high <= start || node->low >= end) return;
    if (start <= node->low && node->high <= end) {
        add(sums, node->sums);
        return;
    }
    uintptr_t from = al_max(start, node->vma.start), to = al_min(end, node->vma.end);
    if (from < to) add(sums, sums_of(&node->vma, from, to));
    add_within(node->below, start, end, sums);
    add_within(node->above, start, end, sums);
}

al_vma_sums al_vma_within(const al_vma_list *list, uintptr_t start, uintptr_t end) {
    al_vma_sums sums = {0};
    add_within(list->root, start, end, &sums);
    return sums;
}

uintptr_t al_vma_highest_gap(const al_vma_list *list, uintptr_t low, uintptr_t high, size_t bytes) {
    const al_vma_node *node = list->root;
    /* The free space around the subtree counts as its own: it lies in [low, high), VMAs or bounds on both sides. */
    while (node != NULL) {
        const al_vma_node *below = node->below, *above = node->above;
        uintptr_t next = above == NULL ? high : above->low, last = above == NULL ? node->vma.end : above->high;
        if (above != NULL && (high - last >= bytes || above->gap >= bytes)) {
            low = node->vma.end;
            node = above;
        } else if (next - node->vma.end >= bytes) {
            return next;
        } else {
            high = node->vma.start;
            node = below;
        }
    }
    return high - low >= bytes ? high : 0;
}
