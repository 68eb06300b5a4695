#include "replay/sud.h"

#include "base/lock.h"
#include "replay/room.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

enum { ALLOW = 0, BLOCK = 1, EXEMPT_BYTES = 4096, SYSCALL_INSTRUCTION = 2 };

/* The exempt page: a raw system call with number and six arguments, and the return from the handler, which must pass
 * while calls are blocked again. */
__asm__(".pushsection .text.al_sud, \"ax\", @progbits\n"
        ".balign 4096\n"
        ".hidden al_sud_page, al_sud_call, al_sud_return\n"
        ".globl al_sud_page, al_sud_call, al_sud_return\n"
        "al_sud_page:\n"
        "al_sud_call:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "    ret\n"
        "al_sud_return:\n"
        "    mov $15, %eax\n" /* rt_sigreturn */
        "    syscall\n"
        ".balign 4096\n"
        ".popsection\n");

extern const char al_sud_page[];
extern int64_t al_sud_call(long number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern void al_sud_return(void);

/* What the kernel takes; libc's own struct sigaction differs, and brings a restorer outside the exempt page. */
struct kernel_sigaction {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

enum { HAS_RESTORER = 0x04000000 };

static __thread volatile char selector;
static al_account *account;
static al_lock lock; /* one call that concerns memory at a time, so that the account has them in the kernel's order */
static atomic_bool incomplete; /* set by any thread */

/* These return on another stack, or not at all: they are made again with the gate open, which then stays open. */
static bool cannot_be_proxied(long number) {
    switch (number) {
    case SYS_clone:
    case SYS_clone3:
    case SYS_fork:
    case SYS_vfork:
    case SYS_rt_sigreturn:
        return true;
    default:
        return false;
    }
}

/* Not of a stack that its thread leaves: that is libc's. */
static bool concerns_account(long number, uint64_t address) {
    switch (number) {
    case SYS_brk:
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mremap:
    case SYS_madvise:
    case SYS_mprotect:
        return !al_room_holds(address);
    default:
        return false;
    }
}

static int64_t watched_call(long number, const uint64_t a[6]) {
    int64_t result;
    al_lock_take(&lock);
    if (!al_account_refuses(account, number, a, &result))
        result = al_sud_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    al_account_call(account, number, a, result);
    al_lock_drop(&lock);
    return result;
}

static void on_call(int signal, siginfo_t *info, void *context) {
    (void)signal;
    selector = ALLOW;
    int saved = errno;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (cannot_be_proxied(info->si_syscall)) {
        incomplete = true;
        r[REG_RIP] -= SYSCALL_INSTRUCTION;
        r[REG_RAX] = info->si_syscall;
        return;
    }
    uint64_t a[6] = {(uint64_t)r[REG_RDI], (uint64_t)r[REG_RSI], (uint64_t)r[REG_RDX],
                     (uint64_t)r[REG_R10], (uint64_t)r[REG_R8],  (uint64_t)r[REG_R9]};
    r[REG_RAX] = concerns_account(info->si_syscall, a[0])
                     ? watched_call(info->si_syscall, a)
                     : al_sud_call(info->si_syscall, a[0], a[1], a[2], a[3], a[4], a[5]);
    errno = saved;
    selector = BLOCK;
}

static int dispatch(void) {
    int failed = prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, al_sud_page, EXEMPT_BYTES, &selector);
    return failed ? errno : 0;
}

int al_sud_init(al_account *into) {
    account = into;
    struct kernel_sigaction action = {
        .handler = on_call, .flags = SA_SIGINFO | SA_NODEFER | HAS_RESTORER, .restorer = al_sud_return};
    if (syscall(SYS_rt_sigaction, SIGSYS, &action, NULL, sizeof action.mask) != 0) return errno;
    return dispatch();
}

void al_sud_on(void) { selector = BLOCK; }

void al_sud_join(void) {
    if (account == NULL) return;
    if (dispatch() == 0)
        al_sud_on();
    else
        incomplete = true;
}

void al_sud_off(void) { selector = ALLOW; }

uintptr_t al_sud_break(uintptr_t to) { return (uintptr_t)al_sud_call(SYS_brk, to, 0, 0, 0, 0, 0); }

bool al_sud_incomplete(void) { return incomplete; }
