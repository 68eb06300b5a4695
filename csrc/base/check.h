/* How the core dies: one line on standard error, then abort. It never allocates. */
#ifndef AL_BASE_CHECK_H
#define AL_BASE_CHECK_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noreturn, cold)) static inline void al_die(const char *what) {
    ssize_t ignored = write(STDERR_FILENO, what, strlen(what));
    ignored = write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    abort();
}

/* For what must hold whatever the caller does; unlike assert it stays in release builds. */
static inline void al_check(bool holds, const char *what) {
    if (__builtin_expect(!holds, 0)) al_die(what);
}

#endif
