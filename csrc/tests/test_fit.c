/* fit where Python cannot lead it: a stranger moves the break, ranks run out, and faults seeded into a heap are
 * found. */
#undef NDEBUG
#include "allocators/fit/fit.h"
#include "allocators/heap.h"
#include "base/rng.h"
#include "tests/heaps.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

extern const al_allocator al_fit;

static al_heap *make_in(const char *options, al_space space, size_t window_bytes) {
    return make_heap(&al_fit, options, (al_regions_config){.space = space, .window_bytes = window_bytes});
}

static al_heap *make(const char *options, al_space space) { return make_in(options, space, (size_t)1 << 30); }

static void check(al_heap *heap) {
    al_flaw flaw = {0};
    assert(al_heap_validate(heap, &flaw));
}

/* --- a stranger's break --- */

/* Each move of the break by `stranger` bytes ends a segment: no block lies in the stranger's bytes, calloc stays zero,
 * and what the old top left is used. */
static void live_with_a_stranger(const char *options, intptr_t stranger) {
    al_heap *heap = make(options, AL_SPACE_PROCESS);
    al_thread *thread = al_thread_create(heap);
    void *blocks[64];
    for (int i = 0; i < 64; i++) {
        char *theirs = i % 8 == 3 ? sbrk(stranger) : NULL;
        if (theirs != NULL) memset(theirs, 0xee, (size_t)stranger);
        blocks[i] = al_heap_malloc(thread, 20000);
        assert(blocks[i] != NULL);
        memset(blocks[i], i, 20000);
        unsigned char *zeroed = al_heap_calloc(thread, 1, 3000);
        for (int k = 0; k < 3000; k++) assert(zeroed[k] == 0);
        memset(zeroed, 0xff, 3000);
        al_heap_free(thread, zeroed);
        check(heap);
        if (theirs != NULL)
            for (intptr_t k = 0; k < stranger; k++) assert((unsigned char)theirs[k] == 0xee);
    }
    size_t segments = 0;
    for (const al_segment *s = al_fit_of(heap)->top.first; s != NULL; s = s->next) segments++;
    assert(segments > 4);
    for (int i = 0; i < 64; i++) {
        blocks[i] = al_heap_realloc(thread, blocks[i], 30000);
        for (int k = 0; k < 20000; k++) assert(((unsigned char *)blocks[i])[k] == i);
    }
    for (int i = 0; i < 64; i++) {
        al_heap_free(thread, blocks[i]);
        check(heap);
    }
    assert(al_heap_ledger(heap).usable == 0);
    al_heap_destroy(heap);
}

/* A segment above so many of a stranger's bytes would be out of the index's reach: blocks get mappings instead. */
static void stay_within_reach(void) {
    al_heap *heap = make_in("", AL_SPACE_WINDOW, (size_t)128 << 30);
    al_thread *thread = al_thread_create(heap);
    void *first = al_heap_malloc(thread, 1000);
    assert(al_regions_foreign_brk(heap->regions, (intptr_t)70 << 30) == 0);
    void *blocks[100];
    for (int i = 0; i < 100; i++) assert((blocks[i] = al_heap_malloc(thread, 10000)) != NULL);
    check(heap);
    const al_top *top = &al_fit_of(heap)->top;
    assert(top->first == top->newest && al_fit_of(heap)->larges.count > 50);
    for (int i = 0; i < 100; i++) al_heap_free(thread, blocks[i]);
    al_heap_free(thread, first);
    check(heap);
    al_heap_destroy(heap);
}

/* --- ranks --- */

/* Two heaps through the same calls, one of them close to the end of its ranks all the time: the same addresses. */
static void number_ranks_anew(const char *options) {
    al_heap *plain = make(options, AL_SPACE_WINDOW), *worn = make(options, AL_SPACE_WINDOW);
    al_thread *one = al_thread_create(plain), *two = al_thread_create(worn);
    al_index *index = &al_fit_of(worn)->index;
    const bool lifo = index->order == AL_ORDER_LIFO;
    const uintptr_t base_one = (uintptr_t)al_regions_base(plain->regions);
    const uintptr_t base_two = (uintptr_t)al_regions_base(worn->regions);
    void *a[100] = {NULL}, *b[100] = {NULL};
    al_rng rng = {3};
    unsigned renumbered = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t draw = al_rng_next(&rng);
        size_t slot = draw % 100, bytes = (draw >> 32) % 600;
        if (i % 300 == 0) index->next_rank = lifo ? 30 : UINT32_MAX - 30; /* as if so many had been given */
        uint32_t before = index->next_rank;
        al_heap_free(one, a[slot]);
        al_heap_free(two, b[slot]);
        a[slot] = al_heap_malloc(one, bytes);
        b[slot] = al_heap_malloc(two, bytes);
        assert((uintptr_t)a[slot] - base_one == (uintptr_t)b[slot] - base_two);
        renumbered += lifo ? index->next_rank > before : index->next_rank < before;
        if (i % 50 == 0) check(worn);
    }
    assert(renumbered > 20);
    al_heap_destroy(plain);
    al_heap_destroy(worn);
}

/* --- seeded faults --- */

/* live | free | live | free | live, and what the check says after one word is wrong. */
static bool finds(void (*damage)(al_heap *heap, al_tag **chunks)) {
    al_heap *heap = make("policy=first", AL_SPACE_WINDOW);
    al_thread *thread = al_thread_create(heap);
    void *blocks[5];
    al_tag *chunks[5];
    for (int i = 0; i < 5; i++) {
        blocks[i] = al_heap_malloc(thread, 100);
        chunks[i] = al_tag_of(blocks[i]);
    }
    al_heap_free(thread, blocks[1]);
    al_heap_free(thread, blocks[3]);
    check(heap);
    damage(heap, chunks);
    al_flaw flaw = {0};
    bool sound = al_heap_validate(heap, &flaw);
    al_heap_destroy(heap);
    return !sound && flaw.what != NULL;
}

static void lose_prev_free(al_heap *heap, al_tag **chunks) {
    (void)heap;
    chunks[2]->head &= ~(size_t)AL_TAG_PREV_FREE;
}
static void gain_prev_free(al_heap *heap, al_tag **chunks) {
    (void)heap;
    chunks[1]->head |= AL_TAG_PREV_FREE;
}
static void break_foot(al_heap *heap, al_tag **chunks) {
    (void)heap;
    chunks[2][-1].head += 16;
}
static void break_size(al_heap *heap, al_tag **chunks) {
    (void)heap;
    chunks[0]->head += 16;
}
static void forget_free(al_heap *heap, al_tag **chunks) {
    al_index_remove(&al_fit_of(heap)->index, (al_free *)chunks[1]);
}
static void free_twice_over(al_heap *heap, al_tag **chunks) {
    chunks[2]->head &= ~(size_t)AL_TAG_LIVE;
    al_fit_shelve(al_fit_of(heap), chunks[2]);
}
static void break_most(al_heap *heap, al_tag **chunks) {
    (void)heap;
    ((al_free *)chunks[1])->most += 1;
}
static void break_order(al_heap *heap, al_tag **chunks) {
    (void)heap;
    ((al_free *)chunks[1])->rank = UINT32_MAX;
}
static void miscount(al_heap *heap, al_tag **chunks) {
    (void)chunks;
    al_fit_of(heap)->chunks++;
}
static void misbook(al_heap *heap, al_tag **chunks) {
    (void)chunks;
    heap->ledger.free += 16;
    heap->ledger.usable -= 16;
}
static void uncount_a_call(al_heap *heap, al_tag **chunks) {
    void *old;
    (void)chunks;
    assert(al_regions_brk(heap->regions, 4096, &old) == 0);
}
static void trust_used_memory(al_heap *heap, al_tag **chunks) { al_fit_of(heap)->fresh = (uintptr_t)chunks[4]; }

static void find_seeded_faults(void) {
    void (*const faults[])(al_heap *, al_tag **) = {
        lose_prev_free, gain_prev_free, break_foot, break_size, forget_free,    free_twice_over,
        break_most,     break_order,    miscount,   misbook,    uncount_a_call, trust_used_memory,
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) assert(finds(faults[i]));
}

int main(void) {
    live_with_a_stranger("", 100);
    live_with_a_stranger("policy=next,coalesce=deferred,top_pad=0", 4096);
    live_with_a_stranger("policy=worst,order=fifo,coalesce=never", 70000);
    stay_within_reach();
    number_ranks_anew("policy=first,order=lifo");
    number_ranks_anew("policy=next,order=fifo");
    number_ranks_anew("policy=best,order=lifo,coalesce=deferred");
    number_ranks_anew("policy=worst,order=fifo,coalesce=never");
    find_seeded_faults();
    return 0;
}
