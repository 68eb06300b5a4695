/* The space of a drop-in library: the kernel decides where things go. */
#include "region/space.h"

#include "base/align.h"

static int break_now(const al_regions *r, uintptr_t *at) {
    void *now = NULL;
    int error = r->os->brk(0, &now);
    if (error == 0) *at = (uintptr_t)now;
    return error;
}

static int open_space(al_regions *r) {
    r->break_limit = INTPTR_MAX;
    int error = break_now(r, &r->first_break);
    if (error == 0 && r->config.break_room != 0 && r->config.break_room < r->break_limit - r->first_break)
        r->break_limit = r->first_break + r->config.break_room;
    return error;
}

/* The break stays where it is: others may have moved it since. */
static void close_space(al_regions *r) {
    al_vma vma;
    for (uintptr_t at = 0; al_vma_after(&r->vmas, at, &vma); at = vma.end) {
        if (!vma.heap) r->os->unmap((void *)vma.start, vma.end - vma.start);
    }
}

static bool holds(const al_regions *r, uintptr_t addr, size_t bytes) {
    (void)r;
    return bytes <= INTPTR_MAX && addr <= INTPTR_MAX - bytes;
}

static int move_break(al_regions *r, intptr_t delta, uintptr_t *old) {
    void *before = NULL;
    int error = r->os->brk(delta, &before);
    if (error == 0) *old = (uintptr_t)before;
    return error;
}

static int map(al_regions *r, uintptr_t hint, size_t bytes, al_prot prot, al_placement placement, uintptr_t *at) {
    void *out = NULL;
    int error = r->os->map((void *)hint, bytes, prot, placement, prot == AL_PROT_NONE, &out);
    if (error == 0) *at = (uintptr_t)out;
    return error;
}

static int unmap(al_regions *r, uintptr_t addr, size_t bytes) { return r->os->unmap((void *)addr, bytes); }

static int remap(al_regions *r, uintptr_t addr, size_t old_bytes, size_t new_bytes, al_prot prot, bool may_move,
                 uintptr_t *at) {
    (void)prot;
    void *out = NULL;
    int error = r->os->remap((void *)addr, old_bytes, new_bytes, may_move, NULL, &out);
    if (error == 0) *at = (uintptr_t)out;
    return error;
}

const al_space_calls al_space_process = {
    .open = open_space,
    .close = close_space,
    .holds = holds,
    .break_now = break_now,
    .move_break = move_break,
    .map = map,
    .unmap = unmap,
    .remap = remap,
};
