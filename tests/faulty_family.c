/* The faulty malloc with the whole family that it lacks, each as correct as what it is made of. */
#include "faulty_malloc.c"

static int is_odd(size_t alignment) { return alignment == 0 || (alignment & (alignment - 1)) != 0; }

void *memalign(size_t alignment, size_t bytes) {
    void *block = NULL;
    errno = is_odd(alignment) ? EINVAL : posix_memalign(&block, alignment, bytes);
    return block;
}

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void *valloc(size_t bytes) { return memalign(4096, bytes); }

void *pvalloc(size_t bytes) {
    size_t whole = (bytes + 4095) & ~(size_t)4095;
    return memalign(4096, whole < bytes ? SIZE_MAX : whole);
}

void *reallocarray(void *block, size_t n, size_t bytes) {
    if (bytes == 0 || n <= SIZE_MAX / bytes) return realloc(block, n * bytes);
    errno = ENOMEM;
    return NULL;
}
