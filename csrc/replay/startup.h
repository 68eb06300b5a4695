/* What the allocator held when the replay began: a preloaded library maps memory as it starts, and serves what others
 * allocate as they start. Read from /proc/self/maps:
 *
 *     the heap of the break, and private anonymous mappings (readable and writable, or without any rights),
 *     but not the data of program and libraries, nor the program's own rooms, nor what lies above the thread's static
 *     TLS block or a little below it in the same mapping: the loader maps that last, and what comes later comes lower
 *
 * libc's own malloc has only the heap then. */
#ifndef AL_REPLAY_STARTUP_H
#define AL_REPLAY_STARTUP_H

#include "os/os.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AL_STARTUP_MAX = 256 };

typedef struct al_startup_range {
    uintptr_t start, end;
    al_prot prot;
    bool heap;
} al_startup_range;

typedef struct al_startup {
    al_startup_range ranges[AL_STARTUP_MAX];
    size_t count;
} al_startup;

/* 0, or an errno value; E2BIG: more ranges than there is room for. */
int al_startup_read(al_startup *startup, bool preloaded);
/* Bytes of them that have a physical page. */
int al_startup_resident(const al_startup *startup, size_t *bytes);

#endif
