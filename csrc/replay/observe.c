#include "replay/observe.h"

#include "replay/room.h"

#include <sys/resource.h>

static const char *const call_names[AL_CALL_KINDS] = {
    [AL_CALL_BRK] = "brk",       [AL_CALL_MMAP] = "mmap",       [AL_CALL_MUNMAP] = "munmap",
    [AL_CALL_MREMAP] = "mremap", [AL_CALL_MADVISE] = "madvise", [AL_CALL_MPROTECT] = "mprotect",
};

typedef struct sample {
    uint64_t operation, live;
    size_t mapped, resident;
} sample;

typedef struct moment {
    uint64_t live;
    size_t mapped, resident;
    al_ledger ledger;
} moment;

typedef struct mean {
    double sum;
    uint64_t count;
} mean;

typedef struct observer {
    const al_target *target;
    const al_sources *sources;
    al_heap *heap;                 /* NULL: not a glass box, or not made yet */
    const al_counters *counters;   /* NULL: likewise, or nobody counts */
    al_counters at_start;          /* what was asked for before the first operation; 0: it was not made yet */
    uint64_t operation, live;      /* after the operation under way */
    uint64_t peak_operation, next_sample, sample_every;

    size_t peak_mapped, peak_resident;
    uint64_t live_at_peak_mapped, live_at_peak_resident;
    mean mapped_per_live, resident_per_live;

    uint64_t mremaps;              /* before the operation under way */
    uint64_t reallocs, in_place, grows, grows_in_place, shrinks, shrinks_in_place, by_mremap, copied;

    sample *samples;
    size_t sample_count, sample_room;
    moment peak;
} observer;

/* A drop-in makes its heap at the first allocation, so it is asked for until it is there. */
static void look_inside(observer *o) {
    if (o->heap != NULL || o->target->calls->glass == NULL) return;
    o->heap = o->target->calls->glass(o->target->self);
    if (o->heap != NULL) o->counters = al_regions_counters(o->heap->regions);
}

static size_t mapped(const observer *o) { return o->counters ? o->counters->mapped : 0; }

static uint64_t mremaps(const observer *o) { return o->counters ? o->counters->calls[AL_CALL_MREMAP] : 0; }

static size_t resident(const observer *o) {
    return o->sources->resident ? o->sources->resident(o->sources->context) : 0;
}

static void add(mean *m, uint64_t part, uint64_t live) {
    if (live == 0) return;
    m->sum += (double)part / (double)live;
    m->count++;
}

static moment now(const observer *o) {
    moment m = {.live = o->live, .mapped = mapped(o), .resident = resident(o)};
    if (o->heap) m.ledger = al_heap_ledger(o->heap);
    return m;
}

/* --- one operation --- */

static void account_live(observer *o, const al_op *op) {
    if (op->kind == AL_OP_FAILED) return;
    if (op->kind == AL_OP_FREE || op->kind == AL_OP_REALLOC_ZERO)
        o->live -= op->size;
    else
        o->live += op->size - (op->kind == AL_OP_REALLOC ? op[1].size : 0);
}

static void account_realloc(observer *o, const al_op *op, const void *old, const void *block) {
    if (op->kind != AL_OP_REALLOC || old == NULL || block == NULL) return;
    uint64_t old_bytes = op[1].size, new_bytes = op->size;
    bool stayed = old == block;
    o->reallocs++;
    o->in_place += stayed;
    o->grows += new_bytes > old_bytes;
    o->grows_in_place += stayed && new_bytes > old_bytes;
    o->shrinks += new_bytes < old_bytes;
    o->shrinks_in_place += stayed && new_bytes < old_bytes;
    if (stayed) return;
    if (mremaps(o) != o->mremaps)
        o->by_mremap++;
    else
        o->copied += al_min(old_bytes, new_bytes);
}

/* Of threads side by side nobody knows beforehand when the peak will be. */
static void look_for_peak(observer *o, uint64_t live) {
    if (o->target->concurrent != NULL && live > o->peak.live) o->peak = now(o);
}

static void take_sample(observer *o) {
    if (o->sample_count > 0 && o->samples[o->sample_count - 1].operation == o->operation) return;
    sample s = {.operation = o->operation, .live = o->live, .mapped = mapped(o), .resident = resident(o)};
    add(&o->resident_per_live, s.resident, s.live);
    look_for_peak(o, s.live);
    if (s.resident > o->peak_resident) {
        o->peak_resident = s.resident;
        o->live_at_peak_resident = s.live;
    }
    if (o->sample_count < o->sample_room) o->samples[o->sample_count++] = s;
}

static bool after(void *watcher, const al_op *op, void *old, void *block) {
    observer *o = watcher;
    look_inside(o);
    account_live(o, op);
    account_realloc(o, op, old, block);
    o->mremaps = mremaps(o);
    add(&o->mapped_per_live, mapped(o), o->live);
    if (o->counters && o->counters->peak_mapped > o->peak_mapped) {
        o->peak_mapped = o->counters->peak_mapped;
        o->live_at_peak_mapped = o->live;
    }
    if (o->operation == o->peak_operation) o->peak = now(o);
    o->operation++;
    if (o->operation == o->next_sample || o->operation == o->peak_operation + 1) {
        if (o->operation == o->next_sample) o->next_sample += o->sample_every;
        take_sample(o);
    }
    return true;
}

static const al_watch watch = {NULL, after};

/* --- the report --- */

static void write_figure(al_text *out, const char *prefix, const char *name, uint64_t value) {
    al_text_put(out, prefix);
    al_text_figure(out, name, value);
}

static void write_moment(const observer *o, const char *name, const moment *m, al_text *out) {
    write_figure(out, name, "_live", m->live);
    if (o->counters) write_figure(out, name, "_mapped", m->mapped);
    if (o->sources->resident) write_figure(out, name, "_resident", m->resident);
    if (o->heap == NULL) return;
    write_figure(out, name, "_ledger_usable", m->ledger.usable);
    write_figure(out, name, "_ledger_metadata", m->ledger.metadata);
    write_figure(out, name, "_ledger_cached", m->ledger.cached);
    write_figure(out, name, "_ledger_free", m->ledger.free);
}

static void write_mean(al_text *out, const char *name, const mean *m) {
    if (m->count == 0) return;
    al_text_put(out, name);
    al_text_put(out, " ");
    al_text_real(out, m->sum / (double)m->count);
    al_text_put(out, "\n");
}

static void write_counters(const observer *o, al_text *out) {
    al_text_figure(out, "peak_mapped", o->peak_mapped);
    al_text_figure(out, "live_at_peak_mapped", o->live_at_peak_mapped);
    write_mean(out, "mean_mapped_per_live", &o->mapped_per_live);
    for (int kind = 0; kind < AL_CALL_KINDS; kind++) {
        write_figure(out, "calls_", call_names[kind], o->counters->calls[kind] - o->at_start.calls[kind]);
        write_figure(out, "bytes_", call_names[kind], o->counters->bytes[kind] - o->at_start.bytes[kind]);
    }
    al_text_figure(out, "peak_vmas", o->counters->peak_vmas);
    if (o->target->concurrent != NULL) return; /* whose the mremap was is not known */
    al_text_figure(out, "reallocs_by_mremap", o->by_mremap);
    al_text_figure(out, "realloc_bytes_copied", o->copied);
}

static void write_reallocs(const observer *o, al_text *out) {
    al_text_figure(out, "reallocs", o->reallocs);
    al_text_figure(out, "reallocs_in_place", o->in_place);
    al_text_figure(out, "grows", o->grows);
    al_text_figure(out, "grows_in_place", o->grows_in_place);
    al_text_figure(out, "shrinks", o->shrinks);
    al_text_figure(out, "shrinks_in_place", o->shrinks_in_place);
}

static void write_resident(const observer *o, al_text *out) {
    al_text_figure(out, "peak_sampled_resident", o->peak_resident);
    al_text_figure(out, "live_at_peak_resident", o->live_at_peak_resident);
    write_mean(out, "mean_resident_per_live", &o->resident_per_live);
}

static void write_part(al_text *out, bool known, uint64_t value) {
    al_text_put(out, " ");
    if (known)
        al_text_u64(out, value);
    else
        al_text_put(out, "-");
}

static void write_samples(const observer *o, al_text *out) {
    for (const sample *s = o->samples; s < o->samples + o->sample_count; s++) {
        al_text_put(out, "sample");
        write_part(out, true, s->operation);
        write_part(out, true, s->live);
        write_part(out, o->counters != NULL, s->mapped);
        write_part(out, o->sources->resident != NULL, s->resident);
        al_text_put(out, "\n");
    }
}

static uint64_t faults(const al_target *target) {
    struct rusage usage;
    int whose = target->concurrent != NULL ? RUSAGE_SELF : RUSAGE_THREAD;
    return getrusage(whose, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

void al_observe(const al_target *target, const al_ops *ops, const al_ops_head *head, const al_sources *sources,
                const al_observation *how, al_text *out) {
    observer o = {.target = target, .sources = sources, .counters = sources->counters};
    o.peak_operation = target->concurrent != NULL ? UINT64_MAX - 1 : head->peak_live_op;
    o.sample_every = o.next_sample = how->samples ? al_max(head->operations / how->samples, 1) : UINT64_MAX;
    o.sample_room = head->operations / o.sample_every + 3;
    o.samples = al_room_take(o.sample_room * sizeof *o.samples, 1);
    if (o.samples == NULL) {
        al_text_line(out, "trouble", "no memory for the samples");
        return;
    }
    look_inside(&o);
    if (o.counters) o.at_start = *o.counters;
    if (how->begin) how->begin(sources->context);
    uint64_t faults_before = faults(target);
    al_replay_watched(target, &watch, &o, ops, how->touch_page);
    uint64_t faulted = faults(target) - faults_before;
    take_sample(&o);
    moment end = now(&o);
    if (o.counters) write_counters(&o, out);

    al_drain(target->calls, target->self, ops);
    if (how->finish) how->finish(sources->context);
    o.live = 0;
    moment drained = now(&o);

    write_reallocs(&o, out);
    if (sources->resident) write_resident(&o, out);
    al_text_figure(out, "minor_faults", faulted);
    write_moment(&o, "at_peak", &o.peak, out);
    write_moment(&o, "at_end", &end, out);
    write_moment(&o, "drained", &drained, out);
    write_samples(&o, out);
    al_room_drop(o.samples, o.sample_room * sizeof *o.samples);
}
