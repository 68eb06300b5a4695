/* The passes of alloclab-replay on its process's malloc, seen from outside: how it dies, what of it is resident by the
 * kernel's word, and what it asks of the kernel. The lines they add to those of the passes are said in main.c. */
#ifndef AL_REPLAY_OUTSIDE_H
#define AL_REPLAY_OUTSIDE_H

#include "base/text.h"
#include "replay/job.h"
#include "replay/loop.h"

enum { AL_EXPLAINED_MAX = 2 };

typedef struct al_outside {
    const al_target *target;
    const al_ops *ops;
    const al_job *job;
    size_t touch_page;
    int answers;    /* where a crash is told */
    bool preloaded; /* its malloc is a library's, which may have mapped memory before */
    bool glass;     /* it keeps its own account: a drop-in of the laboratory, or the null allocator, which has none */
    const char *places;       /* places: the file to write */
    size_t break_beyond;      /* places: by so much the break's heap begins beyond a multiple of AL_BREAK_ALIGNMENT */
    uint64_t fail_call, limit; /* places: as a region manager's settings; 0: none */
    uint64_t stop;             /* places: replay so many operations at most, then explain these, of a glass box */
    uintptr_t explained[AL_EXPLAINED_MAX]; /* 0: not asked */
} al_outside;

void al_outside_verify(const al_outside *outside, al_text *out);
void al_outside_memory(const al_outside *outside, al_text *out);
void al_outside_calls(const al_outside *outside, al_text *out);
void al_outside_places(const al_outside *outside, al_text *out);

#endif
