/* System calls of threads, seen one by one through Syscall User Dispatch (Linux 5.11, x86-64): the kernel sends
 * SIGSYS instead of making the call; the handler makes it from a page that is exempt, unless the account refuses it,
 * and keeps the account. Whoever makes the call, libc's inner functions and inlined instructions too, is seen. */
#ifndef AL_REPLAY_SUD_H
#define AL_REPLAY_SUD_H

#include "replay/account.h"

/* Sets it up, still off. 0, or an errno value: the kernel lacks it. */
int al_sud_init(al_account *account);
void al_sud_on(void);
/* The same for any thread, which may have been started since; nothing where it was not set up. */
void al_sud_join(void);
void al_sud_off(void);
/* Moves the break, or with 0 asks where it is, behind libc's back: its own first question is part of what malloc costs.
 * Returns where it is then. */
uintptr_t al_sud_break(uintptr_t to);
/* A thread or process was started, whose calls nobody saw. */
bool al_sud_incomplete(void);

#endif
