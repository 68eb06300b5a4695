#include "parts/large.h"

#include "parts/mapping.h"

static char *mapping_of(const al_large *large) { return (char *)(large + 1) - large->prefix; }
static size_t length_of(const al_large *large) { return large->prefix + al_tag_usable(&large->tag); }

/* [*start, *end) around `length` bytes, of which the byte at `prefix` is aligned; where these begin. NULL: no
 * memory. */
static char *map(al_regions *regions, size_t alignment, size_t prefix, size_t length, char **start, char **end) {
    void *out;
    if (alignment > al_regions_page_size(regions))
        return al_map_aligned(regions, alignment, prefix, length, start, end);
    if (al_regions_mmap(regions, NULL, length, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) != 0) return NULL;
    *start = out;
    *end = *start + length;
    return out;
}

void *al_large_map(al_larges *larges, size_t alignment, size_t bytes) {
    if (larges->dead > 0) al_large_sweep(larges);
    size_t page = al_regions_page_size(larges->regions);
    size_t prefix = alignment <= page ? al_align_up(sizeof(al_large), alignment) : page;
    size_t length = al_align_up(prefix + al_max(bytes, 1), page);
    char *start, *end, *first = map(larges->regions, alignment, prefix, length, &start, &end);
    if (first == NULL) return NULL;
    char *block = first + prefix;
    prefix = (size_t)(block - start);
    al_large *large = al_large_of(block);
    size_t usable = (size_t)(end - block);
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

void *al_large_resize(al_larges *larges, void *block, size_t bytes, bool may_move) {
    al_large *large = al_large_of(block);
    size_t prefix = large->prefix, old = length_of(large);
    size_t length = al_align_up(prefix + bytes, al_regions_page_size(larges->regions));
    if (length == old) return block;
    void *moved;
    if (al_regions_mremap(larges->regions, mapping_of(large), old, length, may_move && length > old, &moved) != 0)
        return length < old ? block : NULL;
    large = al_large_of((char *)moved + prefix);
    large->link.prev->next = large->link.next->prev = &large->link;
    large->tag.head = (length - prefix + AL_TAG_BYTES) | AL_TAG_LIVE | AL_TAG_MAPPED;
    larges->ledger->usable += length - old;
    return large + 1;
}

/* --- looking inside --- */

static bool visit_large(const al_large *large, al_walk_fn *visit, void *context) {
    al_chunk piece = {.address = (uintptr_t)mapping_of(large), .bytes = length_of(large), .state = AL_STATE_FREE};
    if (al_tag_live(&large->tag)) {
        piece.state = AL_STATE_LIVE;
        piece.block = (uintptr_t)(large + 1);
        piece.usable = al_tag_usable(&large->tag);
    }
    return visit(context, &piece);
}

const al_link *al_large_first(al_larges *larges) {
    al_list_sort(&larges->list, larges->count);
    return larges->list.next;
}

bool al_large_walk(const al_larges *larges, const al_link **at, uintptr_t to, al_walk_fn *visit, void *context) {
    for (; *at != &larges->list; *at = (*at)->next) {
        const al_large *large = al_container(*at, al_large, link);
        if ((uintptr_t)large >= to) break;
        if (!visit_large(large, visit, context)) return false;
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
