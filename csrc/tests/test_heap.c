/* Every allocator, with many settings, through random operations: contents kept, blocks disjoint and aligned, the heap
 * sound after every step; then every system call made to fail in turn. */
#undef NDEBUG
#include "allocators/heap.h"
#include "base/align.h"
#include "base/rng.h"
#include "tests/heaps.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { SLOTS = 48, STEPS = 1200, TRACE = 60 };

typedef struct slot {
    unsigned char *block;
    size_t bytes;
    unsigned char fill;
} slot;

static void check_fill(const slot *s, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) assert(s->block[i] == s->fill);
}

static void fill(slot *s, unsigned char value) {
    s->fill = value;
    memset(s->block, value, s->bytes);
}

static void check_heap(al_heap *heap) {
    al_flaw flaw;
    if (al_heap_validate(heap, &flaw)) return;
    fprintf(stderr, "%s: %s at %#zx\n", heap->allocator->name, flaw.what, flaw.address);
    assert(false);
}

/* limit: what may be mapped beyond what the allocator begins with; 0: anything. */
static al_heap *make(const al_allocator *allocator, const char *options, size_t limit) {
    al_heap *heap = make_heap(allocator, options, (al_regions_config){.space = AL_SPACE_WINDOW});
    if (limit > 0) al_regions_set_limit(heap->regions, al_regions_counters(heap->regions)->mapped + limit);
    return heap;
}

static size_t draw_size(al_rng *rng) {
    uint64_t draw = al_rng_next(rng);
    switch (draw % 16) {
    case 0: return 0;
    case 1: return (draw >> 8) % 400000;
    case 2: case 3: return (draw >> 8) % 9000;
    default: return (draw >> 8) % 300;
    }
}

/* One operation on one slot. A failure must leave the slot's block as it was. */
static void step(al_thread *thread, slot *s, al_rng *rng) {
    size_t bytes = draw_size(rng);
    uint64_t draw = al_rng_next(rng);
    if (s->block != NULL && draw % 4 == 0) {
        check_fill(s, s->bytes);
        al_heap_free(thread, s->block);
        s->block = NULL;
    } else if (s->block != NULL) {
        if (bytes == 0) bytes = 1;
        unsigned char *moved = al_heap_realloc(thread, s->block, bytes);
        if (moved == NULL) {
            check_fill(s, s->bytes);
            return;
        }
        s->block = moved;
        check_fill(s, al_min(bytes, s->bytes));
        s->bytes = bytes;
        fill(s, (unsigned char)(draw >> 32));
    } else {
        size_t alignment = (size_t)16 << (draw >> 20) % 10;
        bool zeroed = draw % 4 == 1, aligned = draw % 4 == 2;
        s->block = zeroed    ? al_heap_calloc(thread, 1, bytes)
                   : aligned ? al_heap_memalign(thread, alignment, bytes)
                             : al_heap_malloc(thread, bytes);
        if (s->block == NULL) return;
        s->bytes = bytes;
        s->fill = 0;
        if (zeroed) check_fill(s, bytes);
        assert(al_is_aligned((uintptr_t)s->block, aligned ? alignment : bytes < 16 ? 8 : 16));
        assert(al_heap_usable_size(thread->heap, s->block) >= bytes);
        fill(s, (unsigned char)(draw >> 32));
    }
}

static void free_all(al_thread *thread, slot *slots) {
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i].block == NULL) continue;
        check_fill(&slots[i], slots[i].bytes);
        al_heap_free(thread, slots[i].block);
        check_heap(thread->heap);
    }
    assert(al_heap_ledger(thread->heap).usable == 0);
}

static void run_randomly(const al_allocator *allocator, const char *options, size_t limit) {
    al_heap *heap = make(allocator, options, limit);
    al_thread *thread = al_thread_create(heap);
    al_rng rng = {7};
    slot slots[SLOTS] = {0};
    check_heap(heap);
    for (int i = 0; i < STEPS; i++) {
        step(thread, &slots[al_rng_next(&rng) % SLOTS], &rng);
        check_heap(heap);
        if (al_rng_next(&rng) % 100 == 0) al_heap_trim(heap, 0);
    }
    free_all(thread, slots);
    al_heap_trim(heap, 0);
    al_thread_exit(thread);
    /* what a thread had cached goes with it; those of tcmalloc have caches that are nobody's, too */
    assert(strncmp(allocator->name, "tcmalloc", 8) == 0 || al_heap_ledger(heap).cached == 0);
    check_heap(heap);
    al_heap_destroy(heap);
}

/* The same short trace again and again, each time with the next call failing, until there are not so many calls. */
static void fail_each_call(const al_allocator *allocator, const char *options) {
    for (uint64_t nth = 1;; nth++) {
        al_heap *heap = make(allocator, options, 0);
        al_thread *thread = al_thread_create(heap);
        al_regions_set_fail_call(heap->regions, nth);
        al_rng rng = {11};
        slot slots[SLOTS] = {0};
        for (int i = 0; i < TRACE; i++) {
            step(thread, &slots[al_rng_next(&rng) % SLOTS], &rng);
            check_heap(heap);
        }
        free_all(thread, slots);
        uint64_t calls = 0;
        for (int kind = 0; kind < AL_CALL_KINDS; kind++) calls += al_regions_counters(heap->regions)->calls[kind];
        al_thread_exit(thread);
        al_heap_destroy(heap);
        if (calls < nth) return;
    }
}

static void refuse_what_malloc_refuses(const al_allocator *allocator) {
    al_heap *heap = make(allocator, "", 0);
    al_thread *thread = al_thread_create(heap);
    void *one = al_heap_malloc(thread, 0), *two = al_heap_malloc(thread, 0);
    assert(one != NULL && two != NULL && one != two);
    assert(al_heap_malloc(thread, (size_t)PTRDIFF_MAX + 1) == NULL);
    assert(al_heap_malloc(thread, PTRDIFF_MAX) == NULL && al_heap_malloc(thread, SIZE_MAX) == NULL);
    assert(al_heap_calloc(thread, SIZE_MAX / 2, 3) == NULL);
    assert(al_heap_realloc(thread, one, PTRDIFF_MAX) == NULL);
    assert(al_heap_memalign(thread, 48, 1) == NULL && al_heap_memalign(thread, 0, 1) == NULL);
    for (int shift = 30; shift < 64; shift++) {
        size_t alignment = (size_t)1 << shift;
        assert(al_heap_memalign(thread, alignment, SIZE_MAX - 100) == NULL);
        assert(al_heap_memalign(thread, alignment, PTRDIFF_MAX - 100) == NULL);
        if (shift > 40) assert(al_heap_memalign(thread, alignment, 1) == NULL);
        check_heap(heap);
    }
    assert(al_heap_usable_size(heap, NULL) == 0);
    al_heap_free(thread, NULL);
    al_heap_free(thread, two);
    assert(al_heap_realloc(thread, one, 0) == NULL && al_heap_ledger(heap).usable == 0);
    al_thread_exit(thread);
    assert(al_thread_create(heap) == thread); /* contexts are handed out again */
    al_heap_destroy(heap);
}

/* Which tunables were set by hand: by index, none twice, none by default. */
static void tell_given_from_default(void) {
    const al_allocator *fit = al_allocator_find("fit");
    al_settings settings;
    al_tunables_default(fit, &settings);
    assert(settings.given == 0);
    assert(al_tunables_parse(fit, "coalesce=never,order=lifo,order=fifo", &settings, NULL, 0) == 0);
    assert(settings.given == 6);
    assert(al_tunables_parse(fit, "policy=best,order=none", &settings, NULL, 0) != 0 && settings.given == 6);
}

static void explain_wrong_options(void) {
    const al_allocator *bump = al_allocator_find("bump");
    al_settings settings;
    char message[100];
    al_tunables_default(bump, &settings);
    assert(al_tunables_parse(bump, "top_pad=3MiB", &settings, message, sizeof message) == 0);
    assert(settings.values[0] == 3 << 20 && settings.given == 1);
    assert(al_tunables_parse(bump, "top_pad=1,pad=2", &settings, message, sizeof message) != 0);
    assert(settings.values[0] == 3 << 20);
    assert(strcmp(message, "bump has no tunable 'pad'; it has: top_pad") == 0);
    assert(al_tunables_parse(bump, "top_pad=99999999999999999999", &settings, message, sizeof message) != 0);
    assert(strcmp(message, "bump: top_pad is a size from 0 to 1GiB, not '99999999999999999999'") == 0);
    assert(al_tunables_parse(bump, "top_pad", &settings, message, 12) != 0 && strcmp(message, "bump: top_p") == 0);
    assert(al_allocator_find("none") == NULL);
}

static bool is_lower(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (text[i] < 'a' || text[i] > 'z') return false;
    return true;
}

/* What is replaced keeps its room, so the texts of a line of settings are few and short. */
static void keep_texts(void) {
    static const al_tunable tunables[] = {
        {.name = "word", .type = AL_TUNABLE_TEXT, .choices = "LETTERS", .takes = is_lower},
        {.name = "other", .type = AL_TUNABLE_TEXT, .choices = "LETTERS", .takes = is_lower},
    };
    al_allocator poet = *al_allocator_find("bump");
    al_settings settings;
    char message[100], line[AL_TEXTS_BYTES + 8];
    poet.tunables = tunables;
    poet.tunable_count = 2;
    al_tunables_default(&poet, &settings);
    assert(strcmp(al_setting_text(&settings, 0), "") == 0);
    assert(al_tunables_parse(&poet, "other=b,word=abc,other=xyz", &settings, message, sizeof message) == 0);
    assert(strcmp(al_setting_text(&settings, 0), "abc") == 0 && strcmp(al_setting_text(&settings, 1), "xyz") == 0);
    assert(al_tunables_parse(&poet, "word=", &settings, message, sizeof message) == 0);
    assert(strcmp(al_setting_text(&settings, 0), "") == 0 && settings.given == 3);
    assert(al_tunables_parse(&poet, "word=a1", &settings, message, sizeof message) != 0);
    assert(strcmp(message, "bump: word is written LETTERS, not 'a1'") == 0);
    const size_t room = AL_TEXTS_BYTES - 11; /* three texts, and the 0 of this one */
    snprintf(line, sizeof line, "word=%0*d", (int)room + 1, 0);
    memset(line + 5, 'l', room + 1);
    assert(al_tunables_parse(&poet, line, &settings, message, sizeof message) != 0);
    assert(strcmp(message, "bump: word is too long: there is room for 1013 characters") == 0);
    line[5 + room] = '\0';
    assert(al_tunables_parse(&poet, line, &settings, message, sizeof message) == 0);
    assert(strlen(al_setting_text(&settings, 0)) == room && strcmp(al_setting_text(&settings, 1), "xyz") == 0);
    assert(al_tunables_parse(&poet, "word=", &settings, message, sizeof message) == 0);
    assert(al_tunables_parse(&poet, "word=a", &settings, message, sizeof message) != 0);
}

static void run_with(const al_allocator *allocator, const char *options) {
    run_randomly(allocator, options, 0);
    run_randomly(allocator, options, 3 << 20);
    fail_each_call(allocator, options);
}

int main(void) {
    static const char *const settings[][2] = {
        {"bump", "top_pad=0"},
        {"fit", "policy=first,order=lifo"},
        {"fit", "policy=next,order=address,top_pad=0"},
        {"fit", "policy=worst,order=fifo,trim_threshold=0,top_pad=0"},
        {"fit", "policy=first,order=fifo,coalesce=deferred,mmap_threshold=4KiB"},
        {"fit", "policy=best,order=lifo,coalesce=never,mmap_threshold=1GiB"},
        {"fit", "policy=next,order=lifo,coalesce=deferred,mmap_threshold=0"},
        {"buddy", "min_order=4,max_order=16"},
        {"buddy", "min_order=12,max_order=17"},
    };
    for (const al_allocator *const *allocator = al_allocators; *allocator != NULL; allocator++) {
        run_with(*allocator, "");
        refuse_what_malloc_refuses(*allocator);
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        run_with(al_allocator_find(settings[i][0]), settings[i][1]);
    tell_given_from_default();
    explain_wrong_options();
    keep_texts();
    return 0;
}
