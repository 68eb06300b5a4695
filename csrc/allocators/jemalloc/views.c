/* Tables of what there is, for those who want to count and draw: a row for each class, arena, bin, slab, extent, ... */
#include "allocators/jemalloc/inspect.h"
#include "parts/facts.h"

#include <string.h>

typedef struct viewer {
    je_look look;
    al_rows rows;
} viewer;

/* --- classes --- */

static bool view_classes(viewer *v) {
    bool more = true;
    for (unsigned class = 0; more && class < JE_CLASSES; class++) {
        bool small = class < JE_SMALL_CLASSES;
        const je_slab_layout *layout = &v->look.heap->layouts[small ? class : 0];
        al_facts *f = al_row_begin(&v->rows);
        al_tell_count(f, "class", class);
        al_tell_bytes(f, "bytes", al_je_class_bytes(class));
        al_tell_bytes(f, "slab_bytes", small ? layout->slab_bytes : 0);
        al_tell_count(f, "regions", small ? layout->regions : 0);
        al_tell_count(f, "shards", small ? al_je_shards(v->look.heap, class) : 0);
        al_tell_count(f, "capacity", class < JE_CACHE_CLASSES ? v->look.heap->capacities[class] : 0);
        more = al_row_end(&v->rows);
    }
    return more;
}

/* --- arenas and bins --- */

static bool view_arena(viewer *v, je_arena *arena) {
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "arena", arena->number);
    al_tell_count(f, "threads", arena->threads);
    al_tell_count(f, "next_serial", arena->next_serial);
    al_tell_bytes(f, "next_mapping", arena->growth < JE_PAGE_CLASSES ? al_je_page_class_bytes(arena->growth) : 0);
    al_tell_count(f, "active_pages", arena->active_pages);
    al_tell_count(f, "dirty_pages", arena->dirty.pages);
    al_tell_count(f, "muzzy_pages", arena->muzzy.pages);
    al_tell_count(f, "retained_pages", arena->retained.pages);
    al_tell_bytes(f, "internal_bytes", arena->internal_bytes);
    al_tell_bytes(f, "base_used", arena->base.allocated);
    al_tell_bytes(f, "base_mapped", arena->base.mapped);
    return al_row_end(&v->rows);
}

/* The counts are those of all its shards; the current slab is that of the first. */
static bool view_bin(viewer *v, je_arena *arena, unsigned class) {
    const je_bin *bin = &arena->bins[class];
    const je_extent *current = al_je_shard(v->look.heap, arena, class, 0)->current;
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "arena", arena->number);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", al_je_class_bytes(class));
    bool known = current != NULL && al_je_extent_known(v->look.heap, current);
    al_tell_address(f, "current", known ? (const void *)current->address : NULL);
    al_tell_count(f, "slabs", bin->slabs);
    al_tell_count(f, "partial", bin->partials);
    al_tell_count(f, "regions_in_use", bin->regions);
    al_tell_count(f, "nmalloc", bin->nmalloc);
    al_tell_count(f, "ndalloc", bin->ndalloc);
    al_tell_count(f, "nrequests", bin->nrequests);
    al_tell_count(f, "nfills", bin->nfills);
    al_tell_count(f, "nflushes", bin->nflushes);
    al_tell_count(f, "nslabs", bin->nslabs);
    al_tell_count(f, "reslabs", bin->reslabs);
    return al_row_end(&v->rows);
}

/* Those that were ever used. */
static bool view_bins(viewer *v, je_arena *arena) {
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++)
        if (arena->bins[class].nslabs > 0 && !view_bin(v, arena, class)) return false;
    return true;
}

/* --- slabs and extents --- */

static bool view_slab(viewer *v, const je_extent *slab) {
    const je_slab_layout *layout = al_je_layout(v->look.heap, slab);
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "arena", slab->arena->number);
    al_tell_count(f, "class", slab->class);
    al_tell_bytes(f, "bytes", layout->bytes);
    al_tell_address(f, "address", (const void *)slab->address);
    al_tell_bytes(f, "slab_bytes", slab->bytes);
    al_tell_count(f, "serial", slab->serial);
    al_tell_count(f, "regions", layout->regions);
    al_tell_count(f, "free", slab->free_regions);
    al_tell_count(f, "shard", slab->shard);
    al_tell_flag(f, "current", al_je_shard_of(v->look.heap, slab)->current == slab);
    return al_row_end(&v->rows);
}

static bool view_slabs(viewer *v) {
    je_stretch s;
    for (uintptr_t at = 0; al_je_stretch_after(&v->look, at, &s); at = s.end)
        if (s.kind == JE_EXTENT && al_je_is_active_slab(s.extent) && !view_slab(v, s.extent)) return false;
    return true;
}

static bool view_extent(viewer *v, const je_arena *arena, const je_member *m) {
    al_facts *f = al_row_begin(&v->rows);
    al_tell_text(f, "set", al_je_state_name(m->extent->state));
    al_tell_count(f, "arena", arena->number);
    al_tell_address(f, "address", (const void *)m->extent->address);
    al_tell_bytes(f, "bytes", m->extent->bytes);
    al_tell_count(f, "serial", m->extent->serial);
    al_tell_count(f, "queue", al_je_extents_queue(m->extent->bytes));
    al_tell_count(f, "recency", m->position);
    al_tell_flag(f, "head", m->extent->head);
    al_tell_flag(f, "zeroed", m->extent->zeroed);
    return al_row_end(&v->rows);
}

/* Of each set the oldest first. */
static bool view_extents(viewer *v, je_arena *arena) {
    for (je_state state = JE_DIRTY; state <= JE_RETAINED; state++)
        for (je_member m = {0}; al_je_recency_next(v->look.heap, al_je_extents_of(arena, state), &m);)
            if (!view_extent(v, arena, &m)) return false;
    return true;
}

/* --- decay --- */

static const je_decay *decay_of(const je_arena *arena, je_state state) {
    return state == JE_DIRTY ? &arena->dirty_decay : &arena->muzzy_decay;
}

static bool view_one_decay(viewer *v, je_arena *arena, je_state state) {
    const je_decay *decay = decay_of(arena, state);
    const je_purges *purges = state == JE_DIRTY ? &arena->dirty_purges : &arena->muzzy_purges;
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "arena", arena->number);
    al_tell_text(f, "set", al_je_state_name(state));
    al_tell_flag(f, "never", decay->ms < 0);
    al_tell_count(f, "ms", decay->ms < 0 ? 0 : (uint64_t)decay->ms);
    al_tell_count(f, "interval", decay->interval);
    al_tell_count(f, "epoch", decay->epoch);
    al_tell_count(f, "deadline", decay->deadline);
    al_tell_count(f, "pages", al_je_extents_of(arena, state)->pages);
    al_tell_count(f, "limit", al_je_decay_limit(decay));
    al_tell_count(f, "unpurged", decay->unpurged);
    al_tell_count(f, "purges", purges->purges);
    al_tell_count(f, "advices", purges->advices);
    al_tell_count(f, "purged", purges->pages);
    return al_row_end(&v->rows);
}

static bool view_decay(viewer *v, je_arena *arena) {
    return view_one_decay(v, arena, JE_DIRTY) && view_one_decay(v, arena, JE_MUZZY);
}

/* Of 2^24 pages that all became dirty so many epochs ago, how many may stay. */
static uint64_t weight(unsigned ago) {
    je_decay alone = {0};
    alone.backlog[JE_EPOCHS - 1 - ago] = (size_t)1 << JE_DECAY_SHIFT;
    return al_je_decay_limit(&alone);
}

static bool view_one_backlog(viewer *v, je_arena *arena, je_state state) {
    bool more = true;
    for (unsigned ago = 0; more && ago < JE_EPOCHS; ago++) {
        al_facts *f = al_row_begin(&v->rows);
        al_tell_count(f, "arena", arena->number);
        al_tell_text(f, "set", al_je_state_name(state));
        al_tell_count(f, "epochs_ago", ago);
        al_tell_count(f, "pages", decay_of(arena, state)->backlog[JE_EPOCHS - 1 - ago]);
        al_tell_count(f, "weight", weight(ago));
        more = al_row_end(&v->rows);
    }
    return more;
}

static bool view_backlog(viewer *v, je_arena *arena) {
    return view_one_backlog(v, arena, JE_DIRTY) && view_one_backlog(v, arena, JE_MUZZY);
}

/* --- threads --- */

static bool view_stack(viewer *v, const je_thread *thread, unsigned class) {
    const je_stack *stack = &thread->stacks[class];
    const uint64_t capacity = (uint64_t)(stack->bottom - stack->full);
    al_facts *f = al_row_begin(&v->rows);
    al_tell_count(f, "thread", thread->thread.id);
    al_tell_count(f, "arena", al_je_arena_known(v->look.heap, thread->arena) ? thread->arena->number : 0);
    al_tell_count(f, "class", class);
    al_tell_bytes(f, "bytes", al_je_class_bytes(class));
    al_tell_count(f, "count", (uint64_t)(stack->bottom - stack->top));
    al_tell_count(f, "capacity", capacity);
    al_tell_count(f, "low_water", (uint64_t)(stack->bottom - stack->low));
    al_tell_count(f, "fill", class < JE_SMALL_CLASSES ? capacity >> (stack->fill_shift & 63) : 0);
    al_tell_flag(f, "filled", stack->filled);
    al_tell_count(f, "requests", stack->requests);
    al_tell_flag(f, "collected_next", thread->collect_next == class);
    return al_row_end(&v->rows);
}

/* The classes that a thread has a cache for. */
static bool view_threads(viewer *v) {
    const je_heap *heap = v->look.heap;
    for (const je_thread *thread = heap->threads; thread != NULL; thread = thread->next)
        for (unsigned class = 0; class < JE_CACHE_CLASSES; class++) {
            bool kept = thread->stacks[class].bottom != thread->stacks[class].full;
            if (kept && al_je_stack_sound(heap, thread, class) && !view_stack(v, thread, class)) return false;
        }
    return true;
}

/* --- all of them --- */

const char *const al_je_views[] = {"classes", "arenas",  "bins",    "slabs", "extents",
                                   "decay",   "backlog", "threads", NULL};

static void view_each_arena(viewer *v, bool (*view)(viewer *v, je_arena *arena)) {
    je_arena *arena;
    for (unsigned i = 0; (arena = al_je_arena_from(v->look.heap, &i)) != NULL; i++)
        if (!view(v, arena)) return;
}

void al_je_view(al_heap *heap, const char *view, al_row_fn *visit, void *context) {
    static const struct {
        const char *name;
        bool (*whole)(viewer *v);
        bool (*of_arena)(viewer *v, je_arena *arena);
    } all[] = {
        {"classes", view_classes, NULL}, {"arenas", NULL, view_arena},   {"bins", NULL, view_bins},
        {"slabs", view_slabs, NULL},     {"extents", NULL, view_extents}, {"decay", NULL, view_decay},
        {"backlog", NULL, view_backlog}, {"threads", view_threads, NULL},
    };
    viewer v = {.rows = {.visit = visit, .context = context}};
    al_je_look_open(&v.look, al_je_of(heap));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, view) != 0) continue;
        if (all[i].whole != NULL)
            all[i].whole(&v);
        else
            view_each_arena(&v, all[i].of_arena);
    }
    al_je_look_close(&v.look);
}
