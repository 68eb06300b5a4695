/* The only file of the core that makes memory system calls. */
#include "os/os.h"

#include "base/align.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* The call before this has failed: why. errno is put back, for our callers may be within somebody's free. */
static int failure(int errno_before) {
    int error = errno;
    errno = errno_before;
    return error;
}

static size_t page_size(void) { return getauxval(AT_PAGESZ); }

static unsigned cpus(void) {
    cpu_set_t set[8]; /* one holds 1024 CPUs; the kernel refuses a set smaller than its own */
    int before = errno;
    bool told = sched_getaffinity(0, sizeof set, set) == 0;
    errno = before;
    if (!told) return 1;
    return (unsigned)CPU_COUNT_S(sizeof set, set);
}

static unsigned cpus_online(void) {
    int before = errno;
    unsigned count = (unsigned)get_nprocs();
    errno = before;
    return count;
}

/* Asked within a free, which is no place to be cancelled at. */
static int overcommit(void) {
    char digit = '0';
    int before = errno, cancelled;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, &digit, 1);
    if (fd >= 0) close(fd);
    pthread_setcancelstate(cancelled, NULL);
    errno = before;
    return got == 1 && digit >= '0' && digit <= '2' ? digit - '0' : 0;
}

static int protection(al_prot prot) { return prot == AL_PROT_READ_WRITE ? PROT_READ | PROT_WRITE : PROT_NONE; }

static int unmap(void *addr, size_t bytes) {
    int before = errno;
    return munmap(addr, bytes) == 0 ? 0 : failure(before);
}

static int map(void *addr, size_t bytes, al_prot prot, al_placement placement, bool reserve, void **out) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? MAP_NORESERVE : 0);
    if (placement == AL_PLACE_NOREPLACE) flags |= MAP_FIXED_NOREPLACE;
    if (placement == AL_PLACE_FIXED) flags |= MAP_FIXED;
    int before = errno;
    void *at = mmap(placement == AL_PLACE_ANYWHERE ? NULL : addr, bytes, protection(prot), flags, -1, 0);
    if (at == MAP_FAILED) return failure(before);
    if (placement == AL_PLACE_NOREPLACE && at != addr) { /* kernels before 4.17 take the flag for a hint */
        unmap(at, bytes);
        return EEXIST;
    }
    *out = at;
    return 0;
}

static int map_file(int fd, uint64_t offset, size_t bytes, void **out) {
    int before = errno;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (at == MAP_FAILED) return failure(before);
    *out = at;
    return 0;
}

static int remap(void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void *to, void **out) {
    int before = errno;
    void *at = to == NULL ? mremap(addr, old_bytes, new_bytes, may_move ? MREMAP_MAYMOVE : 0)
                          : mremap(addr, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    if (at == MAP_FAILED) return failure(before);
    *out = at;
    return 0;
}

static int protect(void *addr, size_t bytes, al_prot prot) {
    int before = errno;
    return mprotect(addr, bytes, protection(prot)) == 0 ? 0 : failure(before);
}

static int advise(void *addr, size_t bytes, al_advice advice) {
    static const int values[] = {
        [AL_ADVISE_DONTNEED] = MADV_DONTNEED,
        [AL_ADVISE_FREE] = MADV_FREE,
        [AL_ADVISE_HUGEPAGE] = MADV_HUGEPAGE,
        [AL_ADVISE_NOHUGEPAGE] = MADV_NOHUGEPAGE,
        [AL_ADVISE_WIPEONFORK] = MADV_WIPEONFORK,
    };
    int before = errno;
    return madvise(addr, bytes, values[advice]) == 0 ? 0 : failure(before);
}

/* Where the kernel would not let it shrink (RLIMIT_DATA is below what there is), libc's sbrk has succeeded, but the
 * break is where it was. */
static int move_break(intptr_t delta, void **old) {
    int before = errno;
    char *at = sbrk(delta);
    if (at == (char *)-1) return failure(before);
    if (delta < 0 && sbrk(0) == at) return ENOMEM;
    *old = at;
    return 0;
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }
static uint64_t thread_time(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

/* --- what stands behind a page ---
 *
 * The PAGEMAP_SCAN ioctl (Linux 6.7) tells the shared zero page from others and needs no privilege. Older kernels have
 * the words of pagemap: bit 56, "mapped exclusively", is never set for the zero page; a page that a fork still shares
 * lacks it too and is then taken for nothing. Frame numbers would tell more, but only to root. */

struct page_region {
    uint64_t start, end, categories;
};

struct pagemap_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

enum { IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_PFNZERO = 1 << 5 };
enum { SCAN_REGIONS = 64, PAGEMAP_WORDS = 256 };

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)

static int scan(int fd, uintptr_t start, size_t pages, unsigned char *backing) {
    const size_t page = page_size();
    const uintptr_t end = start + pages * page;
    struct page_region found[SCAN_REGIONS];
    struct pagemap_scan request = {
        .size = sizeof request,
        .end = end,
        .vec = (uintptr_t)found,
        .vec_len = SCAN_REGIONS,
        .category_inverted = IS_PFNZERO,
        .category_mask = IS_PFNZERO,
        .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
        .return_mask = IS_PRESENT | IS_SWAPPED,
    };
    int before = errno;
    memset(backing, AL_BACKING_NONE, pages);
    for (uintptr_t at = start; at < end; at = (uintptr_t)request.walk_end) {
        request.start = at;
        int count = ioctl(fd, PAGEMAP_SCAN_IOCTL, &request);
        if (count < 0) return failure(before);
        for (int i = 0; i < count; i++) {
            al_backing kind = found[i].categories & IS_PRESENT ? AL_BACKING_PHYSICAL : AL_BACKING_SWAP;
            memset(backing + (found[i].start - start) / page, kind, (found[i].end - found[i].start) / page);
        }
        if (request.walk_end <= at) return EIO;
    }
    return 0;
}

static int read_pagemap(int fd, uintptr_t start, size_t pages, unsigned char *backing) {
    uint64_t words[PAGEMAP_WORDS];
    int before = errno;
    const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62, exclusive = UINT64_C(1) << 56;
    for (size_t done = 0; done < pages;) {
        size_t want = al_min(pages - done, PAGEMAP_WORDS) * sizeof *words;
        ssize_t got = pread(fd, words, want, (off_t)((start / page_size() + done) * sizeof *words));
        if (got < 0) return failure(before);
        if (got < (ssize_t)sizeof *words) return EIO;
        for (size_t i = 0; i < (size_t)got / sizeof *words; i++) {
            bool own = (words[i] & present) && (words[i] & exclusive);
            backing[done++] = own ? AL_BACKING_PHYSICAL : words[i] & swapped ? AL_BACKING_SWAP : AL_BACKING_NONE;
        }
    }
    return 0;
}

/* Opened each time: a descriptor kept open would go on answering for the parent after a fork. */
static int resident(const void *addr, size_t pages, unsigned char *backing) {
    int before = errno;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failure(before);
    int error = scan(fd, (uintptr_t)addr, pages, backing);
    if (error == ENOTTY || error == EINVAL) error = read_pagemap(fd, (uintptr_t)addr, pages, backing);
    close(fd);
    return error;
}

const al_os al_os_linux = {
    .page_size = page_size,
    .cpus = cpus,
    .cpus_online = cpus_online,
    .overcommit = overcommit,
    .map = map,
    .unmap = unmap,
    .map_file = map_file,
    .remap = remap,
    .protect = protect,
    .advise = advise,
    .brk = move_break,
    .resident = resident,
    .now = now,
    .thread_time = thread_time,
};
