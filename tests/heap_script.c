/* Runs a script of heap calls, read from standard input, and writes a line of results after each. Nothing here
 * allocates: what the heap holds is what the script made, and between two lines are the system calls of one statement.
 *
 *     [@THREAD] OPERATION ARGUMENT...      an argument is a number, $SLOT[+-NUMBER]: what the slot holds, moved; or a
 *                                          word that begins with a letter
 *
 * A call that makes a block stores it in the slot that its first argument numbers and writes its address, its usable
 * size, the header before it (where the program was started with the argument "heads", else 0) and errno. What asks
 * writes what it found, as numbers. `fork` goes on in the child. The first line is empty: it ends the system calls of
 * the program's start, and of whatever a malloc prepares for itself before its first block. */
#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 40000, THREADS = 2048, ARGUMENTS = 16, PAGE = 4096 };

/* A malloc's own figures, by their names. Weak: dlsym, where it fails, allocates. */
__attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size);
__attribute__((weak)) int MallocExtension_GetNumericProperty(const char *name, size_t *value);
__attribute__((weak)) int MallocExtension_SetNumericProperty(const char *name, size_t value);
__attribute__((weak)) void MallocExtension_ReleaseFreeMemory(void);
__attribute__((weak)) void MallocExtension_ReleaseToSystem(size_t bytes);
__attribute__((weak)) void MallocExtension_MarkThreadIdle(void);
__attribute__((weak)) void MallocExtension_MarkThreadBusy(void);
__attribute__((weak)) void MallocExtension_MarkThreadTemporarilyIdle(void);
__attribute__((weak)) int alloclab_control(const char *name, uint64_t *value, bool set);

static char script[4 << 20], line[1024];
static const char *at;
static size_t filled;
static uintptr_t slots[SLOTS];
static bool heads;

static void put(char c) {
    if (filled < sizeof line) line[filled++] = c;
}

static void number(uint64_t value) {
    char digits[24];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count > 0) put(digits[--count]);
    put(' ');
}

static void broken(const char *why) {
    if (write(STDERR_FILENO, why, strlen(why)) > 0) _exit(2);
    _exit(3);
}

/* --- statements: arguments in, results onto the line --- */

typedef const uintptr_t *words;

static void made(uintptr_t slot, void *block) {
    int error = errno;
    slots[slot] = (uintptr_t)block;
    number((uintptr_t)block);
    number(block != NULL ? malloc_usable_size(block) : 0);
    number(heads && block != NULL ? ((uint64_t *)block)[-1] : 0);
    number((uint64_t)error);
}

static void do_malloc(words w) { made(w[0], malloc(w[1])); }
static void do_calloc(words w) { made(w[0], calloc(1, w[1])); }
static void do_realloc(words w) { made(w[0], realloc((void *)w[1], w[2])); }
static void do_memalign(words w) { made(w[0], memalign(w[1], w[2])); }
static void do_aligned_alloc(words w) { made(w[0], aligned_alloc(w[1], w[2])); }
static void do_valloc(words w) { made(w[0], valloc(w[1])); }
static void do_pvalloc(words w) { made(w[0], pvalloc(w[1])); }

static void do_posix_memalign(words w) {
    void *block = NULL;
    errno = posix_memalign(&block, w[1], w[2]);
    made(w[0], block);
}

static void do_free(words w) { free((void *)w[0]); }
static void do_usable(words w) { number(malloc_usable_size((void *)w[0])); }
static void do_trim(words w) { number((uint64_t)malloc_trim(w[0])); }
static void do_mallopt(words w) { number((uint64_t)mallopt((int)w[0], (int)w[1])); }

static void do_info(words w) {
    (void)w;
    struct mallinfo2 info = mallinfo2();
    const size_t figures[] = {info.arena,   info.ordblks,  info.smblks,   info.hblks,   info.hblkhd,
                              info.fsmblks, info.uordblks, info.fordblks, info.keepcost};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) number(figures[i]);
}

/* --- figures by name --- */

/* A figure has 8, 4 or 1 bytes; asked for in another size it is not read, or only half of it. */
static int read_figure(const char *name, uint64_t *value, size_t *size) {
    const size_t sizes[] = {8, 4, 1};
    int error = EINVAL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && error == EINVAL; i++) {
        *value = 0;
        *size = sizes[i];
        error = mallctl(name, value, size, NULL, 0);
    }
    return error;
}

/* What cannot be read is done, or takes no value. */
static int set_figure(const char *name, uint64_t value) {
    uint64_t before;
    size_t size;
    if (read_figure(name, &before, &size) == 0) return mallctl(name, NULL, NULL, &value, size);
    return mallctl(name, NULL, NULL, NULL, 0);
}

/* Figures of the past are not told. */
static void refresh(void) {
    if (mallctl != NULL) set_figure("epoch", 1);
}

static const char *name_of(uintptr_t word) {
    static char name[256];
    size_t length = strcspn((const char *)word, " \n");
    if (length >= sizeof name) broken("a long name in the script\n");
    memcpy(name, (const char *)word, length);
    name[length] = '\0';
    return name;
}

/* tcmalloc: its properties are numbers, and what it can be told to do are calls. */
static int adjust_property(const char *name, size_t value) {
    if (strcmp(name, "ReleaseFreeMemory") == 0) return MallocExtension_ReleaseFreeMemory(), 0;
    if (strcmp(name, "ReleaseToSystem") == 0) return MallocExtension_ReleaseToSystem(value), 0;
    if (strcmp(name, "MarkThreadIdle") == 0) return MallocExtension_MarkThreadIdle(), 0;
    if (strcmp(name, "MarkThreadTemporarilyIdle") == 0) return MallocExtension_MarkThreadTemporarilyIdle(), 0;
    if (strcmp(name, "MarkThreadBusy") == 0) return MallocExtension_MarkThreadBusy(), 0;
    return MallocExtension_SetNumericProperty(name, value) ? 0 : ENOENT;
}

static int get(const char *name, uint64_t *value) {
    size_t size;
    if (mallctl != NULL) return read_figure(name, value, &size);
    if (MallocExtension_GetNumericProperty != NULL) return MallocExtension_GetNumericProperty(name, value) ? 0 : ENOENT;
    return alloclab_control != NULL ? alloclab_control(name, value, false) : ENOSYS;
}

static int adjust(const char *name, uint64_t value) {
    if (mallctl != NULL) return set_figure(name, value);
    if (MallocExtension_SetNumericProperty != NULL) return adjust_property(name, value);
    return alloclab_control != NULL ? alloclab_control(name, &value, true) : ENOSYS;
}

/* Each figure: errno and its value. */
static void do_control(words w) {
    refresh();
    for (size_t i = 0; i < ARGUMENTS && w[i] != 0; i++) {
        uint64_t value = 0;
        number((uint64_t)get(name_of(w[i]), &value));
        number(value);
    }
}

static void do_adjust(words w) { number((uint64_t)adjust(name_of(w[0]), w[1])); }

/* So many blocks of so many bytes, one after the other. */
static void do_churn(words w) {
    for (size_t i = 0; i < w[0]; i++) free(malloc(w[1]));
}

static void do_rest(words w) { number(w[0] % w[1]); }

/* The clock that a malloc sees: what happens between two statements takes no time. */
static atomic_uint_fast64_t passed = UINT64_C(1000000000000);

int clock_gettime(clockid_t clock, struct timespec *out) {
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE) return syscall(SYS_clock_gettime, clock, out);
    const uint64_t now = passed;
    *out = (struct timespec){(time_t)(now / 1000000000), (long)(now % 1000000000)};
    return 0;
}

static void do_pass(words w) { passed += w[0] * 1000000; }

/* Until the figure is this, so many milliseconds at a time: what is done in the background begins whenever it is let,
 * and takes as long as it takes. */
static void do_await(words w) {
    const struct timespec a_while = {0, 1000000};
    for (int looks = 0; looks < 60000; looks++) {
        uint64_t value = 0;
        refresh();
        if (get(name_of(w[0]), &value) == 0 && value == w[1]) return;
        passed += w[2] * 1000000;
        nanosleep(&a_while, NULL);
    }
    broken("waited in vain\n");
}

static void do_peek(words w) { number(*(uint64_t *)w[0]); }
static void do_poke(words w) { *(volatile uint64_t *)w[0] = w[1]; }

/* Nothing, where a call that failed left NULL. */
static void do_fill(words w) {
    if (w[0] != 0) memset((void *)w[0], (int)w[1], w[2]);
}

/* So many bytes of the key's own. */
static void do_scribble(words w) {
    uint64_t at = w[1];
    for (size_t i = 0; i < w[2]; i++) {
        at = at * UINT64_C(6364136223846793005) + 1;
        ((unsigned char *)w[0])[i] = (unsigned char)(at >> 56);
    }
}

/* A number for what the bytes are. */
static void do_sum(words w) {
    uint64_t sum = 0;
    for (size_t i = 0; i < w[1]; i++) sum = (sum ^ ((unsigned char *)w[0])[i]) * UINT64_C(1099511628211);
    number(sum);
}

/* How many of the bytes are not zero. */
static void do_dirty(words w) {
    uint64_t count = 0;
    for (size_t i = 0; w[0] != 0 && i < w[1]; i++) count += ((unsigned char *)w[0])[i] != 0;
    number(count);
}

/* Where a protected link, in a tcache entry or fastbin, leads. */
static void do_link(words w) { number(*(uint64_t *)w[0] ^ w[0] >> 12); }

/* Protects a link as the cache and the fastbins do. */
static void do_relink(words w) { *(volatile uint64_t *)w[0] = w[1] ^ w[0] >> 12; }

static void do_set(words w) {
    slots[w[0]] = w[1];
    number(w[1]);
}

static void do_sbrk(words w) { number((uintptr_t)sbrk((intptr_t)w[0])); }

/* A page that nobody may pass, so many bytes above the break. */
static void do_obstacle(words w) {
    char *where = (char *)sbrk(0) + w[0];
    if (mmap(where, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != where)
        broken("no room for an obstacle\n");
}

static void set_limit(int resource, bool set) {
    struct rlimit limit;
    getrlimit(resource, &limit);
    limit.rlim_cur = set ? 1 : limit.rlim_max;
    setrlimit(resource, &limit);
}

/* 1: no mapping or break may grow from now on; 2: the break may not even shrink; 0: they may again. */
static void do_limit(words w) {
    set_limit(RLIMIT_AS, w[0] > 0);
    set_limit(RLIMIT_DATA, w[0] > 1);
}

/* --- threads: one statement at a time, by whoever's turn it is --- */

typedef struct thread {
    pthread_t id;
    sem_t turn;
    bool leaves;
} thread;

static thread threads[THREADS];
static sem_t done;

static void run_script(void);
static void run_statement(const char *text);
static void end_statement(void);

static void *serve(void *argument) {
    thread *self = argument;
    for (;;) {
        sem_wait(&self->turn);
        if (self->leaves) return NULL;
        run_statement(at);
        sem_post(&done);
    }
}

static void do_start(words w) {
    thread *started = &threads[w[0]];
    started->leaves = false;
    sem_init(&started->turn, 0, 0);
    if (pthread_create(&started->id, NULL, serve, started) != 0) broken("no thread\n");
}

static void do_exit(words w) {
    threads[w[0]].leaves = true;
    sem_post(&threads[w[0]].turn);
    pthread_join(threads[w[0]].id, NULL);
}

static void give_turn(size_t which) {
    sem_post(&threads[which].turn);
    while (sem_wait(&done) != 0) continue;
}

/* The parent ends as the child does; the child goes on, whichever thread forked. */
static void do_fork(words w) {
    (void)w;
    pid_t child = fork();
    if (child != 0) {
        int status = 0;
        while (waitpid(child, &status, 0) < 0) continue;
        if (WIFSIGNALED(status)) raise(WTERMSIG(status));
        _exit(WEXITSTATUS(status));
    }
    end_statement();
    run_script();
}

static const struct operation {
    const char *name;
    void (*run)(words);
} operations[] = {
    {"malloc", do_malloc},     {"calloc", do_calloc},     {"realloc", do_realloc}, {"memalign", do_memalign},
    {"valloc", do_valloc},     {"pvalloc", do_pvalloc},   {"free", do_free},       {"aligned_alloc", do_aligned_alloc},
    {"usable", do_usable},     {"trim", do_trim},         {"mallopt", do_mallopt}, {"posix_memalign", do_posix_memalign},
    {"info", do_info},         {"peek", do_peek},         {"poke", do_poke},       {"fill", do_fill},
    {"dirty", do_dirty},       {"link", do_link},         {"set", do_set},         {"sbrk", do_sbrk},
    {"obstacle", do_obstacle}, {"limit", do_limit},       {"start", do_start},     {"exit", do_exit},
    {"fork", do_fork},         {"relink", do_relink},     {"control", do_control}, {"adjust", do_adjust},
    {"rest", do_rest},         {"await", do_await},       {"churn", do_churn},
    {"pass", do_pass},         {"scribble", do_scribble}, {"sum", do_sum},
};

/* --- the script --- */

static const char *skip_spaces(const char *text) {
    while (*text == ' ') text++;
    return text;
}

static uintptr_t argument(const char **text) {
    char *end;
    uintptr_t base = 0;
    if (isalpha((unsigned char)**text)) {
        base = (uintptr_t)*text;
        *text += strcspn(*text, " \n");
        return base;
    }
    if (**text == '$') {
        base = slots[strtoul(*text + 1, &end, 10)];
        *text = end;
        if (*end != '+' && *end != '-') return base;
    }
    uintptr_t value = base + (uintptr_t)(**text == '-' ? strtoll(*text, &end, 0) : (long long)strtoull(*text, &end, 0));
    if (end == *text) broken("not a number in the script\n");
    *text = end;
    return value;
}

static void run_statement(const char *text) {
    uintptr_t arguments[ARGUMENTS] = {0};
    size_t length = strcspn(text, " \n");
    const char *next = skip_spaces(text + length);
    for (size_t i = 0; *next != '\n'; i++, next = skip_spaces(next)) {
        if (i == ARGUMENTS) broken("a statement of the script is too long\n");
        arguments[i] = argument(&next);
    }
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        const struct operation *o = &operations[i];
        if (strlen(o->name) != length || memcmp(o->name, text, length) != 0) continue;
        errno = 0;
        o->run(arguments);
        return;
    }
    broken("no such statement\n");
}

static void end_statement(void) {
    put('\n');
    if (write(STDOUT_FILENO, line, filled) < 0) broken("cannot write\n");
    filled = 0;
    at = strchr(at, '\n') + 1;
}

static void run_script(void) {
    while (*at != '\0') {
        if (*at == '@') {
            char *end;
            size_t which = strtoul(at + 1, &end, 10);
            at = skip_spaces(end);
            give_turn(which);
        } else {
            run_statement(at);
        }
        end_statement();
    }
    _exit(0);
}

/* Where the next mappings lie shall not hang on chance. ptmalloc: one as large as two heaps of an arena shall not lie
 * on a multiple of a heap's size, hence half a heap beside one. jemalloc's map of pages takes memory for every GiB of
 * addresses that it meets, tcmalloc's for every second one: what follows lies in one GiB, and in another one than what
 * the program's start brought. What is whole huge pages long the kernel may put on one, with a gap above, into which
 * what follows would fit or not: the first look is a page longer. */
static void lie_askew(void) {
    const size_t heap = 64 << 20, gib = 1 << 30, look = 2 * heap + PAGE;
    char *next = mmap(NULL, look, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const uintptr_t top = (uintptr_t)next + look;
    munmap(next, look);
    size_t length = heads ? heap + (top - heap / 2) % heap : gib + top % gib;
    mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int main(int count, char **arguments) {
    size_t held = 0;
    heads = count > 1 && strcmp(arguments[1], "heads") == 0;
    for (ssize_t got; (got = read(STDIN_FILENO, script + held, sizeof script - 1 - held)) > 0;) held += (size_t)got;
    sem_init(&done, 0, 0);
    lie_askew();
    mallinfo2();
    sbrk(0);
    refresh();
    at = script;
    if (write(STDOUT_FILENO, "\n", 1) < 0) broken("cannot write\n");
    run_script();
}
