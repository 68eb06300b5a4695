/* A process in miniature inside a reserved range. The whole range stays mapped, PROT_NONE where the heap holds nothing,
 * so no mapping of anyone else's can land in it; what the heap asks for becomes the calls that keep it so:
 *
 *     brk up, mmap      mprotect readable and writable
 *     brk down, munmap  mmap PROT_NONE over it, which drops the pages too
 *     mremap            in place like the two above; else the pages are moved, and the old range is reserved again */
#include "region/space.h"

#include "base/align.h"

#include <errno.h>

static const size_t GIB = (size_t)1 << 30, HUGE_PAGE = (size_t)2 << 20, DEFAULT_BYTES = (size_t)64 << 30;

/* --- the range --- */

static int open_space(al_regions *r) {
    const al_regions_config *config = &r->config;
    size_t bytes = config->window_bytes == 0 ? DEFAULT_BYTES : config->window_bytes;
    if (bytes > PTRDIFF_MAX - 2 * GIB || !al_is_aligned(config->break_offset, r->page)) return EINVAL;
    bytes = al_align_up(bytes, r->page);
    if (config->break_offset > bytes) return EINVAL;

    /* Ask for 1 GiB more, and give back what lies outside the aligned part of it. */
    void *at = NULL;
    int error = r->os->map(NULL, bytes + GIB, AL_PROT_NONE, AL_PLACE_ANYWHERE, true, &at);
    if (error != 0) return error;
    uintptr_t start = (uintptr_t)at, end = start + bytes + GIB;
    r->base = al_align_up(start, GIB);
    r->top = r->base + bytes;
    if (r->base > start) r->os->unmap(at, r->base - start);
    if (end > r->top) r->os->unmap((void *)r->top, end - r->top);

    r->first_break = r->break_at = r->base + config->break_offset;
    r->break_limit = r->top;
    if (config->break_room != 0 && config->break_room < r->top - r->first_break)
        r->break_limit = r->first_break + config->break_room;
    return 0;
}

static void close_space(al_regions *r) { r->os->unmap((void *)r->base, r->top - r->base); }

static bool holds(const al_regions *r, uintptr_t addr, size_t bytes) {
    return addr >= r->first_break && addr <= r->top && bytes <= r->top - addr;
}

static bool is_free(const al_regions *r, uintptr_t addr, size_t bytes) {
    al_vma vma;
    return holds(r, addr, bytes) && !(al_vma_after(&r->vmas, addr, &vma) && vma.start < addr + bytes);
}

/* Makes free addresses the heap's. What it may not touch is as good as it was. */
static int commit(al_regions *r, uintptr_t addr, size_t bytes, al_prot prot) {
    return prot == AL_PROT_NONE ? 0 : r->os->protect((void *)addr, bytes, prot);
}

static int give_back(al_regions *r, uintptr_t addr, size_t bytes) {
    void *same = NULL;
    return r->os->map((void *)addr, bytes, AL_PROT_NONE, AL_PLACE_FIXED, true, &same);
}

/* --- the break --- */

static int break_now(const al_regions *r, uintptr_t *at) {
    *at = r->break_at;
    return 0;
}

/* The kernel, too, wants a free page between the break and the mapping above it. */
static bool break_has_room(const al_regions *r, uintptr_t old_end, uintptr_t new_end) {
    return is_free(r, old_end, al_min(new_end - old_end + r->page, r->top - old_end));
}

static int move_break(al_regions *r, intptr_t delta, uintptr_t *old) {
    uintptr_t now = r->break_at + (uintptr_t)delta;
    uintptr_t old_end = al_align_up(r->break_at, r->page), new_end = al_align_up(now, r->page);
    int error = 0;
    if (new_end > old_end) {
        if (!break_has_room(r, old_end, new_end)) return ENOMEM;
        error = commit(r, old_end, new_end - old_end, AL_PROT_READ_WRITE);
    } else if (new_end < old_end) {
        error = give_back(r, new_end, old_end - new_end);
    }
    if (error != 0) return error;
    *old = r->break_at;
    r->break_at = now;
    return 0;
}

/* A stranger's pages hold nothing here, and so are never opened but for the heap. */
static int open_page(al_regions *r, uintptr_t page) { return commit(r, page, r->page, AL_PROT_READ_WRITE); }

int al_regions_foreign_brk(al_regions *r, intptr_t delta) {
    if (r->config.space != AL_SPACE_WINDOW || delta < 0) return EINVAL;
    if ((uintptr_t)delta > r->break_limit - r->break_at) return ENOMEM;
    uintptr_t old_end = al_align_up(r->break_at, r->page);
    uintptr_t new_end = al_align_up(r->break_at + (uintptr_t)delta, r->page);
    if (new_end > old_end) {
        if (!break_has_room(r, old_end, new_end)) return ENOMEM;
        int error = al_vma_prepare(&r->vmas);
        if (error != 0) return error;
        al_vma_block(&r->vmas, old_end, new_end);
    }
    r->break_at += (uintptr_t)delta;
    return 0;
}

/* --- mappings --- */

static bool to_be_aligned(const al_regions *r, size_t bytes) {
    switch (r->config.thp_align) {
    case AL_THP_ALIGN_MULTIPLES: return al_is_aligned(bytes, HUGE_PAGE);
    case AL_THP_ALIGN_LARGE: return bytes >= HUGE_PAGE;
    default: return false;
    }
}

/* Linux aligns a mapping that came without a hint by asking for 2 MiB more and taking the highest aligned place in
 * that; where there is no such gap it goes where any other would. */
static int highest(const al_regions *r, uintptr_t hint, size_t bytes, uintptr_t *at) {
    uintptr_t end = 0;
    if (hint == 0 && to_be_aligned(r, bytes)) {
        end = al_vma_highest_gap(&r->vmas, r->first_break, r->top, bytes + HUGE_PAGE);
        *at = al_align_down(end - bytes, HUGE_PAGE);
    }
    if (end == 0) {
        end = al_vma_highest_gap(&r->vmas, r->first_break, r->top, bytes);
        *at = end - bytes;
    }
    return end == 0 ? ENOMEM : 0;
}

static int place(const al_regions *r, uintptr_t hint, size_t bytes, al_placement placement, uintptr_t *at) {
    if (placement == AL_PLACE_ANYWHERE) return highest(r, 0, bytes, at);
    if (placement == AL_PLACE_HINT && (hint == 0 || !is_free(r, hint, bytes))) return highest(r, hint, bytes, at);
    if (!holds(r, hint, bytes)) return ENOMEM;
    if (placement == AL_PLACE_NOREPLACE && !is_free(r, hint, bytes)) return EEXIST;
    *at = hint;
    return 0;
}

static int map(al_regions *r, uintptr_t hint, size_t bytes, al_prot prot, al_placement placement, uintptr_t *at) {
    uintptr_t to = 0;
    void *same = NULL;
    int error = place(r, hint, bytes, placement, &to);
    if (error == 0)
        error = is_free(r, to, bytes) ? commit(r, to, bytes, prot)
                                      : r->os->map((void *)to, bytes, prot, AL_PLACE_FIXED, true, &same);
    if (error == 0) *at = to;
    return error;
}

/* Neighbours that the heap sees as one VMA may be several to the kernel, which then moves them only one by one. */
static int move_pages(al_regions *r, uintptr_t from, uintptr_t to, size_t bytes) {
    void *same = NULL;
    int error = r->os->remap((void *)from, bytes, bytes, true, (void *)to, &same);
    if (error != EFAULT || bytes <= r->page) return error;
    size_t half = al_align_up(bytes / 2, r->page);
    error = move_pages(r, from, to, half);
    if (error != 0) return error;
    error = move_pages(r, from + half, to + half, bytes - half);
    if (error != 0) move_pages(r, to, from, half);
    return error;
}

static int move(al_regions *r, uintptr_t addr, size_t old_bytes, size_t new_bytes, al_prot prot, uintptr_t *at) {
    uintptr_t to = 0;
    int error = highest(r, 0, new_bytes, &to);
    if (error != 0) return error;
    error = commit(r, to + old_bytes, new_bytes - old_bytes, prot);
    if (error == 0) error = move_pages(r, addr, to, old_bytes);
    if (error == 0) {
        error = give_back(r, addr, old_bytes);
        if (error != 0) move_pages(r, to, addr, old_bytes);
    }
    if (error == 0)
        *at = to;
    else
        give_back(r, to, new_bytes);
    return error;
}

static int remap(al_regions *r, uintptr_t addr, size_t old_bytes, size_t new_bytes, al_prot prot, bool may_move,
                 uintptr_t *at) {
    uintptr_t end = addr + old_bytes;
    int error = 0;
    if (new_bytes < old_bytes) {
        error = give_back(r, addr + new_bytes, old_bytes - new_bytes);
    } else if (new_bytes > old_bytes) {
        size_t more = new_bytes - old_bytes;
        if (!is_free(r, end, more))
            return may_move ? move(r, addr, old_bytes, new_bytes, prot, at) : ENOMEM;
        error = commit(r, end, more, prot);
    }
    if (error == 0) *at = addr;
    return error;
}

const al_space_calls al_space_window = {
    .open = open_space,
    .close = close_space,
    .holds = holds,
    .break_now = break_now,
    .move_break = move_break,
    .open_page = open_page,
    .map = map,
    .unmap = give_back,
    .remap = remap,
};
