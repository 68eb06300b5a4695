/* The heap's own vm_area_struct list: which ranges it holds, and with what rights.
 *
 *     VMAs are disjoint, nonempty and ordered; two neighbours that touch differ in kind (prot, heap, foreign)
 *
 * A treap whose nodes also know the sums and the largest gap of the VMAs below them, so that every operation, the
 * search for the highest gap that fits included, takes O(log n) expected steps among n VMAs, and O(k log n) more where
 * it removes or changes k of them. */
#ifndef AL_REGION_VMA_H
#define AL_REGION_VMA_H

#include "base/rng.h"
#include "region/own.h"
#include "region/region.h"

typedef struct al_vma_node al_vma_node;

typedef struct al_vma_list {
    al_own *own; /* where nodes come from */
    al_vma_node *root;
    al_vma_node *idle; /* nodes given back, and those prepared */
    size_t idle_count;
    al_rng rng; /* priorities: seeded, so that every run builds the same tree */
} al_vma_list;

typedef struct al_vma_sums {
    size_t count, reserved, mapped; /* VMAs; their bytes; the bytes of those that are AL_PROT_READ_WRITE */
} al_vma_sums;

void al_vma_init(al_vma_list *list, al_own *own);

/* Makes sure that the next set, clear or protect does not want for nodes. ENOMEM. */
int al_vma_prepare(al_vma_list *list);

/* [start, end) becomes one VMA of this kind, joined with its neighbours of equal kind, whatever was there before. */
void al_vma_set(al_vma_list *list, uintptr_t start, uintptr_t end, al_prot prot, bool heap);
void al_vma_clear(al_vma_list *list, uintptr_t start, uintptr_t end);
/* [start, end), held by nobody, is taken by someone else: no sum counts it, but it is no gap either. */
void al_vma_block(al_vma_list *list, uintptr_t start, uintptr_t end);
/* Changes the rights of what there is in [start, end); holes stay holes. */
void al_vma_protect(al_vma_list *list, uintptr_t start, uintptr_t end, al_prot prot);

/* The first VMA that ends after address (it holds the address, or begins above it). False: there is none. */
bool al_vma_after(const al_vma_list *list, uintptr_t address, al_vma *out);

al_vma_sums al_vma_all(const al_vma_list *list);
/* Of the parts of VMAs in [start, end). [start, end) is held entirely where reserved = end - start. */
al_vma_sums al_vma_within(const al_vma_list *list, uintptr_t start, uintptr_t end);

uintptr_t al_vma_end(const al_vma_list *list); /* of the last VMA; 0 where there is none */

/* The end of the highest gap of at least `bytes` in [low, high), which holds all VMAs; 0 where there is none. */
uintptr_t al_vma_highest_gap(const al_vma_list *list, uintptr_t low, uintptr_t high, size_t bytes);

#endif
