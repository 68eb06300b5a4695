/* How the core dies: one line on standard error, then abort. It never allocates. */
#ifndef AL_BASE_CHECK_H
#define AL_BASE_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noreturn, cold)) static inline void al_die(const char *what) {
    ssize_t ignored = write(STDERR_FILENO, what, strlen(what));
    ignored = write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    abort();
}

/* The same, and the address between two texts, as 0x... */
__attribute__((noreturn, cold, unused)) static inline void al_die_at(const char *what, const void *at,
                                                                    const char *behind) {
    char digits[2 + 2 * sizeof at];
    char *const end = digits + sizeof digits, *first = end;
    uintptr_t rest = (uintptr_t)at;
    do {
        *--first = "0123456789abcdef"[rest % 16];
        rest /= 16;
    } while (rest != 0);
    *--first = 'x';
    *--first = '0';
    ssize_t ignored = write(STDERR_FILENO, what, strlen(what));
    ignored = write(STDERR_FILENO, first, (size_t)(end - first));
    (void)ignored;
    al_die(behind);
}

/* For what must hold whatever the caller does; unlike assert it stays in release builds. */
static inline void al_check(bool holds, const char *what) {
    if (__builtin_expect(!holds, 0)) al_die(what);
}

#endif
