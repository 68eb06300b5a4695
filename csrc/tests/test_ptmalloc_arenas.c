/* ptmalloc's arenas and subheaps in a window: what is asked of the system, and where blocks lie, as glibc 2.36 was seen
 * to do it, call by call. Threads are contexts here, all of one thread of ours. */
#undef NDEBUG
#include "allocators/heap.h"
#include "allocators/ptmalloc/ptmalloc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

extern const al_allocator al_ptmalloc;

enum { KIB = 1 << 10, MIB = 1 << 20, FIRST = 0xb70 /* the first block of a secondary arena, after the cache */ };

/* --- a heap, and what it asks for --- */

static al_heap *heap;
static size_t seen; /* events that `asked` has told of */

static pt_heap *pt(void) { return al_pt_of(heap); }

static void make(const char *options, const al_regions_config *config) {
    al_settings settings;
    char message[200];
    int error = 0;
    al_regions_config full = *config;
    full.log = true;
    if (full.cpus == 0) full.cpus = 2;
    al_tunables_default(&al_ptmalloc, &settings);
    assert(al_tunables_parse(&al_ptmalloc, options, &settings, message, sizeof message) == 0);
    heap = al_heap_create(&al_ptmalloc, &settings, &full, &error);
    assert(heap != NULL);
    seen = 0;
}

static size_t within(const void *at) { return (uintptr_t)at & (PT_SUBHEAP_BYTES - 1); }

/* What was asked for since the last time: hexadecimal, places within 64 MiB; the break and mappings of blocks left out
 * by their places being nobody's business. */
static const char *asked(void) {
    static char text[2000];
    size_t count, used = 0;
    uint64_t dropped;
    const al_event *events = al_regions_events(heap->regions, &count, &dropped);
    text[0] = 0;
    for (; seen < count; seen++) {
        const al_event *e = &events[seen];
        static const char *const names[] = {"brk", "mmap", "munmap", "mremap", "madvise", "mprotect"};
        size_t place = e->address & (PT_SUBHEAP_BYTES - 1);
        char at[32] = "";
        if (e->call != AL_CALL_BRK && !(e->call == AL_CALL_MMAP && e->extra == AL_PROT_READ_WRITE) && e->error == 0)
            snprintf(at, sizeof at, " %zx", place);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s +%zx%s", used > 0 ? ", " : "", names[e->call],
                                 at, (size_t)e->bytes, e->error != 0 ? " no" : "");
    }
    return text;
}

static void expect(const char *text) {
    const char *was = asked();
    if (strcmp(was, text) != 0) fprintf(stderr, "expected: %s\nasked:    %s\n", text, was);
    assert(strcmp(was, text) == 0);
}

static void check_system_mem(const pt_arena *arena) {
    size_t bytes = 0;
    for (const pt_subheap *s = al_pt_subheap_of(arena->top); s != NULL; s = s->below) {
        bytes += s->size;
        assert(s->arena == arena && s->committed >= s->size);
    }
    assert(arena->system_mem == bytes && arena->max_system_mem >= bytes);
}

static void check(void) {
    al_flaw flaw = {0};
    bool sound = al_heap_validate(heap, &flaw);
    if (!sound) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(sound);
    for (const pt_arena *a = pt()->main.next; a != &pt()->main; a = a->next) check_system_mem(a);
}

static void end(void) {
    check();
    al_heap_destroy(heap);
}

static al_thread *thread(void) { return al_thread_create(heap); }

static char *take(al_thread *t, size_t bytes) {
    char *block = al_heap_malloc(t, bytes);
    assert(block != NULL);
    return block;
}

static void give(al_thread *t, void *block) {
    al_heap_free(t, block);
    check();
}

static const pt_arena *arena_of(const void *block) { return al_pt_arena_of(pt(), al_pt_chunk(block)); }

/* --- the first subheap --- */

/* A mapping at the window's end makes the next ones lie as they do in a process: anywhere. */
static void test_an_arena_is_cut_out_of_twice_the_space(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *other = thread();
    take(main, MIB);
    expect("brk +0, brk +21000, mmap +101000");
    assert(within(take(other, 24)) == FIRST);
    expect("mmap 3eff000 +8000000, munmap 3eff000 +101000, munmap 0 +3eff000, mprotect 0 +21000");
    take(other, 100000);
    expect("");
    end();
}

static void block_page(char *at) {
    void *same;
    assert(al_regions_mmap(heap->regions, at, 4096, AL_PROT_NONE, AL_PLACE_NOREPLACE, &same) == 0);
    asked();
}

/* The upper half is the next subheap, if it is free still. */
static void test_what_is_aligned_by_chance_serves_twice(void) {
    make("", &(al_regions_config){0});
    al_thread *t[5];
    for (int i = 0; i < 5; i++) t[i] = thread();
    take(t[1], 24);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +21000");
    take(t[2], 24);
    expect("mmap 0 +4000000, mprotect 0 +21000");
    char *lower = (char *)al_pt_subheap_of(take(t[3], 24));
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +21000");
    assert(pt()->subheap_hint == (uintptr_t)lower + PT_SUBHEAP_BYTES);
    block_page(lower + PT_SUBHEAP_BYTES);
    block_page(lower - 4096);
    take(t[4], 24);
    expect("mmap 3fff000 +4000000, munmap 3fff000 +4000000, mmap 3fff000 +8000000, munmap 3fff000 +1000, "
           "munmap 0 +3fff000, mprotect 0 +21000");
    end();
}

/* bytes + 2264 + top_pad, whole pages, 32 KiB at least, 64 MiB at most; what is more gets the least and a mapping.
 * memalign makes no cache, so the first request's size is the arena's. */
static void test_the_first_subheap_has_room_for_the_request(void) {
    static const struct {
        size_t bytes;
        const char *options, *asked;
    } cases[] = {
        {100040, "", "mprotect 0 +39000"},
        {100041, "", "mprotect 0 +3a000"},
        {66844065, "", "mprotect 0 +3fe0000"},
        {66975232, "", "mprotect 0 +4000000"},
        {67106504, "mmap_threshold=32MiB", "mprotect 0 +4000000, mmap +4000000"},
        {67106505, "mmap_threshold=32MiB", "mprotect 0 +21000, mmap +4000000"},
        {30408, "top_pad=0", "mprotect 0 +8000, mprotect 8000 +1000"},
        {30409, "top_pad=0", "mprotect 0 +9000"},
        {100, "top_pad=0", "mprotect 0 +8000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(cases[i].options, &(al_regions_config){0});
        thread();
        al_thread *other = thread();
        char all[200] = "mmap 0 +8000000, munmap 0 +4000000, ";
        char *block = al_heap_memalign(other, 64, cases[i].bytes);
        bool mapped = al_pt_mapped(al_pt_chunk(block));
        if (cases[i].bytes > 1000000 && !mapped) assert(within(block) == 0x900);
        if (cases[i].bytes < 1000000) assert(within(block) == 0x900);
        expect(strcat(all, cases[i].asked));
        end();
    }
}

/* --- growth --- */

static void test_a_subheap_grows_by_what_is_missing(void) {
    make("", &(al_regions_config){0});
    thread();
    al_thread *t = thread();
    take(t, 24);
    take(t, 131056); /* leaves 0x480 bytes */
    asked();
    assert(within(take(t, 24)) == 0x20b90);
    expect("");
    assert(within(take(t, 4000)) == 0x20bb0);
    expect("mprotect 21000 +1000");
    assert(within(take(t, 9000)) == 0x21b60);
    expect("mprotect 22000 +2000");
    assert(within(take(t, 131000)) == 0x23e90);
    expect("mprotect 24000 +20000");
    assert(within(take(t, 131048)) == 0x43e50);
    expect("mprotect 44000 +20000");
    take(t, 131049);
    expect("mmap +21000");
    end();
}

/* The end of the first subheap is reached with a top of `left` bytes; then one more MiB is asked for. */
static const size_t *overflow_with_top_of(al_thread *t, size_t left) {
    const size_t first = 32 * MIB - 16, at = FIRST + 0x10 + first, last = PT_SUBHEAP_BYTES - at - left;
    take(t, 24);
    take(t, first - 8);
    char *block = take(t, last - 8);
    assert(within(arena_of(block)->top) == PT_SUBHEAP_BYTES - left);
    asked();
    assert(within(take(t, MIB)) == 0x40);
    return (const size_t *)(block + last - PT_HEADER);
}

static void test_what_is_left_of_a_full_subheap(void) {
    static const size_t no_rest_32[] = {0x11, 0x10, 1}, no_rest_48[] = {0x21, 0, 0, 0x20, 1};
    static const struct {
        size_t left, rest;
        const size_t *words;
        size_t count;
        bool cached;
    } cases[] = {
        {32, 0, no_rest_32, 3, false}, {48, 0, no_rest_48, 5, false}, {64, 32, NULL, 0, true},
        {80, 48, NULL, 0, true},       {1072, 1040, NULL, 0, true},   {1088, 1056, NULL, 0, false},
        {4112, 4080, NULL, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make("mmap_max=0", &(al_regions_config){0});
        thread();
        al_thread *t = thread();
        const size_t *words = overflow_with_top_of(t, cases[i].left);
        expect("mmap 0 +4000000, mprotect 0 +121000");
        size_t rest = cases[i].rest, fences = cases[i].left - rest;
        const pt_arena *arena = arena_of(words + 2);
        arena = pt()->main.next;
        assert(arena->fixed == PT_ARENA_BYTES + sizeof(pt_subheap) + fences);
        check();
        if (rest == 0) {
            assert(memcmp(words + 1, cases[i].words, cases[i].count * sizeof *words) == 0);
        } else {
            const size_t *fence = words + 2 + rest / sizeof *words;
            size_t in_use = cases[i].cached ? PT_PREV_INUSE : 0;
            assert((words[1] & ~(size_t)PT_NON_MAIN) == (rest | PT_PREV_INUSE));
            assert(fence[-1] == (PT_HEADER | in_use) && fence[0] == PT_HEADER && fence[1] == PT_PREV_INUSE);
            assert((const size_t *)take(t, rest - 8) == words + 2);
        }
        end();
    }
}

/* --- trimming --- */

static void fill_and_empty(const char *first, const char *second, const char *regrown) {
    thread();
    al_thread *t = thread();
    take(t, 24);
    take(t, 131000);
    char *a = take(t, 200000), *b = take(t, 200000), *c = take(t, 200000);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +21000, mprotect 21000 +31000, mprotect 52000 +31000, "
           "mprotect 83000 +31000");
    give(t, c);
    expect(first);
    give(t, b);
    expect(second);
    b = take(t, 250000);
    c = take(t, 250000);
    assert(within(b) == 0x518a0 && within(c) == 0x8e940);
    expect(regrown);
    give(t, c);
    asked();
    c = al_heap_calloc(t, 1, 250000);
    for (int i = 0; i < 250000; i++) assert(c[i] == 0);
    memset(c, 1, 250000);
    check();
    give(t, a);
    end();
}

/* Pages that a trim gave back are there still when the top grows again. */
static void test_a_trim_advises_and_keeps_the_rights(void) {
    make("mmap_max=0", &(al_regions_config){0});
    fill_and_empty("madvise a3000 +11000", "madvise 72000 +31000", "mprotect b4000 +18000");
}

static void test_a_trim_where_promises_count_gives_the_rights_back(void) {
    make("mmap_max=0", &(al_regions_config){.overcommit = 2});
    fill_and_empty("mmap a3000 +11000", "mmap 72000 +31000", "mprotect 72000 +1d000, mprotect 8f000 +3d000");
}

/* Frees what lies before the fences of the first subheap, `bytes` of it, then all of the second. */
static al_thread *empty_the_second(size_t bytes) {
    make("mmap_max=0", &(al_regions_config){0});
    thread();
    al_thread *t = thread();
    const size_t first = 32 * MIB - 16, at = FIRST + 0x10 + first;
    take(t, 24);
    take(t, first - 8);
    take(t, PT_SUBHEAP_BYTES - at - 32 - bytes - 8);
    char *last = take(t, bytes - 8), *second = take(t, MIB);
    assert(within(second) == 0x40);
    give(t, last);
    asked();
    give(t, second);
    return t;
}

static void test_a_subheap_goes_when_the_one_below_has_room(void) {
    al_thread *t = empty_the_second(135152); /* with the fences 16 bytes less than top_pad + 32 + a page */
    expect("madvise 21000 +100000");
    char *block = take(t, 200000);
    assert(within(block) == 0x40);
    expect("");
    give(t, block);
    expect("madvise 21000 +10000");
    end();

    empty_the_second(135168);
    expect("munmap 0 +4000000");
    assert(pt()->main.next->fixed == PT_ARENA_BYTES && al_pt_size(pt()->main.next->top) == 135200);
    end();

    t = empty_the_second(300000);
    expect("munmap 0 +4000000, madvise 3fd7000 +29000");
    assert(within(take(t, 200000)) == 0x3fb6c10);
    expect("");
    end();
}

/* The old top is given, which trims the arena: the subheap that was just begun for the request goes, and the main arena
 * must serve. */
static void test_a_new_subheap_may_go_at_once(void) {
    al_thread *t = empty_the_second(135168);
    asked();
    char *block = take(t, 200000);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +51000, munmap 0 +4000000, brk +0, brk +51000");
    assert(arena_of(block) == &pt()->main && ((pt_thread *)t)->arena == pt()->main.next);
    end();
}

static size_t count_subheaps(void) {
    size_t count = 0;
    for (const pt_subheap *s = al_pt_subheap_of(pt()->main.next->top); s != NULL; s = s->below) count++;
    return count;
}

/* Freed in reverse, all go but the last two: of the upper one, what lies below the fence is not the top, so nothing is
 * merged with that and nobody looks. */
static void test_subheaps_come_and_go_with_what_is_in_them(void) {
    make("mmap_max=0", &(al_regions_config){0});
    thread();
    al_thread *t = thread();
    char *blocks[40];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 40; i++) blocks[i] = take(t, 10 * MIB + i * 4000);
        assert(count_subheaps() == 7);
        check();
        for (size_t i = 40; i-- > 0;) give(t, blocks[i]);
        assert(count_subheaps() == 2);
    }
    end();
}

/* A slip of glibc's that programs can see: it takes what there is to give for a size, and -1 of it is much. */
static void test_the_smallest_top_of_the_main_arena_grows_by_a_trim(void) {
    make("trim_threshold=0", &(al_regions_config){0});
    al_thread *main = thread();
    const pt_chunk *const *top = (const pt_chunk *const *)&pt()->main.top;
    char *block = take(main, 70000);
    take(main, al_pt_size(*top) - 32 - 8);
    assert(al_pt_size(*top) == 32);
    asked();
    give(main, block);
    expect("brk +21000");
    assert(al_pt_size(*top) == 32 + 0x21000 && pt()->main.system_mem == 2 * 0x21000);
    take(main, 100000);
    expect("");
    end();
}

/* --- which arena --- */

/* Makes `count` contexts, each takes a block; the arenas' numbers, as letters, the main one being a. */
static const char *numbers(al_thread **threads, int count) {
    static char text[64];
    for (int i = 0; i < count; i++) {
        threads[i] = thread();
        text[i] = (char)('a' + arena_of(take(threads[i], 100))->number);
    }
    text[count] = 0;
    return text;
}

static void test_arenas_are_made_up_to_the_limit_and_then_shared(void) {
    static const struct {
        const char *options, *arenas;
    } cases[] = {
        {"", "abcdefghijklmnopaponmlkjih"},
        {"arena_test=3", "abcdefghijklmnopaponmlkjih"},
        {"arena_test=20", "abcdefghijklmnopqrstuautsr"},
        {"arena_max=1", "aaaaaaaaaaaaaaaaaaaaaaaaaa"},
        {"arena_max=2", "abababababababababababababab"},
        {"arena_max=3", "abcacbacbacbacbacbacbacbac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        al_thread *threads[27];
        make(cases[i].options, &(al_regions_config){0});
        const char *was = numbers(threads, 26);
        if (strncmp(was, cases[i].arenas, 26) != 0) fprintf(stderr, "%s: %s\n", cases[i].options, was);
        assert(strncmp(was, cases[i].arenas, 26) == 0);
        end();
    }
}

/* The last one left is the first to be taken; one that another thread is still attached to is not free. */
static void test_free_arenas_come_first(void) {
    al_thread *threads[27], *more[4];
    make("", &(al_regions_config){0});
    numbers(threads, 26);
    al_thread_exit(threads[5]);
    al_thread_exit(threads[9]);
    al_thread_exit(threads[3]);
    assert(strcmp(numbers(more, 4), "dfgf") == 0);
    end();
}

static void test_the_last_thread_of_the_main_arena_leaves_it_free(void) {
    al_thread *threads[3], *more[2];
    make("", &(al_regions_config){0});
    numbers(threads, 3);
    al_thread_exit(threads[0]);
    assert(strcmp(numbers(more, 2), "ad") == 0);
    end();
}

/* --- no memory --- */

static void allow(size_t bytes) {
    al_regions_set_limit(heap->regions, al_regions_counters(heap->regions)->mapped + bytes);
    asked();
}

static void test_a_full_arena_turns_to_the_main_one_and_comes_back(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *t = thread();
    char *hole = take(main, 50000);
    take(main, 5000);
    take(t, 24);
    take(t, 100000);
    give(main, hole);
    allow(0);
    char *block = take(t, 40000);
    assert(block == hole && arena_of(block) == &pt()->main);
    expect("mprotect +2000 no, mmap 0 +4000000, mprotect +2a000 no, munmap 0 +4000000, mmap +a000 no");
    assert(arena_of(take(t, 24)) == pt()->main.next);
    assert(al_heap_malloc(t, 140000) == NULL);
    expect("mmap +23000 no, mprotect +1b000 no, mmap 0 +8000000, munmap 0 +4000000, mprotect +43000 no, "
           "munmap 0 +4000000, mmap +23000 no, brk +2f000 no, mmap +100000 no");
    end();
}

/* The main arena, when full, turns to one that is free, and the thread moves there; the main one is nobody's then, but
 * not free either. */
static void test_the_main_arena_turns_to_another_and_stays(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *t = thread();
    take(t, 24);
    char *hole = take(t, 90000);
    take(t, 24);
    give(t, hole);
    al_thread_exit(t);
    take(main, 120000);
    allow(0);
    char *block = take(main, 70000);
    assert(block == hole);
    assert(arena_of(take(main, 2000)) == arena_of(hole) && pt()->main.attached == 0 && pt()->free_arenas == NULL);
    t = thread();
    assert(al_heap_malloc(t, 24) == NULL);
    allow(MIB);
    assert(arena_of(take(t, 24))->number == 2);
    end();
}

static void test_without_memory_for_an_arena_a_mapping_serves(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *t = thread();
    take(main, 24);
    allow(3 * 4096);
    const pt_chunk *chunk = al_pt_chunk(take(t, 5000)); /* its cache got a page before */
    assert(al_pt_mapped(chunk) && al_pt_size(chunk) == 8192 && pt()->arena_count == 1);
    assert(al_heap_malloc(t, 24) == NULL);
    allow(MIB);
    assert(arena_of(take(t, 24))->number == 1);
    end();
}

/* A heap with one context so far is a process with one thread, which has nothing but the main arena. */
static void test_one_thread_has_nowhere_to_turn(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread();
    take(main, 24);
    allow(0);
    assert(al_heap_malloc(main, 200000) == NULL);
    expect("mmap +31000 no, brk +31000 no, mmap +100000 no");
    end();
}

/* Lent for a call: no arena of its own, no cache, and nothing stays attached. */
static void test_brief_contexts_use_what_is_there(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *t = thread(), *brief = al_thread_borrow(heap);
    take(main, 24);
    take(t, 24);
    asked();
    assert(arena_of(take(brief, 100)) == &pt()->main && pt()->main.attached == 1);
    expect("");
    char *hole = take(t, 90000);
    take(t, 24);
    give(t, hole);
    take(main, 120000);
    allow(0);
    assert(take(brief, 70000) == hole && pt()->main.next->attached == 1);
    al_thread_exit(brief);
    assert(pt()->arena_count == 2 && pt()->free_arenas == NULL);
    end();
}

/* --- fork --- */

/* As seen by a child: the survivor keeps its arena, the others are free, the oldest first. */
static void child_of(int survivor, const char *arenas) {
    al_thread *threads[5], *more[7];
    make("", &(al_regions_config){0});
    numbers(threads, 5);
    al_heap_fork(heap, threads[survivor], AL_FORK_PREPARE);
    al_heap_fork(heap, threads[survivor], AL_FORK_CHILD);
    assert(((pt_thread *)threads[survivor])->arena->attached == 1);
    assert(strcmp(numbers(more, 7), arenas) == 0);
    al_thread_exit(threads[survivor]);
    assert(pt()->free_arenas != NULL);
    end();
}

static void test_a_child_has_all_arenas_but_one_thread(void) {
    child_of(0, "bcdefgh");
    child_of(2, "bdeafgh");
}

static void test_a_parent_goes_on_as_before(void) {
    al_thread *threads[3], *more[2];
    make("", &(al_regions_config){0});
    numbers(threads, 3);
    al_heap_fork(heap, threads[1], AL_FORK_PREPARE);
    al_heap_fork(heap, threads[1], AL_FORK_PARENT);
    assert(strcmp(numbers(more, 2), "de") == 0);
    end();
}

/* --- everything, with the n-th call refused --- */

static bool scenario(uint64_t nth) {
    make("mmap_max=0", &(al_regions_config){.fail_call = nth});
    al_thread *threads[3] = {thread(), thread(), thread()};
    char *blocks[30];
    memset(blocks, 0, sizeof blocks);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 30; i++) {
            al_thread *t = threads[i % 3];
            size_t bytes = i % 5 == 0 ? 22 * MIB : 3000 + 41000 * (size_t)i;
            blocks[i] = i % 7 == 3 ? al_heap_memalign(t, 256, bytes) : al_heap_malloc(t, bytes);
            if (blocks[i] != NULL) blocks[i][0] = blocks[i][bytes - 1] = (char)i;
            check();
        }
        for (int i = 29; i >= 0; i--) {
            if (blocks[i] != NULL) assert(blocks[i][0] == (char)i);
            al_heap_free(threads[(i + round) % 3], blocks[i]);
            check();
        }
        if (round == 0) {
            al_thread_exit(threads[2]);
            threads[2] = thread();
        }
    }
    uint64_t calls = 0;
    for (int i = 0; i < AL_CALL_KINDS; i++) calls += al_regions_counters(heap->regions)->calls[i];
    end();
    return nth <= calls;
}

static void test_any_call_may_be_refused(void) {
    uint64_t nth = 1;
    while (scenario(nth)) nth++;
    assert(nth > 50);
}

int main(void) {
    test_an_arena_is_cut_out_of_twice_the_space();
    test_what_is_aligned_by_chance_serves_twice();
    test_the_first_subheap_has_room_for_the_request();
    test_a_subheap_grows_by_what_is_missing();
    test_what_is_left_of_a_full_subheap();
    test_a_trim_advises_and_keeps_the_rights();
    test_a_trim_where_promises_count_gives_the_rights_back();
    test_a_subheap_goes_when_the_one_below_has_room();
    test_a_new_subheap_may_go_at_once();
    test_subheaps_come_and_go_with_what_is_in_them();
    test_the_smallest_top_of_the_main_arena_grows_by_a_trim();
    test_arenas_are_made_up_to_the_limit_and_then_shared();
    test_free_arenas_come_first();
    test_the_last_thread_of_the_main_arena_leaves_it_free();
    test_a_full_arena_turns_to_the_main_one_and_comes_back();
    test_the_main_arena_turns_to_another_and_stays();
    test_without_memory_for_an_arena_a_mapping_serves();
    test_one_thread_has_nowhere_to_turn();
    test_brief_contexts_use_what_is_there();
    test_a_child_has_all_arenas_but_one_thread();
    test_a_parent_goes_on_as_before();
    test_any_call_may_be_refused();
    return 0;
}
