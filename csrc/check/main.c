/* alloclab-rules: one rule of malloc, tried on whatever malloc was preloaded into this process.
 *
 *     alloclab-rules list                 number, "must" or "may", title, source; tabs between
 *     alloclab-rules begin LIBRARY        whether a process with that library begins, and malloc is its own
 *     alloclab-rules C08 [SECONDS]        tries a rule, and is ended after so many seconds (60)
 *
 *     --answers N, before any of these but list: what rule.h says goes to file descriptor N, not to standard output
 *
 * Standard output: rule.h. Exit status 0 where the rule came to its end, whatever it found. */
#include "check/rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAD_ARGUMENTS = 2, SECONDS = 60 };

typedef struct rule {
    const char *number;
    bool must;
    void (*run)(void);
    const char *title, *source;
} rule;

static const rule rules[] = {
    {"C01", true, al_c01, "malloc(0) is NULL or a block of its own that can be freed", "C17 7.22.3"},
    {"C02", true, al_c02, "a block is aligned for any object that fits it", "C17 7.22.3, mimalloc #206"},
    {"C03", true, al_c03, "live blocks never overlap, contents stay", "C17 7.22.3, jemalloc 5.3.1's coalescing"},
    {"C04", true, al_c04, "calloc is zero after dirty recycling, in every size",
     "C17 7.22.3.2, jemalloc's large callocs"},
    {"C05", true, al_c05, "a calloc that overflows is NULL with ENOMEM", "C23 7.24.3.2, POSIX calloc"},
    {"C06", true, al_c06, "more than PTRDIFF_MAX is NULL with ENOMEM", "CVE-2017-17426, POSIX malloc"},
    {"C07", true, al_c07, "realloc(NULL, n) is malloc(n)", "C17 7.22.3.5"},
    {"C08", true, al_c08, "realloc keeps the smaller of both sizes", "C17 7.22.3.5, glibc BZ#24027, BZ#27468"},
    {"C09", true, al_c09, "a realloc that fails leaves the block alone", "C17 7.22.3.5, jemalloc PR #2620"},
    {"C10", true, al_c10, "realloc(p, 0) does one thing, always, and leaks nothing",
     "C17 7.22.3.5, POSIX 2024 realloc"},
    {"C11", true, al_c11, "free preserves errno", "POSIX 2024 free, glibc BZ#17924"},
    {"C12", true, al_c12, "posix_memalign aligns, or fails with EINVAL", "POSIX posix_memalign, mimalloc #700"},
    {"C13", false, al_c13, "an alignment that is no power of two is refused", "C17 DR 460, glibc 2.38"},
    {"C14", true, al_c14, "aligned blocks can be resized and freed", "C17 7.22.3.5, mimalloc #603"},
    {"C15", true, al_c15, "aligned calls with size 0 or tiny are still aligned",
     "C17 7.22.3.1, jemalloc memalign(16, 0)"},
    {"C16", true, al_c16, "alignment + size that overflows fails cleanly", "CVE-2018-6485, GLIBC-SA-2026-0001"},
    {"C17", true, al_c17, "a reallocarray that overflows leaves the block alone", "POSIX 2024 reallocarray"},
    {"C18", true, al_c18, "the usable size is enough, stable, writable and unshared",
     "malloc_usable_size(3), glibc BZ#22057"},
    {"C19", true, al_c19, "forks while threads allocate do not deadlock",
     "POSIX fork, gperftools #178, jemalloc #2019"},
    {"C20", true, al_c20, "what another thread allocated is used again", "Hoard's blow-up"},
    {"C21", true, al_c21, "short-lived threads leave nothing behind", "glibc BZ#22111"},
    {"C22", true, al_c22, "exhaustion is NULL with ENOMEM, and passes", "POSIX malloc, gperftools #228"},
    {"C23", true, al_c23, "what libc allocates for its caller can be freed",
     "POSIX strdup, getline, open_memstream, realpath"},
    {"C24", true, al_c24, "growth from 1 MiB to 400 MiB keeps head and tail", "gperftools #497"},
    {"C25", true, al_c25, "a large calloc is zero after free, purge and idle", "C17 7.22.3.2, MADV_FREE"},
    {"C26", true, al_c26, "malloc works in destructors of a thread's exit", "POSIX pthread_key_create, glibc BZ#28028"},
    {"C27", true, al_c27, "valloc and pvalloc give whole pages, or fail", "CVE-2013-4332"},
    {"C28", true, al_c28, "free_sized and free_aligned_sized work", "C23 7.24.3.4, 7.24.3.5"},
    {"C29", true, al_c29, "a block that shrinks and grows again keeps its contents", "C17 7.22.3.5"},
    {"C30", true, al_c30, "the process's first call may be any, however early", "glibc manual: Replacing malloc"},
    {"C31", true, al_c31, "one library answers every allocation symbol",
     "glibc manual: Replacing malloc, jemalloc #2246"},
    {"C32", false, al_c32, "misuse: what is noticed, and how it ends", "C17 7.22.3.3: undefined"},
    {"C33", false, al_c33, "what stays resident of 64 MiB freed", "no rule, a figure"},
    {"C34", true, al_c34, "the page size is read at run time", "POSIX sysconf"},
};
enum { RULES = sizeof rules / sizeof *rules };

static void list(void) {
    for (int i = 0; i < RULES; i++)
        printf("%s\t%s\t%s\t%s\n", rules[i].number, rules[i].must ? "must" : "may", rules[i].title, rules[i].source);
}

static void begin(const char *library) {
    al_begin(true, SECONDS);
    al_step("malloc(1)");
    free(malloc(1));
    const char *owner = al_owner("malloc");
    al_holds(owner != NULL && strcmp(owner, library) == 0, "malloc is answered by %s",
             owner == NULL ? "nobody" : owner);
    al_end();
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "--answers") == 0) {
        al_answer_on(atoi(argv[2]));
        argc -= 2;
        argv += 2;
    }
    const char *word = argc < 2 ? "" : argv[1];
    if (strcmp(word, "list") == 0) {
        list();
        return 0;
    }
    if (argc == 3 && strcmp(word, "begin") == 0) {
        begin(argv[2]);
        return 0;
    }
    if (argc == 3 && strcmp(word, "first") == 0) return al_c30_again();
    if (argc == 3 && strcmp(word, "forks") == 0) return al_c19_again();
    for (int i = 0; i < RULES; i++) {
        if (strcmp(word, rules[i].number) != 0) continue;
        al_begin(rules[i].must, argc < 3 ? SECONDS : (unsigned)strtoul(argv[2], NULL, 10));
        rules[i].run();
        al_end();
        return 0;
    }
    fputs("usage: alloclab-rules list | [--answers N] begin LIBRARY | [--answers N] C01..C34 [SECONDS]\n", stderr);
    return BAD_ARGUMENTS;
}
