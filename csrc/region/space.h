/* The two address spaces behind the region manager. A space decides where things go and makes the real calls; region.c
 * checks what is asked, keeps the account and the list of VMAs. Private to region/. */
#ifndef AL_REGION_SPACE_H
#define AL_REGION_SPACE_H

#include "region/log.h"
#include "region/own.h"
#include "region/region.h"
#include "region/vma.h"

#include <stdatomic.h>

/* Arguments arrive aligned and within reach. Each returns 0 or an errno value, and has then done nothing. */
typedef struct al_space_calls {
    int (*open)(al_regions *regions); /* sets base, first_break and break_limit, and for a window the rest of its own */
    void (*close)(al_regions *regions);
    bool (*holds)(const al_regions *regions, uintptr_t addr, size_t bytes); /* whether calls may name this range */

    int (*break_now)(const al_regions *regions, uintptr_t *at);
    /* old + delta lies in [first_break, break_limit]. *old: the break before, moved by others perhaps. */
    int (*move_break)(al_regions *regions, intptr_t delta, uintptr_t *old);
    /* Lets the heap use a page that a stranger's move of the break left in part; NULL: it can already. */
    int (*open_page)(al_regions *regions, uintptr_t page);
    int (*map)(al_regions *regions, uintptr_t hint, size_t bytes, al_prot prot, al_placement placement, uintptr_t *at);
    int (*unmap)(al_regions *regions, uintptr_t addr, size_t bytes);
    /* The old range lies in one VMA, and has these rights. */
    int (*remap)(al_regions *regions, uintptr_t addr, size_t old_bytes, size_t new_bytes, al_prot prot, bool may_move,
                 uintptr_t *at);
} al_space_calls;

extern const al_space_calls al_space_window, al_space_process;

struct al_regions {
    al_own own; /* holds this struct too */
    const al_os *os;
    const al_space_calls *space;
    al_regions_config config;
    size_t page;
    al_vma_list vmas;
    al_counters counters;
    al_log log;
    uint64_t op;
    _Atomic uint64_t clock;
    uintptr_t base, first_break, break_limit;
    uintptr_t top, break_at; /* window: its end, its break */
};

#endif
