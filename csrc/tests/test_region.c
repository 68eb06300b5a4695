/* The region manager on a fake kernel: whatever the kernel refuses, and whenever, nothing has changed; and what the
 * table of pages shows is what the list of VMAs says. Placement, limits and injected failures by hand. */
#undef NDEBUG
#include "os/os_fake.h"
#include "region/region.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { PAGE = AL_FAKE_PAGE, WINDOW_PAGES = 64, WINDOW = WINDOW_PAGES * PAGE, MAX_VMAS = 64 };

static al_regions *make(al_regions_config config) {
    int error = 0;
    config.os = &al_os_fake;
    if (config.window_bytes == 0) config.window_bytes = WINDOW;
    al_fake_reset();
    al_regions *r = al_regions_create(&config, &error);
    assert(r != NULL && error == 0);
    return r;
}

/* --- what can be seen of a manager and its kernel --- */

typedef struct picture {
    size_t vmas, mapped, reserved, peak_mapped, peak_reserved;
    uint64_t bytes[AL_CALL_KINDS];
    al_vma vma[MAX_VMAS];
    void *brk;
    al_fake_page pages[WINDOW_PAGES];
} picture;

static al_fake_page *window_pages(const al_regions *r) { return al_fake_at((uintptr_t)al_regions_base(r)); }

static picture look(al_regions *r) {
    picture p = {0};
    const al_counters *c = al_regions_counters(r);
    p.vmas = al_regions_vmas(r, p.vma, MAX_VMAS);
    p.mapped = c->mapped, p.reserved = c->reserved;
    p.peak_mapped = c->peak_mapped, p.peak_reserved = c->peak_reserved;
    memcpy(p.bytes, c->bytes, sizeof p.bytes);
    assert(al_regions_brk(r, 0, &p.brk) == 0);
    memcpy(p.pages, window_pages(r), sizeof p.pages);
    return p;
}

static bool equal(const picture *a, const picture *b) {
    bool vmas = a->vmas == b->vmas;
    for (size_t i = 0; vmas && i < a->vmas; i++)
        vmas = a->vma[i].start == b->vma[i].start && a->vma[i].end == b->vma[i].end && a->vma[i].prot == b->vma[i].prot;
    for (size_t i = 0; vmas && i < WINDOW_PAGES; i++)
        vmas = a->pages[i].mapped == b->pages[i].mapped && a->pages[i].prot == b->pages[i].prot &&
               a->pages[i].stamp == b->pages[i].stamp;
    return vmas && a->mapped == b->mapped && a->reserved == b->reserved && a->peak_mapped == b->peak_mapped &&
           a->peak_reserved == b->peak_reserved && a->brk == b->brk && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* All of the window stays mapped, and the pages that may be written to are those of the writable VMAs. */
static void check_table(al_regions *r) {
    al_vma vma[MAX_VMAS];
    size_t count = al_regions_vmas(r, vma, MAX_VMAS), at = 0;
    uintptr_t base = (uintptr_t)al_regions_base(r);
    for (size_t i = 0; i < WINDOW_PAGES; i++) {
        uintptr_t address = base + i * PAGE;
        while (at < count && vma[at].end <= address) at++;
        bool inside = at < count && vma[at].start <= address;
        const al_fake_page *page = al_fake_at(address);
        assert(page->mapped && page->prot == (inside ? vma[at].prot : AL_PROT_NONE));
    }
}

/* --- refusals --- */

/* break: 3 pages; above, from the top: a (8 pages), b (8 pages, PROT_NONE in its middle), each page stamped. */
typedef struct scene {
    al_regions *r;
    char *a, *b;
} scene;

static scene set_scene(void) {
    scene s = {.r = make((al_regions_config){.break_offset = PAGE})};
    void *out = NULL;
    assert(al_regions_brk(s.r, 3 * PAGE - 100, &out) == 0);
    assert(al_regions_mmap(s.r, NULL, 8 * PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, (void **)&s.a) == 0);
    assert(al_regions_mmap(s.r, NULL, PAGE, AL_PROT_NONE, AL_PLACE_ANYWHERE, &out) == 0);
    assert(al_regions_mmap(s.r, NULL, 8 * PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, (void **)&s.b) == 0);
    assert(al_regions_munmap(s.r, out, PAGE) == 0);
    for (uint32_t i = 0; i < 8; i++) {
        al_fake_write((uintptr_t)s.a + i * PAGE, 100 + i);
        al_fake_write((uintptr_t)s.b + i * PAGE, 200 + i);
    }
    assert(al_regions_mprotect(s.r, s.b + 2 * PAGE, 2 * PAGE, AL_PROT_NONE) == 0);
    return s;
}

typedef int act(const scene *s);

static int grow_break(const scene *s) {
    void *out;
    return al_regions_brk(s->r, 2 * PAGE, &out);
}
static int shrink_break(const scene *s) {
    void *out;
    return al_regions_brk(s->r, -2 * PAGE, &out);
}
static int map_writable(const scene *s) {
    void *out;
    return al_regions_mmap(s->r, NULL, 5 * PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out);
}
static int map_over(const scene *s) {
    void *out;
    return al_regions_mmap(s->r, s->a + PAGE, 3 * PAGE, AL_PROT_NONE, AL_PLACE_FIXED, &out);
}
static int unmap_part(const scene *s) { return al_regions_munmap(s->r, s->a + PAGE, 2 * PAGE); }
static int shrink(const scene *s) {
    void *out;
    return al_regions_mremap(s->r, s->a, 8 * PAGE, 3 * PAGE, false, &out);
}
static int grow_in_place(const scene *s) {
    void *out;
    return al_regions_mremap(s->r, s->b + 4 * PAGE, 4 * PAGE, 5 * PAGE, false, &out);
}
static int move(const scene *s) {
    void *out;
    al_fake_kernel.seam = (uintptr_t)s->a + 5 * PAGE;
    return al_regions_mremap(s->r, s->a + PAGE, 6 * PAGE, 9 * PAGE, true, &out);
}
static int move_reserved(const scene *s) {
    void *out;
    return al_regions_mremap(s->r, s->b + 2 * PAGE, 2 * PAGE, 4 * PAGE, true, &out);
}
static int protect(const scene *s) { return al_regions_mprotect(s->r, s->b, 8 * PAGE, AL_PROT_READ_WRITE); }
static int purge(const scene *s) { return al_regions_madvise(s->r, s->b, 3 * PAGE, AL_ADVISE_DONTNEED); }

/* Refuses the first, then the second, ... real call that the act makes, until it makes no more. */
static void test_a_refused_call_changes_nothing(void) {
    static act *const acts[] = {grow_break, shrink_break, map_writable, map_over, unmap_part, shrink,
                                grow_in_place, move, move_reserved, protect, purge};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        uint64_t nth = 1;
        for (int error = ENOMEM; error != 0; nth++) {
            scene s = set_scene();
            picture before = look(s.r);
            al_fake_kernel.refuse = nth;
            error = acts[i](&s);
            al_fake_kernel.refuse = 0;
            picture after = look(s.r);
            assert(error == 0 || error == ENOMEM);
            assert(equal(&before, &after) == (error != 0));
            check_table(s.r);
            al_regions_destroy(s.r);
        }
        assert(nth > 2); /* each makes a real call, which was refused once */
    }
}

static void test_creation_may_be_refused(void) {
    int error = 0;
    al_regions_config config = {.os = &al_os_fake, .window_bytes = WINDOW};
    for (uint64_t nth = 1; nth <= 2; nth++) {
        al_fake_reset();
        al_fake_kernel.refuse = nth;
        assert(al_regions_create(&config, &error) == NULL && error == ENOMEM);
    }
    config.break_offset = 1;
    assert(al_regions_create(&config, &error) == NULL && error == EINVAL);
    config.break_offset = WINDOW + PAGE;
    assert(al_regions_create(&config, &error) == NULL && error == EINVAL);
}

/* Without memory for another VMA a call fails, and those that need none still work. */
static void test_no_memory_for_bookkeeping(void) {
    al_regions *r = make((al_regions_config){.window_bytes = 8192 * PAGE});
    al_fake_kernel.arena_left = 0;
    void *out = NULL;
    int error = 0;
    size_t made = 0;
    for (; (error = al_regions_mmap(r, NULL, PAGE, made % 2, AL_PLACE_ANYWHERE, &out)) == 0; made++) {}
    assert(error == ENOMEM && made > 100 && al_regions_counters(r)->vmas == made);
    assert(al_regions_counters(r)->mapped == made / 2 * PAGE);
    al_regions_destroy(r);
}

/* --- the window --- */

static void test_the_window_is_aligned_and_all_else_given_back(void) {
    al_regions *r = make((al_regions_config){0});
    uintptr_t base = (uintptr_t)al_regions_base(r);
    assert(base % (1 << 30) == 0);
    size_t mapped = 0;
    for (size_t i = 0; i < AL_FAKE_PAGES; i++) mapped += al_fake_table()[i].mapped;
    assert(mapped == WINDOW_PAGES && window_pages(r)->mapped);
    al_regions_destroy(r);
    for (size_t i = 0; i < AL_FAKE_PAGES; i++) assert(!al_fake_table()[i].mapped);
}

static uintptr_t mapped_at(al_regions *r, size_t pages) {
    void *out = NULL;
    assert(al_regions_mmap(r, NULL, pages * PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) == 0);
    return ((uintptr_t)out - (uintptr_t)al_regions_base(r)) / PAGE;
}

static void test_first_gap_from_the_top(void) {
    al_regions *r = make((al_regions_config){0});
    char *base = al_regions_base(r);
    assert(mapped_at(r, 4) == 60 && mapped_at(r, 2) == 58 && mapped_at(r, 3) == 55 && mapped_at(r, 1) == 54);
    assert(al_regions_munmap(r, base + 58 * PAGE, 2 * PAGE) == 0);
    assert(al_regions_munmap(r, base + 61 * PAGE, PAGE) == 0);
    assert(mapped_at(r, 2) == 58 && mapped_at(r, 1) == 61 && mapped_at(r, 1) == 53);
    al_regions_destroy(r);
}

/* The highest aligned place in the first gap that has 2 MiB to spare; without one, as if nothing were aligned. */
static void test_huge_mappings_are_aligned_if_told(void) {
    enum { HUGE_PAGES = 512 };
    al_regions_config config = {.window_bytes = 4 * HUGE_PAGES * PAGE, .thp_align = AL_THP_ALIGN_MULTIPLES};
    al_regions *r = make(config);
    assert(mapped_at(r, 1) == 4 * HUGE_PAGES - 1);
    assert(mapped_at(r, HUGE_PAGES) == 2 * HUGE_PAGES);
    assert(mapped_at(r, HUGE_PAGES - 1) == 3 * HUGE_PAGES);
    assert(mapped_at(r, HUGE_PAGES) == HUGE_PAGES);
    assert(mapped_at(r, 1) == HUGE_PAGES - 1);
    assert(al_regions_munmap(r, (char *)al_regions_base(r) + (HUGE_PAGES - 1) * PAGE, PAGE) == 0);
    assert(mapped_at(r, HUGE_PAGES) == 0);
    al_regions_destroy(r);
    config.thp_align = AL_THP_ALIGN_LARGE;
    r = make(config);
    assert(mapped_at(r, HUGE_PAGES - 1) == 3 * HUGE_PAGES + 1 && mapped_at(r, HUGE_PAGES + 1) == 2 * HUGE_PAGES);
    al_regions_destroy(r);
}

static void test_the_break(void) {
    al_regions *r = make((al_regions_config){.break_offset = 2 * PAGE, .break_room = 10 * PAGE});
    char *first = (char *)al_regions_base(r) + 2 * PAGE;
    void *old = NULL;
    assert(al_regions_brk(r, 0, &old) == 0 && old == first);
    assert(al_regions_brk(r, 1, &old) == 0 && old == first && al_regions_counters(r)->mapped == PAGE);
    assert(al_regions_brk(r, PAGE - 1, &old) == 0 && old == first + 1 && al_regions_counters(r)->mapped == PAGE);
    assert(al_regions_brk(r, 9 * PAGE, &old) == 0 && al_regions_counters(r)->mapped == 10 * PAGE);
    assert(al_regions_brk(r, 1, &old) == ENOMEM && al_regions_brk(r, -10 * PAGE - 1, &old) == EINVAL);
    assert(al_regions_brk(r, INTPTR_MAX, &old) == ENOMEM && al_regions_brk(r, INTPTR_MIN, &old) == EINVAL);
    assert(al_regions_brk(r, -10 * PAGE + 1, &old) == 0 && al_regions_counters(r)->mapped == PAGE);
    assert(al_regions_brk(r, -1, &old) == 0 && old == first + 1 && al_regions_counters(r)->vmas == 0);
    al_regions_destroy(r);
}

/* One free page stays between the break and a mapping above it, as in the kernel. */
static void test_a_mapping_is_an_obstacle_for_the_break(void) {
    al_regions *r = make((al_regions_config){0});
    char *base = al_regions_base(r);
    void *out = NULL;
    assert(al_regions_mmap(r, base + 6 * PAGE, PAGE, AL_PROT_NONE, AL_PLACE_NOREPLACE, &out) == 0);
    assert(al_regions_brk(r, 5 * PAGE + 1, &out) == ENOMEM && al_regions_brk(r, 5 * PAGE, &out) == 0);
    assert(al_regions_munmap(r, base + 6 * PAGE, PAGE) == 0);
    assert(al_regions_brk(r, (WINDOW_PAGES - 5) * PAGE, &out) == 0 && al_regions_brk(r, 1, &out) == ENOMEM);
    al_regions_destroy(r);
}

static void test_others_may_take_of_the_break(void) {
    al_regions *r = make((al_regions_config){.break_room = 20 * PAGE});
    char *base = al_regions_base(r);
    void *old = NULL;
    al_vma vma[3];
    assert(al_regions_brk(r, 2 * PAGE, &old) == 0 && al_regions_foreign_brk(r, PAGE + 100) == 0);
    assert(al_regions_brk(r, PAGE, &old) == 0 && old == base + 3 * PAGE + 100);
    assert(al_regions_vmas(r, vma, 3) == 2 && vma[1].start == (uintptr_t)base + 4 * PAGE && vma[1].heap);
    assert(al_regions_counters(r)->reserved == 3 * PAGE);
    assert(al_regions_mmap(r, base + 2 * PAGE, PAGE, AL_PROT_NONE, AL_PLACE_NOREPLACE, &old) == EEXIST);
    assert(al_regions_mprotect(r, base + PAGE, 2 * PAGE, AL_PROT_NONE) == ENOMEM);
    assert(al_regions_mremap(r, base + 2 * PAGE, PAGE, PAGE, true, &old) == EFAULT);
    assert(al_regions_foreign_brk(r, 17 * PAGE) == ENOMEM && al_regions_foreign_brk(r, -1) == EINVAL);
    check_table(r);
    al_regions_destroy(r);
}

/* --- limits, failures, errors --- */

static void test_the_limit_is_on_writable_bytes(void) {
    al_regions *r = make((al_regions_config){.limit_bytes = 10 * PAGE});
    void *a = NULL, *b = NULL;
    assert(al_regions_brk(r, 4 * PAGE, &a) == 0);
    assert(al_regions_mmap(r, NULL, 20 * PAGE, AL_PROT_NONE, AL_PLACE_ANYWHERE, &a) == 0);
    assert(al_regions_mprotect(r, a, 7 * PAGE, AL_PROT_READ_WRITE) == ENOMEM);
    assert(al_regions_mprotect(r, a, 6 * PAGE, AL_PROT_READ_WRITE) == 0);
    assert(al_regions_brk(r, 1, &b) == ENOMEM);
    assert(al_regions_mmap(r, NULL, PAGE, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &b) == ENOMEM);
    assert(al_regions_mmap(r, a, 6 * PAGE, AL_PROT_READ_WRITE, AL_PLACE_FIXED, &b) == 0); /* replaces as much */
    assert(al_regions_mmap(r, a, 7 * PAGE, AL_PROT_READ_WRITE, AL_PLACE_FIXED, &b) == ENOMEM);
    assert(al_regions_mremap(r, a, 6 * PAGE, 7 * PAGE, true, &b) == ENOMEM);
    al_regions_set_limit(r, 0);
    assert(al_regions_mremap(r, a, 6 * PAGE, 7 * PAGE, true, &b) == 0 && b != a);
    assert(al_regions_counters(r)->failed[AL_CALL_MMAP] == 2 && al_regions_counters(r)->failed[AL_CALL_BRK] == 1);
    al_regions_destroy(r);
}

static void test_the_nth_call_fails(void) {
    al_regions *r = make((al_regions_config){.fail_call = 3});
    void *out = NULL;
    assert(al_regions_brk(r, PAGE, &out) == 0 && al_regions_brk(r, 0, &out) == 0);
    assert(al_regions_brk(r, PAGE, &out) == ENOMEM && al_regions_brk(r, PAGE, &out) == 0);
    al_regions_set_fail_call(r, 1);
    void *now = NULL;
    assert(al_regions_brk(r, 0, &now) == 0); /* its turn is over: asking never fails */
    al_regions_set_fail_call(r, 1);
    assert(al_regions_madvise(r, out, PAGE, AL_ADVISE_DONTNEED) == ENOMEM);
    assert(al_regions_madvise(r, out, PAGE, AL_ADVISE_DONTNEED) == 0);
    const al_counters *c = al_regions_counters(r);
    assert(c->calls[AL_CALL_BRK] == 5 && c->failed[AL_CALL_BRK] == 1 && c->bytes[AL_CALL_BRK] == 2 * PAGE);
    assert(c->calls[AL_CALL_MADVISE] == 2 && c->failed[AL_CALL_MADVISE] == 1 && c->bytes[AL_CALL_MADVISE] == PAGE);
    al_regions_destroy(r);
}

static void test_bad_arguments_have_the_errors_of_the_system_calls(void) {
    al_regions *r = make((al_regions_config){.break_offset = PAGE});
    char *base = al_regions_base(r), *a = NULL, *top = base + WINDOW;
    void *out = NULL;
    const al_prot rw = AL_PROT_READ_WRITE;
    assert(al_regions_mmap(r, NULL, 4 * PAGE, rw, AL_PLACE_ANYWHERE, (void **)&a) == 0);
    assert(al_regions_mmap(r, NULL, 0, rw, AL_PLACE_ANYWHERE, &out) == EINVAL);
    assert(al_regions_mmap(r, NULL, SIZE_MAX, rw, AL_PLACE_ANYWHERE, &out) == ENOMEM);
    assert(al_regions_mmap(r, NULL, WINDOW, rw, AL_PLACE_ANYWHERE, &out) == ENOMEM);
    assert(al_regions_mmap(r, a + 1, PAGE, rw, AL_PLACE_FIXED, &out) == EINVAL);
    assert(al_regions_mmap(r, a, PAGE, rw, AL_PLACE_NOREPLACE, &out) == EEXIST);
    assert(al_regions_mmap(r, base, PAGE, rw, AL_PLACE_FIXED, &out) == ENOMEM); /* below the first break */
    assert(al_regions_mmap(r, top, PAGE, rw, AL_PLACE_NOREPLACE, &out) == ENOMEM);
    assert(al_regions_mmap(r, top + PAGE, PAGE, rw, AL_PLACE_HINT, &out) == 0 && out == a - PAGE);
    assert(al_regions_munmap(r, a, 0) == EINVAL && al_regions_munmap(r, a + 8, PAGE) == EINVAL);
    assert(al_regions_munmap(r, a, 5 * PAGE) == EINVAL && al_regions_munmap(r, a, SIZE_MAX) == EINVAL);
    assert(al_regions_mprotect(r, a - 2 * PAGE, 3 * PAGE, AL_PROT_NONE) == ENOMEM);
    assert(al_regions_madvise(r, a - 2 * PAGE, PAGE, AL_ADVISE_FREE) == ENOMEM);
    assert(al_regions_mprotect(r, a, 0, AL_PROT_NONE) == 0 && al_regions_madvise(r, a, 0, AL_ADVISE_FREE) == 0);
    assert(al_regions_mremap(r, a, 0, PAGE, true, &out) == EINVAL);
    assert(al_regions_mremap(r, a, PAGE, 0, true, &out) == EINVAL);
    assert(al_regions_mremap(r, a - 2 * PAGE, 2 * PAGE, PAGE, true, &out) == EFAULT);
    assert(al_regions_mremap(r, a, 4 * PAGE, 5 * PAGE, false, &out) == ENOMEM);
    check_table(r);
    al_regions_destroy(r);
}

/* --- the rest of what may be asked --- */

static void test_the_clock_is_moved_by_hand_or_real(void) {
    al_regions *r = make((al_regions_config){.overcommit = 2});
    al_fake_kernel.clock = 5;
    assert(al_regions_now(r) == 0 && al_regions_overcommit(r) == 2 && al_regions_cpus(r) == 3);
    assert(al_regions_cpus_online(r) == 4);
    al_regions_advance(r, 10);
    al_regions_advance(r, 7);
    assert(al_regions_now(r) == 17);
    al_regions_destroy(r);
    r = make((al_regions_config){.real_clock = true, .cpus = 12, .overcommit = AL_OVERCOMMIT_SYSTEM});
    al_fake_kernel.clock = 5;
    assert(al_regions_now(r) == 5 && al_regions_cpus(r) == 12);
    assert(al_regions_cpus_online(r) == 12 && al_regions_overcommit(r) == 1);
    al_regions_destroy(r);
}

static void test_the_log_keeps_what_memory_allows(void) {
    enum { ROWS = 20000 };
    al_regions *r = make((al_regions_config){.log = true, .break_offset = PAGE});
    void *out = NULL;
    size_t count = 0;
    uint64_t dropped = 0;
    for (uint64_t i = 0; i < ROWS; i++) {
        al_regions_set_op(r, i);
        assert(al_regions_brk(r, i % 2 ? -PAGE : PAGE, &out) == 0);
        if (i == ROWS / 2) al_fake_kernel.arena_left = 0;
    }
    const al_event *events = al_regions_events(r, &count, &dropped);
    assert(count >= ROWS / 2 && count < ROWS && dropped == ROWS - count);
    for (size_t i = 0; i < count; i++) {
        const al_event *e = events + i;
        bool down = i % 2;
        assert(e->op == i && e->call == AL_CALL_BRK && e->error == 0 && e->bytes == PAGE && e->extra == down);
        assert(e->address == (down ? 2 * PAGE : PAGE) && e->result == (down ? PAGE : 2 * PAGE));
    }
    al_regions_destroy(r);
}

static void test_a_log_may_begin_later_with_room_for_all(void) {
    enum { ROWS = 5000 };
    al_regions *r = make((al_regions_config){.break_offset = PAGE});
    void *out = NULL;
    size_t count = 0;
    uint64_t dropped = 0;
    assert(al_regions_brk(r, PAGE, &out) == 0 && al_regions_start_log(r, ROWS) == 0);
    al_fake_kernel.arena_left = 0;
    assert(al_regions_start_log(r, 2 * ROWS) == ENOMEM);
    for (int i = 0; i < ROWS; i++) assert(al_regions_brk(r, i % 2 ? PAGE : -PAGE, &out) == 0);
    const al_event *events = al_regions_events(r, &count, &dropped);
    assert(count == ROWS && dropped == 0 && events[0].extra == 1 && events[1].address == PAGE);
    al_regions_destroy(r);
}

static void test_pages_are_told_apart(void) {
    scene s = set_scene();
    unsigned char flags[WINDOW_PAGES];
    size_t resident = 0;
    assert(al_regions_madvise(s.r, s.a, 2 * PAGE, AL_ADVISE_DONTNEED) == 0);
    assert(al_regions_pages(s.r, s.b - PAGE, 18, flags) == 0);
    const int written = AL_PAGE_MAPPED | AL_PAGE_COMMITTED | AL_PAGE_RESIDENT;
    assert(flags[0] == 0 && flags[1] == written && flags[3] == (AL_PAGE_MAPPED | AL_PAGE_RESIDENT) && flags[9] == 0);
    assert(flags[10] == (AL_PAGE_MAPPED | AL_PAGE_COMMITTED | AL_PAGE_ZERO) && flags[12] == written);
    assert(al_regions_resident(s.r, &resident) == 0 && resident == 12 * PAGE);
    al_regions_destroy(s.r);
}

/* The break of a process belongs to all: what others take of it is not the heap's. */
static void test_the_break_may_be_moved_by_others(void) {
    al_regions *r = make((al_regions_config){.space = AL_SPACE_PROCESS});
    void *old = NULL, *now = NULL;
    al_vma vma[2];
    assert(al_regions_brk(r, 2 * PAGE, &old) == 0);
    al_fake_kernel.brk += PAGE + 100;
    assert(al_regions_brk(r, PAGE, &old) == 0);
    assert((uintptr_t)old % PAGE == 100 && al_regions_vmas(r, vma, 2) == 2 && vma[0].heap && vma[1].heap);
    assert(vma[1].start == vma[0].end + 2 * PAGE && vma[1].end == vma[1].start + PAGE);
    assert(al_regions_counters(r)->mapped == 3 * PAGE);
    assert(al_regions_break(r, &now) == 0 && now == (char *)old + PAGE);
    assert(al_regions_counters(r)->calls[AL_CALL_BRK] == 2);
    assert(al_regions_adopt(r, old) == 0 && al_regions_vmas(r, vma, 2) == 2 && vma[1].end == vma[1].start + 2 * PAGE);
    assert(al_regions_counters(r)->mapped == 4 * PAGE && al_regions_counters(r)->peak_mapped == 4 * PAGE);
    al_fake_kernel.brk_limit = al_fake_kernel.brk;
    assert(al_regions_brk(r, 1, &old) == ENOMEM && al_regions_counters(r)->mapped == 4 * PAGE);
    al_regions_destroy(r);
}

int main(void) {
    test_a_refused_call_changes_nothing();
    test_creation_may_be_refused();
    test_no_memory_for_bookkeeping();
    test_the_window_is_aligned_and_all_else_given_back();
    test_first_gap_from_the_top();
    test_huge_mappings_are_aligned_if_told();
    test_the_break();
    test_a_mapping_is_an_obstacle_for_the_break();
    test_others_may_take_of_the_break();
    test_the_limit_is_on_writable_bytes();
    test_the_nth_call_fails();
    test_bad_arguments_have_the_errors_of_the_system_calls();
    test_the_clock_is_moved_by_hand_or_real();
    test_the_log_keeps_what_memory_allows();
    test_a_log_may_begin_later_with_room_for_all();
    test_pages_are_told_apart();
    test_the_break_may_be_moved_by_others();
    return 0;
}
