/* The region manager: how a heap gets memory from the system and gives it back, and the account of it.
 *
 * Two address spaces behind one contract:
 *
 *   process   the real break and real mappings, for drop-in libraries
 *   window    a private range, reserved PROT_NONE, base aligned to 1 GiB; a process in miniature:
 *
 *     base                                                                     base + window_bytes
 *     |<- break_offset ->| heap ->  ... free ...      <- mappings, first gap from the top |
 *                        first break
 *
 * In a window the manager makes whatever real calls keep the range reserved; what is counted and logged is what the
 * heap asked for. Residency is real in both.
 *
 * What the manager needs for itself (VMA nodes, the log, instances of heaps: al_regions_own) is outside the account: a
 * laboratory's bookkeeping is not the allocator's memory.
 *
 * Invariants, after every call:
 *     VMAs are disjoint, ordered by address, page aligned, and no two neighbours of equal kind touch
 *     mapped   = sum of bytes of the VMAs that are AL_PROT_READ_WRITE
 *     reserved = sum of bytes of all VMAs
 *     peak_x  >= x
 * A call that fails changes nothing but its counter of failures.
 *
 * Not locked: the heap's lock is held around every call, or the allocator locks for itself. */
#ifndef AL_REGION_REGION_H
#define AL_REGION_REGION_H

#include "os/os.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct al_regions al_regions;

typedef enum al_space { AL_SPACE_WINDOW, AL_SPACE_PROCESS } al_space;

typedef enum al_call {
    AL_CALL_BRK,
    AL_CALL_MMAP,
    AL_CALL_MUNMAP,
    AL_CALL_MREMAP,
    AL_CALL_MADVISE,
    AL_CALL_MPROTECT,
    AL_CALL_KINDS
} al_call;

/* Linux came to align large anonymous mappings to 2 MiB: whatever their length at first, later only multiples of it. */
typedef enum al_thp_align { AL_THP_ALIGN_NONE, AL_THP_ALIGN_MULTIPLES, AL_THP_ALIGN_LARGE } al_thp_align;

enum { AL_OVERCOMMIT_SYSTEM = -1 };

typedef struct al_regions_config {
    const al_os *os;       /* NULL: the real one */
    al_space space;
    size_t window_bytes;   /* window: its length; 0 = 64 GiB */
    size_t break_offset;   /* window: from base to the first break, page aligned */
    size_t break_room;     /* how far the break may grow before it meets an obstacle; 0 = as far as space allows */
    size_t limit_bytes;    /* refuse (ENOMEM) what would make `mapped` larger; 0 = no limit */
    uint64_t fail_call;    /* the n-th call from now, of any kind, counting from 1, fails with ENOMEM; 0 = none */
    int overcommit;        /* what al_regions_overcommit answers; AL_OVERCOMMIT_SYSTEM = what the system says */
    unsigned cpus;         /* what al_regions_cpus and _cpus_online answer; 0 = what the system says */
    al_thp_align thp_align; /* window: which mappings are placed at multiples of 2 MiB (al_regions_probe_thp_align) */
    bool real_clock;       /* al_regions_now: the system's clock; otherwise one that al_regions_advance moves */
    bool log;              /* keep the event log */
} al_regions_config;

typedef struct al_counters {
    uint64_t calls[AL_CALL_KINDS];  /* all calls, failed ones too */
    uint64_t failed[AL_CALL_KINDS];
    uint64_t bytes[AL_CALL_KINDS];  /* asked for by the calls that succeeded: brk |delta|, mremap the new length */
    size_t mapped, peak_mapped;     /* readable and writable */
    size_t reserved, peak_reserved; /* all address space held, PROT_NONE included */
    size_t vmas, peak_vmas;
} al_counters;

/* One row of the event log: what was asked, and what came of it. A brk or mmap that failed has no address. */
typedef struct al_event {
    uint64_t op;       /* index of the operation under way (al_regions_set_op) */
    uint64_t address;  /* brk: the old break; mmap: the result; others: the argument. Relative to base in a window */
    uint64_t bytes;    /* brk: |delta|; mremap: the old length */
    uint64_t result;   /* brk: the new break; mmap, mremap: the result; else 0 */
    uint64_t extra;    /* mremap: the new length; brk: 1 if it shrank; mmap, mprotect: al_prot; madvise: al_advice */
    uint32_t call;     /* al_call */
    uint32_t error;    /* 0 or an errno value */
} al_event;

typedef struct al_vma {
    uintptr_t start, end;
    al_prot prot;
    bool heap;    /* the break's own VMA; it never merges with a mapping */
    bool foreign; /* what others took (al_regions_foreign_brk): in nobody's account, and never listed */
} al_vma;

/* Returns NULL and sets *error to an errno value on failure. */
al_regions *al_regions_create(const al_regions_config *config, int *error);
/* Unmaps everything the manager holds: in a process space, the mappings it made (the break stays where it is). */
void al_regions_destroy(al_regions *regions);

/* --- the calls: each returns 0 or an errno value; each is counted and logged ---
 *
 * Addresses are page aligned (EINVAL; a hint is rounded up), lengths are rounded up to pages, as in the system calls,
 * and errors are theirs but for two: a window has no addresses below its first break or outside itself (EINVAL, or
 * ENOMEM where a mapping is asked for), and what would fail halfway (mprotect, madvise over a hole: ENOMEM) does
 * nothing at all. */

/* Moves the break by delta bytes, page granular or not as the caller asks; delta 0 asks where it is, which is counted
 * but never made to fail. *old_break is the break before. EINVAL below the first break; ENOMEM at the obstacle or the
 * limit. In a process space the break may have been moved by others: compare *old_break with what you expect. */
int al_regions_brk(al_regions *regions, intptr_t delta, void **old_break);
/* The page that `at` lies in, which a stranger's move of the break left in part, is the heap's from there on: in the
 * account it is all of it. Not counted: nothing is asked of the system. ENOMEM. */
int al_regions_adopt(al_regions *regions, const void *at);
/* Top-down, first gap that fits, if placement leaves the choice. */
int al_regions_mmap(al_regions *regions, void *hint, size_t bytes, al_prot prot, al_placement placement, void **out);
/* Any page-aligned part of what is mapped; holes are allowed, as in the system call. */
int al_regions_munmap(al_regions *regions, void *addr, size_t bytes);
/* In place if the mapping shrinks or the pages above it are free; else, if may_move, elsewhere (top-down first gap).
 * EFAULT unless all of it lies in one VMA. */
int al_regions_mremap(al_regions *regions, void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void **out);
int al_regions_mprotect(al_regions *regions, void *addr, size_t bytes, al_prot prot);
int al_regions_madvise(al_regions *regions, void *addr, size_t bytes, al_advice advice);

/* --- questions and settings, not counted --- */

size_t al_regions_page_size(const al_regions *regions);
int al_regions_break(const al_regions *regions, void **at); /* where the program break is */
const al_counters *al_regions_counters(const al_regions *regions);
void al_regions_recount(al_regions *regions); /* counters begin anew, peaks at what is held now: in a forked child */
void *al_regions_base(const al_regions *regions);  /* the window's first address; NULL in a process space */
int al_regions_overcommit(const al_regions *regions); /* 0, 1 or 2, as vm.overcommit_memory */
unsigned al_regions_cpus(const al_regions *regions);  /* that the process may run on */
unsigned al_regions_cpus_online(const al_regions *regions);
uint64_t al_regions_now(const al_regions *regions); /* nanoseconds */
void al_regions_advance(al_regions *regions, uint64_t nanoseconds);
void al_regions_set_op(al_regions *regions, uint64_t op);
/* Counts from now; 0: never. Returns what was left of the count before: 0 if the call that was to fail has. */
uint64_t al_regions_set_fail_call(al_regions *regions, uint64_t nth);
/* Window: someone else moves the break up by delta bytes, as a library that calls sbrk does; the pages are his. EINVAL
 * in a process space, where others do it themselves, and for delta < 0; ENOMEM where there is no room. */
int al_regions_foreign_brk(al_regions *regions, intptr_t delta);
void al_regions_set_limit(al_regions *regions, size_t bytes);     /* 0 = none */

/* Keeps the event log from now on, with room for so many rows at once. 0 or an errno value. */
int al_regions_start_log(al_regions *regions, size_t rows);

/* What thp_align must be for a window to place as this kernel (NULL: the real one) does. */
al_thp_align al_regions_probe_thp_align(const al_os *os);

/* VMAs in address order. Returns how many there are; writes at most `room`. */
size_t al_regions_vmas(const al_regions *regions, al_vma *out, size_t room);
/* The first VMA that ends after address: it holds the address or begins above it. False: there is none. */
bool al_regions_vma_after(const al_regions *regions, uintptr_t address, al_vma *out);
/* The log so far; *dropped is how many rows could not be kept for want of memory. */
const al_event *al_regions_events(const al_regions *regions, size_t *count, uint64_t *dropped);
/* Bytes of the readable and writable VMAs that have a physical page. */
int al_regions_resident(const al_regions *regions, size_t *bytes);

/* What is known of a page. */
enum {
    AL_PAGE_MAPPED = 1,    /* inside a VMA of the heap */
    AL_PAGE_COMMITTED = 2, /* readable and writable */
    AL_PAGE_RESIDENT = 4,  /* a physical page of its own: it was written to, and not purged since */
    AL_PAGE_ZERO = 8       /* known zero: mapped, with nothing behind it (fresh, only read, or DONTNEEDed) */
};
/* flags[i] = those of page i from addr on. */
int al_regions_pages(const al_regions *regions, const void *addr, size_t pages, unsigned char *flags);

const al_os *al_regions_os(const al_regions *regions);
/* Zeroed memory for the laboratory's own use, outside the account; lives as long as the manager. NULL: none left. */
void *al_regions_own(al_regions *regions, size_t bytes);

#endif
