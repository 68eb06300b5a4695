#include "parts/finds.h"

#include "base/align.h"

#include <string.h>

void al_finds_open(al_finds *finds, const al_regions *regions) {
    *finds = (al_finds){0};
    al_own_init(&finds->own, al_regions_os(regions));
}

void al_finds_close(al_finds *finds) { al_own_release(&finds->own); }

static void grow(al_finds *finds) {
    enum { FIRST_ROOM = 1000 };
    size_t room = finds->room == 0 ? FIRST_ROOM : 2 * finds->room;
    al_find *all = al_own_take(&finds->own, room * sizeof *all);
    if (all == NULL) return;
    if (finds->count > 0) memcpy(all, finds->all, finds->count * sizeof *all);
    finds->all = all;
    finds->room = room;
}

void al_finds_add(al_finds *finds, uint64_t key, uint64_t next, void *what) {
    if (finds->count == finds->room) grow(finds);
    if (finds->count == finds->room)
        finds->lost = true;
    else
        finds->all[finds->count++] = (al_find){key, next, what};
}

/* --- order --- */

static bool before(const al_find *a, const al_find *b) {
    return a->key != b->key ? a->key < b->key : a->next < b->next;
}

/* all[at] sinks until no child of it comes after it. */
static void sink(al_find *all, size_t at, size_t count) {
    const al_find sinking = all[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && before(&all[child], &all[child + 1]);
        if (!before(&sinking, &all[child])) break;
        all[at] = all[child];
    }
    all[at] = sinking;
}

void al_finds_sort(al_finds *finds) {
    for (size_t i = finds->count / 2; i > 0; i--) sink(finds->all, i - 1, finds->count);
    for (size_t left = finds->count; left > 1; left--) {
        const al_find last = finds->all[0];
        finds->all[0] = finds->all[left - 1];
        finds->all[left - 1] = last;
        sink(finds->all, 0, left - 1);
    }
}

size_t al_finds_from(const al_finds *finds, uint64_t key) {
    size_t low = 0, high = finds->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (finds->all[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const al_find *al_finds_at(const al_finds *finds, uint64_t key) {
    const size_t i = al_finds_from(finds, key);
    return i < finds->count && finds->all[i].key == key ? &finds->all[i] : NULL;
}

/* --- memory --- */

bool al_readable(const al_regions *regions, const void *at, size_t bytes, size_t alignment) {
    al_vma vma;
    uintptr_t start = (uintptr_t)at;
    return al_is_aligned(start, alignment) && al_regions_vma_after(regions, start, &vma) && vma.start <= start &&
           vma.prot == AL_PROT_READ_WRITE && bytes <= vma.end - start;
}
