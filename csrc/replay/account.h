/* The account of a malloc that cannot be looked into: what it holds, from what it held before and its calls since. */
#ifndef AL_REPLAY_ACCOUNT_H
#define AL_REPLAY_ACCOUNT_H

#include "region/log.h"
#include "region/vma.h"

/* In the log, an advice that is no al_advice is this and the kernel's value. */
enum { AL_FOREIGN_ADVICE = 256 };

typedef struct al_account {
    al_counters counters; /* as a region manager's own; bytes of brk are |delta| */
    al_own own;
    al_vma_list vmas;
    uintptr_t program_break;
    bool lost; /* no memory to keep the account: it is wrong from there on */

    /* Set after al_account_init, all off: what a region manager's settings of these names do. */
    uint64_t fail_call;
    size_t limit_bytes;
    bool keep_log;
    al_log log;
} al_account;

/* pre: the break is at program_break. */
void al_account_init(al_account *account, uintptr_t program_break);
/* A mapping that was there before the first call. */
void al_account_had(al_account *account, uintptr_t start, uintptr_t end, al_prot prot, bool heap);
/* Whether the call is not to be made, since it is the one that shall fail or would pass the limit; *result is then what
 * the kernel would answer. A break that cannot move stays where it is, and asking for it never fails. */
bool al_account_refuses(al_account *account, long number, const uint64_t arguments[6], int64_t *result);
/* A system call that has returned; calls that do not concern memory are ignored. Makes system calls itself, rarely. */
void al_account_call(al_account *account, long number, const uint64_t arguments[6], int64_t result);

#endif
