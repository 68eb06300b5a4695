/* The region manager on the real kernel: contents, residency, placement, and the process space. */
#undef NDEBUG
#include "base/rng.h"
#include "region/region.h"

#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t page; /* bytes */

static al_regions *create(al_regions_config config) {
    int error = 0;
    al_regions *r = al_regions_create(&config, &error);
    assert(r != NULL && error == 0);
    return r;
}

static al_regions *make(al_space space) {
    return create((al_regions_config){.space = space, .window_bytes = 4096 * page, .break_offset = 16 * page});
}

static char *map_bytes(al_regions *r, size_t bytes, al_prot prot) {
    void *out = NULL;
    assert(al_regions_mmap(r, NULL, bytes, prot, AL_PLACE_ANYWHERE, &out) == 0);
    return out;
}

static char *map(al_regions *r, size_t pages) { return map_bytes(r, pages * page, AL_PROT_READ_WRITE); }

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

/* Before Linux 6.7 nobody is told what stands behind pages that a fork still shares: they count as none. */
static bool kernel_tells_shared_pages(void) {
    struct utsname name;
    int major = 0, minor = 0;
    assert(uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2);
    return major > 6 || (major == 6 && minor >= 7);
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
    assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
    assert(WEXITSTATUS(status) == 8 || (WEXITSTATUS(status) == 3 && !kernel_tells_shared_pages()));
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
    al_regions *r = create((al_regions_config){.window_bytes = page, .real_clock = true});
    assert(al_regions_cpus(r) >= 1);
    uint64_t before = al_regions_now(r);
    while (al_regions_now(r) == before) {}
    assert(al_regions_now(r) > before);
    al_regions_destroy(r);
}

/* Windows are made and closed without end: nothing of them stays in the address space. */
static void test_windows_leave_nothing_behind(void) {
    for (int i = 0; i < 200; i++) {
        al_regions *r = create((al_regions_config){.window_bytes = (size_t)1 << 44, .log = true});
        map(r, 3);
        al_regions_destroy(r);
    }
}

/* --- the same placement as the kernel's --- */

/* A large block, and nothing free above it where anything would fit. */
static char *fill_from_the_top(al_regions *r) {
    char *block = map_bytes(r, (size_t)1 << 32, AL_PROT_NONE);
    for (size_t pages = ((size_t)1 << 21) + 1; pages > 0;) { /* odd, so that nothing is aligned */
        char *at = map_bytes(r, pages * page, AL_PROT_NONE);
        if (at > block) continue;
        assert(al_regions_munmap(r, at, pages * page) == 0);
        pages = pages == 1 ? 0 : pages / 2 | 1;
    }
    return block;
}

/* The kernel and a window, asked for the same from a full top on, give the same distances from there. */
static void test_a_window_places_as_this_kernel_does(void) {
    enum { STEPS = 600, MIB = 1 << 20 };
    const size_t sizes[] = {page, 2 * page, 3 * page, MIB, 2 * MIB, 4 * MIB, 6 * MIB, 2 * MIB + page};
    struct {
        char *window, *process;
        size_t bytes;
    } live[STEPS];
    al_regions *w = create((al_regions_config){.thp_align = al_regions_probe_thp_align(NULL)});
    al_regions *p = create((al_regions_config){.space = AL_SPACE_PROCESS});
    char *below_w = fill_from_the_top(w), *below_p = fill_from_the_top(p);
    al_rng rng = {3};
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t bytes = sizes[al_rng_next(&rng) % (sizeof sizes / sizeof *sizes)];
        live[count].bytes = bytes;
        live[count].window = map_bytes(w, bytes, AL_PROT_READ_WRITE);
        live[count].process = map_bytes(p, bytes, AL_PROT_READ_WRITE);
        assert(below_w - live[count].window == below_p - live[count].process);
        count++;
        if (al_rng_next(&rng) % 8 < 3) {
            size_t victim = al_rng_next(&rng) % count;
            assert(al_regions_munmap(w, live[victim].window, live[victim].bytes) == 0);
            assert(al_regions_munmap(p, live[victim].process, live[victim].bytes) == 0);
            live[victim] = live[--count];
        }
    }
    al_regions_destroy(p);
    al_regions_destroy(w);
}

/* --- residency without privilege, and on older kernels --- */

/* Runs a test in a child that gives up being root, and may still look at itself. */
static void as_nobody(void test(void)) {
    enum { NOBODY = 65534 };
    pid_t child = fork();
    assert(child >= 0);
    if (child == 0) {
        if (geteuid() == 0) assert(setgid(NOBODY) == 0 && setuid(NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
        test();
        _exit(0);
    }
    int status = 0;
    assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void read_pages_are_not_resident(void) { test_read_pages_are_not_resident(AL_SPACE_WINDOW); }

/* The same with no ioctl, as before Linux 6.7, where the words of pagemap must do. */
static void without_scan(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof rules / sizeof *rules, .filter = rules};
    assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
    read_pages_are_not_resident();
}

/* A free that fails to unmap must not show in errno, so nothing below the malloc family may touch it. */
static void test_failed_calls_leave_errno_alone(void) {
    const al_os *os = &al_os_linux;
    void *nowhere = (void *)page, *out;
    errno = EILSEQ;
    assert(os->map(NULL, (size_t)1 << 60, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, false, &out) == ENOMEM);
    assert(os->unmap((char *)nowhere + 1, page) == EINVAL);
    assert(os->map_file(-1, 0, page, &out) == EBADF);
    assert(os->remap(nowhere, page, 2 * page, true, NULL, &out) == EFAULT);
    assert(os->protect(nowhere, page, AL_PROT_NONE) == ENOMEM);
    assert(os->advise(nowhere, page, AL_ADVISE_DONTNEED) == ENOMEM);
    assert(os->brk((intptr_t)1 << 60, &out) == ENOMEM);
    assert(errno == EILSEQ);
}

/* Nor may questions: a subheap that shrinks asks for the overcommit. */
static void test_questions_without_an_answer_leave_errno_alone(void) {
    struct rlimit files, none;
    assert(getrlimit(RLIMIT_NOFILE, &files) == 0);
    none = (struct rlimit){0, files.rlim_max};
    assert(setrlimit(RLIMIT_NOFILE, &none) == 0);
    errno = EILSEQ;
    assert(al_os_linux.overcommit() == 0 && al_os_linux.cpus_online() > 0);
    assert(errno == EILSEQ);
    assert(setrlimit(RLIMIT_NOFILE, &files) == 0);
}

/* In a window as in a process: the rest of a page in which a stranger's break ended can be written. */
static void test_an_adopted_page_can_be_used(void) {
    al_regions *r = make(AL_SPACE_WINDOW);
    void *at;
    assert(al_regions_foreign_brk(r, 100) == 0 && al_regions_brk(r, (intptr_t)page, &at) == 0);
    assert((uintptr_t)at % page == 100 && al_regions_adopt(r, at) == 0);
    memset(at, 1, page);
    assert(resident_pages(r) == 2);
    al_regions_destroy(r);
}

int main(void) {
    page = al_os_linux.page_size();
    for (al_space space = AL_SPACE_WINDOW; space <= AL_SPACE_PROCESS; space++) {
        test_read_pages_are_not_resident(space);
        test_what_is_given_back_comes_back_zero(space);
        test_mremap_keeps_contents(space);
    }
    test_an_adopted_page_can_be_used();
    test_residency_survives_a_fork();
    test_mremap_across_what_was_two_mappings();
    as_nobody(read_pages_are_not_resident);
    as_nobody(without_scan);
    test_a_window_places_as_this_kernel_does();
    test_the_clock_runs();
    test_failed_calls_leave_errno_alone();
    test_questions_without_an_answer_leave_errno_alone();
    test_windows_leave_nothing_behind();
    return 0;
}
