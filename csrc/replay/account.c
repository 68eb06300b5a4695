#include "replay/account.h"

#include "base/align.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static al_prot rights(uint64_t prot) {
    return (prot & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE) ? AL_PROT_READ_WRITE : AL_PROT_NONE;
}

static void look_at_peaks(al_account *account) {
    al_counters *c = &account->counters;
    al_vma_sums all = al_vma_all(&account->vmas);
    c->mapped = all.mapped;
    c->reserved = all.reserved;
    c->vmas = all.count;
    c->peak_mapped = al_max(c->peak_mapped, c->mapped);
    c->peak_reserved = al_max(c->peak_reserved, c->reserved);
    c->peak_vmas = al_max(c->peak_vmas, c->vmas);
}

static bool ready(al_account *account) {
    if (al_vma_prepare(&account->vmas) != 0) account->lost = true;
    return !account->lost;
}

void al_account_init(al_account *account, uintptr_t program_break) {
    *account = (al_account){.program_break = program_break};
    al_own_init(&account->own, &al_os_linux);
    al_vma_init(&account->vmas, &account->own);
    ready(account); /* its first memory is mapped now, not among the mappings that it accounts for */
}

void al_account_had(al_account *account, uintptr_t start, uintptr_t end, al_prot prot, bool heap) {
    if (start >= end || !ready(account)) return;
    al_vma_set(&account->vmas, start, end, prot, heap);
    look_at_peaks(account);
}

static uintptr_t page_up(uintptr_t x) { return al_align_up(x, al_os_linux.page_size()); }

/* The result is the break as it is now, moved or not. The heap's VMA ends with the page that holds it. */
static size_t moved_break(al_account *account, uintptr_t now) {
    uintptr_t before = account->program_break;
    account->program_break = now;
    uintptr_t old_end = page_up(before), new_end = page_up(now);
    if (new_end > old_end) al_vma_set(&account->vmas, old_end, new_end, AL_PROT_READ_WRITE, true);
    if (new_end < old_end) al_vma_clear(&account->vmas, new_end, old_end);
    return now > before ? now - before : before - now;
}

static void moved_mapping(al_account *account, const uint64_t *a, uintptr_t to) {
    al_vma from;
    al_prot prot = al_vma_after(&account->vmas, a[0], &from) && from.start <= a[0] ? from.prot : AL_PROT_READ_WRITE;
    if (!(a[3] & MREMAP_DONTUNMAP)) al_vma_clear(&account->vmas, a[0], page_up(a[0] + a[1]));
    if (!ready(account)) return;
    al_vma_set(&account->vmas, to, page_up(to + a[2]), prot, false);
}

static uint64_t advice(uint64_t value) {
    switch (value) {
    case MADV_DONTNEED:
        return AL_ADVISE_DONTNEED;
    case MADV_FREE:
        return AL_ADVISE_FREE;
    case MADV_HUGEPAGE:
        return AL_ADVISE_HUGEPAGE;
    case MADV_NOHUGEPAGE:
        return AL_ADVISE_NOHUGEPAGE;
    case MADV_WIPEONFORK:
        return AL_ADVISE_WIPEONFORK;
    default:
        return AL_FOREIGN_ADVICE + value;
    }
}

static int kind_of(long number) {
    switch (number) {
    case SYS_brk:
        return AL_CALL_BRK;
    case SYS_mmap:
        return AL_CALL_MMAP;
    case SYS_munmap:
        return AL_CALL_MUNMAP;
    case SYS_mremap:
        return AL_CALL_MREMAP;
    case SYS_madvise:
        return AL_CALL_MADVISE;
    case SYS_mprotect:
        return AL_CALL_MPROTECT;
    default:
        return AL_CALL_KINDS;
    }
}

/* What the call would make readable and writable, less what ceases to be. */
static int64_t would_map(const al_account *account, int kind, const uint64_t *a) {
    bool writable = rights(a[2]) == AL_PROT_READ_WRITE;
    uintptr_t end = page_up(a[0] + a[1]);
    al_vma from;
    switch (kind) {
    case AL_CALL_BRK:
        return (int64_t)(page_up(a[0]) - page_up(account->program_break));
    case AL_CALL_MMAP:
        if (!writable) return 0;
        return (int64_t)(page_up(a[1]) - (a[3] & MAP_FIXED ? al_vma_within(&account->vmas, a[0], end).mapped : 0));
    case AL_CALL_MREMAP:
        if (!al_vma_after(&account->vmas, a[0], &from) || from.prot != AL_PROT_READ_WRITE) return 0;
        return (int64_t)(page_up(a[2]) - page_up(a[1]));
    case AL_CALL_MPROTECT:
        return writable ? (int64_t)(end - a[0] - al_vma_within(&account->vmas, a[0], end).mapped) : 0;
    default:
        return 0;
    }
}

bool al_account_refuses(al_account *account, long number, const uint64_t a[6], int64_t *result) {
    int kind = kind_of(number);
    if (kind == AL_CALL_KINDS) return false;
    bool its_turn = account->fail_call != 0 && --account->fail_call == 0;
    int64_t more = account->limit_bytes != 0 ? would_map(account, kind, a) : 0;
    bool too_much = more > 0 && account->counters.mapped + (size_t)more > account->limit_bytes;
    *result = kind == AL_CALL_BRK ? (int64_t)account->program_break : -ENOMEM;
    return its_turn || too_much;
}

static al_event event_of(const al_account *account, int kind, const uint64_t *a, int64_t result) {
    uintptr_t at = account->program_break;
    switch (kind) {
    case AL_CALL_BRK:
        if (a[0] == 0) return (al_event){.address = at, .result = at};
        if (a[0] < at) return (al_event){.address = at, .bytes = at - a[0], .result = a[0], .extra = 1};
        return (al_event){.address = at, .bytes = a[0] - at, .result = a[0]};
    case AL_CALL_MMAP:
        return (al_event){
            .address = (uint64_t)result, .bytes = a[1], .result = (uint64_t)result, .extra = rights(a[2])};
    case AL_CALL_MREMAP:
        return (al_event){.address = a[0], .bytes = a[1], .result = (uint64_t)result, .extra = a[2]};
    case AL_CALL_MPROTECT:
        return (al_event){.address = a[0], .bytes = a[1], .extra = rights(a[2])};
    case AL_CALL_MADVISE:
        return (al_event){.address = a[0], .bytes = a[1], .extra = advice(a[2])};
    default:
        return (al_event){.address = a[0], .bytes = a[1]};
    }
}

/* As a region manager's log. */
static void keep(al_account *account, int kind, const uint64_t *a, int64_t result, bool failed) {
    al_event event = event_of(account, kind, a, result);
    event.call = (uint32_t)kind;
    if (failed) {
        event.error = kind == AL_CALL_BRK ? ENOMEM : (uint32_t)-result;
        event.result = 0;
        if (kind == AL_CALL_BRK || kind == AL_CALL_MMAP) event.address = 0;
    }
    al_log_append(&account->log, &al_os_linux, &event);
}

void al_account_call(al_account *account, long number, const uint64_t a[6], int64_t result) {
    int kind = kind_of(number);
    if (kind == AL_CALL_KINDS) return;
    al_counters *c = &account->counters;
    c->calls[kind]++;
    bool failed = kind == AL_CALL_BRK ? a[0] != 0 && (uint64_t)result != a[0] : result < 0 && result >= -4095;
    if (account->keep_log) keep(account, kind, a, result, failed);
    if (failed) {
        c->failed[kind]++;
        return;
    }
    if (!ready(account)) return;
    switch (kind) {
    case AL_CALL_BRK:
        c->bytes[kind] += moved_break(account, (uintptr_t)result);
        break;
    case AL_CALL_MMAP:
        c->bytes[kind] += a[1];
        al_vma_set(&account->vmas, (uintptr_t)result, page_up((uintptr_t)result + a[1]), rights(a[2]), false);
        break;
    case AL_CALL_MUNMAP:
        c->bytes[kind] += a[1];
        al_vma_clear(&account->vmas, a[0], page_up(a[0] + a[1]));
        break;
    case AL_CALL_MREMAP:
        c->bytes[kind] += a[2];
        moved_mapping(account, a, (uintptr_t)result);
        break;
    case AL_CALL_MPROTECT:
        c->bytes[kind] += a[1];
        al_vma_protect(&account->vmas, a[0], page_up(a[0] + a[1]), rights(a[2]));
        break;
    default:
        c->bytes[kind] += a[1];
    }
    look_at_peaks(account);
}
