/* Scenes: a break that others move, too, limits, and a kernel that refuses. */
#include "dropin_scenes.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* --- the break --- */

static void own_pieces_of_the_break(void) {
    enum { ROUNDS = 60, BLOCKS = 50 };
    static const size_t odd[] = {1, 100, 4096, 70000, 4095, 300000};
    static unsigned char *own[ROUNDS], *blocks[ROUNDS][BLOCKS];
    for (size_t i = 0; i < ROUNDS; i++) {
        const size_t bytes = odd[i % 6];
        own[i] = filled(sbrk((intptr_t)bytes), bytes);
        for (size_t b = 0; b < BLOCKS; b++) blocks[i][b] = filled(malloc(100 * b), 100 * b);
        for (size_t b = 0; b < BLOCKS; b += 2) check_and_free(blocks[i][b], 100 * b);
        malloc_trim(0);
        if (i % 3 == 0 && sbrk(0) == own[i] + bytes) { /* given back, where nobody came after it */
            assert(brk(own[i]) == 0);
            own[i] = NULL;
        }
    }
    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < ROUNDS; i++) {
            if (own[i] != NULL) check(own[i], odd[i % 6]);
            for (size_t b = 1; twice == 0 && b < BLOCKS; b += 2) check_and_free(blocks[i][b], 100 * b);
        }
}

/* Something stands above the break. */
static void break_is_blocked(void) {
    const uintptr_t page = 4096, above = ((uintptr_t)sbrk(0) + MIB + page - 1) / page * page;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    assert(mmap((void *)above, page, PROT_NONE, flags, -1, 0) == (void *)above);
    static unsigned char *blocks[20000];
    for (int i = 0; i < 20000; i++) blocks[i] = filled(malloc(1000), 1000);
    for (int i = 0; i < 20000; i++) check_and_free(blocks[i], 1000);
}

/* --- limits --- */

static void use_up(void) {
    void **list = NULL;
    const size_t sizes[] = {5000000, 100000, 1000, 16};
    for (int i = 0; i < 4; i++) {
        for (void **block; errno = 0, (block = malloc(sizes[i])) != NULL; list = block) *block = list;
        assert(errno == ENOMEM);
    }
    for (void *next; list != NULL; list = next) {
        next = *list;
        assert(realloc(list, (size_t)1 << 40) == NULL && errno == ENOMEM);
        free(list);
    }
}

typedef struct limit {
    int resource;
    rlim_t now;
} limit;

/* It is set, met, and lifted while the program runs; and nothing that is said of it is a cancellation point. */
static void *meet(void *met) {
    const limit *to = met;
    struct rlimit before;
    getrlimit(to->resource, &before);
    pthread_cancel(pthread_self());
    for (int i = 0; i < 3; i++) {
        assert(setrlimit(to->resource, &(struct rlimit){to->now, before.rlim_max}) == 0);
        use_up();
        churn(15);
        assert(setrlimit(to->resource, &before) == 0);
        free(filled(malloc(50 * MIB), 50 * MIB));
        churn(16);
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return NULL;
}

static void limited(int resource, rlim_t now) {
    limit to = {resource, now};
    assert(end(start(meet, (uintptr_t)&to)) == NULL);
}

static rlim_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert(fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * 4096;
}

static void limited_address_space(void) { limited(RLIMIT_AS, address_space() + 40 * MIB); }

static void limited_data(void) { limited(RLIMIT_DATA, 40 * MIB); }

static void churns(void) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) threads[i] = start(churn_once, i);
    for (int i = 0; i < 4; i++) end(threads[i]);
}

static void run_again(const char *scene) {
    execl("/proc/self/exe", "dropin_limits", scene, NULL);
    _exit(127);
}

static void small_stack(void) {
    assert(setrlimit(RLIMIT_STACK, &(struct rlimit){256 << 10, RLIM_INFINITY}) == 0);
    run_again("churns");
}

/* The kernel then maps from the bottom up. */
static void unlimited_stack(void) {
    assert(setrlimit(RLIMIT_STACK, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0);
    run_again("own_pieces_of_the_break");
}

static void closed_files(void) {
    for (int i = 0; i < 3; i++) close(i);
    run_again("nothing_opened");
}

/* Nor does the library. */
static void nothing_opened(void) {
    churn(17);
    malloc_stats();
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) != -1 || errno != EBADF) _exit(1);
}

/* A kernel that refuses what malloc can do without. */
static void refused(unsigned call) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof rules / sizeof *rules, .filter = rules};
    assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
    for (size_t bytes = 1000; bytes < 40 * MIB; bytes *= 3) {
        unsigned char *dirty = memset(malloc(bytes), 0xff, bytes);
        dirty = realloc(dirty, 2 * bytes);
        assert(dirty != NULL && dirty[bytes - 1] == 0xff);
        free(memset(dirty, 0xff, 2 * bytes));
        malloc_trim(0);
        unsigned char *zeroed = calloc(1, bytes);
        for (size_t i = 0; i < bytes; i++) assert(zeroed[i] == 0);
        free(zeroed);
        churn(18);
        end(start(churn_once, 18));
    }
}

static void without_mremap(void) { refused(SYS_mremap); }
static void without_madvise(void) { refused(SYS_madvise); }

int main(int count, char **words) {
    static const scene scenes[] = {
        {"own_pieces_of_the_break", own_pieces_of_the_break},
        {"break_is_blocked", break_is_blocked},
        {"limited_address_space", limited_address_space},
        {"limited_data", limited_data},
        {"churns", churns},
        {"small_stack", small_stack},
        {"unlimited_stack", unlimited_stack},
        {"closed_files", closed_files},
        {"nothing_opened", nothing_opened},
        {"without_mremap", without_mremap},
        {"without_madvise", without_madvise},
        {NULL, NULL},
    };
    return play(scenes, count, words);
}
