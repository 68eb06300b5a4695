/* The account of a foreign malloc: fed with calls by hand, it says what is mapped. */
#include "base/check.h"
#include "replay/account.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE };

static const uint64_t HEAP = 0x5000000, MAPS = 0x7000000;

static al_account account;

static void call(long number, uint64_t a, uint64_t b, uint64_t c, int64_t result) {
    uint64_t arguments[6] = {a, b, c};
    al_account_call(&account, number, arguments, result);
}

static void holds(size_t mapped_pages, size_t reserved_pages, size_t vmas) {
    const al_counters *c = &account.counters;
    al_check(c->mapped == mapped_pages * PAGE, "mapped");
    al_check(c->reserved == reserved_pages * PAGE, "reserved");
    al_check(c->vmas == vmas, "vmas");
}

static void the_break_moves(void) {
    call(SYS_brk, 0, 0, 0, (int64_t)HEAP);
    holds(0, 0, 0);
    call(SYS_brk, HEAP + 2 * PAGE, 0, 0, (int64_t)HEAP + 2 * PAGE);
    call(SYS_brk, HEAP + 2 * PAGE + 100, 0, 0, (int64_t)HEAP + 2 * PAGE + 100);
    holds(3, 3, 1);
    call(SYS_brk, HEAP + PAGE, 0, 0, (int64_t)HEAP + PAGE);
    holds(1, 1, 1);
    call(SYS_brk, HEAP + 100 * PAGE, 0, 0, (int64_t)HEAP + PAGE);
    holds(1, 1, 1);
    const al_counters *c = &account.counters;
    al_check(c->calls[AL_CALL_BRK] == 5 && c->failed[AL_CALL_BRK] == 1, "all are counted, one failed");
    al_check(c->bytes[AL_CALL_BRK] == 2 * PAGE + 100 + PAGE + 100, "distances, up and down");
    al_check(c->peak_mapped == 3 * PAGE, "the peak stays");
}

static void mappings_come_and_go(void) {
    call(SYS_mmap, 0, 10 * PAGE - 1, PROT_NONE, (int64_t)MAPS);
    holds(1, 11, 2);
    call(SYS_mprotect, MAPS + 2 * PAGE, 4 * PAGE, RW, 0);
    holds(5, 11, 4);
    call(SYS_mmap, MAPS, PAGE, RW, (int64_t)MAPS);
    holds(6, 11, 5);
    call(SYS_munmap, MAPS + 3 * PAGE, PAGE, 0, 0);
    holds(5, 10, 6);
    call(SYS_mmap, 0, PAGE, RW, -ENOMEM);
    call(SYS_munmap, 0, 100 * PAGE, 0, 0);
    holds(5, 10, 6);
    call(SYS_madvise, MAPS, 3 * PAGE, MADV_DONTNEED, 0);
    al_check(account.counters.bytes[AL_CALL_MADVISE] == 3 * PAGE, "bytes advised upon");
    call(SYS_munmap, MAPS, 10 * PAGE, 0, 0);
    holds(1, 1, 1);
    al_check(account.counters.peak_vmas == 6, "the peak of VMAs stays");
    al_check(account.counters.calls[AL_CALL_MMAP] == 3 && account.counters.failed[AL_CALL_MMAP] == 1, "one failed");
}

static void mremap_moves_pages_with_their_rights(void) {
    call(SYS_mmap, 0, 4 * PAGE, RW, (int64_t)MAPS);
    uint64_t move[6] = {MAPS, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE};
    al_account_call(&account, SYS_mremap, move, (int64_t)MAPS + 100 * PAGE);
    holds(9, 9, 2);
    uint64_t shrink[6] = {MAPS + 100 * PAGE, 8 * PAGE, PAGE, 0};
    al_account_call(&account, SYS_mremap, shrink, (int64_t)MAPS + 100 * PAGE);
    holds(2, 2, 2);
    uint64_t refused[6] = {MAPS + 100 * PAGE, PAGE, 50 * PAGE, 0};
    al_account_call(&account, SYS_mremap, refused, -ENOMEM);
    holds(2, 2, 2);
    al_check(account.counters.bytes[AL_CALL_MREMAP] == 9 * PAGE, "new lengths");
}

/* Address space that was reserved stays reserved wherever it moves; with MREMAP_DONTUNMAP the old place stays, too. */
static void mremap_keeps_rights_and_may_keep_the_old_place(void) {
    al_account_init(&account, HEAP);
    call(SYS_mmap, 0, 4 * PAGE, PROT_NONE, (int64_t)MAPS);
    uint64_t move[6] = {MAPS, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE};
    al_account_call(&account, SYS_mremap, move, (int64_t)MAPS + 100 * PAGE);
    holds(0, 6, 1);
    call(SYS_mmap, 0, 3 * PAGE, RW, (int64_t)MAPS);
    uint64_t twin[6] = {MAPS, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP};
    al_account_call(&account, SYS_mremap, twin, (int64_t)MAPS + 50 * PAGE);
    holds(6, 12, 3);
}

static void what_was_there_before_is_held_but_not_counted(void) {
    al_account_init(&account, HEAP);
    al_account_had(&account, MAPS, MAPS + 5 * PAGE, AL_PROT_READ_WRITE, false);
    al_account_had(&account, MAPS + 5 * PAGE, MAPS + 6 * PAGE, AL_PROT_NONE, false);
    holds(5, 6, 2);
    call(SYS_getpid, 1, 2, 3, 4);
    for (int kind = 0; kind < AL_CALL_KINDS; kind++) al_check(account.counters.calls[kind] == 0, "no call yet");
}

int main(void) {
    al_account_init(&account, HEAP);
    the_break_moves();
    mappings_come_and_go();
    mremap_moves_pages_with_their_rights();
    mremap_keeps_rights_and_may_keep_the_old_place();
    what_was_there_before_is_held_but_not_counted();
    return 0;
}
