/* A treap: a search tree by (length, address) in which no node has a higher priority than its parent. Priorities are
 * the addresses, scrambled, so that the tree's shape is as good as random and yet the same in every run. */
#include "allocators/tcmalloc/span.h"

static uint64_t scrambled(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* Cuts a tree in two: what comes before `node`, and the rest. */
static void split(tc_node *tree, const tc_node *node, tc_node **less, tc_node **more) {
    while (tree != NULL)
        if (al_tc_node_before(tree, node)) {
            *less = tree;
            less = &tree->right;
            tree = *less;
        } else {
            *more = tree;
            more = &tree->left;
            tree = *more;
        }
    *less = *more = NULL;
}

static tc_node *joined(tc_node *less, tc_node *more) {
    tc_node *root = NULL, **at = &root;
    while (less != NULL && more != NULL)
        if (less->priority > more->priority) {
            *at = less;
            at = &less->right;
            less = *at;
        } else {
            *at = more;
            at = &more->left;
            more = *at;
        }
    *at = less != NULL ? less : more;
    return root;
}

void al_tc_set_insert(tc_node **root, tc_node *node) {
    node->priority = scrambled(node->address);
    while (*root != NULL && (*root)->priority >= node->priority)
        root = al_tc_node_before(*root, node) ? &(*root)->right : &(*root)->left;
    tc_node *tree = *root;
    *root = node;
    split(tree, node, &node->left, &node->right);
}

void al_tc_set_remove(tc_node **root, tc_node *node) {
    while (*root != node) root = al_tc_node_before(*root, node) ? &(*root)->right : &(*root)->left;
    *root = joined(node->left, node->right);
}

tc_node *al_tc_set_fit(tc_node *root, size_t length) {
    tc_node *best = NULL;
    while (root != NULL)
        if (root->length < length) {
            root = root->right;
        } else {
            best = root;
            root = root->left;
        }
    return best;
}

tc_node *al_tc_set_next(tc_node *root, const tc_node *node) {
    tc_node *next = NULL;
    while (root != NULL)
        if (node != NULL && !al_tc_node_before(node, root)) {
            root = root->right;
        } else {
            next = root;
            root = root->left;
        }
    return next;
}
