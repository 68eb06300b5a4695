/* tcmalloc's first request, where several contexts or no memory stand in its way: nothing is lost by it. */
#undef NDEBUG
#include "allocators/tcmalloc/tcmalloc.h"
#include "tests/heaps.h"

extern const al_allocator al_tcmalloc;

enum { TOO_LARGE = 45 }; /* bits of a size that no window has */

static al_heap *make(size_t window_bytes) {
    return make_heap(&al_tcmalloc, "", (al_regions_config){.window_bytes = window_bytes});
}

static void check(al_heap *heap, size_t usable) {
    al_flaw flaw = {.what = "sound"};
    if (!al_heap_validate(heap, &flaw)) fprintf(stderr, "%p: %s\n", (void *)flaw.address, flaw.what);
    assert(strcmp(flaw.what, "sound") == 0 && al_heap_ledger(heap).usable == usable);
}

/* A context that is lent does not begin. */
static void *take_briefly(al_heap *heap, size_t bytes) {
    al_thread *brief = al_thread_borrow(heap);
    void *block = al_heap_malloc(brief, bytes);
    al_thread_exit(brief);
    assert(block != NULL && !al_tc_of(heap)->beginning);
    return block;
}

/* Its request is refused, but it is one of the threads then. */
static bool arrives(al_thread *thread) {
    assert(al_heap_malloc(thread, (size_t)1 << TOO_LARGE) == NULL);
    return ((tc_thread *)thread)->arrived;
}

static void who_begins_may_have_objects(void) {
    al_heap *heap = make((size_t)1 << 30);
    void *block = take_briefly(heap, 8);
    al_thread *thread = al_thread_create(heap);
    assert(arrives(thread));
    al_heap_free(thread, block);
    assert(((tc_thread *)thread)->cached == 8);
    void *first = al_heap_malloc(thread, 112);
    assert(first != NULL && al_tc_of(heap)->begun);
    check(heap, 112);
    al_heap_free(thread, first);
    al_thread_exit(thread);
    check(heap, 0);
    al_heap_destroy(heap);
}

/* It has dropped its cache, and there is no record for another. */
static void who_begins_may_be_left_without_a_cache(void) {
    al_heap *heap = make((8 << 20) + (1 << 20) + (64 << 10));
    al_thread *last, *next = al_thread_create(heap);
    al_heap_free(next, take_briefly(heap, 8));
    do {
        last = next;
        next = al_thread_create(heap);
    } while (arrives(next));
    void *block = al_heap_malloc(last, 48);
    assert(block != NULL && al_tc_of(heap)->begun && !((tc_thread *)last)->arrived);
    al_heap_free(last, block);
    al_thread_exit(last);
    check(heap, 0);
    al_heap_destroy(heap);
}

/* Memory that was got, and for whose record there is none, is not asked for twice. */
static void memory_waits_for_its_record(void) {
    al_heap *heap = make((8 << 20) + (1 << 20) + (64 << 10));
    al_thread *thread = al_thread_create(heap);
    tc_page_heap *pages = &al_tc_of(heap)->pages;
    const uintptr_t rest = pages->chunk_at;
    pages->chunk_at = pages->chunk_end;
    assert(al_heap_malloc(thread, 100) == NULL && pages->pending_bytes == 1 << 20);
    check(heap, 0);
    pages->chunk_at = rest;
    void *block = al_heap_malloc(thread, 100);
    assert(block != NULL && pages->pending == 0 && pages->reserves == 1);
    check(heap, 112);
    al_heap_free(thread, block);
    al_heap_destroy(heap);
}

/* What another thread had begun when this one forked is begun in the child. */
static void a_child_does_not_wait_for_who_is_gone(void) {
    al_heap *heap = make((size_t)1 << 30);
    al_thread *thread = al_thread_create(heap);
    al_tc_of(heap)->beginning = true;
    void *block = al_heap_malloc(thread, 100);
    assert(!al_tc_of(heap)->begun);
    al_heap_fork(heap, thread, AL_FORK_PREPARE);
    al_heap_fork(heap, thread, AL_FORK_CHILD);
    assert(al_tc_of(heap)->begun);
    al_heap_free(thread, block);
    check(heap, 0);
    al_heap_destroy(heap);
}

int main(void) {
    who_begins_may_have_objects();
    who_begins_may_be_left_without_a_cache();
    memory_waits_for_its_record();
    a_child_does_not_wait_for_who_is_gone();
    return 0;
}
