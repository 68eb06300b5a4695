/* Which of ptmalloc's arenas a thread uses, in a window, as glibc 2.36 was seen to choose: up to the limit, beyond it,
 * without memory, after a fork. */
#include "tests/ptmalloc_window.h"

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
    assert(pt()->spare_arena != NULL);
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

/* A thread that is gone may have been between putting a chunk into its cache and counting it. */
static void test_a_child_counts_what_caches_hold(void) {
    al_thread *threads[2];
    make("", &(al_regions_config){0});
    numbers(threads, 2);
    give(threads[1], take(threads[1], 24));
    uint16_t *counts = ((pt_thread *)threads[1])->cache->counts;
    assert(counts[0] == 1);
    counts[0] = 0;
    al_heap_fork(heap, threads[0], AL_FORK_PREPARE);
    al_heap_fork(heap, threads[0], AL_FORK_CHILD);
    assert(counts[0] == 1);
    end();
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

int main(void) {
    test_arenas_are_made_up_to_the_limit_and_then_shared();
    test_free_arenas_come_first();
    test_the_last_thread_of_the_main_arena_leaves_it_free();
    test_a_full_arena_turns_to_the_main_one_and_comes_back();
    test_the_main_arena_turns_to_another_and_stays();
    test_without_memory_for_an_arena_a_mapping_serves();
    test_one_thread_has_nowhere_to_turn();
    test_brief_contexts_use_what_is_there();
    test_a_child_has_all_arenas_but_one_thread();
    test_a_child_counts_what_caches_hold();
    test_a_parent_goes_on_as_before();
    return 0;
}
