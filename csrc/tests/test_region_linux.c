/* The region manager on the real kernel: contents, residency, and the process space. */
#undef NDEBUG
#include "region/region.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t page; /* bytes */

static al_regions *make(al_space space) {
    int error = 0;
    al_regions_config config = {.space = space, .window_bytes = 4096 * page, .break_offset = 16 * page};
    al_regions *r = al_regions_create(&config, &error);
    assert(r != NULL && error == 0);
    return r;
}

static char *map(al_regions *r, size_t pages) {
    void *out = NULL;
    assert(al_regions_mmap(r, NULL, pages * page, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &out) == 0);
    return out;
}

static size_t resident_pages(const al_regions *r) {
    size_t bytes = 0;
    assert(al_regions_resident(r, &bytes) == 0);
    return bytes / page;
}

static bool all(const char *bytes, char value, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value) return false;
    }
    return true;
}

static void test_read_pages_are_not_resident(al_space space) {
    al_regions *r = make(space);
    char *a = map(r, 100);
    volatile char sum = 0;
    for (size_t i = 0; i < 100; i++) sum = (char)(sum + a[i * page]);
    assert(sum == 0 && resident_pages(r) == 0);
    memset(a + 10 * page, 1, 7 * page);
    assert(resident_pages(r) == 7);
    assert(al_regions_mprotect(r, a + 10 * page, page, AL_PROT_NONE) == 0 && resident_pages(r) == 6);
    assert(al_regions_madvise(r, a + 12 * page, 2 * page, AL_ADVISE_DONTNEED) == 0 && resident_pages(r) == 4);
    assert(all(a + 12 * page, 0, 2 * page) && all(a + 14 * page, 1, 3 * page));
    al_regions_destroy(r);
}

static void test_residency_survives_a_fork(void) {
    al_regions *r = make(AL_SPACE_WINDOW);
    memset(map(r, 5), 1, 5 * page);
    pid_t child = fork();
    assert(child >= 0);
    if (child == 0) {
        memset(map(r, 3), 1, 3 * page);
        _exit((int)resident_pages(r));
    }
    int status = 0;
    assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 8);
    assert(resident_pages(r) == 5);
    al_regions_destroy(r);
}

/* Pages that come back after munmap or a shrink of the break are fresh. */
static void test_what_is_given_back_comes_back_zero(al_space space) {
    al_regions *r = make(space);
    char *a = map(r, 8);
    memset(a, 1, 8 * page);
    assert(al_regions_munmap(r, a + 2 * page, 3 * page) == 0 && resident_pages(r) == 5);
    void *out = NULL;
    assert(al_regions_mmap(r, a + 2 * page, 3 * page, AL_PROT_READ_WRITE, AL_PLACE_NOREPLACE, &out) == 0);
    assert(all(a + 2 * page, 0, 3 * page) && all(a + 5 * page, 1, 3 * page) && all(a, 1, 2 * page));
    char *old = NULL;
    assert(al_regions_brk(r, (intptr_t)(4 * page), &out) == 0);
    memset(out, 1, 4 * page);
    assert(al_regions_brk(r, -(intptr_t)(2 * page), (void **)&old) == 0 && old == (char *)out + 4 * page);
    assert(al_regions_brk(r, (intptr_t)(2 * page), (void **)&old) == 0 && old == (char *)out + 2 * page);
    assert(all(out, 1, 2 * page) && all(old, 0, 2 * page));
    assert(al_regions_brk(r, -(intptr_t)(4 * page), &out) == 0);
    al_regions_destroy(r);
}

static void test_mremap_keeps_contents(al_space space) {
    al_regions *r = make(space);
    char *above = map(r, 1), *a = map(r, 4), *b = NULL, *c = NULL;
    memset(above, 9, page);
    for (int i = 0; i < 4; i++) memset(a + (size_t)i * page, i + 1, page);
    assert(al_regions_mremap(r, a, 4 * page, 300 * page, true, (void **)&b) == 0 && b != a);
    for (int i = 0; i < 4; i++) assert(all(b + (size_t)i * page, (char)(i + 1), page));
    assert(all(b + 4 * page, 0, 296 * page) && all(above, 9, page));
    assert(al_regions_counters(r)->mapped == 301 * page && resident_pages(r) == 5);
    assert(al_regions_mremap(r, b, 300 * page, 2 * page, true, (void **)&c) == 0 && c == b);
    assert(al_regions_mremap(r, b, 2 * page, 50 * page, false, (void **)&c) == 0 && c == b);
    assert(all(b + page, 2, page) && all(b + 2 * page, 0, 48 * page));
    assert(al_regions_counters(r)->mapped == 51 * page);
    al_regions_destroy(r);
}

/* Two mappings that were written to apart, and touch, are one VMA to the heap; the kernel may see two. */
static void test_mremap_across_what_was_two_mappings(void) {
    al_regions *r = make(AL_SPACE_WINDOW);
    char *high = map(r, 2), *middle = map(r, 1), *low = map(r, 2), *out = NULL;
    memset(high, 1, 2 * page);
    assert(al_regions_munmap(r, middle, page) == 0);
    memset(low, 2, 2 * page);
    assert(map(r, 1) == middle);
    memset(middle, 3, page);
    assert(al_regions_counters(r)->vmas == 1);
    assert(al_regions_mremap(r, low, 5 * page, 7 * page, true, (void **)&out) == 0);
    assert(all(out, 2, 2 * page) && all(out + 2 * page, 3, page) && all(out + 3 * page, 1, 2 * page));
    al_regions_destroy(r);
}

static void test_the_clock_runs(void) {
    int error = 0;
    al_regions_config config = {.window_bytes = page, .real_clock = true};
    al_regions *r = al_regions_create(&config, &error);
    assert(r != NULL && al_regions_cpus(r) >= 1);
    uint64_t before = al_regions_now(r);
    while (al_regions_now(r) == before) {}
    assert(al_regions_now(r) > before);
    al_regions_destroy(r);
}

/* Windows are made and closed without end: nothing of them stays in the address space. */
static void test_windows_leave_nothing_behind(void) {
    int error = 0;
    al_regions_config config = {.window_bytes = (size_t)1 << 44, .log = true};
    for (int i = 0; i < 200; i++) {
        al_regions *r = al_regions_create(&config, &error);
        assert(r != NULL);
        map(r, 3);
        al_regions_destroy(r);
    }
}

int main(void) {
    page = al_os_linux.page_size();
    for (al_space space = AL_SPACE_WINDOW; space <= AL_SPACE_PROCESS; space++) {
        test_read_pages_are_not_resident(space);
        test_what_is_given_back_comes_back_zero(space);
        test_mremap_keeps_contents(space);
    }
    test_residency_survives_a_fork();
    test_mremap_across_what_was_two_mappings();
    test_the_clock_runs();
    test_windows_leave_nothing_behind();
    return 0;
}
