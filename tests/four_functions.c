/* A malloc that is correct, and of which no more than four functions are its own: with libc's beneath, and a mark before
 * each block. A block without the mark, as libc's own memalign makes them, ends the process. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t bytes), *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void __libc_free(void *block);

enum { HEAD = 16 };

static void *marked(char *start) {
    if (start == NULL) return NULL;
    *(volatile uint64_t *)start = 0x4d41524b4d41524b;
    *(volatile uint64_t *)(start + 8) = 0; /* where libc looks for a block's size */
    return start + HEAD;
}

static char *start_of(void *block) {
    char *start = (char *)block - HEAD;
    if (*(volatile uint64_t *)start != 0x4d41524b4d41524b) abort();
    return start;
}

static int too_large(size_t bytes) {
    if (bytes <= PTRDIFF_MAX - HEAD) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes) { return too_large(bytes) ? NULL : marked(__libc_malloc(bytes + HEAD)); }

void *calloc(size_t n, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(n, bytes, &total)) total = SIZE_MAX;
    return too_large(total) ? NULL : marked(__libc_calloc(1, total + HEAD));
}

void free(void *block) {
    if (block == NULL) return;
    char *start = start_of(block);
    *(volatile uint64_t *)start = 0;
    __libc_free(start);
}

void *realloc(void *block, size_t bytes) {
    if (block == NULL) return malloc(bytes);
    if (bytes == 0) {
        free(block);
        errno = EINVAL;
        return NULL;
    }
    return too_large(bytes) ? NULL : marked(__libc_realloc(start_of(block), bytes + HEAD));
}

#ifdef FREES_SIZED
void free_sized(void *block, size_t bytes) {
    (void)bytes;
    free(block);
}
#endif

#ifdef FREES_ALIGNED_SIZED
void free_aligned_sized(void *block, size_t alignment, size_t bytes) {
    (void)alignment;
    (void)bytes;
    free(block);
}
#endif
