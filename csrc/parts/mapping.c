#include "parts/mapping.h"

#include "base/align.h"

/* Gives back what lies in [from, to); true if it is gone. */
static bool cut_off(al_regions *regions, char *from, char *to) {
    return al_regions_munmap(regions, from, (size_t)(to - from)) == 0;
}

char *al_map_aligned(al_regions *regions, size_t alignment, size_t offset, size_t length, char **start, char **end) {
    size_t page = al_regions_page_size(regions), whole = length + alignment + page; /* so that no end is empty */
    void *out;
    if (al_regions_mmap(regions, NULL, whole, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) != 0) return NULL;
    *start = out;
    *end = *start + whole;
    char *first = (char *)al_align_up((uintptr_t)*start + page + offset, alignment) - offset, *last = first + length;
    if (cut_off(regions, *start, first)) *start = first;
    if (cut_off(regions, last, *end)) *end = last;
    return first;
}

/* Merge sort of the first `run` links of the list that `next` makes; *rest is what follows them. */
static al_link *sort_run(al_link **rest, size_t run) {
    if (run == 1) {
        al_link *one = *rest;
        *rest = one->next;
        one->next = NULL;
        return one;
    }
    al_link *a = sort_run(rest, run / 2), *b = sort_run(rest, run - run / 2), *sorted, **tail = &sorted;
    while (a != NULL && b != NULL) {
        al_link **least = (uintptr_t)a < (uintptr_t)b ? &a : &b;
        *tail = *least;
        tail = &(*least)->next;
        *least = (*least)->next;
    }
    *tail = a != NULL ? a : b;
    return sorted;
}

void al_list_sort(al_link *head, size_t count) {
    if (count == 0) return;
    al_link *rest = head->next, *sorted = sort_run(&rest, count);
    al_list_init(head);
    for (al_link *next; sorted != NULL; sorted = next) {
        next = sorted->next;
        al_list_insert_before(head, sorted);
    }
}
