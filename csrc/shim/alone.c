/* For one process alone: ALLOCLAB_ALONE, in the environment that the process was started with, names the variables
 * that were set for it, separated by blanks; ALLOCLAB_WAS_NAME holds what NAME was before, where it was anything. The
 * former go, the latter take their place, and what the process starts finds neither them nor us. In place: there may
 * be no malloc yet, and none is needed. */
#include "shim/shim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char BEFORE[] = "ALLOCLAB_WAS_";

static bool is_listed(const char *entry, const char *names) {
    const size_t length = strcspn(entry, "=");
    for (const char *name = names; *name != '\0'; name += strspn(name, " ")) {
        const size_t named = strcspn(name, " ");
        if (named == length && memcmp(name, entry, length) == 0) return true;
        name += named;
    }
    return false;
}

void al_shim_alone(void) {
    const char *names = getenv("ALLOCLAB_ALONE");
    if (names == NULL) return;
    al_shim_heap(); /* which reads its settings there */
    char **to = environ;
    for (char **from = environ; *from != NULL; from++) {
        if (strncmp(*from, BEFORE, strlen(BEFORE)) == 0)
            *to++ = *from + strlen(BEFORE);
        else if (!is_listed(*from, names))
            *to++ = *from;
    }
    *to = NULL;
}
