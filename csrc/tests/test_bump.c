/* bump where something lies right above the break: it goes on in mappings, and by the break once that can move. */
#undef NDEBUG
#include "allocators/heap.h"
#include "parts/top.h"
#include "tests/heaps.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
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

static size_t mapped(void) { return al_regions_counters(heap->regions)->mapped; }

/* Mappings are larger than what they are made for, so that it grows in place most of the time. */
static void grow_in_steps(void) {
    const size_t before = mapped();
    unsigned char *block = NULL;
    for (size_t bytes = 4096; bytes <= 2 * LARGE; bytes += 4096) {
        block = al_heap_realloc(thread, block, bytes);
        assert(block != NULL);
        block[bytes - 1] = 1;
    }
    assert(mapped() - before < 16 * LARGE);
    al_heap_free(thread, block);
}

/* Where the system has no more than that, a mapping is as large as need be. */
static void take_the_last(void) {
    void *block;
    al_regions_set_limit(heap->regions, mapped());
    while ((block = al_heap_malloc(thread, BYTES)) != NULL) al_heap_free(thread, block);
    al_regions_set_limit(heap->regions, mapped() + LARGE / 4);
    block = al_heap_malloc(thread, LARGE / 8);
    assert(block != NULL);
    al_heap_free(thread, block);
    al_regions_set_limit(heap->regions, 0);
}

/* Whatever asks for more while the break cannot move. */
static void go_on(void) {
    for (int i = 1; i < BLOCKS; i++) blocks[i] = take(i);
    assert(mapped() < 4 * BLOCKS * BYTES);
    grow_in_steps();
    take_the_last();
    unsigned char *large = al_heap_calloc(thread, 1, LARGE);
    assert(large != NULL && large[0] == 0 && large[LARGE - 1] == 0);
    memset(large, 1, LARGE);
    large = al_heap_realloc(thread, large, 2 * LARGE);
    assert(large != NULL && large[LARGE - 1] == 1);
    check();
    assert(al_heap_malloc(thread, PTRDIFF_MAX - 4096) == NULL && al_heap_malloc(thread, (size_t)1 << 47) == NULL);
    al_regions_set_limit(heap->regions, mapped());
    assert(al_heap_malloc(thread, LARGE) == NULL);
    al_regions_set_limit(heap->regions, 0);
    al_heap_free(thread, large);
    check();
}

/* A new segment would lie over blocks. */
static void end_where_somebody_lowered_the_break(void) {
    const pid_t child = fork();
    assert(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        sbrk(-8192);
        al_heap_malloc(thread, LARGE);
        _exit(0);
    }
    int status;
    assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    heap = make_heap(&al_bump, "", (al_regions_config){.space = AL_SPACE_PROCESS});
    thread = al_thread_create(heap);
    blocks[0] = take(0);
    char *obstacle = (char *)al_align_up((uintptr_t)sbrk(0), 4096);
    assert(mmap(obstacle, OBSTACLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == obstacle);
    go_on();
    assert(munmap(obstacle, OBSTACLE) == 0);
    end_where_somebody_lowered_the_break();
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
