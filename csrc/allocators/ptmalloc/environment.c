/* What glibc reads from the environment, by its rules, so that a drop-in obeys the settings made for it:
 *
 *     GLIBC_TUNABLES=glibc.malloc.NAME=VALUE:glibc.malloc.NAME=VALUE     the last value of a name counts
 *     MALLOC_TOP_PAD_=VALUE and the like                                 where nothing has set it, the first one counts
 *
 * A value is what C writes as a number, blanks and a sign before it, up to the first character that does not belong:
 * "abc" is 0, "7k" is 7, -1 is the largest. A value out of range is as if not there; but some ranges only malloc
 * itself knows, and by then a wrong value has replaced those before it.
 *
 * Runs inside the first malloc: it neither allocates nor prints. */
#include "allocators/ptmalloc/ptmalloc.h"

#include <unistd.h>

enum { GLIBC_TUNABLES = PT_TCACHE }; /* the policies behind are ours */

static const struct source {
    uint64_t least, most;
    const char *variable; /* the older name */
    bool by_malloc;       /* the range is malloc's, and the tunable's here */
} sources[GLIBC_TUNABLES] = {
    [PT_TCACHE_COUNT] = {.most = UINT64_MAX, .by_malloc = true},
    [PT_TCACHE_MAX] = {.most = UINT64_MAX, .by_malloc = true},
    [PT_TCACHE_UNSORTED_LIMIT] = {.most = UINT64_MAX},
    [PT_MMAP_THRESHOLD] = {.most = UINT64_MAX, .variable = "MALLOC_MMAP_THRESHOLD_"},
    [PT_TRIM_THRESHOLD] = {.most = UINT64_MAX, .variable = "MALLOC_TRIM_THRESHOLD_"},
    [PT_TOP_PAD] = {.most = UINT64_MAX, .variable = "MALLOC_TOP_PAD_"},
    [PT_MMAP_MAX] = {.most = INT32_MAX, .variable = "MALLOC_MMAP_MAX_"},
    [PT_ARENA_MAX] = {.least = 1, .most = UINT64_MAX, .variable = "MALLOC_ARENA_MAX"},
    [PT_ARENA_TEST] = {.least = 1, .most = UINT64_MAX, .variable = "MALLOC_ARENA_TEST"},
    [PT_MXFAST] = {.most = UINT64_MAX, .by_malloc = true},
    [PT_PERTURB] = {.most = UINT8_MAX, .variable = "MALLOC_PERTURB_"},
    [PT_HUGETLB] = {.most = UINT64_MAX, .by_malloc = true},
};

static unsigned digit(char c) {
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
    return UINT32_MAX;
}

static uint64_t number(const char *at) {
    while (*at == ' ' || *at == '\t') at++;
    bool negative = *at == '-';
    if (negative || *at == '+') at++;
    unsigned base = *at == '0' ? 8 : 10;
    if (base == 8 && (at[1] == 'x' || at[1] == 'X')) {
        base = 16;
        at += 2;
    }
    uint64_t value = 0;
    for (unsigned d; (d = digit(*at)) < base; at++) {
        if (value >= (UINT64_MAX - d) / base) return UINT64_MAX; /* glibc's limit, a little early */
        value = value * base + d;
    }
    return negative ? -value : value;
}

/* What stands behind "NAME=" in the text; NULL: it does not begin so. */
static const char *behind(const char *text, const char *name) {
    size_t bytes = strlen(name);
    return strncmp(text, name, bytes) == 0 && text[bytes] == '=' ? text + bytes + 1 : NULL;
}

typedef struct reading {
    uint64_t values[GLIBC_TUNABLES];
    uint32_t given;
} reading;

static void take(reading *r, size_t i, const char *text) {
    uint64_t value = number(text);
    if (value < sources[i].least || value > sources[i].most) return;
    r->values[i] = value;
    r->given |= UINT32_C(1) << i;
}

static void read_list(reading *r, const char *text) {
    for (; text != NULL; text = strchr(text, ':')) {
        text += *text == ':';
        for (size_t i = 0; i < GLIBC_TUNABLES; i++) {
            const char *value = behind(text, al_pt_tunables[i].real_name);
            if (value != NULL) take(r, i, value);
        }
    }
}

static void read_variable(reading *r, const char *text) {
    for (size_t i = 0; i < GLIBC_TUNABLES; i++) {
        const char *value = sources[i].variable == NULL ? NULL : behind(text, sources[i].variable);
        if (value != NULL && (r->given >> i & 1) == 0) take(r, i, value);
    }
}

void al_pt_environment(al_settings *settings) {
    reading r = {.given = 0};
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        const char *list = behind(*at, "GLIBC_TUNABLES");
        if (list != NULL)
            read_list(&r, list);
        else
            read_variable(&r, *at);
    }
    for (size_t i = 0; i < GLIBC_TUNABLES; i++) {
        if ((r.given >> i & 1) == 0) continue;
        if (sources[i].by_malloc && r.values[i] > al_pt_tunables[i].most) continue;
        settings->values[i] = r.values[i];
        settings->given |= UINT32_C(1) << i;
    }
}
