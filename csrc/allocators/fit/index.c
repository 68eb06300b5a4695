#include "allocators/fit/index.h"

/* --- nodes --- */

static al_free *node(const al_index *index, uint32_t link) {
    return (al_free *)(index->base + (size_t)link * AL_TAG_GRAIN + AL_TAG_BYTES);
}

static uint32_t link_of(const al_index *index, const al_free *chunk) {
    return (uint32_t)((size_t)((const char *)chunk - index->base) / AL_TAG_GRAIN);
}

static uint32_t grains(const al_free *chunk) { return (uint32_t)(al_tag_size(&chunk->tag) / AL_TAG_GRAIN); }

/* Which of the trees holds chunks of that size. */
static uint32_t tree_for(const al_index *index, size_t size) {
    const size_t least = AL_FREE_LEAST / AL_TAG_GRAIN;
    return index->by_size && size < least + AL_INDEX_SMALL ? (uint32_t)(size - least) : AL_INDEX_SMALL;
}

static void note_small(al_index *index, uint32_t tree) {
    if (tree == AL_INDEX_SMALL) return;
    const uint64_t bit = UINT64_C(1) << tree;
    index->small = index->trees[tree] == 0 ? index->small & ~bit : index->small | bit;
}

static uint64_t key_of(const al_index *index, const al_free *chunk) {
    return index->by_size ? (uint64_t)grains(chunk) << 32 | chunk->rank : chunk->rank;
}

/* A bijection of links (murmur3's finalizer), so no two nodes have the same. */
static uint32_t priority(uint32_t link) {
    link = (link ^ link >> 16) * 0x85ebca6bu;
    link = (link ^ link >> 13) * 0xc2b2ae35u;
    return link ^ link >> 16;
}

static uint32_t most_of(const al_index *index, uint32_t link) { return link == 0 ? 0 : node(index, link)->most; }

static void pull(const al_index *index, al_free *x) {
    uint32_t most = grains(x), left = most_of(index, x->left), right = most_of(index, x->right);
    if (most < left) most = left;
    x->most = most < right ? right : most;
}

/* --- insertion --- */

/* Divides a subtree into what is below `key` and what is above. Expected depth O(1): the subtree of a random node. */
static void split(const al_index *index, uint32_t link, uint64_t key, uint32_t *below, uint32_t *above) {
    if (link == 0) {
        *below = *above = 0;
        return;
    }
    al_free *x = node(index, link);
    if (key_of(index, x) < key) {
        *below = link;
        split(index, x->right, key, &x->right, above);
    } else {
        *above = link;
        split(index, x->left, key, below, &x->left);
    }
    if (!index->by_size) pull(index, x);
}

/* Numbers the subtree in order, from *rank on, and counts what lay below the old rover. */
static void renumber(al_index *index, uint32_t link, uint32_t *rank, uint32_t *below_rover) {
    if (link == 0) return;
    al_free *x = node(index, link);
    renumber(index, x->left, rank, below_rover);
    *below_rover += x->rank < index->rover;
    x->rank = (*rank)++;
    renumber(index, x->right, rank, below_rover);
}

/* Ranks have run out: the n chunks get those at the end from which counting began. In trees by size this keeps the
 * order among equal sizes, which is all that matters there. */
static void start_ranks_anew(al_index *index) {
    uint32_t n = (uint32_t)index->count, first = index->order == AL_ORDER_LIFO ? UINT32_MAX - n + 1 : 0;
    uint32_t rank = first, below_rover = 0;
    for (uint32_t tree = 0; tree <= AL_INDEX_SMALL; tree++) renumber(index, index->trees[tree], &rank, &below_rover);
    index->rover = first + below_rover;
    index->next_rank = index->order == AL_ORDER_LIFO ? UINT32_MAX - n : n;
}

static uint32_t new_rank(al_index *index, uint32_t link) {
    if (index->order == AL_ORDER_ADDRESS) return link;
    bool lifo = index->order == AL_ORDER_LIFO;
    if (index->next_rank == (lifo ? 0 : UINT32_MAX)) start_ranks_anew(index);
    return lifo ? index->next_rank-- : index->next_rank++;
}

void al_index_init(al_index *index, al_order order, bool by_size) {
    *index = (al_index){.order = order, .by_size = by_size, .next_rank = order == AL_ORDER_LIFO ? UINT32_MAX : 0};
}

void al_index_insert(al_index *index, al_free *chunk) {
    const uint32_t link = link_of(index, chunk), mine = priority(link), size = grains(chunk);
    chunk->rank = new_rank(index, link);
    const uint64_t key = key_of(index, chunk);
    const uint32_t tree = tree_for(index, size);
    uint32_t *at = &index->trees[tree];
    while (*at != 0 && priority(*at) > mine) {
        al_free *x = node(index, *at);
        if (!index->by_size && x->most < size) x->most = size;
        at = key < key_of(index, x) ? &x->left : &x->right;
    }
    const uint32_t below = *at;
    *at = link;
    split(index, below, key, &chunk->left, &chunk->right);
    if (!index->by_size) pull(index, chunk);
    note_small(index, tree);
    index->count++;
}

/* --- removal --- */

static uint32_t merge(const al_index *index, uint32_t a, uint32_t b) {
    if (a == 0 || b == 0) return a | b;
    bool upper_a = priority(a) > priority(b);
    al_free *x = node(index, upper_a ? a : b);
    if (upper_a)
        x->right = merge(index, x->right, b);
    else
        x->left = merge(index, a, x->left);
    if (!index->by_size) pull(index, x);
    return upper_a ? a : b;
}

static uint32_t *step_towards(const al_index *index, al_free *x, uint64_t key) {
    return key < key_of(index, x) ? &x->left : &x->right;
}

/* Where an ancestor's `most` may be the chunk's own size, it is computed anew on the way back. */
static void remove_below(const al_index *index, uint32_t *at, const al_free *chunk, uint64_t key) {
    al_free *x = node(index, *at);
    if (x == chunk) {
        *at = merge(index, x->left, x->right);
        return;
    }
    remove_below(index, step_towards(index, x, key), chunk, key);
    pull(index, x);
}

void al_index_remove(al_index *index, al_free *chunk) {
    const uint64_t key = key_of(index, chunk);
    const uint32_t size = grains(chunk), tree = tree_for(index, size);
    uint32_t *at = &index->trees[tree];
    for (al_free *x; x = node(index, *at), x != chunk && (index->by_size || x->most > size);)
        at = step_towards(index, x, key);
    if (index->by_size)
        *at = merge(index, chunk->left, chunk->right);
    else
        remove_below(index, at, chunk, key);
    note_small(index, tree);
    index->count--;
}

/* --- search --- */

static al_free *leftmost(const al_index *index, uint32_t link, uint32_t size) {
    if (most_of(index, link) < size) return NULL;
    for (;;) {
        al_free *x = node(index, link);
        if (most_of(index, x->left) >= size)
            link = x->left;
        else if (grains(x) >= size)
            return x;
        else
            link = x->right;
    }
}

static al_free *leftmost_from(const al_index *index, uint32_t link, uint32_t size, uint32_t from) {
    if (most_of(index, link) < size) return NULL;
    al_free *x = node(index, link);
    if (x->rank < from) return leftmost_from(index, x->right, size, from);
    al_free *found = leftmost_from(index, x->left, size, from);
    if (found != NULL) return found;
    return grains(x) >= size ? x : leftmost(index, x->right, size);
}

al_free *al_index_first(const al_index *index, size_t bytes, uint32_t from) {
    if (bytes > AL_INDEX_REACH) return NULL;
    const uint32_t size = (uint32_t)(bytes / AL_TAG_GRAIN);
    const uint32_t root = index->trees[AL_INDEX_SMALL];
    return from == 0 ? leftmost(index, root, size) : leftmost_from(index, root, size, from);
}

static al_free *smallest_large(const al_index *index, size_t size) {
    al_free *best = NULL;
    for (uint32_t link = index->trees[AL_INDEX_SMALL]; link != 0;) {
        al_free *x = node(index, link);
        bool fits = grains(x) >= size;
        if (fits) best = x;
        link = fits ? x->left : x->right;
    }
    return best;
}

al_free *al_index_smallest(const al_index *index, size_t bytes) {
    const size_t size = bytes / AL_TAG_GRAIN;
    const uint32_t tree = tree_for(index, size);
    const uint64_t small = tree == AL_INDEX_SMALL ? 0 : index->small >> tree;
    if (small == 0) return smallest_large(index, size);
    al_free *x = node(index, index->trees[tree + (uint32_t)__builtin_ctzll(small)]);
    while (x->left != 0) x = node(index, x->left);
    return x;
}

size_t al_index_largest(const al_index *index) {
    uint32_t link = index->trees[AL_INDEX_SMALL];
    if (link == 0 && index->small != 0) link = index->trees[al_log2_floor(index->small)];
    if (link == 0) return 0;
    const al_free *x = node(index, link);
    while (x->right != 0) x = node(index, x->right);
    return al_tag_size(&x->tag);
}

bool al_index_contains(const al_index *index, const al_free *chunk) {
    const uint64_t key = key_of(index, chunk);
    uint32_t link = index->trees[tree_for(index, grains(chunk))];
    while (link != 0 && node(index, link) != chunk) link = *step_towards(index, node(index, link), key);
    return link != 0;
}

/* --- check --- */

typedef struct check {
    const al_index *index;
    uint32_t tree;
    bool any; /* a node was visited; `last` is its key */
    uint64_t last;
    size_t seen;
    al_flaw *flaw;
} check;

static bool check_node(check *c, uint32_t link, const al_free *x) {
    const al_index *index = c->index;
    uint64_t key = key_of(index, x);
    if (al_tag_live(&x->tag)) return al_blame(c->flaw, x, "index: a live chunk is in it");
    if (tree_for(index, grains(x)) != c->tree) return al_blame(c->flaw, x, "index: a chunk in the tree of other sizes");
    if (c->any && key <= c->last) return al_blame(c->flaw, x, "index: keys out of order");
    if ((x->left != 0 && priority(x->left) > priority(link)) || (x->right != 0 && priority(x->right) > priority(link)))
        return al_blame(c->flaw, x, "index: a child has the higher priority");
    if (index->order == AL_ORDER_ADDRESS && x->rank != link)
        return al_blame(c->flaw, x, "index: the rank is not the address");
    if (index->by_size) return true;
    al_free expected = *x;
    pull(index, &expected);
    return expected.most == x->most || al_blame(c->flaw, x, "index: most is not the largest size below");
}

static bool check_subtree(check *c, uint32_t link) {
    if (link == 0) return true;
    if (++c->seen > c->index->count) return al_blame(c->flaw, NULL, "index: more nodes than counted, or a cycle");
    const al_free *x = node(c->index, link);
    if (!check_subtree(c, x->left) || !check_node(c, link, x)) return false;
    c->any = true;
    c->last = key_of(c->index, x);
    return check_subtree(c, x->right);
}

bool al_index_validate(const al_index *index, al_flaw *flaw) {
    check c = {.index = index, .flaw = flaw};
    for (c.tree = 0; c.tree <= AL_INDEX_SMALL; c.tree++) {
        const uint32_t root = index->trees[c.tree];
        if (!check_subtree(&c, root)) return false;
        if (c.tree < AL_INDEX_SMALL && (root != 0) != (index->small >> c.tree & 1))
            return al_blame(flaw, NULL, "index: the bit of a tree is wrong");
    }
    return c.seen == index->count || al_blame(flaw, NULL, "index: the count is not the number of nodes");
}

/* --- looking inside --- */

static bool visit_subtree(const al_index *index, uint32_t link, al_binned *entry, al_bin_fn *visit, void *context) {
    if (link == 0) return true;
    const al_free *x = node(index, link);
    if (!visit_subtree(index, x->left, entry, visit, context)) return false;
    entry->address = (uintptr_t)x;
    entry->bytes = al_tag_size(&x->tag);
    return visit(context, entry) && visit_subtree(index, x->right, entry, visit, context);
}

bool al_index_bins(const al_index *index, al_bin_fn *visit, void *context) {
    for (uint32_t tree = 0; tree <= AL_INDEX_SMALL; tree++) {
        const bool exact = tree < AL_INDEX_SMALL;
        const size_t least = AL_FREE_LEAST + (exact || index->by_size ? tree * AL_TAG_GRAIN : 0);
        al_binned entry = {.kind = "tree", .index = tree, .least = least, .most = exact ? least : SIZE_MAX};
        if (!visit_subtree(index, index->trees[tree], &entry, visit, context)) return false;
    }
    return true;
}
