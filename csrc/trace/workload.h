/* glibc-malloc-trace-utils' workloads: byte opcodes with big-endian base-128 operands. The head names its threads,
 *
 *     ALLOC_PTRS n | ALLOC_SYNCS n | NTHREADS n | START_THREAD offset | NOP ... DONE
 *
 * and each thread's own script starts at its offset and ends with DONE. MALLOC, CALLOC, VALLOC, PVALLOC: pointer, size;
 * MEMALIGN, POSIX_MEMALIGN: pointer, alignment, size; REALLOC: new pointer, old pointer, size; FREE: pointer. Pointers
 * are indices into an array of n; 0 is NULL. SYNC_W i sets flag i; SYNC_R i waits for it.
 *
 * The scripts are merged into one order by giving each thread in turn one step; a thread that waits gives up its turn.
 * This is the order that n processors of the same speed would make, it is the same each time, and every SYNC_R comes
 * after its SYNC_W. */
#ifndef AL_TRACE_WORKLOAD_H
#define AL_TRACE_WORKLOAD_H

#include <stdbool.h>

#include "trace/rows.h"

enum al_workload_fault {
    AL_WORKLOAD_FINE,
    AL_WORKLOAD_CUT_OFF,  /* the file ends within a script */
    AL_WORKLOAD_VARINT,   /* more than 64 bits */
    AL_WORKLOAD_OPCODE,   /* one that does not exist, or not here */
    AL_WORKLOAD_POINTER,  /* an index past ALLOC_PTRS */
    AL_WORKLOAD_SYNC,     /* an index past ALLOC_SYNCS */
    AL_WORKLOAD_OFFSET,   /* a thread that starts past the end of the file */
    AL_WORKLOAD_DEADLOCK, /* every thread left waits for a flag that nobody sets */
    AL_WORKLOAD_NO_MEMORY,
};

typedef struct al_workload_thread {
    uint64_t at; /* offset of its next step */
    bool done;
} al_workload_thread;

typedef struct al_workload {
    const uint8_t *data; /* the whole file: mapped, not read */
    uint64_t bytes;
    uint64_t pointers, syncs; /* greatest index allowed */
    uint8_t *flags;           /* one byte a sync */
    al_workload_thread *threads;
    size_t thread_count, threads_capacity, turn;
    size_t running, waiting; /* threads not done; of these, how many in a row gave up their turn */
    uint64_t fault_at;       /* offset of what is wrong */
    uint64_t page;           /* alignment of VALLOC and PVALLOC */
} al_workload;

/* Reads the head. Destroy it whatever this returns. */
enum al_workload_fault al_workload_open(al_workload *workload, const uint8_t *data, uint64_t bytes, uint64_t page);
void al_workload_destroy(al_workload *workload);

/* Appends rows until they are full or every thread is done. Threads are numbered from 0. */
enum al_workload_fault al_workload_run(al_workload *workload, al_import_rows *rows);

#endif
