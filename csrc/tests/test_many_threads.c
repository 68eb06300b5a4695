/* Allocators that lock for themselves, with threads that take, resize and free each other's blocks, end and are
 * followed by others, while one asks for figures and trims, and one forks: in each child, the heap is sound and all of
 * it can be used. For the thread sanitizer, and for any build. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/jemalloc/jemalloc.h"
#include "allocators/ptmalloc/ptmalloc.h"
#include "allocators/tcmalloc/tcmalloc.h"
#include "base/rng.h"
#include "tests/heaps.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, LIVES = 8, STEPS = 1000, MAILBOXES = 32, FORKS = 20 };

extern const al_allocator al_ptmalloc, al_jemalloc, al_tcmalloc, al_tcmalloc_hpaa;

/* An allocator, what its real library's names are that are read and set or done, and what holds when every thread and
 * block is gone. */
typedef struct subject {
    const al_allocator *allocator;
    const char *const *reads, *const *sets; /* NULL ends them */
    void (*check)(void);                    /* or NULL */
    bool free_in_two;                       /* what is cached is no part of mallinfo's fordblks */
} subject;

static const subject *tested;
static al_heap *heap;
static _Atomic(size_t *) mailboxes[MAILBOXES];
static atomic_bool stop;

static void check(void) {
    al_flaw flaw = {0};
    bool sound = al_heap_validate(heap, &flaw);
    if (!sound) fprintf(stderr, "%#zx: %s\n", (size_t)flaw.address, flaw.what);
    assert(sound);
}

/* Each block begins with its size. */
static size_t *take(al_thread *thread, uint64_t draw) {
    size_t room = draw % 64 == 0 ? 300000 : draw % 16 == 0 ? 20000 : 1200;
    size_t bytes = sizeof(size_t) + (draw >> 32) % room;
    size_t *block = draw % 8 == 0   ? al_heap_calloc(thread, 1, bytes)
                    : draw % 8 == 1 ? al_heap_memalign(thread, 64, bytes)
                                    : al_heap_malloc(thread, bytes);
    assert(block != NULL && (draw % 8 != 0 || *block == 0));
    memset(block, 1, bytes);
    *block = bytes;
    return block;
}

/* What lies in a mailbox is resized or freed, and a block left instead. */
static void step(al_thread *thread, al_rng *rng) {
    uint64_t draw = al_rng_next(rng);
    size_t *theirs = atomic_exchange(&mailboxes[draw % MAILBOXES], take(thread, draw));
    if (theirs == NULL) return;
    size_t kept = *theirs;
    assert(al_heap_usable_size(heap, theirs) >= kept);
    if (draw & 32) {
        theirs = al_heap_realloc(thread, theirs, sizeof(size_t) + (draw >> 20) % 5000);
        assert(theirs != NULL && *theirs == kept);
    }
    al_heap_free(thread, theirs);
}

static void *live(void *seed) {
    al_rng rng = {(uint64_t)(uintptr_t)seed};
    al_thread *thread = al_thread_create(heap);
    for (int i = 0; i < STEPS; i++) step(thread, &rng);
    al_thread_exit(thread);
    al_thread *brief = al_thread_borrow(heap);
    al_heap_free(brief, take(brief, al_rng_next(&rng)));
    al_thread_exit(brief);
    return NULL;
}

/* Threads that follow each other. */
static void *work(void *seed) {
    for (uintptr_t i = 0; i < LIVES; i++) {
        pthread_t thread;
        assert(pthread_create(&thread, NULL, live, (void *)((uintptr_t)seed * LIVES + i)) == 0);
        assert(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

/* Asks for figures and does what can be done by name. */
static void control(al_thread *thread, al_rng *rng) {
    uint64_t value;
    for (const char *const *name = tested->reads; *name != NULL; name++)
        al_heap_control(heap, thread, *name, &value, false);
    for (const char *const *name = tested->sets; *name != NULL; name++) {
        static const uint64_t values[] = {UINT64_MAX, 0, 1, 10};
        const uint64_t draw = al_rng_next(rng);
        value = values[draw % 4];
        if (draw & 16) al_heap_control(heap, draw & 32 ? thread : NULL, *name, &value, true);
    }
    al_heap_background(heap);
}

static void *ask(void *unused) {
    (void)unused;
    al_rng rng = {5};
    al_thread *thread = al_thread_create(heap);
    while (!stop) {
        const al_ledger ledger = al_heap_ledger(heap);
        assert((ssize_t)ledger.usable >= 0 && (ssize_t)ledger.free >= 0);
        const struct mallinfo2 info = al_heap_mallinfo(heap);
        assert(info.uordblks + info.fordblks + (tested->free_in_two ? info.fsmblks : 0) == info.arena);
        al_stat stats[64];
        assert(al_heap_stats(heap, stats, 64) < 64);
        assert(al_heap_report_text(heap, true, NULL, 0) > 0 && al_heap_report_text(heap, false, NULL, 0) > 0);
        al_heap_trim(heap, 0);
        for (int i = 0; i < 10; i++) step(thread, &rng);
        control(thread, &rng);
        usleep(300);
    }
    al_thread_exit(thread);
    return NULL;
}

static void empty_mailboxes(al_thread *thread) {
    for (int i = 0; i < MAILBOXES; i++) al_heap_free(thread, atomic_exchange(&mailboxes[i], NULL));
}

static void use_in_child(al_thread *survivor) {
    check();
    al_rng rng = {7};
    for (int i = 0; i < 200; i++) step(survivor, &rng);
    for (int t = 0; t < 6; t++) {
        al_thread *thread = al_thread_create(heap);
        for (int i = 0; i < 50; i++) step(thread, &rng);
        if (t % 2 == 0) al_thread_exit(thread);
    }
    empty_mailboxes(survivor);
    al_thread_exit(survivor);
    check();
}

static void fork_in_between(al_thread *survivor) {
    al_rng rng = {99};
    for (int i = 0; i < 20; i++) step(survivor, &rng);
    al_heap_fork(heap, survivor, AL_FORK_PREPARE);
    pid_t child = fork();
    assert(child >= 0);
    al_heap_fork(heap, survivor, child == 0 ? AL_FORK_CHILD : AL_FORK_PARENT);
    if (child == 0) {
        use_in_child(survivor);
        _exit(0);
    }
    int status;
    assert(waitpid(child, &status, 0) == child && status == 0);
}

/* --- the allocators --- */

static const char *const none[] = {NULL};

/* Nobody uses an arena any more. */
static void check_ptmalloc(void) {
    const pt_arena *main = &al_pt_of(heap)->main;
    for (const pt_arena *a = main->next; a != main; a = a->next) assert(a->attached == 0 && a->taken_chunks == 0);
    assert(al_heap_ledger(heap).cached == 0);
}

static const subject ptmalloc = {&al_ptmalloc, none, none, check_ptmalloc, false};

static const char *const je_reads[] = {
    "stats.allocated", "stats.resident", "stats.arenas.0.small.nrequests", "stats.arenas.0.bins.3.nmalloc",
    "stats.arenas.1.lextents.2.curlextents", "stats.arenas.4096.extents.5.dirty_bytes",
    "stats.arenas.4096.tcache_bytes", "arenas.narenas", "arenas.muzzy_decay_ms", "arena.0.dirty_decay_ms",
    "arena.1.initialized", "arena.1.oversize_threshold", "opt.dirty_decay_ms", "background_thread", NULL};
static const char *const je_sets[] = {
    "arenas.dirty_decay_ms", "arenas.muzzy_decay_ms", "arena.0.dirty_decay_ms", "arena.0.muzzy_decay_ms",
    "arena.1.dirty_decay_ms", "arena.0.purge", "arena.1.decay", "arena.4096.decay", "arena.4096.purge",
    "background_thread", NULL};

static void check_jemalloc(void) {
    const je_heap *je = al_je_of(heap);
    assert(je->threads == NULL);
    for (unsigned i = 0; i <= je->params.narenas; i++) {
        const je_arena *arena = al_je_arena(je, i);
        assert(arena == NULL || (arena->threads == 0 && arena->active_pages == 0 && arena->internal_bytes == 0));
    }
    assert(al_heap_ledger(heap).cached == 0);
}

static const subject jemalloc = {&al_jemalloc, je_reads, je_sets, check_jemalloc, false};

static const char *const tc_reads[] = {
    "generic.current_allocated_bytes", "generic.heap_size", "tcmalloc.current_total_thread_cache_bytes",
    "tcmalloc.central_cache_free_bytes", "tcmalloc.transfer_cache_free_bytes", "tcmalloc.pageheap_free_bytes",
    "tcmalloc.pageheap_unmapped_bytes", "tcmalloc.max_total_thread_cache_bytes", NULL};
static const char *const tc_sets[] = {
    "ReleaseFreeMemory", "ReleaseToSystem", "MarkThreadIdle", "MarkThreadTemporarilyIdle", "MarkThreadBusy",
    "tcmalloc.aggressive_memory_decommit", "tcmalloc.max_total_thread_cache_bytes", NULL};

/* The first cache, which nobody uses, stays. */
static void check_tcmalloc(void) {
    tc_heap *tc = al_tc_of(heap);
    assert(tc->threads == &tc->first && tc->first.next == NULL);
}

static const subject tcmalloc = {&al_tcmalloc, tc_reads, tc_sets, check_tcmalloc, true};

static const char *const hp_reads[] = {
    "generic.current_allocated_bytes", "generic.heap_size", "generic.physical_memory_used", "tcmalloc.cpu_free",
    "tcmalloc.transfer_cache_free", "tcmalloc.page_heap_free", "tcmalloc.hugepage_coverage", NULL};
static const char *const hp_sets[] = {
    "ReleaseMemoryToSystem", "ReleaseCpuMemory", "ProcessBackgroundActions", "SetBackgroundReleaseRate", NULL};

static const subject hpaa = {&al_tcmalloc_hpaa, hp_reads, hp_sets, NULL, true};

/* --- a run --- */

static void run(const subject *of, const char *options) {
    tested = of;
    heap = make_heap(of->allocator, options, (al_regions_config){.space = AL_SPACE_WINDOW, .cpus = 1});
    stop = false;
    al_thread *main = al_thread_create(heap);
    pthread_t workers[WORKERS], asking;
    assert(pthread_create(&asking, NULL, ask, NULL) == 0);
    for (uintptr_t i = 0; i < WORKERS; i++) assert(pthread_create(&workers[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) fork_in_between(main);
    for (int i = 0; i < WORKERS; i++) assert(pthread_join(workers[i], NULL) == 0);
    stop = true;
    assert(pthread_join(asking, NULL) == 0);
    empty_mailboxes(main);
    al_thread_exit(main);
    check();
    assert(al_heap_ledger(heap).usable == 0);
    if (tested->check != NULL) tested->check();
    al_heap_destroy(heap);
}

int main(void) {
    run(&ptmalloc, "");
    run(&ptmalloc, "arena_max=2,mmap_threshold=10000");
    run(&ptmalloc, "tcache_count=0,arena_max=3");
    run(&jemalloc, "");
    run(&jemalloc, "narenas=2,oversize_threshold=200000");
    run(&jemalloc, "tcache=false,narenas=3,dirty_decay_ms=0,retain=false");
    run(&jemalloc, "narenas=1,bin_shards=1-128:4|129-14336:3,tcache_nslots_small_max=10");
    run(&jemalloc, "narenas=3,dirty_decay_ms=0,retain=false,dss=primary,tcache_nslots_small_max=2,"
                   "tcache_nslots_large=1");
    run(&tcmalloc, "");
    run(&tcmalloc, "max_total_thread_cache_bytes=600000,transfer_num_obj=8,release_rate=1000,skip_sbrk=true");
    run(&tcmalloc, "aggressive_decommit=true");
    run(&hpaa, "cpus=3");
    run(&hpaa, "cpu_of=system,max_per_cpu_cache_size=20000,hugepage_cache_limit=1");
    return 0;
}
