#include "allocators/heap.h"
#include "allocators/tcmalloc/tcmalloc.h"

#include "base/check.h"

#include <errno.h>

/* Units of metadata come in the order of theirs; of spans two records are never used. */
static int create(al_heap *base) {
    tc_heap *heap = al_tc_of(base);
    al_tc_configure(heap);
    const uint64_t stats = base->settings.values[TC_STATS_AT_EXIT];
    if (stats > 0 && al_regions_base(base->regions) == NULL)
        al_heap_report_at_exit(base, stats > 1 ? al_tc_report_with_tables : al_tc_report);
    al_tc_classes_generate(&heap->base.classes, heap->params.batch_most);
    al_tc_central_init(heap);
    al_tc_pages_init(heap);
    heap->base.metadata = al_tc_metadata;
    heap->base.writes_leaves = true;
    heap->base.pages_take = al_tc_pages_take;
    heap->base.pages_give = al_tc_pages_give;
    heap->unclaimed = (int64_t)heap->params.cache_budget;
    if (!al_tc_records_init(&heap->base, &heap->base.spans, sizeof(tc_span)) ||
        !al_tc_records_init(&heap->base, &heap->pages.growth_records, sizeof(tc_growth)) ||
        !al_tc_records_init(&heap->base, &heap->caches, TC_CACHE_RECORD))
        return ENOMEM;
    for (unsigned i = 0; i < 2; i++) al_tc_span_new(&heap->base, 0, 0);
    return 0;
}

/* --- malloc --- */

void *al_tc_large_take(tc_thread *thread, size_t pages) {
    tc_heap *heap = al_tc_heap(thread);
    al_lock_take(&heap->base.heap.lock);
    tc_span *span = al_tc_pages_take(&heap->base, pages);
    al_lock_drop(&heap->base.heap.lock);
    return span == NULL ? NULL : (void *)span->address;
}

__attribute__((noinline)) static void *malloc_at_length(tc_thread *thread, size_t bytes) {
    tc_heap *heap = al_tc_heap(thread);
    if (!thread->arrived && !al_tc_arrive(thread)) return NULL;
    void *block = bytes <= TC_SMALL_MOST ? al_tc_cache_fetch(thread, al_tc_class_of(&heap->base.classes, bytes))
                                         : al_tc_large_take(thread, (bytes + TC_PAGE - 1) >> TC_PAGE_BITS);
    const bool begun = __atomic_load_n(&heap->begun, __ATOMIC_RELAXED);
    if (!begun && block != NULL && !thread->thread.brief) al_tc_begin(thread);
    return block;
}

void *al_tc_malloc(al_thread *base, size_t bytes) {
    tc_thread *thread = (tc_thread *)base;
    if (__builtin_expect(bytes <= TC_SMALL_MOST, 1)) {
        tc_list *list = al_tc_list_for(thread, bytes);
        void *object = list->head;
        if (__builtin_expect(object != NULL, 1)) {
            const uint32_t length = list->length - 1;
            const size_t cached = thread->cached - list->bytes;
            list->head = al_tc_after(object);
            if (length < list->low) list->low = length;
            al_tc_set_length(list, length);
            al_tc_set_cached(thread, cached);
            return object;
        }
    }
    return malloc_at_length(thread, bytes);
}

/* All of the block, whatever is known of its memory. */
static void *al_tc_calloc(al_thread *thread, size_t bytes) {
    void *block = al_tc_malloc(thread, bytes);
    return block == NULL ? NULL : memset(block, 0, al_tc_size_of(al_tc_of(thread->heap), block));
}

/* --- free --- */

/* Known by any address in its first page, and in its last. */
__attribute__((noinline)) static void free_large(tc_heap *heap, void *block, tc_span *span) {
    if (span == NULL || span->location != TC_IN_USE)
        al_die_at("src/tcmalloc.cc:333] Attempt to free invalid pointer ", block, " ");
    al_lock_take(&heap->base.heap.lock);
    al_tc_pages_give(&heap->base, span);
    al_lock_drop(&heap->base.heap.lock);
}

inline void al_tc_free(al_thread *base, void *block) {
    tc_thread *thread = (tc_thread *)base;
    tc_heap *heap = al_tc_heap(thread);
    const al_page_word word = al_pages_get_or_none(&heap->base.map, al_tc_page_of(block));
    const size_t list_at = word >> 51;
    if (__builtin_expect(list_at == 0, 0)) {
        free_large(heap, block, al_tc_word_span(word));
        return;
    }
    tc_list *list = al_tc_list_at(thread, list_at);
    const uint32_t length = list->length + 1;
    const size_t cached = thread->cached + list->bytes;
    al_tc_link(block, list->head);
    list->head = block;
    al_tc_set_length(list, length);
    al_tc_set_cached(thread, cached);
    if (__builtin_expect(length > list->most || cached > al_tc_share(thread), 0))
        al_tc_cache_overflow(thread, list, al_page_word_class(word));
}

/* --- the rest --- */

size_t al_tc_size_of(const tc_heap *heap, const void *block) {
    const al_page_word word = al_pages_get_or_none(&heap->base.map, al_tc_page_of(block));
    const unsigned class = al_page_word_class(word);
    if (class != 0) return heap->base.classes.of[class].bytes;
    const tc_span *span = al_tc_word_span(word);
    return span == NULL ? 0 : span->pages << TC_PAGE_BITS;
}

static size_t usable_size(al_heap *base, const void *block) {
    const size_t bytes = al_tc_size_of(al_tc_of(base), block);
    if (bytes == 0) al_die_at("src/tcmalloc.cc:343] Attempt to get the size of an invalid pointer ", block, " ");
    return bytes;
}

/* Every normal span is returned. */
static bool trim(al_heap *base, size_t pad) {
    (void)pad;
    tc_heap *heap = al_tc_of(base);
    al_lock_take(&base->lock);
    const bool any = al_tc_release(heap, SIZE_MAX) > 0;
    al_lock_drop(&base->lock);
    return any;
}

const al_allocator al_tcmalloc = {
    .name = "tcmalloc",
    .summary = "tcmalloc of gperftools 2.10: thread caches, transfer slots, spans of classes, a page heap",
    .tunables = al_tc_tunables,
    .tunable_count = TC_TUNABLES,
    .heap_bytes = sizeof(tc_heap),
    .thread_bytes = sizeof(tc_thread),
    .locks_itself = true,
    .environment = al_tc_environment,
    .create = create,
    .thread_create = al_tc_thread_create,
    .thread_exit = al_tc_thread_exit,
    .malloc = al_tc_malloc,
    .calloc = al_tc_calloc,
    .memalign = al_tc_memalign,
    .realloc = al_tc_realloc,
    .free = al_tc_free,
    .usable_size = usable_size,
    .trim = trim,
    .walk = al_tc_walk,
    .validate = al_tc_validate,
    .ledger = al_tc_ledger,
    .bins = al_tc_bins,
    .explain = al_tc_explain,
    .views = al_tc_views,
    .view = al_tc_view,
    .stats = al_tc_stats,
    .control = al_tc_control,
    .mallopt = al_tc_mallopt,
    .mallinfo = al_tc_mallinfo,
    .report = al_tc_report,
    .fork = al_tc_fork,
};
