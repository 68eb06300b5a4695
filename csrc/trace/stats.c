#include "trace/stats.h"

#include "base/align.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_LOG2 = 5, STEPS = 1 << STEPS_LOG2, AHEAD = 16 };

/* Upper bounds, inclusive, of the growth classes new/old; the last has none. alloclab/trace/stats.py names them. */
static const double GROWTH_UP_TO[AL_GROWTH_CLASSES - 1] = {1.05, 1.2, 1.3, 1.45, 1.55, 1.95, 2.05, 4.0};

static size_t bucket(uint64_t value) {
    if (value < STEPS) return (size_t)value;
    unsigned octave = al_log2_floor(value) - STEPS_LOG2;
    return ((size_t)octave << STEPS_LOG2) + (size_t)(value >> octave);
}

bool al_stats_init(al_stats *stats) {
    *stats = (al_stats){.peak_ns = -1, .first_ns = -1, .last_ns = -1, .row_ns = -1};
    stats->small_sizes = calloc(AL_SMALL_SIZES, sizeof *stats->small_sizes);
    if (stats->small_sizes != NULL && al_history_init(&stats->history) && al_addrmap_init(&stats->thread_index) &&
        al_addrmap_init(&stats->size_index))
        return true;
    al_stats_destroy(stats);
    return false;
}

void al_stats_destroy(al_stats *stats) {
    al_history_destroy(&stats->history);
    al_addrmap_destroy(&stats->thread_index);
    al_addrmap_destroy(&stats->size_index);
    free(stats->threads);
    free(stats->small_sizes);
    free(stats->large_sizes);
    *stats = (al_stats){0};
}

/* Room for one more element behind *array of `count`. */
static bool grow(void *array, size_t count, size_t *capacity, size_t element) {
    if (count < *capacity) return true;
    size_t larger = *capacity == 0 ? 64 : 2 * *capacity;
    void *old;
    memcpy(&old, array, sizeof old);
    void *moved = realloc(old, larger * element);
    if (moved == NULL) return false;
    memcpy(array, &moved, sizeof moved);
    *capacity = larger;
    return true;
}

/* NULL: no memory. */
static al_thread_stats *thread_of(al_stats *stats, uint32_t thread) {
    int64_t index = al_addrmap_get(&stats->thread_index, (uint64_t)thread + 1), previous;
    if (index >= 0) return &stats->threads[index];
    if (!grow(&stats->threads, stats->thread_count, &stats->thread_capacity, sizeof *stats->threads)) return NULL;
    if (!al_addrmap_put(&stats->thread_index, (uint64_t)thread + 1, (int64_t)stats->thread_count, &previous))
        return NULL;
    al_thread_stats *fresh = &stats->threads[stats->thread_count++];
    *fresh = (al_thread_stats){.thread = thread};
    return fresh;
}

static bool count_size(al_stats *stats, uint64_t bytes) {
    if (bytes < AL_SMALL_SIZES) {
        stats->small_sizes[bytes]++;
        return true;
    }
    int64_t index = al_addrmap_get(&stats->size_index, bytes + 1), previous;
    if (index >= 0) {
        stats->large_sizes[index].births++;
        return true;
    }
    if (!grow(&stats->large_sizes, stats->large_count, &stats->large_capacity, sizeof *stats->large_sizes))
        return false;
    if (!al_addrmap_put(&stats->size_index, bytes + 1, (int64_t)stats->large_count, &previous)) return false;
    stats->large_sizes[stats->large_count++] = (al_size_count){.bytes = bytes, .births = 1};
    return true;
}

static void end_chain(al_stats *stats, const al_block *block, int64_t object, uint64_t last_bytes) {
    if (block->reallocs == 0) return;
    stats->chains[bucket(block->reallocs)]++;
    size_t at = AL_TOP_CHAINS;
    while (at > 0 && stats->longest[at - 1].reallocs < block->reallocs) at--;
    if (at == AL_TOP_CHAINS) return;
    memmove(&stats->longest[at + 1], &stats->longest[at], (AL_TOP_CHAINS - 1 - at) * sizeof *stats->longest);
    stats->longest[at] = (al_chain){object, block->reallocs, block->born_bytes, last_bytes};
}

static void count_death(al_stats *stats, const al_events *events, size_t i, const al_change *change,
                        al_thread_stats *thread) {
    const al_block *block = &stats->history.blocks[change->slot];
    stats->life_ops[bucket(stats->history.operations - 1 - block->birth_op)]++;
    int64_t now = events->time_ns[i];
    if (now >= 0 && block->birth_ns >= 0)
        stats->life_ns[bucket(now < block->birth_ns ? 0 : (uint64_t)(now - block->birth_ns))]++;
    thread->deaths++;
    thread->remote_deaths += block->thread != events->thread[i];
    stats->realloc_zero += events->op[i] == AL_EVENT_REALLOC;
    end_chain(stats, block, events->object[i], change->old_bytes);
}

static void count_resize(al_stats *stats, const al_change *change) {
    if (change->new_bytes <= change->old_bytes) {
        stats->shrinks += change->new_bytes < change->old_bytes;
        stats->same += change->new_bytes == change->old_bytes;
        return;
    }
    stats->grows++;
    double factor = (double)change->new_bytes / (double)change->old_bytes; /* from 0 bytes: infinite */
    size_t class = 0;
    while (class < AL_GROWTH_CLASSES - 1 && factor > GROWTH_UP_TO[class]) class++;
    stats->growth[class]++;
}

static void count_time(al_stats *stats, int64_t now) {
    if (now < 0) return;
    if (stats->first_ns < 0 || now < stats->first_ns) stats->first_ns = now;
    if (now > stats->last_ns) stats->last_ns = now;
    if (now < stats->row_ns) {
        stats->steps_back++;
        stats->largest_step_back = al_max(stats->largest_step_back, (uint64_t)(stats->row_ns - now));
    }
    stats->row_ns = now;
}

static void note_peak(al_stats *stats, int64_t now) {
    const al_history *history = &stats->history;
    stats->most_blocks = al_max(stats->most_blocks, history->live.count);
    if (history->live.sum <= stats->peak_bytes) return;
    stats->peak_bytes = history->live.sum;
    stats->peak_blocks = history->live.count;
    stats->peak_op = history->operations - 1;
    stats->peak_row = stats->rows;
    stats->peak_ns = now;
}

static al_fault add_row(al_stats *stats, const al_events *events, size_t i) {
    uint8_t op = events->op[i];
    al_change change;
    al_fault fault = al_history_add(&stats->history, events, i, &change);
    if (fault != AL_FAULT_NONE) return fault;
    al_thread_stats *thread = thread_of(stats, events->thread[i]);
    if (thread == NULL) return AL_FAULT_NO_MEMORY;
    count_time(stats, events->time_ns[i]);
    stats->calls[op]++;
    if (op >= AL_EVENT_THREAD_START) return AL_FAULT_NONE;
    thread->calls++;
    stats->failed[op] += events->failed[i] != 0;
    stats->asked[op] += change.new_bytes;
    stats->free_null += op == AL_EVENT_FREE && change.deed == AL_DEED_NONE;
    if (change.deed == AL_DEED_BIRTH) {
        thread->births++;
        thread->born_bytes += change.new_bytes;
        if (!count_size(stats, change.new_bytes)) return AL_FAULT_NO_MEMORY;
    } else if (change.deed == AL_DEED_RESIZE) {
        count_resize(stats, &change);
    } else if (change.deed == AL_DEED_DEATH) {
        count_death(stats, events, i, &change, thread);
    }
    note_peak(stats, events->time_ns[i]);
    return AL_FAULT_NONE;
}

al_fault al_stats_add(al_stats *stats, const al_events *events, size_t *row) {
    for (size_t i = 0; i < events->rows; i++) {
        if (i + AHEAD < events->rows) al_live_prefetch(&stats->history.live, events->object[i + AHEAD]);
        al_fault fault = add_row(stats, events, i);
        if (fault != AL_FAULT_NONE) {
            *row = i;
            return fault;
        }
        stats->rows++;
    }
    return AL_FAULT_NONE;
}

void al_stats_finish(al_stats *stats) {
    const al_history *history = &stats->history;
    for (uint32_t slot = 1; slot < history->live.used; slot++) {
        const al_block *block = &history->blocks[slot];
        if (block->object != AL_NO_BLOCK) end_chain(stats, block, block->object, history->live.bytes[slot]);
    }
}
