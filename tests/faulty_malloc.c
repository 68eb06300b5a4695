/* A malloc that is correct, or has one fault on purpose: gcc -shared -fPIC -DFAULT=NAME. Blocks are never reused but by
 * calloc, which takes them dirty. A header of 32 bytes before each block holds its size. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum fault {
    NONE,
    OVERLAPS,           /* every hundredth block begins inside the one before */
    DIRTY_CALLOC,       /* calloc does not clear what is used again */
    MISALIGNED,         /* every hundredth block is off by 8 */
    IGNORES_ALIGNMENT,  /* posix_memalign is malloc */
    REALLOC_FORGETS,    /* realloc copies one byte too few */
    REALLOC_OVERRUNS,   /* realloc writes one byte too many */
    USABLE_TOO_SMALL,   /* malloc_usable_size is one less */
    CRASHES,            /* a NULL is written through, at the fiftieth malloc */
    GIVES_UP,           /* says why and aborts, at the fiftieth malloc */
    EXITS,              /* ends the process, at the fiftieth malloc */
    EXITS_WELL,         /* the same, as if all were well */
    GARBAGE,            /* every hundredth block is no address */
    UNMAPPED,           /* every hundredth block is an address where nothing is */
    REFUSES,            /* every hundredth malloc fails */
    SAME_ZERO,          /* malloc(0) always is the same block */
    FREE_SCRIBBLES,     /* free writes into the block after it */
    HANGS,              /* never returns, at the fiftieth malloc */
    HANGS_AT_START,     /* in a constructor */
    CRASHES_AT_START,   /* likewise */
    RUNS_AWAY,          /* takes sixteen gigabytes for each block */
    FORKS,              /* no fault, but a child process, at the fiftieth malloc */
    RUNS_A_THREAD,      /* no fault, but a thread from the start */
    CRASHES_TWICE,      /* as CRASHES, in the child of a vfork, and then itself */
    CRASHES_TOGETHER    /* as CRASHES, in TOGETHER threads at once: once so many ask for ODD bytes */
};

enum { HEADER = 32, ODD = 77, TOGETHER = 8 };

static char heap[1 << 30] __attribute__((aligned(4096)));
static size_t at, count;
static char *last;

static size_t *size_of(void *block) { return (size_t *)((char *)block - HEADER); }

static void *place(size_t bytes, size_t alignment) {
    const uintptr_t address = ((uintptr_t)heap + at + HEADER + alignment - 1) & ~(alignment - 1);
    size_t start = address - (uintptr_t)heap;
    if (bytes > sizeof heap || start + bytes > sizeof heap) {
        errno = ENOMEM;
        return NULL;
    }
    at = start + bytes;
    *size_of(heap + start) = bytes;
    return last = heap + start;
}

static void *faulty(size_t bytes) {
    static const char why[] = "faulty malloc: the heap is on fire\n";
    if (FAULT == CRASHES_TWICE) vfork();
    if (FAULT == CRASHES || FAULT == CRASHES_TWICE) *(volatile int *)NULL = 1;
    if (FAULT == GIVES_UP) {
        if (write(STDERR_FILENO, why, sizeof why - 1) > 0) abort();
    }
    if (FAULT == HANGS) pause();
    if (FAULT == EXITS) _exit(7);
    if (FAULT == EXITS_WELL) _exit(0);
    if (FAULT == FORKS) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        waitpid(child, NULL, 0);
    }
    if (FAULT == REFUSES) {
        errno = ENOMEM;
        return NULL;
    }
    if (FAULT == GARBAGE) return (void *)(uintptr_t)0xdeadbeefdeadbee0;
    if (FAULT == UNMAPPED) return (void *)(uintptr_t)0x10000;
    if (FAULT == OVERLAPS && last != NULL && *size_of(last) > 16) return last + 16;
    if (FAULT == MISALIGNED) return (char *)place(bytes + 8, 16) + 8;
    return place(bytes, 16);
}

void *malloc(size_t bytes) {
    if (FAULT == SAME_ZERO && bytes == 0) {
        static char zero[HEADER + 16] __attribute__((aligned(16)));
        return zero + HEADER;
    }
    if (FAULT == CRASHES_TOGETHER && bytes == ODD) {
        static _Atomic int arrived;
        for (arrived++; arrived < TOGETHER;) sched_yield();
        *(volatile int *)NULL = 1;
    }
    size_t period = FAULT == CRASHES || FAULT == CRASHES_TWICE || FAULT == GIVES_UP || FAULT == EXITS ||
                            FAULT == EXITS_WELL || FAULT == FORKS || FAULT == HANGS
                        ? 50
                        : 100;
    if (FAULT == RUNS_AWAY) {
        enum { FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };
        char *block = mmap(NULL, (size_t)1 << 34, PROT_READ | PROT_WRITE, FLAGS, -1, 0);
        if (block == MAP_FAILED) return NULL;
        *size_of(block + HEADER) = bytes;
        return block + HEADER;
    }
    return ++count % period == 0 ? faulty(bytes) : place(bytes, 16);
}

static void *sleeps(void *unused) {
    for (;;) pause();
    return unused;
}

__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    if (FAULT == CRASHES_AT_START) raise(SIGSEGV);
    if (FAULT == HANGS_AT_START) pause();
    if (FAULT == RUNS_A_THREAD && pthread_create(&thread, NULL, sleeps, NULL) != 0) abort();
}

void free(void *block) {
    if (FAULT == FREE_SCRIBBLES && block != NULL) *((char *)block + *size_of(block) + HEADER + 16) ^= 1;
}

void *calloc(size_t n, size_t bytes) {
    if (bytes != 0 && n > SIZE_MAX / bytes) {
        errno = ENOMEM;
        return NULL;
    }
    char *block = malloc(n * bytes);
    if (FAULT == DIRTY_CALLOC && block != NULL && n * bytes > 0) block[n * bytes - 1] = 1;
    return block;
}

void *realloc(void *block, size_t bytes) {
    if (block == NULL) return malloc(bytes);
    if (bytes == 0) return NULL;
    size_t kept = *size_of(block) < bytes ? *size_of(block) : bytes;
    char *moved = malloc(bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, FAULT == REALLOC_FORGETS && kept > 0 ? kept - 1 : kept);
    if (FAULT == REALLOC_OVERRUNS) ((char *)block)[-HEADER - 1] ^= 1;
    return moved;
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
    void *block = FAULT == IGNORES_ALIGNMENT ? malloc(bytes) : place(bytes, alignment < 16 ? 16 : alignment);
    if (block != NULL) *out = block;
    return block != NULL ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *block) { return *size_of(block) - (FAULT == USABLE_TOO_SMALL && *size_of(block) > 0); }
