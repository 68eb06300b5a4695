/* Figures and acts by mallctl's names. A name leads down a tree; below a number the branches are all alike. 4096 in the
 * place of an arena's number stands for all arenas, as does, from older times, the number that there may be.
 *
 * Figures are those of the moment: `epoch`, which takes them anew there, does nothing. What is a word there is the
 * number of the choice here. */
#include "allocators/jemalloc/figures.h"

enum { ALL_ARENAS = 4096 };

/* --- names --- */

/* If the rest of the name begins with this part, goes on to what follows it. */
static bool part(const char **rest, const char *name) {
    size_t bytes = strlen(name);
    if (strncmp(*rest, name, bytes) != 0 || (*rest)[bytes] != '.') return false;
    *rest += bytes + 1;
    return true;
}

/* If it begins with a number, that goes into *value, and to what follows it. */
static bool number(const char **rest, unsigned *value) {
    enum { DIGITS_MOST = 6 };
    const char *at = *rest;
    *value = 0;
    for (; *at >= '0' && *at <= '9' && at < *rest + DIGITS_MOST; at++) *value = 10 * *value + (unsigned)(*at - '0');
    if (at == *rest || *at != '.') return false;
    *rest = at + 1;
    return true;
}

/* A figure of 64 bits, and where in a struct it lies. */
typedef struct leaf {
    const char *name;
    size_t offset;
} leaf;

static bool find(const leaf *leaves, const char *name, size_t *offset) {
    for (; leaves->name != NULL; leaves++) {
        if (strcmp(leaves->name, name) != 0) continue;
        *offset = leaves->offset;
        return true;
    }
    return false;
}

static uint64_t read_at(const void *of, size_t offset) { return *(const uint64_t *)((const char *)of + offset); }

/* A figure by its name among those of a list. */
static int pick(const al_stat *list, size_t count, const char *name, uint64_t *value) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) != 0) continue;
        *value = list[i].value;
        return 0;
    }
    return ENOENT;
}

/* Of arenas that may be. */
static unsigned arenas_end(const je_heap *heap) { return heap->params.narenas + (heap->params.oversize != 0); }

/* If the name begins with an arena's number: that arena, NULL if it is not made yet, or all of them. */
static bool arena_number(je_heap *heap, const char **rest, je_arena **arena, bool *all) {
    unsigned index;
    if (!number(rest, &index) || (index > arenas_end(heap) && index != ALL_ARENAS)) return false;
    *all = index == arenas_end(heap) || index == ALL_ARENAS;
    *arena = *all ? NULL : al_je_arena(heap, index);
    return true;
}

/* --- stats --- */

static const leaf arena_leaves[] = {
    {"nthreads", offsetof(je_figures, nthreads)},
    {"pactive", offsetof(je_figures, pactive)},
    {"pdirty", offsetof(je_figures, pdirty)},
    {"pmuzzy", offsetof(je_figures, pmuzzy)},
    {"mapped", offsetof(je_figures, mapped)},
    {"retained", offsetof(je_figures, retained)},
    {"resident", offsetof(je_figures, resident)},
    {"base", offsetof(je_figures, base)},
    {"internal", offsetof(je_figures, internal)},
    {"tcache_bytes", offsetof(je_figures, tcache_bytes)},
    {"extent_avail", offsetof(je_figures, extent_avail)},
    {"tcache_stashed_bytes", offsetof(je_figures, nothing)},
    {"abandoned_vm", offsetof(je_figures, nothing)},
    {"metadata_thp", offsetof(je_figures, nothing)},
    {"dirty_decay_ms", offsetof(je_figures, dirty_decay_ms)},
    {"muzzy_decay_ms", offsetof(je_figures, muzzy_decay_ms)},
    {"dirty_npurge", offsetof(je_figures, dirty_purges.purges)},
    {"dirty_nmadvise", offsetof(je_figures, dirty_purges.advices)},
    {"dirty_purged", offsetof(je_figures, dirty_purges.pages)},
    {"muzzy_npurge", offsetof(je_figures, muzzy_purges.purges)},
    {"muzzy_nmadvise", offsetof(je_figures, muzzy_purges.advices)},
    {"muzzy_purged", offsetof(je_figures, muzzy_purges.pages)},
    {NULL, 0},
};

static const leaf part_leaves[] = {
    {"allocated", offsetof(je_part, allocated)}, {"nmalloc", offsetof(je_part, nmalloc)},
    {"ndalloc", offsetof(je_part, ndalloc)},     {"nrequests", offsetof(je_part, nrequests)},
    {"nfills", offsetof(je_part, nfills)},       {"nflushes", offsetof(je_part, nflushes)},
    {NULL, 0},
};

static const leaf bin_leaves[] = {
    {"nmalloc", offsetof(je_bin, nmalloc)},   {"ndalloc", offsetof(je_bin, ndalloc)},
    {"nrequests", offsetof(je_bin, nrequests)}, {"curregs", offsetof(je_bin, regions)},
    {"nfills", offsetof(je_bin, nfills)},     {"nflushes", offsetof(je_bin, nflushes)},
    {"nslabs", offsetof(je_bin, nslabs)},     {"nreslabs", offsetof(je_bin, reslabs)},
    {"curslabs", offsetof(je_bin, slabs)},    {"nonfull_slabs", offsetof(je_bin, partials)},
    {NULL, 0},
};

static const leaf large_leaves[] = {
    {"nmalloc", offsetof(je_large, nmalloc)},
    {"ndalloc", offsetof(je_large, ndalloc)},
    {"nrequests", offsetof(je_large, nrequests)},
    {"curlextents", offsetof(je_large, current)},
    {NULL, 0},
};

/* Of free extents in a queue. */
static const leaf queue_leaves[] = {
    {"ndirty", offsetof(je_arena, dirty.counts)},       {"dirty_bytes", offsetof(je_arena, dirty.bytes)},
    {"nmuzzy", offsetof(je_arena, muzzy.counts)},       {"muzzy_bytes", offsetof(je_arena, muzzy.bytes)},
    {"nretained", offsetof(je_arena, retained.counts)}, {"retained_bytes", offsetof(je_arena, retained.bytes)},
    {NULL, 0},
};

/* The rows of an arena's tables: where the first lies in it, how many there are, of how many bytes. */
static const struct table {
    const char *name;
    size_t offset, rows, row_bytes;
    const leaf *leaves;
} tables[] = {
    {"bins", offsetof(je_arena, bins), JE_SMALL_CLASSES, sizeof(je_bin), bin_leaves},
    {"lextents", offsetof(je_arena, large), JE_CLASSES - JE_SMALL_CLASSES, sizeof(je_large), large_leaves},
    {"extents", 0, JE_PAGE_CLASSES, sizeof(size_t), queue_leaves},
};

/* A figure in a table of one arena (or of all, NULL). */
static int read_table(je_heap *heap, je_arena *arena, const struct table *table, const char *rest, uint64_t *value) {
    unsigned row;
    size_t offset;
    if (!number(&rest, &row) || row >= table->rows || !find(table->leaves, rest, &offset)) return ENOENT;
    *value = 0;
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *each = al_je_arena(heap, i);
        if (each == NULL || (arena != NULL && each != arena)) continue;
        al_lock_take(&each->lock);
        *value += read_at(each, table->offset + row * table->row_bytes + offset);
        al_lock_drop(&each->lock);
    }
    return 0;
}

static int read_arena(je_heap *heap, je_arena *arena, const char *rest, uint64_t *value) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (part(&rest, tables[i].name)) return read_table(heap, arena, &tables[i], rest, value);
    const leaf *leaves = arena_leaves;
    size_t base = 0, offset;
    if (part(&rest, "small")) {
        leaves = part_leaves;
        base = offsetof(je_figures, small);
    } else if (part(&rest, "large")) {
        leaves = part_leaves;
        base = offsetof(je_figures, large);
    }
    if (!find(leaves, rest, &offset)) return ENOENT;
    const je_figures f = al_je_figures(heap, arena);
    *value = read_at(&f, base + offset);
    return 0;
}

static int read_total(je_heap *heap, const char *name, uint64_t *value) {
    const je_figures f = al_je_figures(heap, NULL);
    const al_stat totals[] = {
        {"allocated", f.small.allocated + f.large.allocated},
        {"active", f.pactive * JE_PAGE},
        {"metadata", f.base + f.internal},
        {"metadata_thp", 0},
        {"resident", f.resident},
        {"mapped", f.mapped},
        {"retained", f.retained},
    };
    return pick(totals, sizeof totals / sizeof *totals, name, value);
}

static int read_stats(je_heap *heap, const char *rest, uint64_t *value) {
    je_arena *arena;
    bool all;
    if (!part(&rest, "arenas")) return read_total(heap, rest, value);
    if (!arena_number(heap, &rest, &arena, &all) || (arena == NULL && !all)) return ENOENT;
    return read_arena(heap, arena, rest, value);
}

/* --- opt --- */

static int read_option(je_heap *heap, const char *name, uint64_t *value) {
    size_t i = 0;
    while (i < JE_TUNABLES && (al_je_tunables[i].real_name == NULL || strcmp(al_je_tunables[i].real_name, name) != 0))
        i++;
    if (i == JE_TUNABLES) return ENOENT;
    *value = heap->heap.settings.values[i];
    if (i == JE_NARENAS && *value == 0) *value = heap->params.narenas;
    if (i == JE_OVERSIZE_THRESHOLD) *value = heap->params.oversize;
    return 0;
}

/* --- arenas --- */

static int read_bin(const je_heap *heap, const char *rest, uint64_t *value) {
    unsigned class;
    if (!number(&rest, &class) || class >= JE_SMALL_CLASSES) return ENOENT;
    const je_slab_layout *layout = &heap->layouts[class];
    const al_stat figures[] = {
        {"size", layout->bytes},
        {"nregs", layout->regions},
        {"slab_size", layout->slab_bytes},
        {"nshards", al_je_shards(heap, class)},
    };
    return pick(figures, sizeof figures / sizeof *figures, rest, value);
}

static int read_large_class(const char *rest, uint64_t *value) {
    unsigned index;
    if (!number(&rest, &index) || index >= JE_CLASSES - JE_SMALL_CLASSES || strcmp(rest, "size") != 0) return ENOENT;
    *value = al_je_class_bytes(JE_SMALL_CLASSES + index);
    return 0;
}

static int read_arenas(je_heap *heap, const char *rest, uint64_t *value) {
    const je_params *params = &heap->params;
    if (part(&rest, "bin")) return read_bin(heap, rest, value);
    if (part(&rest, "lextent")) return read_large_class(rest, value);
    const al_stat figures[] = {
        {"narenas", arenas_end(heap)},
        {"nbins", JE_SMALL_CLASSES},
        {"nlextents", JE_CLASSES - JE_SMALL_CLASSES},
        {"nhbins", params->cache_classes},
        {"quantum", 16},
        {"page", JE_PAGE},
        {"tcache_max", al_je_class_bytes(params->cache_classes - 1)},
    };
    return pick(figures, sizeof figures / sizeof *figures, rest, value);
}

/* --- what can be set or done --- */

static bool is_decay_time(uint64_t value) {
    return (int64_t)value >= -1 && (int64_t)value <= (int64_t)al_je_tunables[JE_DIRTY_DECAY_MS].most;
}

/* The times of arenas that are yet to be made. */
static int default_decay(je_heap *heap, int64_t *ms, uint64_t *value, bool set) {
    if (set && !is_decay_time(*value)) return EFAULT;
    al_lock_take(&heap->arenas_lock);
    if (set)
        *ms = (int64_t)*value;
    else
        *value = (uint64_t)*ms;
    al_lock_drop(&heap->arenas_lock);
    return 0;
}

/* The clock starts anew; and if the time is now 0, all goes. */
static int arena_decay(je_arena *arena, bool dirty, uint64_t *value, bool set) {
    je_decay *decay = dirty ? &arena->dirty_decay : &arena->muzzy_decay;
    if (set && !is_decay_time(*value)) return EFAULT;
    al_lock_take(&arena->lock);
    if (set) {
        al_je_decay_init(decay, (int64_t)*value, al_regions_now(arena->heap->heap.regions), al_rng_next(&decay->rng));
        if (*value == 0) al_je_purge(arena, dirty ? &arena->dirty : &arena->muzzy, 0, false);
    } else {
        *value = (uint64_t)decay->ms;
    }
    al_lock_drop(&arena->lock);
    return 0;
}

static int arena_eager(je_arena *arena, uint64_t *value, bool set) {
    al_lock_take(&arena->lock);
    if (set)
        arena->eager_from = *value;
    else
        *value = arena->eager_from;
    al_lock_drop(&arena->lock);
    return 0;
}

static void decay_all(je_heap *heap, const je_arena *arena, bool all) {
    for (unsigned i = 0; i <= heap->params.narenas; i++) {
        je_arena *each = al_je_arena(heap, i);
        if (each == NULL || (arena != NULL && each != arena)) continue;
        al_lock_take(&each->lock);
        al_je_decay_now(each, all);
        al_lock_drop(&each->lock);
    }
}

static int control_arena(je_heap *heap, const char *rest, uint64_t *value, bool set) {
    je_arena *arena;
    bool all;
    if (!arena_number(heap, &rest, &arena, &all)) return ENOENT;
    const bool purge = strcmp(rest, "purge") == 0;
    if (purge || strcmp(rest, "decay") == 0) {
        if (!set) return EPERM;
        if (arena != NULL || all) decay_all(heap, arena, purge);
        return 0;
    }
    if (strcmp(rest, "initialized") == 0) {
        if (set) return EPERM;
        *value = arena != NULL || all;
        return 0;
    }
    if (strcmp(rest, "oversize_threshold") == 0) return arena == NULL ? EFAULT : arena_eager(arena, value, set);
    const bool dirty = strcmp(rest, "dirty_decay_ms") == 0;
    if (!dirty && strcmp(rest, "muzzy_decay_ms") != 0) return ENOENT;
    return arena == NULL ? EFAULT : arena_decay(arena, dirty, value, set);
}

static int control_background(je_heap *heap, uint64_t *value, bool set) {
    if (set && *value > 1) return EINVAL;
    if (set)
        __atomic_store_n(&heap->params.background, *value == 1, __ATOMIC_RELAXED);
    else
        *value = al_je_in_background(heap);
    return 0;
}

static int read_only(je_heap *heap, const char *name, uint64_t *value) {
    const char *rest = name;
    if (part(&rest, "stats")) return read_stats(heap, rest, value);
    if (part(&rest, "arenas")) return read_arenas(heap, rest, value);
    return read_option(heap, name, value);
}

int al_je_control(al_heap *base, al_thread *caller, const char *name, uint64_t *value, bool set) {
    (void)caller;
    je_heap *heap = al_je_of(base);
    const char *rest = name;
    if (part(&rest, "arena")) return control_arena(heap, rest, value, set);
    if (strcmp(name, "arenas.dirty_decay_ms") == 0) return default_decay(heap, &heap->params.dirty_ms, value, set);
    if (strcmp(name, "arenas.muzzy_decay_ms") == 0) return default_decay(heap, &heap->params.muzzy_ms, value, set);
    if (strcmp(name, "background_thread") == 0) return control_background(heap, value, set);
    if (strcmp(name, "epoch") == 0) {
        if (!set) *value = 1;
        return 0;
    }
    uint64_t read;
    int error = read_only(heap, name, &read);
    if (error != 0 || set) return error != 0 ? error : EPERM;
    *value = read;
    return 0;
}
