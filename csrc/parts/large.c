#include "parts/large.h"

static char *mapping_of(const al_large *large) { return (char *)(large + 1) - large->prefix; }
static size_t length_of(const al_large *large) { return large->prefix + al_tag_usable(&large->tag); }

/* Gives back what lies in [from, to); true if it is gone. */
static bool cut_off(al_regions *regions, char *from, char *to) {
    return from == to || al_regions_munmap(regions, from, (size_t)(to - from)) == 0;
}

static char *map(al_regions *regions, size_t bytes) {
    void *out;
    int error = al_regions_mmap(regions, NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out);
    return error == 0 ? out : NULL;
}

/* Maps so much that an aligned block with *prefix bytes before it lies somewhere inside, and cuts off both ends. An end
 * that the system will not take back stays part of the block's mapping. */
static bool map_aligned(al_regions *regions, size_t alignment, size_t length, size_t *prefix, char **start, char **end) {
    size_t whole = length + alignment - al_regions_page_size(regions);
    *start = map(regions, whole);
    if (*start == NULL) return false;
    *end = *start + whole;
    char *block = (char *)al_align_up((uintptr_t)*start + *prefix, alignment);
    char *first = block - *prefix, *last = first + length;
    if (cut_off(regions, *start, first)) *start = first;
    if (cut_off(regions, last, *end)) *end = last;
    *prefix = (size_t)(block - *start);
    return true;
}

void *al_large_map(al_larges *larges, size_t alignment, size_t bytes) {
    if (larges->dead > 0) al_large_sweep(larges);
    size_t page = al_regions_page_size(larges->regions);
    size_t prefix = alignment <= page ? al_align_up(sizeof(al_large), alignment) : page;
    size_t length = al_align_up(prefix + al_max(bytes, 1), page);
    char *start, *end;
    if (alignment <= page) {
        start = map(larges->regions, length);
        if (start == NULL) return NULL;
        end = start + length;
    } else if (!map_aligned(larges->regions, alignment, length, &prefix, &start, &end)) {
        return NULL;
    }
    al_large *large = al_large_of(start + prefix);
    size_t usable = (size_t)(end - start) - prefix;
    large->prefix = prefix;
    large->tag.head = (usable + AL_TAG_BYTES) | AL_TAG_LIVE | AL_TAG_MAPPED;
    al_list_insert_before(&larges->list, &large->link);
    larges->count++;
    larges->ledger->metadata += prefix;
    larges->ledger->usable += usable;
    return large + 1;
}

/* pre: not LIVE, counted as free. */
static bool unmap_dead(al_larges *larges, al_large *large) {
    size_t length = length_of(large);
    al_link link = large->link;
    if (al_regions_munmap(larges->regions, mapping_of(large), length) != 0) return false;
    link.prev->next = link.next;
    link.next->prev = link.prev;
    larges->count--;
    larges->dead--;
    larges->ledger->free -= length;
    return true;
}

void al_large_unmap(al_larges *larges, void *block) {
    if (larges->dead > 0) al_large_sweep(larges);
    al_large *large = al_large_of(block);
    large->tag.head &= ~(size_t)AL_TAG_LIVE;
    larges->dead++;
    larges->ledger->metadata -= large->prefix;
    larges->ledger->usable -= al_tag_usable(&large->tag);
    larges->ledger->free += length_of(large);
    unmap_dead(larges, large);
}

bool al_large_sweep(al_larges *larges) {
    bool any = false;
    for (al_link *link = larges->list.next, *next; larges->dead > 0 && link != &larges->list; link = next) {
        next = link->next;
        al_large *large = al_container(link, al_large, link);
        if (!al_tag_live(&large->tag)) any |= unmap_dead(larges, large);
    }
    return any;
}

void *al_large_resize(al_larges *larges, void *block, size_t bytes) {
    al_large *large = al_large_of(block);
    size_t prefix = large->prefix, old = length_of(large);
    size_t length = al_align_up(prefix + bytes, al_regions_page_size(larges->regions));
    if (length == old) return block;
    void *moved;
    if (al_regions_mremap(larges->regions, mapping_of(large), old, length, length > old, &moved) != 0)
        return length < old ? block : NULL;
    large = al_large_of((char *)moved + prefix);
    large->link.prev->next = large->link.next->prev = &large->link;
    large->tag.head = (length - prefix + AL_TAG_BYTES) | AL_TAG_LIVE | AL_TAG_MAPPED;
    larges->ledger->usable += length - old;
    return large + 1;
}

/* --- looking inside --- */

/* Merge sort by address of the first `run` links of the list that `next` makes; *rest is what follows them. */
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

static void sort(al_larges *larges) {
    if (larges->count == 0) return;
    al_link *rest = larges->list.next, *sorted = sort_run(&rest, larges->count);
    al_list_init(&larges->list);
    for (al_link *next; sorted != NULL; sorted = next) {
        next = sorted->next;
        al_list_insert_before(&larges->list, sorted);
    }
}

static bool visit_large(const al_large *large, al_walk_fn *visit, void *context) {
    al_chunk piece = {.address = (uintptr_t)mapping_of(large), .bytes = length_of(large), .state = AL_STATE_FREE};
    if (al_tag_live(&large->tag)) {
        piece.state = AL_STATE_LIVE;
        piece.block = (uintptr_t)(large + 1);
        piece.usable = al_tag_usable(&large->tag);
    }
    return visit(context, &piece);
}

bool al_large_walk(al_larges *larges, uintptr_t from, uintptr_t to, al_walk_fn *visit, void *context) {
    sort(larges);
    for (al_link *link = larges->list.next; link != &larges->list; link = link->next) {
        const al_large *large = al_container(link, al_large, link);
        uintptr_t at = (uintptr_t)mapping_of(large);
        if (at >= from && at < to && !visit_large(large, visit, context)) return false;
    }
    return true;
}

static const char *flaw_of(const al_large *large, size_t page) {
    if (large->link.next->prev != &large->link || large->link.prev->next != &large->link)
        return "mapped block: its links are not symmetric";
    if (!(large->tag.head & AL_TAG_MAPPED)) return "mapped block: its tag does not say so";
    if (!al_is_aligned((uintptr_t)mapping_of(large), page) || !al_is_aligned(length_of(large), page))
        return "mapped block: its mapping is not made of pages";
    return NULL;
}

bool al_large_validate(const al_larges *larges, al_flaw *flaw) {
    size_t page = al_regions_page_size(larges->regions), count = 0, dead = 0;
    for (const al_link *link = larges->list.next; link != &larges->list; link = link->next) {
        const al_large *large = al_container(link, al_large, link);
        const char *what = flaw_of(large, page);
        count++;
        dead += !al_tag_live(&large->tag);
        if (what == NULL && count > larges->count) what = "mapped blocks: more in the list than counted";
        if (what != NULL) return al_blame(flaw, large, what);
    }
    if (count == larges->count && dead == larges->dead) return true;
    return al_blame(flaw, NULL, "mapped blocks: the counts are not those of the list");
}
