/* The process as a whole: C30-C34. */
#include "check/rule.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- C30: this process started again, for each way to begin --- */

static const char *const beginnings[] = {"free(NULL)", "realloc(NULL, 10)", "calloc(3, 5)", "memalign(64, 100)",
                                         "malloc_usable_size(NULL)", "malloc(10)"};
/* Whose they are; what another library's memalign makes cannot be freed here. */
static const char *const needs[] = {"free", "realloc", "calloc", "memalign", "malloc_usable_size", "malloc"};
enum { BEGINNINGS = sizeof beginnings / sizeof *beginnings };
static int unserved;

static void begin_with(const char *call) {
    void *block = NULL;
    if (strcmp(call, beginnings[0]) == 0) free(NULL);
    if (strcmp(call, beginnings[1]) == 0) unserved += (block = realloc(NULL, 10)) == NULL;
    if (strcmp(call, beginnings[2]) == 0) unserved += (block = calloc(3, 5)) == NULL;
    if (strcmp(call, beginnings[3]) == 0) unserved += (block = memalign(64, 100)) == NULL;
    if (strcmp(call, beginnings[4]) == 0) unserved += malloc_usable_size(NULL) != 0;
    if (strcmp(call, beginnings[5]) == 0) unserved += (block = malloc(10)) == NULL;
    free(block);
}

static bool is_first(int argc, char **argv) { return argc == 3 && strcmp(argv[1], "first") == 0; }

/* Before any library's constructor, libc's own included. */
static void before_all(int argc, char **argv) {
    if (is_first(argc, argv)) begin_with(argv[2]);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **) = before_all;

__attribute__((constructor)) static void early(int argc, char **argv) {
    if (is_first(argc, argv)) begin_with(argv[2]);
}

int al_c30_again(void) { return unserved == 0 ? 0 : 1; }

void al_c30(void) {
    for (int i = 0; i < BEGINNINGS; i++) {
        if (!al_is_own(needs[i])) continue;
        const pid_t child = fork();
        if (child == 0) {
            alarm(10);
            execl("/proc/self/exe", "alloclab-rules", "first", beginnings[i], (char *)NULL);
            _exit(127);
        }
        const int status = al_wait(child);
        if (WIFSIGNALED(status))
            al_holds(false, "a process whose first call is %s %s", beginnings[i],
                     WTERMSIG(status) == SIGALRM ? "hangs" : "crashes");
        else
            al_holds(status == 0, "%s as the first call of a process fails", beginnings[i]);
    }
}

/* --- C31 --- */

/* Where another library's answer would mix two heaps. */
static const char *const family[] = {"calloc",        "realloc", "free",    "memalign",          "aligned_alloc",
                                     "posix_memalign", "valloc",  "pvalloc", "malloc_usable_size"};
/* Where it would do nothing, or call malloc. */
static const char *const extensions[] = {"reallocarray", "cfree",        "malloc_trim", "mallinfo",   "mallinfo2",
                                         "mallopt",      "malloc_stats", "malloc_info", "free_sized",
                                         "free_aligned_sized"};

static void names(void) {
    char lacking[200] = "";
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        if (al_is_own(extensions[i])) continue;
        strcat(strcat(lacking, lacking[0] == '\0' ? "" : ", "), extensions[i]);
    }
    for (size_t i = 0; i < sizeof family / sizeof *family; i++) {
        const char *owner = al_owner(family[i]);
        al_step("%s", family[i]);
        al_fault("foreign", 0);
        al_holds(al_is_own(family[i]), "%s is answered by %s, malloc by %s", family[i],
                 owner == NULL ? "nobody" : owner, al_owner("malloc"));
    }
    if (lacking[0] == '\0') return;
    al_step("%s", lacking);
    al_fault("foreign", 0);
    al_not_applicable("it does not answer %s", lacking);
}

static void figures(void) {
    void *block = malloc(100000);
    const struct mallinfo2 wide = mallinfo2();
    al_holds(wide.arena > 0 && wide.uordblks >= 100000,
             "mallinfo2 says that %zu bytes are used of %zu, with 100000 live",
             wide.uordblks, wide.arena);
    const size_t other = wide.arena - wide.uordblks - wide.fordblks; /* tcmalloc's: what is cached */
    al_holds(other == 0 || other == wide.fsmblks, "the figures of mallinfo2 do not add up");
    if (al_is_own("mallinfo"))
        al_holds(mallinfo().uordblks > 0, "mallinfo says that nothing is used, with 100000 live");
    free(block);
}

static void controls(void) {
    al_step("malloc_trim, mallopt, malloc_info");
    if (al_is_own("mallinfo2") && strncmp(al_owner("malloc"), "libc.", 5) != 0) figures();
    if (al_is_own("malloc_trim")) {
        const int trimmed = malloc_trim(0);
        al_holds(trimmed == 0 || trimmed == 1, "malloc_trim(0) returned %d", trimmed);
    }
    if (al_is_own("mallopt")) {
        const int set = mallopt(M_TOP_PAD, 0);
        al_holds(set == 0 || set == 1, "mallopt(M_TOP_PAD, 0) returned %d", set);
    }
    if (al_is_own("malloc_info")) {
        FILE *out = tmpfile();
        if (out == NULL) return;
        al_holds(malloc_info(0, out) == 0 && ftell(out) > 0, "malloc_info(0) failed");
        al_holds(malloc_info(1, out) == EINVAL, "malloc_info(1) is not refused with EINVAL");
        fclose(out);
    }
}

static void old_free(void) {
    void (*old)(void *) = dlsym(RTLD_DEFAULT, "cfree");
    size_t before = 0;
    if (old == NULL || !al_is_own("cfree")) return;
    const bool counts = al_is_own("mallinfo2");
    for (int round = 0; round < 20; round++) { /* caches are full by the tenth */
        if (round == 10 && counts) before = mallinfo2().uordblks;
        al_step("cfree(calloc(2, 50))");
        old(calloc(2, 50));
    }
    if (counts) al_holds(mallinfo2().uordblks == before, "cfree leaves something allocated");
}

void al_c31(void) {
    names();
    controls();
    old_free();
}

/* --- C32 --- */

enum { HANDED_OUT_TWICE = 3 };
static void *volatile spare; /* so that the compiler cannot follow */

/* After a mistake that went unnoticed: are two live blocks the same? */
static int twice(size_t bytes) {
    enum { BLOCKS = 20 };
    void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(bytes);
        for (int j = 0; j < i; j++)
            if (blocks[i] == blocks[j] && blocks[i] != NULL) return HANDED_OUT_TWICE;
    }
    return 0;
}

static int double_free(size_t bytes) {
    spare = malloc(bytes);
    void *guard = malloc(bytes);
    free(spare);
    free(spare);
    free(guard);
    return twice(bytes);
}

static int double_free_of_small(void) { return double_free(100); }
static int double_free_of_large(void) { return double_free(300000); }

static int double_free_with_one_between(void) {
    spare = malloc(100);
    void *between = malloc(100);
    free(spare);
    free(between);
    free(spare);
    return twice(100);
}

static int free_of_the_stack(void) {
    static _Alignas(16) char foreign[256];
    spare = foreign + 64;
    free(spare);
    return twice(100);
}

static int free_of_the_middle(void) {
    char *block = malloc(1000);
    memset(block, 0, 1000);
    spare = block + 512;
    free(spare);
    return twice(1000);
}

static int overwritten_before(void) {
    spare = malloc(1000);
    memset((char *)spare - 16, 0x41, 16);
    free(spare);
    return twice(1000);
}

static int overwritten_behind(void) {
    spare = malloc(1000);
    void *next = malloc(1000);
    memset((char *)spare + al_usable(spare, 1000), 0x41, 16);
    free(spare);
    free(next);
    return twice(1000);
}

/* What it said on stderr last, in a line that is whole; "" for nothing. */
static void last_line(int from, char *line, size_t bytes) {
    char text[2048];
    size_t length = 0;
    for (ssize_t got; (got = read(from, text + length, sizeof text - 1 - length)) > 0;) length += (size_t)got;
    while (length > 0 && text[length - 1] == '\n') length--;
    text[length] = '\0';
    const char *begins = strrchr(text, '\n');
    snprintf(line, bytes, "%s", begins == NULL ? text : begins + 1);
}

static void misuse(const char *what, int (*make)(void)) {
    int ends[2];
    if (pipe(ends) != 0) return;
    const pid_t child = fork();
    if (child == 0) {
        al_alone();
        alarm(2);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        _exit(make());
    }
    close(ends[1]);
    char said[200];
    last_line(ends[0], said, sizeof said);
    close(ends[0]);
    const int status = al_wait(child);
    char how[100];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "%s", WTERMSIG(status) == SIGALRM ? "hangs" : strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == HANDED_OUT_TWICE)
        snprintf(how, sizeof how, "unnoticed, and a block is then handed out twice");
    else
        snprintf(how, sizeof how, WEXITSTATUS(status) == 0 ? "unnoticed" : "exit status %d", WEXITSTATUS(status));
    if (said[0] == '\0')
        al_recorded("%s: %s", what, how);
    else
        al_recorded("%s: %s (%s)", what, how, said);
}

void al_c32(void) {
    misuse("double free of 100 bytes", double_free_of_small);
    misuse("double free of 300000 bytes", double_free_of_large);
    misuse("double free with another between", double_free_with_one_between);
    misuse("free of a foreign address", free_of_the_stack);
    misuse("free of an interior address", free_of_the_middle);
    misuse("16 bytes before a block overwritten, then free", overwritten_before);
    misuse("16 bytes behind a block overwritten, then free", overwritten_behind);
}

/* --- C33 --- */

void al_c33(void) {
    enum { BLOCKS = 65536, BYTES = 1024 };
    static void *blocks[BLOCKS];
    memset(blocks, 0xff, sizeof blocks);
    const size_t before = al_resident();
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BYTES);
        if (blocks[i] != NULL) memset(blocks[i], 1, BYTES);
    }
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    al_recorded("%zu MiB of 64 MiB in blocks of 1 KiB stay resident", al_grown(before) >> 20);
}

/* --- C34: this program answers for libc, and hears who asks --- */

extern long __sysconf(int name);
extern int __getpagesize(void);
static volatile bool asked;

__attribute__((visibility("default"))) long sysconf(int name) {
    if (name == _SC_PAGESIZE) asked = true;
    return __sysconf(name);
}

__attribute__((visibility("default"))) int getpagesize(void) {
    asked = true;
    return __getpagesize();
}

__attribute__((visibility("default"))) unsigned long getauxval(unsigned long type) {
    unsigned long pair[2] = {0, 0};
    if (type == AT_PAGESZ) asked = true;
    const int file = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
    while (read(file, pair, sizeof pair) == sizeof pair && pair[0] != type) pair[0] = AT_NULL;
    close(file);
    if (pair[0] != type) errno = ENOENT;
    return pair[0] == type ? pair[1] : 0;
}

void al_c34(void) {
    free(malloc(1));
    if (al_is_own("valloc")) free(valloc(1));
    free(malloc(1000000));
    if (!asked) al_not_applicable("it asked neither sysconf, getpagesize nor getauxval; other ways cannot be seen");
}
