/* bump where something lies right above the break: it goes on in mappings, and by the break once that can move. */
#undef NDEBUG
#include "allocators/heap.h"
#include "parts/top.h"
#include "tests/heaps.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCKS = 4000, BYTES = 1000, LARGE = 3 << 20, OBSTACLE = 16 << 20 };

extern const al_allocator al_bump;

static al_heap *heap;
static al_thread *thread;
static unsigned char *blocks[BLOCKS];

static bool ascends(void *last, const al_chunk *chunk) {
    uintptr_t *end = last;
    assert(chunk->address >= *end);
    *end = chunk->address + chunk->bytes;
    return true;
}

static void check(void) {
    al_flaw flaw = {0};
    assert(al_heap_validate(heap, &flaw));
    const al_ledger l = al_heap_ledger(heap);
    assert(l.usable + l.metadata + l.cached + l.free == al_regions_counters(heap->regions)->mapped);
    uintptr_t end = 0;
    al_heap_walk(heap, ascends, &end);
}

static unsigned char *take(int i) {
    unsigned char *block = i % 3 == 0   ? al_heap_calloc(thread, 1, BYTES)
                           : i % 3 == 1 ? al_heap_memalign(thread, 256, BYTES)
                                        : al_heap_malloc(thread, BYTES);
    assert(block != NULL);
    for (int k = 0; i % 3 == 0 && k < BYTES; k++) assert(block[k] == 0);
    return memset(block, i % 251, BYTES);
}

static void all_as_left(void) {
    for (int i = 0; i < BLOCKS; i++)
        for (int k = 0; k < BYTES; k++) assert(blocks[i][k] == i % 251);
}

/* Whatever asks for more while the break cannot move. */
static void go_on(void) {
    for (int i = 1; i < BLOCKS; i++) blocks[i] = take(i);
    unsigned char *large = al_heap_calloc(thread, 1, LARGE);
    assert(large != NULL && large[0] == 0 && large[LARGE - 1] == 0);
    memset(large, 1, LARGE);
    large = al_heap_realloc(thread, large, 2 * LARGE);
    assert(large != NULL && large[LARGE - 1] == 1);
    check();
    assert(al_heap_malloc(thread, PTRDIFF_MAX - 4096) == NULL && al_heap_malloc(thread, (size_t)1 << 47) == NULL);
    al_regions_set_limit(heap->regions, al_regions_counters(heap->regions)->mapped);
    assert(al_heap_malloc(thread, LARGE) == NULL);
    al_regions_set_limit(heap->regions, 0);
    al_heap_free(thread, large);
    check();
}

int main(void) {
    heap = make_heap(&al_bump, "", (al_regions_config){.space = AL_SPACE_PROCESS});
    thread = al_thread_create(heap);
    blocks[0] = take(0);
    char *obstacle = (char *)al_align_up((uintptr_t)sbrk(0), 4096);
    assert(mmap(obstacle, OBSTACLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == obstacle);
    go_on();
    assert(munmap(obstacle, OBSTACLE) == 0);
    unsigned char *last = al_heap_malloc(thread, LARGE);
    assert(last != NULL && last >= (unsigned char *)obstacle && last < (unsigned char *)sbrk(0));
    all_as_left();
    check();
    for (int i = 0; i < BLOCKS; i++) al_heap_free(thread, blocks[i]);
    al_heap_free(thread, last);
    check();
    assert(al_heap_ledger(heap).usable == 0);
    al_thread_exit(thread);
    al_heap_destroy(heap);
    return 0;
}
