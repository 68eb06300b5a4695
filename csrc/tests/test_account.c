/* The account of a foreign malloc: fed with calls by hand, it says what is mapped. */
#include "base/check.h"
#include "replay/account.h"

#include <errno.h>
#include <string.h>
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

static void the_log_says_what_was_asked_and_what_came_of_it(void) {
    al_account_init(&account, HEAP);
    al_check(al_log_reserve(&account.log, &al_os_linux, 1000) == 0, "room for the log");
    const al_event *events = account.log.events;
    account.keep_log = true;
    call(SYS_brk, 0, 0, 0, (int64_t)HEAP);
    call(SYS_brk, HEAP + 3 * PAGE, 0, 0, (int64_t)HEAP + 3 * PAGE);
    call(SYS_brk, HEAP + PAGE, 0, 0, (int64_t)HEAP + PAGE);
    call(SYS_brk, HEAP + 100 * PAGE, 0, 0, (int64_t)HEAP + PAGE);
    call(SYS_mmap, 0, 5 * PAGE, PROT_NONE, (int64_t)MAPS);
    call(SYS_mprotect, MAPS, PAGE, RW, 0);
    call(SYS_madvise, MAPS, PAGE, MADV_FREE, 0);
    call(SYS_madvise, MAPS, PAGE, MADV_WILLNEED, 0);
    call(SYS_getpid, 0, 0, 0, 7);
    call(SYS_mremap, MAPS, PAGE, 2 * PAGE, -EFAULT);
    static const al_event expected[] = {
        {.call = AL_CALL_BRK, .address = HEAP, .result = HEAP},
        {.call = AL_CALL_BRK, .address = HEAP, .bytes = 3 * PAGE, .result = HEAP + 3 * PAGE},
        {.call = AL_CALL_BRK, .address = HEAP + 3 * PAGE, .bytes = 2 * PAGE, .result = HEAP + PAGE, .extra = 1},
        {.call = AL_CALL_BRK, .bytes = 99 * PAGE, .error = ENOMEM},
        {.call = AL_CALL_MMAP, .address = MAPS, .bytes = 5 * PAGE, .result = MAPS, .extra = AL_PROT_NONE},
        {.call = AL_CALL_MPROTECT, .address = MAPS, .bytes = PAGE, .extra = AL_PROT_READ_WRITE},
        {.call = AL_CALL_MADVISE, .address = MAPS, .bytes = PAGE, .extra = AL_ADVISE_FREE},
        {.call = AL_CALL_MADVISE, .address = MAPS, .bytes = PAGE, .extra = AL_FOREIGN_ADVICE + MADV_WILLNEED},
        {.call = AL_CALL_MREMAP, .address = MAPS, .bytes = PAGE, .extra = 2 * PAGE, .error = EFAULT},
    };
    al_check(account.log.count == sizeof expected / sizeof *expected && account.log.dropped == 0, "a row each");
    al_check(account.log.events == events, "reserved room does not move");
    al_check(memcmp(events, expected, sizeof expected) == 0, "rows");
    al_log_release(&account.log, &al_os_linux);
}

/* Whether it refuses; if so, the account is told, as whoever makes the calls does. */
static bool refuses(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t flags, int64_t answer) {
    uint64_t arguments[6] = {a, b, c, flags};
    int64_t result;
    if (!al_account_refuses(&account, number, arguments, &result)) return false;
    al_check(result == answer, "the kernel's answer");
    al_account_call(&account, number, arguments, result);
    return true;
}

static void the_nth_call_is_refused(void) {
    al_account_init(&account, HEAP);
    account.fail_call = 3;
    al_check(!refuses(SYS_brk, HEAP + PAGE, 0, 0, 0, 0) && !refuses(SYS_getpid, 0, 0, 0, 0, 0), "not yet");
    al_check(!refuses(SYS_mmap, 0, PAGE, RW, 0, 0), "nor the second");
    al_check(refuses(SYS_madvise, MAPS, PAGE, MADV_DONTNEED, 0, -ENOMEM), "the third");
    al_check(!refuses(SYS_madvise, MAPS, PAGE, MADV_DONTNEED, 0, 0), "once");
    account.fail_call = 1;
    al_check(refuses(SYS_brk, HEAP + PAGE, 0, 0, 0, (int64_t)HEAP), "the break stays");
    account.fail_call = 1;
    al_check(refuses(SYS_brk, 0, 0, 0, 0, (int64_t)HEAP), "the question is answered");
    al_check(account.counters.failed[AL_CALL_BRK] == 1 && account.counters.failed[AL_CALL_MADVISE] == 1, "failures");
}

static void a_limit_is_kept(void) {
    al_account_init(&account, HEAP);
    al_account_had(&account, MAPS, MAPS + 4 * PAGE, AL_PROT_READ_WRITE, false);
    al_account_had(&account, MAPS + 4 * PAGE, MAPS + 20 * PAGE, AL_PROT_NONE, false);
    account.limit_bytes = 10 * PAGE;
    al_check(!refuses(SYS_brk, HEAP + 6 * PAGE, 0, 0, 0, 0), "up to the limit");
    al_check(refuses(SYS_brk, HEAP + 6 * PAGE + 1, 0, 0, 0, (int64_t)HEAP), "a byte is a page more");
    al_check(!refuses(SYS_mmap, 0, 6 * PAGE, RW, 0, 0) && refuses(SYS_mmap, 0, 7 * PAGE, RW, 0, -ENOMEM), "mmap");
    al_check(!refuses(SYS_mmap, 0, 70 * PAGE, PROT_NONE, 0, 0), "what cannot be written to is free");
    al_check(!refuses(SYS_mmap, MAPS, 10 * PAGE, RW, MAP_FIXED, 0), "what is replaced is counted once");
    al_check(!refuses(SYS_mremap, MAPS, 4 * PAGE, 10 * PAGE, 0, 0), "mremap");
    al_check(refuses(SYS_mremap, MAPS, 4 * PAGE, 11 * PAGE, 0, -ENOMEM), "mremap, too far");
    al_check(!refuses(SYS_mprotect, MAPS + 2 * PAGE, 8 * PAGE, RW, 0, 0), "mprotect");
    al_check(refuses(SYS_mprotect, MAPS + 2 * PAGE, 9 * PAGE, RW, 0, -ENOMEM), "mprotect, too far");
    al_check(!refuses(SYS_munmap, MAPS, PAGE, 0, 0, 0), "giving back is free");
}

int main(void) {
    al_account_init(&account, HEAP);
    the_break_moves();
    mappings_come_and_go();
    mremap_moves_pages_with_their_rights();
    mremap_keeps_rights_and_may_keep_the_old_place();
    what_was_there_before_is_held_but_not_counted();
    the_log_says_what_was_asked_and_what_came_of_it();
    the_nth_call_is_refused();
    a_limit_is_kept();
    return 0;
}
