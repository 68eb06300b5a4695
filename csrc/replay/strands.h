/* A trace's threads side by side: an OS thread for each strand (trace/strands.h), alive as long as the recorded one
 * was. Strand 0 is the program's first thread, which cannot end before the others: where the recorded one did, it has
 * nothing to do from then on. A strand that never ended when recorded stays as long as the process.
 *
 * Starting a thread makes libc ask for memory, by the malloc that is replayed on, unless it has the stack of an ended
 * thread with its tables at hand. So as many threads as live at once are started, and have ended, before all else; with
 * the one that starts them no more than AL_ROOMS_NOTED_MAX, for libc unmaps the stacks of more. */
#ifndef AL_REPLAY_STRANDS_H
#define AL_REPLAY_STRANDS_H

#include "replay/loop.h"
#include "trace/strands.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct al_strands al_strands;

typedef struct al_strand {
    al_strands *all;
    al_ops ops; /* its own operations, over the slots of all */
    bool ends;  /* it ended when recorded */
    uint64_t waits, sleeps, waited_ns; /* waits that were not over at once; of these, those that slept */
    uint64_t cpu_ns;                   /* of its work */
    pthread_t thread;
} __attribute__((aligned(64))) al_strand;

/* What every strand does, once, in its own thread: replay strand->ops with `strand` as the calls' self. On false, which
 * says that it did not come to the end of them, the others stop where they next have to wait. */
typedef bool al_strand_work(void *context, al_strand *strand);

struct al_strands {
    const al_strands_head *head;
    const al_strand_range *ranges;
    const al_act *acts;
    const al_op *entries;

    al_strand *strands;
    _Atomic uint32_t *events; /* 0, AWAITED by a sleeper, POSTED */
    al_strand_work *work;
    void *context;
    void (*give_up)(const char *why) __attribute__((noreturn)); /* a thread cannot be started, halfway through */
    _Atomic uint32_t busy;       /* strands that have not come to the end */
    _Atomic uint32_t first_done; /* strand 0 has */
    atomic_bool stopped;         /* one did not come to the end, so what another waits for may never be */
    uint64_t wall_ns;            /* from the first start to the last end */
};

/* Whether the bytes are strands that fit their head; then the fields above the empty line are set. */
bool al_strands_read(al_strands *all, const void *image, size_t bytes);
/* Has tables and stacks made; `slots` as in an al_ops. NULL, or why it cannot be done. Before anything is measured. */
const char *al_strands_prepare(al_strands *all, void **slots);

/* Returns when all have come to the end and all that end have ended. Once, for the others are still there. */
void al_strands_run(al_strands *all, al_strand_work *work, void *context);

/* The calls' hook for WAIT and POST; self is the strand. For what else there is it may be anything. */
bool al_strand_aside(void *self, const al_op *op);

#endif
