/* The contract with the kernel. os_linux.c is the only file of the core that makes memory system calls; os_fake.c
 * answers from a table, for unit tests. The region manager receives one of them: policy is testable without a kernel.
 *
 * All lengths and addresses are multiples of the page size unless said otherwise. Every function that can fail returns
 * 0 or an errno value and then leaves its outputs untouched. None of them allocates, locks, prints or changes errno. */
#ifndef AL_OS_OS_H
#define AL_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum al_prot { AL_PROT_NONE = 0, AL_PROT_READ_WRITE = 1 } al_prot;

typedef enum al_advice { AL_ADVISE_DONTNEED, AL_ADVISE_FREE, AL_ADVISE_HUGEPAGE, AL_ADVISE_NOHUGEPAGE,
               AL_ADVISE_WIPEONFORK /* reads zero in a forked child */ } al_advice;

/* Where a mapping may land. */
typedef enum al_placement {
    AL_PLACE_ANYWHERE,   /* addr is ignored */
    AL_PLACE_HINT,       /* at addr if that is free, else anywhere */
    AL_PLACE_NOREPLACE,  /* at addr, or EEXIST */
    AL_PLACE_FIXED       /* at addr, replacing what is there */
} al_placement;

/* What stands behind a page. */
typedef enum al_backing {
    AL_BACKING_NONE = 0,     /* nothing, or the shared zero page: it reads as zero */
    AL_BACKING_PHYSICAL = 1, /* a physical page of its own */
    AL_BACKING_SWAP = 2
} al_backing;

typedef struct al_os {
    size_t (*page_size)(void);
    unsigned (*cpus)(void); /* that this process may run on */
    unsigned (*cpus_online)(void); /* that the system has switched on */
    int (*overcommit)(void); /* vm.overcommit_memory; 0 where it cannot be read */

    /* Private anonymous memory; reserve = true asks for MAP_NORESERVE. post: *out is page aligned, zero-filled. */
    int (*map)(void *addr, size_t bytes, al_prot prot, al_placement placement, bool reserve, void **out);
    int (*unmap)(void *addr, size_t bytes);

    /* Part of an open file, readable and writable, shared: what is stored outlives the process. offset is page aligned;
     * the caller has seen to it that the file has room there. */
    int (*map_file)(int fd, uint64_t offset, size_t bytes, void **out);

    /* Grows, shrinks or moves a mapping, keeping its pages: anywhere if may_move, else in place or ENOMEM.
     * to != NULL: the pages go to exactly there, replacing what is there; old_bytes = new_bytes, and the old range
     * stays mapped, with nothing behind it. EFAULT where the kernel keeps the range as more than one mapping. */
    int (*remap)(void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void *to, void **out);
    int (*protect)(void *addr, size_t bytes, al_prot prot);
    int (*advise)(void *addr, size_t bytes, al_advice advice);

    /* Moves the program break by delta (any sign). post: *old is the break before. */
    int (*brk)(intptr_t delta, void **old);

    /* backing[i] = an al_backing for page i of the range. The range need not be mapped. */
    int (*resident)(const void *addr, size_t pages, unsigned char *backing);

    /* Monotonic, in nanoseconds. */
    uint64_t (*now)(void);
    /* CPU time of the calling thread, in nanoseconds. */
    uint64_t (*thread_time)(void);
} al_os;

extern const al_os al_os_linux;

#endif
