/* What every heap must satisfy, whatever its allocator:
 *
 *     two VMAs that touch differ in kind, or they would be one
 *     the walk goes over every readable and writable VMA from end to end, without gap or overlap
 *     for each state, the sum over the walk = its entry in the ledger
 *     the ledger's sum = counters->mapped */
#include "allocators/heap.h"
#include "allocators/rules.h"
#include "base/align.h"

typedef struct survey {
    const al_vma *vma, *end; /* the walk is inside *vma ... */
    uintptr_t at;            /* ... and must go on here */
    al_ledger sums;
    al_flaw *flaw;
    bool sound;
} survey;

/* Leaves VMAs that the walk has finished or that hold no bytes of the account. */
static void next_vma(survey *s) {
    while (s->vma < s->end && (s->vma->prot == AL_PROT_NONE || s->at >= s->vma->end)) s->vma++;
    if (s->vma < s->end && s->at < s->vma->start) s->at = s->vma->start;
}

static bool add_to_sums(al_ledger *sums, const al_chunk *chunk) {
    switch (chunk->state) {
    case AL_STATE_LIVE:
        sums->usable += chunk->usable;
        sums->metadata += chunk->bytes - chunk->usable;
        return chunk->usable <= chunk->bytes && chunk->block >= chunk->address &&
               chunk->block + chunk->usable <= chunk->address + chunk->bytes;
    case AL_STATE_FREE: sums->free += chunk->bytes; break;
    case AL_STATE_CACHED: sums->cached += chunk->bytes; break;
    case AL_STATE_METADATA: sums->metadata += chunk->bytes; break;
    }
    return chunk->block == 0 && chunk->usable == 0;
}

static bool survey_chunk(void *context, const al_chunk *chunk) {
    survey *s = context;
    const void *at = (const void *)chunk->address;
    s->sound = false;
    if (chunk->bytes == 0) return al_blame(s->flaw, at, "walk: a chunk of no bytes");
    if (!add_to_sums(&s->sums, chunk)) return al_blame(s->flaw, at, "walk: block or usable does not fit");
    if (s->vma == s->end) return al_blame(s->flaw, at, "walk: a chunk above the last VMA");
    if (chunk->address != s->at) return al_blame(s->flaw, (const void *)s->at, "walk: a gap or an overlap");
    s->at += chunk->bytes;
    while (s->at > s->vma->end) { /* a chunk may cross from one VMA into the next that touches it */
        uintptr_t seam = s->vma->end;
        s->vma++;
        if (s->vma == s->end || s->vma->start != seam || s->vma->prot == AL_PROT_NONE)
            return al_blame(s->flaw, at, "walk: a chunk reaches beyond its VMA");
    }
    next_vma(s);
    s->sound = true;
    return true;
}

static bool check_sums(al_heap *heap, const al_ledger *sums, al_flaw *flaw) {
    const al_ledger ledger = al_rule_ledger(heap);
    if (sums->usable != ledger.usable) return al_blame(flaw, NULL, "ledger: usable is not the walk's sum");
    if (sums->metadata != ledger.metadata) return al_blame(flaw, NULL, "ledger: metadata is not the walk's sum");
    if (sums->cached != ledger.cached) return al_blame(flaw, NULL, "ledger: cached is not the walk's sum");
    if (sums->free != ledger.free) return al_blame(flaw, NULL, "ledger: free is not the walk's sum");
    if (al_ledger_sum(&ledger) != al_regions_counters(heap->regions)->mapped)
        return al_blame(flaw, NULL, "ledger: its sum is not what is mapped");
    return true;
}

static bool check_vmas(const al_vma *vmas, size_t count, al_flaw *flaw) {
    for (size_t i = 1; i < count; i++) {
        const al_vma *low = &vmas[i - 1], *high = &vmas[i];
        if (low->end == high->start && low->prot == high->prot && low->heap == high->heap)
            return al_blame(flaw, (const void *)high->start, "VMAs: two that touch and are alike");
    }
    return true;
}

static bool check_walk(al_heap *heap, const al_vma *vmas, size_t count, al_flaw *flaw) {
    survey s = {.vma = vmas, .end = vmas + count, .flaw = flaw, .sound = true};
    next_vma(&s);
    heap->allocator->walk(heap, survey_chunk, &s);
    if (!s.sound) return false;
    if (s.vma != s.end) return al_blame(flaw, (const void *)s.at, "walk: it ends before the last VMA does");
    return check_sums(heap, &s.sums, flaw);
}

/* The list of VMAs needs room that is neither the heap's nor malloc's: a mapping for as long as the check takes. */
static bool check_all(al_heap *heap, al_flaw *flaw) {
    if (!heap->allocator->validate(heap, flaw)) return false;
    size_t count = al_regions_vmas(heap->regions, NULL, 0);
    if (count == 0) return check_walk(heap, NULL, 0, flaw);
    size_t bytes = al_align_up(count * sizeof(al_vma), al_os_linux.page_size());
    void *vmas;
    if (al_os_linux.map(NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, false, &vmas) != 0)
        return al_blame(flaw, NULL, "no memory for the check itself");
    al_regions_vmas(heap->regions, vmas, count);
    bool sound = check_vmas(vmas, count, flaw) && check_walk(heap, vmas, count, flaw);
    al_os_linux.unmap(vmas, bytes);
    return sound;
}

bool al_heap_validate(al_heap *heap, al_flaw *flaw) {
    bool locked = al_heap_enter(heap);
    bool sound = check_all(heap, flaw);
    al_heap_leave(heap, locked);
    return sound;
}
