/* ptmalloc's subheaps in a window: what is asked of the system, and where blocks lie, as glibc 2.36 was seen to do it,
 * call by call. */
#include "tests/ptmalloc_window.h"

/* --- the first subheap --- */

/* A mapping at the window's end makes the next ones lie as they do in a process: anywhere. */
static void test_an_arena_is_cut_out_of_twice_the_space(void) {
    make("", &(al_regions_config){0});
    al_thread *main = thread(), *other = thread(), *third = thread();
    take(main, MIB);
    expect("brk +0, brk +21000, mmap +101000");
    assert(within(take(other, 24)) == FIRST);
    expect("mmap 3eff000 +8000000, munmap 3eff000 +101000, munmap 0 +3eff000, mprotect 0 +21000");
    take(other, 100000);
    expect("");
    take(third, 24);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +21000");
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

static void fill_and_empty(const char *first, const char *again, const char *second, const char *regrown) {
    thread();
    al_thread *t = thread();
    take(t, 24);
    take(t, 131000);
    char *a = take(t, 200000), *b = take(t, 200000), *c = take(t, 200000);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +21000, mprotect 21000 +31000, mprotect 52000 +31000, "
           "mprotect 83000 +31000");
    give(t, c);
    expect(first);
    assert(take(t, 200000) == c); /* up to the last byte that was given back */
    expect(again);
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
    fill_and_empty("madvise a3000 +11000", "", "madvise 72000 +31000", "mprotect b4000 +18000");
}

static void test_a_trim_where_promises_count_gives_the_rights_back(void) {
    make("mmap_max=0", &(al_regions_config){.overcommit = 2});
    fill_and_empty("mmap a3000 +11000", "mprotect a3000 +11000", "mmap 72000 +31000",
                   "mprotect 72000 +1d000, mprotect 8f000 +3d000");
}

/* Frees what lies before the fences of the first subheap, `bytes` of it, then all of the second; of this, the call with
 * the number `refused` is. */
static al_thread *empty_the_second(size_t bytes, uint64_t refused) {
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
    al_regions_set_fail_call(heap->regions, refused);
    give(t, second);
    return t;
}

static void test_a_subheap_goes_when_the_one_below_has_room(void) {
    al_thread *t = empty_the_second(135152, 0); /* with the fences 16 bytes less than top_pad + 32 + a page */
    expect("madvise 21000 +100000");
    char *block = take(t, 200000);
    assert(within(block) == 0x40);
    expect("");
    give(t, block);
    expect("madvise 21000 +10000");
    end();

    empty_the_second(135168, 0);
    expect("munmap 0 +4000000");
    assert(pt()->main.next->fixed == PT_ARENA_BYTES && al_pt_size(pt()->main.next->top) == 135200);
    end();

    t = empty_the_second(300000, 0);
    expect("munmap 0 +4000000, madvise 3fd7000 +29000");
    assert(within(take(t, 200000)) == 0x3fb6c10);
    expect("");
    end();
}

/* glibc does not ask whether it went. */
static void test_a_subheap_that_may_not_go_is_left(void) {
    al_thread *t = empty_the_second(135168, 1);
    expect("munmap +4000000 no");
    assert(pt()->main.next->fixed == PT_ARENA_BYTES && al_pt_size(pt()->main.next->top) == 135200);
    assert(within(take(t, 100000)) == 0x3fdeff0);
    expect("");
    end();
}

/* The old top is given, which trims the arena: the subheap that was just begun for the request goes, and the main arena
 * must serve. */
static void test_a_new_subheap_may_go_at_once(void) {
    al_thread *t = empty_the_second(135168, 0);
    asked();
    char *block = take(t, 200000);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +51000, munmap 0 +4000000, brk +0, brk +51000");
    assert(arena_of(block) == &pt()->main && ((pt_thread *)t)->arena == pt()->main.next);
    end();
}

/* What is beside a subheap that went is not remembered: nor is the subheap's own place. */
static void test_the_place_beside_a_subheap_is_forgotten_with_it(void) {
    make("mmap_max=0", &(al_regions_config){0});
    thread();
    al_thread *t = thread();
    take(t, 24);
    for (size_t i = 0; i < 4; i++) take(t, (i % 2 == 0 ? 40 : 20) * MIB);
    asked();
    char *third = take(t, 40 * MIB);
    expect("mmap 0 +8000000, munmap 0 +4000000, mprotect 0 +2821000");
    assert(pt()->subheap_hint != 0);
    give(t, third);
    expect("munmap 0 +4000000");
    assert(pt()->subheap_hint == 0);
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

/* Lets a block end with the smallest top there is, and gives one below it, with the threshold at 0. */
static const pt_arena *trim_smallest_top(al_thread *t) {
    char *block = take(t, 70000);
    const pt_arena *arena = arena_of(block);
    take(t, al_pt_size(arena->top) - 32 - 8);
    assert(al_pt_size(arena->top) == 32);
    asked();
    give(t, block);
    return arena;
}

/* A slip of glibc's that programs can see, but not in other arenas: it takes what there is to give for a size, and -1
 * of it is much. */
static void test_the_smallest_top_of_the_main_arena_grows_by_a_trim(void) {
    make("trim_threshold=0", &(al_regions_config){0});
    al_thread *main = thread(), *other = thread();
    const pt_arena *arena = trim_smallest_top(main);
    expect("brk +21000");
    assert(al_pt_size(arena->top) == 32 + 0x21000 && arena->system_mem == 2 * 0x21000);
    take(main, 100000);
    expect("");
    arena = trim_smallest_top(other);
    expect("");
    assert(al_pt_size(arena->top) == 32);
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
    test_a_subheap_that_may_not_go_is_left();
    test_a_new_subheap_may_go_at_once();
    test_the_place_beside_a_subheap_is_forgotten_with_it();
    test_subheaps_come_and_go_with_what_is_in_them();
    test_the_smallest_top_of_the_main_arena_grows_by_a_trim();
    test_any_call_may_be_refused();
    return 0;
}
