/* Figures of a trace, gathered in one pass. Memory follows live blocks, threads and distinct sizes.
 *
 * Histograms are logarithmic with 32 steps an octave: values below 64 are exact, others within 1/32.
 *
 *     value:    0 .. 31, 32 .. 63, 64 66 .. 126, 128 132 .. 252, ...
 *     bucket:   0 .. 31, 32 .. 63, 64 65 ..  95,  96  97 .. 127, ... */
#ifndef AL_TRACE_STATS_H
#define AL_TRACE_STATS_H

#include "trace/history.h"

typedef enum al_stats_sizes {
    AL_HIST_BUCKETS = 60 * 32,
    AL_GROWTH_CLASSES = 9,
    AL_TOP_CHAINS = 10,
    AL_SMALL_SIZES = 1 << 16 /* sizes below are counted in a plain array */
} al_stats_sizes;

typedef struct al_size_count {
    uint64_t bytes, births;
} al_size_count;

typedef struct al_thread_stats {
    uint32_t thread;
    uint64_t calls, births, born_bytes, deaths, remote_deaths; /* remote: of blocks that another thread made */
} al_thread_stats;

/* A block's reallocs from birth to death or end. */
typedef struct al_chain {
    int64_t object;
    uint64_t reallocs, born_bytes, last_bytes;
} al_chain;

typedef struct al_stats {
    al_history history;
    uint64_t rows;
    uint64_t calls[AL_EVENT_OPS], failed[AL_EVENT_OPS], asked[AL_EVENT_OPS]; /* asked: bytes of calls that succeeded */
    uint64_t free_null, realloc_zero, grows, shrinks, same;
    uint64_t growth[AL_GROWTH_CLASSES];
    uint64_t life_ops[AL_HIST_BUCKETS], life_ns[AL_HIST_BUCKETS], chains[AL_HIST_BUCKETS];
    al_chain longest[AL_TOP_CHAINS]; /* by reallocs, falling; earlier deaths first */
    uint64_t peak_bytes, peak_blocks, peak_op, peak_row, most_blocks;
    int64_t peak_ns; /* -1: not known */
    int64_t first_ns, last_ns; /* smallest and largest, -1: none */
    int64_t row_ns; /* of the row before */
    uint64_t steps_back, largest_step_back;
    al_addrmap thread_index; /* thread + 1 -> index in threads */
    al_thread_stats *threads;
    size_t thread_count, thread_capacity;
    uint64_t *small_sizes; /* births by size */
    al_addrmap size_index; /* size + 1 -> index in large_sizes */
    al_size_count *large_sizes;
    size_t large_count, large_capacity;
} al_stats;

bool al_stats_init(al_stats *stats); /* false: no memory */
void al_stats_destroy(al_stats *stats);

/* On a fault *row is the index of the row in this block. */
al_fault al_stats_add(al_stats *stats, const al_events *events, size_t *row);
void al_stats_finish(al_stats *stats); /* the chains of those that survived */

#endif
