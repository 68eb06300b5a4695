/* System calls of this thread, seen one by one through Syscall User Dispatch (Linux 5.11, x86-64): the kernel sends
 * SIGSYS instead of making the call; the handler makes it from a page that is exempt, and keeps the account. Whoever
 * makes the call, libc's inner functions and inlined instructions too, is seen. */
#ifndef AL_REPLAY_SUD_H
#define AL_REPLAY_SUD_H

#include "replay/account.h"

/* Sets it up, still off. 0, or an errno value: the kernel lacks it. */
int al_sud_init(al_account *account);
void al_sud_on(void);
void al_sud_off(void);
/* Where the break is, asked behind libc's back: its own first question is part of what malloc costs. */
uintptr_t al_sud_break(void);
/* A thread or process was started, whose calls nobody saw. */
bool al_sud_incomplete(void);

#endif
