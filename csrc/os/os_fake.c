#include "os/os_fake.h"

#include "base/align.h"
#include "base/check.h"

#include <errno.h>
#include <string.h>

enum { ARENA_BYTES = 16 << 20 };

/* Three pages off a multiple of 1 GiB, so that who needs such a multiple must look for it. */
static const uintptr_t TABLE_START = ((uintptr_t)1 << 44) + 3 * AL_FAKE_PAGE, FIRST_BREAK = (uintptr_t)1 << 40;

static al_fake_page table[AL_FAKE_PAGES];
static _Alignas(AL_FAKE_PAGE) char arena[ARENA_BYTES];
al_fake al_fake_kernel;

void al_fake_reset(void) {
    memset(table, 0, sizeof table);
    memset(arena, 0, sizeof arena);
    al_fake_kernel = (al_fake){.arena_left = ARENA_BYTES, .brk = FIRST_BREAK, .brk_limit = FIRST_BREAK + (1 << 30)};
}

al_fake_page *al_fake_table(void) { return table; }

static bool in_table(uintptr_t address, size_t bytes) {
    const size_t whole = (size_t)AL_FAKE_PAGES * AL_FAKE_PAGE;
    return address >= TABLE_START && bytes <= whole && address - TABLE_START <= whole - bytes;
}

al_fake_page *al_fake_at(uintptr_t address) {
    al_check(in_table(address, 1), "fake kernel: no such page");
    return &table[(address - TABLE_START) / AL_FAKE_PAGE];
}

void al_fake_write(uintptr_t address, uint32_t stamp) {
    al_fake_page *page = al_fake_at(address);
    al_check(page->mapped && page->prot == AL_PROT_READ_WRITE, "fake kernel: segmentation fault");
    page->stamp = stamp;
}

static bool refused(void) {
    al_fake_kernel.calls++;
    return al_fake_kernel.refuse != 0 && --al_fake_kernel.refuse == 0;
}

static bool all_mapped(uintptr_t address, size_t bytes) {
    for (size_t i = 0; i < bytes / AL_FAKE_PAGE; i++) {
        if (!al_fake_at(address + i * AL_FAKE_PAGE)->mapped) return false;
    }
    return true;
}

static void set_pages(uintptr_t address, size_t bytes, al_fake_page to) {
    for (size_t i = 0; i < bytes / AL_FAKE_PAGE; i++) *al_fake_at(address + i * AL_FAKE_PAGE) = to;
}

static size_t fake_page_size(void) { return AL_FAKE_PAGE; }
static unsigned fake_cpus(void) { return 3; }
static unsigned fake_cpus_online(void) { return 4; }
static int fake_overcommit(void) { return 1; }

static int from_arena(size_t bytes, void **out) {
    if (bytes > al_fake_kernel.arena_left) return ENOMEM;
    *out = arena + ARENA_BYTES - al_fake_kernel.arena_left;
    al_fake_kernel.arena_left -= bytes;
    return 0;
}

static int fake_map(void *addr, size_t bytes, al_prot prot, al_placement placement, bool reserve, void **out) {
    if (refused()) return ENOMEM;
    if (!reserve) return from_arena(bytes, out);
    uintptr_t at = placement == AL_PLACE_ANYWHERE ? TABLE_START : (uintptr_t)addr;
    if (!in_table(at, bytes)) return ENOMEM;
    set_pages(at, bytes, (al_fake_page){true, prot, 0});
    *out = (void *)at;
    return 0;
}

static int fake_unmap(void *addr, size_t bytes) {
    if (refused()) return ENOMEM;
    if (in_table((uintptr_t)addr, bytes)) set_pages((uintptr_t)addr, bytes, (al_fake_page){0});
    return 0;
}

/* Outside the table it is the log that grows. */
static int fake_remap(void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void *to, void **out) {
    if (refused()) return ENOMEM;
    uintptr_t from = (uintptr_t)addr, seam = al_fake_kernel.seam;
    if (to == NULL) {
        int error = may_move ? from_arena(new_bytes, out) : ENOMEM;
        if (error == 0) memcpy(*out, addr, old_bytes);
        return error;
    }
    al_check(old_bytes == new_bytes && all_mapped(from, old_bytes), "fake kernel: remap of what is not mapped");
    if (from < seam && seam < from + old_bytes) return EFAULT;
    for (size_t i = 0; i < old_bytes; i += AL_FAKE_PAGE) {
        al_fake_page *page = al_fake_at(from + i);
        *al_fake_at((uintptr_t)to + i) = *page;
        page->stamp = 0;
    }
    *out = to;
    return 0;
}

static int fake_protect(void *addr, size_t bytes, al_prot prot) {
    if (refused() || !all_mapped((uintptr_t)addr, bytes)) return ENOMEM;
    for (size_t i = 0; i < bytes; i += AL_FAKE_PAGE) al_fake_at((uintptr_t)addr + i)->prot = prot;
    return 0;
}

static int fake_advise(void *addr, size_t bytes, al_advice advice) {
    if (refused() || !all_mapped((uintptr_t)addr, bytes)) return ENOMEM;
    for (size_t i = 0; advice == AL_ADVISE_DONTNEED && i < bytes; i += AL_FAKE_PAGE)
        al_fake_at((uintptr_t)addr + i)->stamp = 0;
    return 0;
}

static int fake_brk(intptr_t delta, void **old) {
    if (refused() || al_fake_kernel.brk + (uintptr_t)delta > al_fake_kernel.brk_limit) return ENOMEM;
    *old = (void *)al_fake_kernel.brk;
    al_fake_kernel.brk += (uintptr_t)delta;
    return 0;
}

static int fake_resident(const void *addr, size_t pages, unsigned char *backing) {
    for (size_t i = 0; i < pages; i++) {
        uintptr_t page = (uintptr_t)addr + i * AL_FAKE_PAGE;
        bool written = in_table(page, 1) && al_fake_at(page)->stamp != 0;
        backing[i] = written ? AL_BACKING_PHYSICAL : AL_BACKING_NONE;
    }
    return 0;
}

static uint64_t fake_now(void) { return al_fake_kernel.clock; }

static int fake_map_file(int fd, uint64_t offset, size_t bytes, void **out) {
    (void)fd, (void)offset, (void)bytes, (void)out;
    return ENODEV;
}

const al_os al_os_fake = {
    .page_size = fake_page_size,
    .cpus = fake_cpus,
    .cpus_online = fake_cpus_online,
    .overcommit = fake_overcommit,
    .map = fake_map,
    .unmap = fake_unmap,
    .map_file = fake_map_file,
    .remap = fake_remap,
    .protect = fake_protect,
    .advise = fake_advise,
    .brk = fake_brk,
    .resident = fake_resident,
    .now = fake_now,
    .thread_time = fake_now,
};
