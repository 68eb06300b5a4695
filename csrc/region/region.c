/* What the heap asks for: checked, counted, logged, handed to its space, entered in the list of VMAs. */
#include "region/region.h"

#include "base/align.h"
#include "region/space.h"

#include <errno.h>

/* --- the life of a manager --- */

al_regions *al_regions_create(const al_regions_config *config, int *error) {
    const al_os *os = config->os == NULL ? &al_os_linux : config->os;
    al_own own;
    al_own_init(&own, os);
    al_regions *r = al_own_take(&own, sizeof *r);
    if (r == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    *r = (al_regions){
        .own = own,
        .os = os,
        .space = config->space == AL_SPACE_WINDOW ? &al_space_window : &al_space_process,
        .config = *config,
        .page = os->page_size(),
    };
    al_vma_init(&r->vmas, &r->own);
    *error = r->space->open(r);
    if (*error == 0) return r;
    al_own_release(&own);
    return NULL;
}

void al_regions_destroy(al_regions *r) {
    r->space->close(r);
    al_log_release(&r->log, r->os);
    al_own own = r->own; /* r itself lies in what is released */
    al_own_release(&own);
}

/* --- what all calls share --- */

/* Counts the call. ENOMEM if it is the one that shall fail. */
static int begin(al_regions *r, al_call call) {
    r->counters.calls[call]++;
    return r->config.fail_call != 0 && --r->config.fail_call == 0 ? ENOMEM : 0;
}

static void keep_peaks(al_counters *c, al_vma_sums now) {
    c->mapped = now.mapped;
    c->reserved = now.reserved;
    c->vmas = now.count;
    c->peak_mapped = al_max(c->peak_mapped, now.mapped);
    c->peak_reserved = al_max(c->peak_reserved, now.reserved);
    c->peak_vmas = al_max(c->peak_vmas, now.count);
}

/* Enters what came of the call. `bytes` are those it asked for. */
static int end(al_regions *r, al_event *event, size_t bytes, int error) {
    al_counters *c = &r->counters;
    if (error == 0) {
        c->bytes[event->call] += bytes;
        keep_peaks(c, al_vma_all(&r->vmas));
    } else {
        c->failed[event->call]++;
    }
    event->op = r->op;
    event->error = (uint32_t)error;
    if (r->config.log) al_log_append(&r->log, r->os, event);
    return error;
}

static uint64_t relative(const al_regions *r, uintptr_t address) { return address - r->base; }

/* Whether `more` bytes may become readable and writable while `less` cease to be. */
static int within_limit(const al_regions *r, size_t more, size_t less) {
    size_t limit = r->config.limit_bytes;
    if (limit == 0 || more <= less) return 0;
    return r->counters.mapped + (more - less) > limit ? ENOMEM : 0;
}

static bool round_up(const al_regions *r, size_t *bytes) {
    if (*bytes > PTRDIFF_MAX - r->page) return false;
    *bytes = al_align_up(*bytes, r->page);
    return true;
}

/* An address and a length that calls on existing pages may name. Rounds the length up. */
static int check_range(const al_regions *r, uintptr_t addr, size_t *bytes) {
    bool good = al_is_aligned(addr, r->page) && round_up(r, bytes) && r->space->holds(r, addr, *bytes);
    return good ? 0 : EINVAL;
}

/* --- brk --- */

static int move_break(al_regions *r, intptr_t delta, uintptr_t *old) {
    uintptr_t now;
    if (__builtin_add_overflow(*old, delta, &now)) return delta > 0 ? ENOMEM : EINVAL;
    if (now < r->first_break) return EINVAL;
    if (now > r->break_limit) return ENOMEM;
    uintptr_t old_end = al_align_up(*old, r->page), new_end = al_align_up(now, r->page);
    int error = new_end > old_end ? within_limit(r, new_end - old_end, 0) : 0;
    if (error == 0) error = al_vma_prepare(&r->vmas);
    if (error == 0) error = r->space->move_break(r, delta, old);
    if (error != 0) return error;

    old_end = al_align_up(*old, r->page);
    new_end = al_align_up(*old + (uintptr_t)delta, r->page);
    if (new_end > old_end) al_vma_set(&r->vmas, old_end, new_end, AL_PROT_READ_WRITE, true);
    if (new_end < old_end) al_vma_clear(&r->vmas, new_end, old_end);
    return 0;
}

int al_regions_brk(al_regions *r, intptr_t delta, void **old_break) {
    size_t bytes = delta < 0 ? -(size_t)delta : (size_t)delta;
    uintptr_t old = 0;
    int error = begin(r, AL_CALL_BRK);
    if (delta == 0) error = 0; /* asking never fails, as the kernel has it */
    if (error == 0) error = r->space->break_now(r, &old);
    if (error == 0 && delta != 0) error = move_break(r, delta, &old);
    al_event event = {.call = AL_CALL_BRK, .bytes = bytes, .extra = delta < 0};
    if (error == 0) {
        *old_break = (void *)old;
        event.address = relative(r, old);
        event.result = relative(r, old + (uintptr_t)delta);
    }
    return end(r, &event, bytes, error);
}

int al_regions_adopt(al_regions *r, const void *at) {
    uintptr_t page = al_align_down((uintptr_t)at, r->page);
    int error = al_vma_prepare(&r->vmas);
    if (error == 0 && r->space->open_page != NULL) error = r->space->open_page(r, page);
    if (error != 0) return error;
    al_vma_set(&r->vmas, page, page + r->page, AL_PROT_READ_WRITE, true);
    keep_peaks(&r->counters, al_vma_all(&r->vmas));
    return 0;
}

/* --- mappings --- */

static int do_mmap(al_regions *r, uintptr_t hint, size_t bytes, al_prot prot, al_placement placement, uintptr_t *at) {
    bool exact = placement == AL_PLACE_FIXED || placement == AL_PLACE_NOREPLACE;
    if (bytes == 0 || (exact && !al_is_aligned(hint, r->page))) return EINVAL;
    if (!round_up(r, &bytes)) return ENOMEM;
    if (placement == AL_PLACE_HINT) hint = al_align_up(al_min(hint, UINTPTR_MAX - r->page), r->page);
    if (exact && !r->space->holds(r, hint, bytes)) return ENOMEM;
    size_t replaced = placement == AL_PLACE_FIXED ? al_vma_within(&r->vmas, hint, hint + bytes).mapped : 0;
    int error = within_limit(r, prot == AL_PROT_READ_WRITE ? bytes : 0, replaced);
    if (error == 0) error = al_vma_prepare(&r->vmas);
    if (error == 0) error = r->space->map(r, hint, bytes, prot, placement, at);
    if (error == 0) al_vma_set(&r->vmas, *at, *at + bytes, prot, false);
    return error;
}

int al_regions_mmap(al_regions *r, void *hint, size_t bytes, al_prot prot, al_placement placement, void **out) {
    uintptr_t at = 0;
    int error = begin(r, AL_CALL_MMAP);
    if (error == 0) error = do_mmap(r, (uintptr_t)hint, bytes, prot, placement, &at);
    al_event event = {.call = AL_CALL_MMAP, .bytes = bytes, .extra = prot};
    if (error == 0) {
        *out = (void *)at;
        event.address = event.result = relative(r, at);
    }
    return end(r, &event, bytes, error);
}

static int do_munmap(al_regions *r, uintptr_t addr, size_t bytes) {
    int error = bytes == 0 ? EINVAL : check_range(r, addr, &bytes);
    if (error == 0) error = al_vma_prepare(&r->vmas);
    if (error == 0) error = r->space->unmap(r, addr, bytes);
    if (error == 0) al_vma_clear(&r->vmas, addr, addr + bytes);
    return error;
}

int al_regions_munmap(al_regions *r, void *addr, size_t bytes) {
    int error = begin(r, AL_CALL_MUNMAP);
    if (error == 0) error = do_munmap(r, (uintptr_t)addr, bytes);
    al_event event = {.call = AL_CALL_MUNMAP, .bytes = bytes, .address = relative(r, (uintptr_t)addr)};
    return end(r, &event, bytes, error);
}

static int do_mremap(al_regions *r, uintptr_t addr, size_t old_bytes, size_t new_bytes, bool may_move, uintptr_t *at) {
    al_vma vma;
    if (old_bytes == 0 || new_bytes == 0 || !round_up(r, &new_bytes)) return EINVAL;
    int error = check_range(r, addr, &old_bytes);
    if (error != 0) return error;
    bool whole = al_vma_after(&r->vmas, addr, &vma) && vma.start <= addr && vma.end - addr >= old_bytes;
    if (!whole || vma.foreign) return EFAULT;
    if (vma.prot == AL_PROT_READ_WRITE) error = within_limit(r, new_bytes, old_bytes);
    if (error == 0) error = al_vma_prepare(&r->vmas);
    if (error == 0) error = r->space->remap(r, addr, old_bytes, new_bytes, vma.prot, may_move, at);
    if (error != 0) return error;

    bool moved = *at != addr;
    if (moved || new_bytes < old_bytes) al_vma_clear(&r->vmas, moved ? addr : addr + new_bytes, addr + old_bytes);
    if (moved || new_bytes > old_bytes) al_vma_set(&r->vmas, *at, *at + new_bytes, vma.prot, !moved && vma.heap);
    return 0;
}

int al_regions_mremap(al_regions *r, void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void **out) {
    uintptr_t at = 0;
    int error = begin(r, AL_CALL_MREMAP);
    if (error == 0) error = do_mremap(r, (uintptr_t)addr, old_bytes, new_bytes, may_move, &at);
    al_event event = {
        .call = AL_CALL_MREMAP, .bytes = old_bytes, .extra = new_bytes, .address = relative(r, (uintptr_t)addr)};
    if (error == 0) {
        *out = (void *)at;
        event.result = relative(r, at);
    }
    return end(r, &event, new_bytes, error);
}

/* --- rights and advice --- */

/* The range is held entirely: what the kernel does up to the first hole, before it fails, is not done at all. */
static int check_held(const al_regions *r, uintptr_t addr, size_t *bytes) {
    int error = check_range(r, addr, bytes);
    if (error == 0 && al_vma_within(&r->vmas, addr, addr + *bytes).reserved != *bytes) error = ENOMEM;
    return error;
}

static int do_mprotect(al_regions *r, uintptr_t addr, size_t bytes, al_prot prot) {
    int error = check_held(r, addr, &bytes);
    if (error != 0 || bytes == 0) return error;
    size_t mapped = al_vma_within(&r->vmas, addr, addr + bytes).mapped;
    if (prot == AL_PROT_READ_WRITE) error = within_limit(r, bytes, mapped);
    if (error == 0) error = al_vma_prepare(&r->vmas);
    if (error == 0) error = r->os->protect((void *)addr, bytes, prot);
    if (error == 0) al_vma_protect(&r->vmas, addr, addr + bytes, prot);
    return error;
}

int al_regions_mprotect(al_regions *r, void *addr, size_t bytes, al_prot prot) {
    int error = begin(r, AL_CALL_MPROTECT);
    if (error == 0) error = do_mprotect(r, (uintptr_t)addr, bytes, prot);
    al_event event = {
        .call = AL_CALL_MPROTECT, .bytes = bytes, .extra = prot, .address = relative(r, (uintptr_t)addr)};
    return end(r, &event, bytes, error);
}

int al_regions_madvise(al_regions *r, void *addr, size_t bytes, al_advice advice) {
    size_t whole = bytes;
    int error = begin(r, AL_CALL_MADVISE);
    if (error == 0) error = check_held(r, (uintptr_t)addr, &whole);
    if (error == 0 && whole != 0) error = r->os->advise(addr, whole, advice);
    al_event event = {
        .call = AL_CALL_MADVISE, .bytes = bytes, .extra = advice, .address = relative(r, (uintptr_t)addr)};
    return end(r, &event, bytes, error);
}

/* --- questions and settings --- */

size_t al_regions_page_size(const al_regions *r) { return r->page; }

int al_regions_break(const al_regions *r, void **at) {
    uintptr_t now = 0;
    int error = r->space->break_now(r, &now);
    if (error == 0) *at = (void *)now;
    return error;
}

const al_counters *al_regions_counters(const al_regions *r) { return &r->counters; }

void al_regions_recount(al_regions *r) {
    r->counters = (al_counters){0};
    keep_peaks(&r->counters, al_vma_all(&r->vmas));
}
void *al_regions_base(const al_regions *r) { return (void *)r->base; }

int al_regions_overcommit(const al_regions *r) {
    return r->config.overcommit == AL_OVERCOMMIT_SYSTEM ? r->os->overcommit() : r->config.overcommit;
}

unsigned al_regions_cpus(const al_regions *r) { return r->config.cpus == 0 ? r->os->cpus() : r->config.cpus; }

unsigned al_regions_cpus_online(const al_regions *r) {
    return r->config.cpus == 0 ? r->os->cpus_online() : r->config.cpus;
}

/* Allocators look at the time without a lock. */
uint64_t al_regions_now(const al_regions *r) {
    return r->config.real_clock ? r->os->now() : atomic_load_explicit(&r->clock, memory_order_relaxed);
}

void al_regions_advance(al_regions *r, uint64_t nanoseconds) {
    atomic_fetch_add_explicit(&r->clock, nanoseconds, memory_order_relaxed);
}

void al_regions_set_op(al_regions *r, uint64_t op) { r->op = op; }
uint64_t al_regions_set_fail_call(al_regions *r, uint64_t nth) {
    uint64_t left = r->config.fail_call;
    r->config.fail_call = nth;
    return left;
}
void al_regions_set_limit(al_regions *r, size_t bytes) { r->config.limit_bytes = bytes; }
const al_os *al_regions_os(const al_regions *r) { return r->os; }
void *al_regions_own(al_regions *r, size_t bytes) { return al_own_take(&r->own, bytes); }

int al_regions_start_log(al_regions *r, size_t rows) {
    int error = al_log_reserve(&r->log, r->os, rows);
    r->config.log = r->config.log || error == 0;
    return error;
}

const al_event *al_regions_events(const al_regions *r, size_t *count, uint64_t *dropped) {
    *count = r->log.count;
    *dropped = r->log.dropped;
    return r->log.events;
}

/* Two mappings of 2 MiB, one of a page more before each: placed by the first gap alone, not both would be aligned. */
al_thp_align al_regions_probe_thp_align(const al_os *os) {
    if (os == NULL) os = &al_os_linux;
    const size_t huge = 2 << 20, odd = huge + os->page_size(), sizes[] = {odd, huge, odd, huge};
    void *made[4];
    size_t count = 0, aligned[2] = {0};
    while (count < 4 && os->map(NULL, sizes[count], AL_PROT_NONE, AL_PLACE_ANYWHERE, true, &made[count]) == 0) {
        aligned[count % 2] += al_is_aligned((uintptr_t)made[count], huge);
        count++;
    }
    while (count-- > 0) os->unmap(made[count], sizes[count]);
    if (aligned[1] < 2) return AL_THP_ALIGN_NONE;
    return aligned[0] < 2 ? AL_THP_ALIGN_MULTIPLES : AL_THP_ALIGN_LARGE;
}

bool al_regions_vma_after(const al_regions *r, uintptr_t address, al_vma *out) {
    al_vma vma;
    for (uintptr_t at = address; al_vma_after(&r->vmas, at, &vma); at = vma.end) {
        if (vma.foreign) continue;
        *out = vma;
        return true;
    }
    return false;
}

size_t al_regions_vmas(const al_regions *r, al_vma *out, size_t room) {
    al_vma vma;
    size_t written = 0;
    for (uintptr_t at = 0; written < room && al_regions_vma_after(r, at, &vma); at = vma.end) out[written++] = vma;
    return al_vma_all(&r->vmas).count;
}

static unsigned char page_flags(const al_vma *vma, unsigned char backing) {
    if (vma->foreign) return 0;
    unsigned flags = AL_PAGE_MAPPED;
    if (vma->prot == AL_PROT_READ_WRITE) flags |= AL_PAGE_COMMITTED;
    if (backing == AL_BACKING_PHYSICAL) flags |= AL_PAGE_RESIDENT;
    if (backing == AL_BACKING_NONE) flags |= AL_PAGE_ZERO;
    return (unsigned char)flags;
}

int al_regions_pages(const al_regions *r, const void *addr, size_t pages, unsigned char *flags) {
    uintptr_t start = (uintptr_t)addr, stop = start + pages * r->page;
    int error = r->os->resident(addr, pages, flags);
    if (error != 0) return error;
    uintptr_t page = start;
    al_vma vma;
    while (page < stop && al_vma_after(&r->vmas, page, &vma)) {
        for (; page < al_min(vma.start, stop); page += r->page) flags[(page - start) / r->page] = 0;
        for (; page < al_min(vma.end, stop); page += r->page) {
            unsigned char *flag = flags + (page - start) / r->page;
            *flag = page_flags(&vma, *flag);
        }
    }
    for (; page < stop; page += r->page) flags[(page - start) / r->page] = 0;
    return 0;
}

int al_regions_resident(const al_regions *r, size_t *bytes) {
    enum { BLOCK = 4096, WANTED = AL_PAGE_COMMITTED | AL_PAGE_RESIDENT };
    unsigned char flags[BLOCK];
    uintptr_t at = 0, last = al_vma_end(&r->vmas);
    size_t found = 0;
    al_vma vma;
    while (al_vma_after(&r->vmas, at, &vma)) {
        at = al_max(at, vma.start);
        size_t pages = al_min((last - at) / r->page, BLOCK);
        if (vma.prot == AL_PROT_NONE) {
            at = vma.end;
            continue;
        }
        int error = al_regions_pages(r, (void *)at, pages, flags);
        if (error != 0) return error;
        for (size_t i = 0; i < pages; i++) found += (flags[i] & WANTED) == WANTED;
        at += pages * r->page;
    }
    *bytes = found * r->page;
    return 0;
}
