/* Threads side by side: on a malloc that is right every block is found as it was left, whatever order they run in, and
 * no more of them live at once than were recorded; on one that is wrong the replay says so and comes to its end. */
#include "base/check.h"
#include "base/rng.h"
#include "replay/concurrent.h"
#include "replay/job.h"
#include "replay/verify.h"
#include "trace/compile.h"

#include <stdlib.h>
#include <string.h>

enum { THREADS = 24, AT_ONCE = 6, ROWS = 6000, LIVE_MAX = 300, TEXT = 4096 };

typedef struct rows {
    uint8_t op[ROWS], failed[ROWS];
    uint32_t thread[ROWS];
    int64_t object[ROWS], time_ns[ROWS];
    uint64_t size[ROWS], count[ROWS], align[ROWS];
    size_t used;
} rows;

static void add(rows *r, al_event_op op, uint32_t thread, int64_t object, uint64_t size) {
    size_t i = r->used++;
    al_check(i < ROWS, "room for the rows");
    r->op[i] = (uint8_t)op;
    r->thread[i] = thread;
    r->object[i] = object;
    r->size[i] = size;
    r->count[i] = 1;
    r->time_ns[i] = -1;
}

/* Threads come and go, at most AT_ONCE of them besides thread 0, which may go, too; any of them frees and resizes what
 * any other made. */
static void draw(rows *r, uint64_t seed) {
    al_rng rng = {seed};
    int64_t live[LIVE_MAX], born = 0;
    size_t count = 0;
    uint32_t first = 1, next = 1; /* alive: [first, next), and 0 unless it is gone */
    bool gone = false;
    memset(r, 0, sizeof *r);
    while (r->used < ROWS - THREADS - 1) {
        uint32_t alive = next - first, pick = (uint32_t)al_rng_next(&rng) % (alive + 1);
        uint32_t thread = pick > 0 ? first + pick - 1 : gone ? first : 0;
        uint64_t what = al_rng_next(&rng) % 400;
        if (what == 0 && alive < AT_ONCE && next < THREADS)
            add(r, AL_EVENT_THREAD_START, next++, -1, 0);
        else if (what == 2 && alive > 1 && !gone) {
            add(r, AL_EVENT_THREAD_EXIT, 0, -1, 0);
            gone = true;
        } else if (what == 1 && alive > gone)
            add(r, AL_EVENT_THREAD_EXIT, first++, -1, 0);
        else if (count < LIVE_MAX && what < 200)
            add(r, what < 180 ? AL_EVENT_MALLOC : AL_EVENT_CALLOC, thread, live[count++] = born++,
                al_rng_next(&rng) % 200);
        else if (count > 0) {
            size_t i = al_rng_next(&rng) % count;
            if (what < 260)
                add(r, AL_EVENT_REALLOC, thread, live[i], 1 + al_rng_next(&rng) % 300);
            else {
                add(r, AL_EVENT_FREE, thread, live[i], 0);
                live[i] = live[--count];
            }
        }
    }
}

/* The rows as the file that alloclab-replay reads; *bytes is its length. */
static char *compiled(const rows *r, size_t *bytes) {
    const al_events events = {.rows = r->used, .op = r->op, .thread = r->thread, .object = r->object, .size = r->size,
                              .count = r->count, .align = r->align, .time_ns = r->time_ns, .failed = r->failed};
    al_compiler compiler;
    al_strands_image image;
    size_t row;
    al_check(al_compiler_init(&compiler, true), "memory");
    al_check(al_compiler_add(&compiler, &events, &row) == AL_FAULT_NONE, "a sound trace");
    al_ops_head head = {.magic = AL_OPS_MAGIC, .entries = compiler.count, .operations = compiler.operations,
                        .slots = compiler.live.used, .peak_live_bytes = compiler.peak_live_bytes,
                        .largest = compiler.largest};
    al_op *entries = al_compiler_finish(&compiler);
    al_check(entries != NULL && al_unweave(&head, entries, &image), "memory");
    al_entries_free(entries);
    al_compiler_destroy(&compiler);

    const al_strands_head *h = &image.head;
    const struct {
        const void *from;
        size_t bytes;
    } parts[] = {{h, sizeof *h}, {image.ranges, h->strands * sizeof *image.ranges},
                 {image.acts, h->acts * sizeof *image.acts}, {image.entries, image.entry_count * sizeof(al_op)}};
    *bytes = 0;
    for (size_t i = 0; i < 4; i++) *bytes += parts[i].bytes;
    char *file = malloc(*bytes), *at = file;
    al_check(file != NULL, "memory");
    for (size_t i = 0; i < 4; at += parts[i++].bytes) memcpy(at, parts[i].from, parts[i].bytes);
    al_strands_image_free(&image);
    return file;
}

/* --- a malloc that is right, or wrong after so many calls --- */

static _Atomic uint64_t calls;
static uint64_t wrong_at;
static char shared_block[512];

static bool goes_wrong(void) { return atomic_fetch_add(&calls, 1) >= wrong_at; }

static void *my_malloc(void *self, size_t bytes) {
    (void)self;
    return goes_wrong() ? shared_block : malloc(bytes);
}

static void *my_calloc(void *self, size_t bytes) {
    (void)self;
    return goes_wrong() ? shared_block : calloc(1, bytes);
}

static void *my_memalign(void *self, size_t alignment, size_t bytes) {
    (void)self;
    return aligned_alloc(alignment, bytes);
}

static void *my_realloc(void *self, void *block, size_t bytes) {
    (void)self;
    return block == shared_block ? block : realloc(block, bytes);
}

static void my_free(void *self, void *block) {
    (void)self;
    if (block != shared_block) free(block);
}

static const al_calls my_calls = {.malloc = my_malloc, .calloc = my_calloc, .memalign = my_memalign,
                                  .realloc = my_realloc, .free = my_free, .aside = al_strand_aside};

static void my_loop(void *self, const al_ops *ops, size_t touch_page) {
    static const al_watch nobody = {NULL, NULL};
    al_replay(&my_calls, self, &nobody, NULL, ops, touch_page);
}

typedef struct trial {
    char *file;
    void **slots;
    al_strands strands;
    al_target serial, target;
} trial;

static trial begin(uint64_t seed, uint64_t wrong) {
    static rows r;
    trial t = {.serial = {.calls = &my_calls, .loop = my_loop}};
    size_t bytes;
    draw(&r, seed);
    t.file = compiled(&r, &bytes);
    al_check(al_strands_read(&t.strands, t.file, bytes), "the file is read back");
    al_check(!al_strands_read(&(al_strands){0}, t.file, bytes - 1), "a file that is cut is none");
    t.strands.give_up = al_die;
    t.slots = calloc(t.strands.head->whole.slots, sizeof *t.slots);
    al_check(t.slots != NULL, "memory");
    calls = 0;
    wrong_at = wrong;
    return t;
}

static void end(trial *t) {
    free(t->slots);
    free(t->file);
}

static void verifies(uint64_t seed, uint64_t wrong) {
    char text[TEXT];
    al_text out = {text, text + TEXT};
    trial t = begin(seed, wrong);
    al_check(al_strands_prepare(&t.strands, t.slots) == NULL, "tables");
    t.target = al_concurrent_target(&t.serial, &t.strands);
    const al_ops ops = {.slots = t.slots, .slot_count = t.strands.head->whole.slots};
    al_verify(&t.target, &ops, NULL, &out);
    const char *expected = wrong == UINT64_MAX ? "verified 1\n" : "verified 0\nfailure operation ";
    al_check(memcmp(text, expected, strlen(expected)) == 0, expected);
    if (wrong == UINT64_MAX)
        for (size_t i = 0; i < ops.slot_count; i++) al_check(t.slots[i] == NULL, "all blocks are freed");
    al_drain(&my_calls, NULL, &ops);
    end(&t);
}

/* --- who is alive --- */

static _Atomic uint32_t alive, most_alive;

static bool counts_itself(void *context, al_strand *strand) {
    uint32_t now = atomic_fetch_add(&alive, 1) + 1, most = most_alive;
    while (now > most && !atomic_compare_exchange_weak(&most_alive, &most, now)) continue;
    my_loop(strand, &strand->ops, *(size_t *)context);
    if (strand->ends) atomic_fetch_sub(&alive, 1);
    return true;
}

static void as_many_live_at_once_as_were_recorded(uint64_t seed) {
    size_t page = 4096;
    trial t = begin(seed, UINT64_MAX);
    al_check(al_strands_prepare(&t.strands, t.slots) == NULL, "tables");
    alive = most_alive = 0;
    al_strands_run(&t.strands, counts_itself, &page);
    uint64_t ending = 0, operations = 0;
    for (uint64_t i = 0; i < t.strands.head->strands; i++) ending += t.strands.strands[i].ends;
    for (uint64_t i = 0; i < t.strands.head->whole.entries; i++) operations += t.strands.entries[i].kind < AL_OP_TICK;
    al_check(operations == t.strands.head->whole.operations, "no operation is lost");
    al_check(most_alive <= t.strands.head->alive, "no more live at once than were recorded");
    al_check(alive == t.strands.head->strands - ending, "who did not end is still there");
    const al_ops ops = {.slots = t.slots, .slot_count = t.strands.head->whole.slots};
    al_drain(&my_calls, NULL, &ops);
    end(&t);
}

/* --- one that does not come to its end --- */

static _Atomic uint64_t unmade; /* blocks that were to be freed or resized, and that nobody had made */

static void counts_unmade_free(void *self, void *block) {
    unmade += block == NULL;
    my_free(self, block);
}

static void *counts_unmade_realloc(void *self, void *block, size_t bytes) {
    unmade += block == NULL;
    return my_realloc(self, block, bytes);
}

static bool first_does_nothing(void *context, al_strand *strand) {
    static const al_watch nobody = {NULL, NULL};
    (void)context;
    if (strand == strand->all->strands) return false;
    al_calls counting = my_calls;
    counting.free = counts_unmade_free;
    counting.realloc = counts_unmade_realloc;
    al_replay(&counting, strand, &nobody, NULL, &strand->ops, 0);
    return true;
}

/* Whoever waits for what another has not done, and will not do, has nothing to go on with. */
static void nobody_goes_on_without_what_it_waits_for(uint64_t seed) {
    trial t = begin(seed, UINT64_MAX);
    al_check(al_strands_prepare(&t.strands, t.slots) == NULL, "tables");
    unmade = 0;
    al_strands_run(&t.strands, first_does_nothing, NULL);
    al_check(unmade == 0, "nobody takes a block that was not made");
    const al_ops ops = {.slots = t.slots, .slot_count = t.strands.head->whole.slots};
    al_drain(&my_calls, NULL, &ops);
    end(&t);
}

int main(void) {
    for (uint64_t seed = 1; seed <= 6; seed++) verifies(seed, UINT64_MAX);
    for (uint64_t seed = 1; seed <= 4; seed++) verifies(seed, 100 * seed);
    for (uint64_t seed = 1; seed <= 3; seed++) as_many_live_at_once_as_were_recorded(seed);
    for (uint64_t seed = 1; seed <= 3; seed++) nobody_goes_on_without_what_it_waits_for(seed);
    return 0;
}
