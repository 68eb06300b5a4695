/* A kernel for unit tests: a table of pages, a clock moved by hand, refusals to order.
 *
 * Memory that is asked for with reserve = true (a window) is addresses only, never to be touched but by al_fake_write;
 * the rest (bookkeeping) is real and comes from an arena. The break is a number. */
#ifndef AL_OS_OS_FAKE_H
#define AL_OS_OS_FAKE_H

#include "os/os.h"

enum { AL_FAKE_PAGE = 4096, AL_FAKE_PAGES = ((1 << 30) + (32 << 20)) / AL_FAKE_PAGE };

typedef struct al_fake_page {
    bool mapped;
    al_prot prot;
    uint32_t stamp; /* what was last written to it; 0: nothing, it is not resident */
} al_fake_page;

typedef struct al_fake {
    uint64_t clock, calls;
    uint64_t refuse;     /* the n-th call from now that may fail does, with ENOMEM; 0 = none */
    uint64_t arena_left; /* bytes: less than asked for is ENOMEM */
    uintptr_t seam;      /* remap finds two mappings, one to each side of it: EFAULT */
    uintptr_t brk, brk_limit;
} al_fake;

extern al_fake al_fake_kernel;
extern const al_os al_os_fake;

void al_fake_reset(void);
al_fake_page *al_fake_table(void); /* AL_FAKE_PAGES pages */
al_fake_page *al_fake_at(uintptr_t address);
void al_fake_write(uintptr_t address, uint32_t stamp); /* dies unless the page may be written to */

#endif
