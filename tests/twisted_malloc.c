/* libc's malloc with one thing about it that is wrong: gcc -shared -fPIC -fno-builtin -DTWIST=NAME. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t);
extern void __libc_free(void *);
size_t malloc_usable_size(void *);

enum twist {
    FREE_SETS_ERRNO,     /* C11 */
    ZERO_NOW_AND_THEN,   /* realloc(p, 0) returns a block every second time: C10 */
    STORES_ON_FAILURE,   /* posix_memalign: C12 */
    TAKES_ANY_ALIGNMENT, /* posix_memalign: C12 */
    REALLOC_CHANGES,     /* a realloc that fails changes the block: C09 */
    REALLOC_LOSES,       /* a realloc that grows loses the last byte: C08 */
    ARRAY_WRAPS,         /* reallocarray multiplies without a look: C17 */
    DIRTY_CALLOC,        /* C04 */
    SHARED_ZERO,         /* malloc(0) is always the same: C01 */
    MISPLACED            /* malloc of 100 bytes is off by 8: C02 */
};

static char zero[32] __attribute__((aligned(16)));

void *malloc(size_t bytes) {
    if (TWIST == SHARED_ZERO && bytes == 0) return zero;
    if (TWIST == MISPLACED && bytes == 100) return (char *)__libc_malloc(bytes + 8) + 8;
    return __libc_malloc(bytes);
}

void free(void *block) {
    if (block == zero) return;
    if (TWIST == MISPLACED && (uintptr_t)block % 16 != 0) return;
    __libc_free(block);
    if (TWIST == FREE_SETS_ERRNO) errno = EPERM;
}

void *calloc(size_t count, size_t bytes) {
    void *block = __libc_calloc(count, bytes);
    if (TWIST == DIRTY_CALLOC && block != NULL && count * bytes > 100) ((char *)block)[100] = 1;
    return block;
}

void *realloc(void *block, size_t bytes) {
    static int zeros;
    if (TWIST == ZERO_NOW_AND_THEN && block != NULL && bytes == 0 && zeros++ % 2 == 0) return __libc_realloc(block, 1);
    const size_t usable = block == NULL ? 0 : malloc_usable_size(block);
    char *moved = __libc_realloc(block, bytes);
    if (TWIST == REALLOC_CHANGES && moved == NULL && bytes > 0 && block != NULL) ++*(char *)block;
    if (TWIST == REALLOC_LOSES && moved != NULL && bytes > usable && usable > 0) moved[usable - 1] ^= 1;
    if (TWIST == REALLOC_LOSES && moved != NULL && bytes > usable && usable > 8) memset(moved, 0, 8);
    return moved;
}

void *reallocarray(void *block, size_t count, size_t bytes) {
    if (TWIST == ARRAY_WRAPS || bytes == 0 || count <= SIZE_MAX / bytes) return realloc(block, count * bytes);
    errno = ENOMEM;
    return NULL;
}

int posix_memalign(void **block, size_t alignment, size_t bytes) {
    const int wrong = alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0;
    if (wrong && TWIST != TAKES_ANY_ALIGNMENT) {
        if (TWIST == STORES_ON_FAILURE) *block = NULL;
        return EINVAL;
    }
    const int before = errno;
    void *found = __libc_memalign(wrong ? 16 : alignment, bytes);
    errno = before;
    if (found == NULL && TWIST != STORES_ON_FAILURE) return ENOMEM;
    *block = found;
    return found == NULL ? ENOMEM : 0;
}

void *memalign(size_t alignment, size_t bytes) { return __libc_memalign(alignment, bytes); }
