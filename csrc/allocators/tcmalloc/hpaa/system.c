/* The system: reservations of 1 GiB, committed from the top downwards; metadata in reservations of its own.
 *
 * In a process a reservation lies at a random address that tells its use by three bits; a window places it. Where there
 * is no room for so much (a small window, a limit on addresses), it is no larger than needed; and where there is none
 * at all, what the other use has reserved and not committed is taken, from its low end. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

enum { DRAWS = 8, TAG_BITS = 42 };

static const uintptr_t TAGS[HP_USES] = {[HP_FOR_PAGES] = 1, [HP_FOR_METADATA] = 3};

static al_regions *regions_of(const hp_heap *heap) { return heap->base.heap.regions; }

/* --- reservations --- */

/* 47 bits, of which 42 to 44 are the tag, and the low 30 are zero. */
static uintptr_t random_address(al_rng *rng, hp_use use) {
    const uintptr_t drawn = al_rng_next(rng) & ((UINT64_C(1) << 47) - HP_GIB), tags = UINT64_C(7) << TAG_BITS;
    return (drawn & ~tags) | TAGS[use] << TAG_BITS;
}

/* What is not whole hugepages is not kept. */
static bool trim(hp_heap *heap, uintptr_t at, size_t bytes, uintptr_t start, uintptr_t end) {
    if (start > at) al_regions_munmap(regions_of(heap), (void *)at, start - at);
    if (end < at + bytes) al_regions_munmap(regions_of(heap), (void *)end, at + bytes - end);
    return true;
}

/* Somewhere, if `least` bytes of it are whole hugepages. */
static bool reserve_anywhere(hp_heap *heap, size_t bytes, size_t least, uintptr_t *start, uintptr_t *end) {
    void *at;
    if (al_regions_mmap(regions_of(heap), NULL, bytes, AL_PROT_NONE, AL_PLACE_ANYWHERE, &at) != 0) return false;
    *start = al_align_up((uintptr_t)at, HP_HUGE);
    *end = al_align_down((uintptr_t)at + bytes, HP_HUGE);
    if (*end > *start && *end - *start >= least) return trim(heap, (uintptr_t)at, bytes, *start, *end);
    al_regions_munmap(regions_of(heap), at, bytes);
    return false;
}

static bool reserve_tagged(hp_heap *heap, hp_use use, size_t bytes, uintptr_t *start, uintptr_t *end) {
    int error = al_regions_base(regions_of(heap)) != NULL ? EINVAL : EEXIST;
    for (int i = 0; i < DRAWS && error == EEXIST; i++) {
        void *at = (void *)random_address(&heap->pages.system.rng, use);
        error = al_regions_mmap(regions_of(heap), at, bytes, AL_PROT_NONE, AL_PLACE_NOREPLACE, &at);
        *start = (uintptr_t)at;
        *end = *start + bytes;
    }
    return error == 0;
}

static bool reserve(hp_heap *heap, hp_use use, size_t bytes, uintptr_t *start, uintptr_t *end) {
    const size_t usual = al_align_up(bytes, HP_GIB), odd = bytes + HP_HUGE - al_regions_page_size(regions_of(heap));
    bool done = reserve_tagged(heap, use, usual, start, end) || reserve_anywhere(heap, usual, bytes, start, end) ||
                (bytes < usual && reserve_anywhere(heap, bytes, bytes, start, end)) ||
                reserve_anywhere(heap, odd, bytes, start, end);
    heap->pages.system.reservations += done;
    if (done && use == HP_FOR_METADATA) /* large pages would only be half used; without them it works as well */
        al_regions_madvise(regions_of(heap), (void *)*start, *end - *start, AL_ADVISE_NOHUGEPAGE);
    return done;
}

static hp_area *area_with(hp_system *system, hp_use use, size_t bytes) {
    for (unsigned i = system->counts[use]; i-- > 0;) {
        hp_area *area = &system->areas[use][i];
        if (area->at - area->start >= bytes) return area;
    }
    return NULL;
}

/* From what the other use has reserved. */
static bool borrow(hp_system *system, hp_use use, size_t bytes, uintptr_t *start, uintptr_t *end) {
    hp_area *other = area_with(system, use == HP_FOR_PAGES ? HP_FOR_METADATA : HP_FOR_PAGES, bytes);
    if (other == NULL) return false;
    *start = other->start;
    *end = other->start += bytes;
    return true;
}

/* An area of which so many bytes, whole hugepages, can be committed; the newest such. NULL: there is no room. */
static hp_area *area_for(hp_heap *heap, hp_use use, size_t bytes) {
    hp_system *system = &heap->pages.system;
    hp_area *area = area_with(system, use, bytes);
    uintptr_t start, end;
    if (area != NULL) return area;
    const unsigned count = system->counts[use];
    if (count == HP_AREAS_MOST) return NULL;
    if (!reserve(heap, use, bytes, &start, &end) && !borrow(system, use, bytes, &start, &end)) return NULL;
    area = count == 0 ? NULL : &system->areas[use][count - 1];
    if (area != NULL && area->start == end) { /* they adjoin: as one */
        area->start = start;
        return area;
    }
    area = &system->areas[use][system->counts[use]++];
    *area = (hp_area){start, end, end};
    return area;
}

static bool commit(hp_heap *heap, hp_area *area, size_t bytes) {
    if (area->at - area->start < bytes) return false;
    void *from = (void *)(area->at - bytes);
    if (al_regions_mprotect(regions_of(heap), from, bytes, AL_PROT_READ_WRITE) != 0) return false;
    area->at -= bytes;
    return true;
}

/* --- metadata --- */

/* Downwards from the last one. */
void *al_hp_metadata(tc_base *base, size_t bytes) {
    hp_heap *heap = al_hp_base(base);
    hp_system *system = &heap->pages.system;
    bytes = al_align_up(bytes, 64);
    const size_t room = system->metadata == NULL ? 0 : system->metadata_at - system->metadata->at;
    if (bytes > room) {
        hp_area *area = area_for(heap, HP_FOR_METADATA, al_align_up(bytes, HP_HUGE));
        if (area == NULL) return NULL;
        const uintptr_t top = area == system->metadata ? system->metadata_at : area->at;
        const size_t more = al_align_up(bytes - (top - area->at), HP_HUGE);
        if (!commit(heap, area, more)) return NULL;
        heap->pages.metadata_bytes += more;
        system->metadata = area;
        system->metadata_at = top;
    }
    system->metadata_at -= bytes;
    return (void *)system->metadata_at;
}

bool al_hp_metadata_at(const hp_heap *heap, uintptr_t address, uintptr_t *end) {
    const hp_system *system = &heap->pages.system;
    for (unsigned i = 0; i < system->counts[HP_FOR_METADATA] && i < HP_AREAS_MOST; i++) {
        const hp_area *area = &system->areas[HP_FOR_METADATA][i];
        if (address < area->at || address >= area->end) continue;
        *end = area->end;
        return true;
    }
    return false;
}

/* --- pages --- */

/* Leaves of the map, and records of hugepages. */
static bool prepare(hp_heap *heap, uintptr_t from, uintptr_t to) {
    hp_gib **gibs = heap->pages.gibs;
    if ((to - 1) >> 30 >= HP_GIBS) return false;
    for (uintptr_t gib = from >> 30; gib <= (to - 1) >> 30; gib++) {
        if (gibs[gib] != NULL) continue;
        gibs[gib] = al_hp_metadata(&heap->base, sizeof(hp_gib));
        if (gibs[gib] == NULL) return false;
        for (uintptr_t i = 0; i < HP_GIB_HUGE; i++) gibs[gib]->of[i].node.address = gib << 30 | i << HP_HUGE_BITS;
    }
    return al_tc_map_prepare(&heap->base, from >> TC_PAGE_BITS, (to - 1) >> TC_PAGE_BITS);
}

uintptr_t al_hp_commit(hp_heap *heap, size_t hugepages) {
    const size_t bytes = hugepages << HP_HUGE_BITS;
    hp_area *area = area_for(heap, HP_FOR_PAGES, bytes);
    if (area == NULL || !prepare(heap, area->at - bytes, area->at) || !commit(heap, area, bytes)) return 0;
    heap->pages.system.committed += hugepages;
    return area->at;
}

bool al_hp_unback(hp_heap *heap, uintptr_t address, size_t bytes) {
    if (al_regions_madvise(regions_of(heap), (void *)address, bytes, AL_ADVISE_DONTNEED) != 0) return false;
    heap->pages.unbackings++;
    heap->pages.unbacked_bytes += bytes;
    return true;
}
