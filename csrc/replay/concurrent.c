#include "replay/concurrent.h"

#include "base/lock.h"
#include "replay/sud.h"

/* --- somebody looks on: one operation at a time, while the allocator is not held up --- */

typedef struct onlooker {
    const al_target *serial;
    const al_watch *watch;
    void *watcher;
    size_t touch_page;
    al_lock lock;
    atomic_bool done; /* the watcher wants to see no more */
} onlooker;

static bool before(void *context, const al_op *op, void *old) {
    onlooker *o = context;
    al_lock_take(&o->lock);
    if (!o->done && o->watch->before) o->done = !o->watch->before(o->watcher, op, old);
    bool go_on = !o->done;
    al_lock_drop(&o->lock);
    return go_on;
}

static bool after(void *context, const al_op *op, void *old, void *block) {
    onlooker *o = context;
    al_lock_take(&o->lock);
    if (!o->done && o->watch->after) o->done = !o->watch->after(o->watcher, op, old, block);
    bool go_on = !o->done;
    al_lock_drop(&o->lock);
    return go_on;
}

static const al_watch one_at_a_time = {before, after};

static bool watched_strand(void *context, al_strand *strand) {
    onlooker *o = context;
    al_sud_join();
    al_replay(o->serial->calls, strand, &one_at_a_time, o, &strand->ops, o->touch_page);
    return !o->done;
}

static void watched(const al_target *target, const al_watch *watch, void *watcher, const al_ops *ops,
                    size_t touch_page) {
    (void)ops; /* each strand has its own */
    onlooker o = {.serial = target->concurrent, .watch = watch, .watcher = watcher, .touch_page = touch_page};
    al_strands *all = target->self;
    al_strands_run(all, watched_strand, &o);
}

al_target al_concurrent_target(const al_target *serial, al_strands *all) {
    return (al_target){.calls = serial->calls, .self = all, .concurrent = serial, .watched = watched};
}

/* --- nobody does --- */

typedef struct racing {
    const al_target *serial;
    size_t touch_page;
} racing;

static bool unwatched_strand(void *context, al_strand *strand) {
    const racing *r = context;
    r->serial->loop(strand, &strand->ops, r->touch_page);
    return true;
}

void al_concurrent_time(const al_target *target, size_t touch_page, al_text *out) {
    racing r = {target->concurrent, touch_page};
    al_strands *all = target->self;
    al_strands_run(all, unwatched_strand, &r);
    uint64_t cpu = 0, waits = 0, sleeps = 0, waited = 0;
    for (const al_strand *s = all->strands; s < all->strands + all->head->strands; s++) {
        cpu += s->cpu_ns;
        waits += s->waits;
        sleeps += s->sleeps;
        waited += s->waited_ns;
    }
    al_text_figure(out, "pass_ns", cpu);
    al_text_figure(out, "wall_ns", all->wall_ns);
    al_text_figure(out, "waits", waits);
    al_text_figure(out, "sleeps", sleeps);
    al_text_figure(out, "waited_ns", waited);
}
