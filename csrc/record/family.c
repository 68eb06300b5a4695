/* The malloc family as the target sees it: the real call, and one event. A free's event comes before the real free and
 * a malloc's after the real malloc, so no other thread can be seen to use an address that is not free. */
#include "base/align.h"
#include "os/os.h"
#include "record/events.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define AL_PUBLIC __attribute__((visibility("default")))

void free_sized(void *block, size_t size); /* C23; not declared by every <stdlib.h> */
void free_aligned_sized(void *block, size_t alignment, size_t size);

AL_PUBLIC void *malloc(size_t size) {
    return al_event_birth(AL_KIND_MALLOC, AL_WIDE_MALLOC, al_real_malloc.malloc(size), size, 1);
}

AL_PUBLIC void *calloc(size_t count, size_t size) {
    return al_event_birth(AL_KIND_CALLOC, AL_WIDE_CALLOC, al_real_malloc.calloc(count, size), size, count);
}

AL_PUBLIC void free(void *block) {
    if (al_is_boot(block)) return;
    al_real_malloc.free(al_event_death(AL_KIND_FREE, AL_WIDE_FREE, block));
}

AL_PUBLIC void free_sized(void *block, size_t size) {
    if (al_real_malloc.free_sized == NULL || al_is_boot(block)) {
        free(block);
        return;
    }
    al_real_malloc.free_sized(al_event_death(AL_KIND_FREE, AL_WIDE_FREE, block), size);
}

AL_PUBLIC void free_aligned_sized(void *block, size_t alignment, size_t size) {
    if (al_real_malloc.free_aligned_sized == NULL || al_is_boot(block)) {
        free(block);
        return;
    }
    al_real_malloc.free_aligned_sized(al_event_death(AL_KIND_FREE, AL_WIDE_FREE, block), alignment, size);
}

static void *leave_boot(const void *block, size_t size) {
    void *moved = malloc(size);
    if (moved != NULL) memcpy(moved, block, al_min(al_boot_bytes(block), size));
    return moved;
}

AL_PUBLIC void *realloc(void *block, size_t size) {
    if (al_is_boot(block)) return leave_boot(block, size);
    block = al_real_malloc.realloc(al_event_death(AL_KIND_REALLOC_IN, AL_WIDE_REALLOC_IN, block), size);
    return al_event_birth(AL_KIND_REALLOC_OUT, AL_WIDE_REALLOC_OUT, block, size, 1);
}

/* glibc's own would come back here through realloc. */
AL_PUBLIC void *reallocarray(void *block, size_t count, size_t size) {
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes)) return realloc(block, bytes);
    al_event_death(AL_KIND_REALLOC_IN, AL_WIDE_REALLOC_IN, block);
    al_event_birth(AL_KIND_REALLOC_OUT, AL_WIDE_REALLOC_OUT, NULL, SIZE_MAX, 1);
    errno = ENOMEM;
    return NULL;
}

/* What is no power of two is rounded up, as the C library does. */
static void *aligned(void *block, size_t alignment, size_t size) {
    if (block != NULL && !al_is_power_of_two(alignment))
        alignment = alignment == 0 ? 1 : (size_t)1 << al_log2_ceil(alignment);
    uint64_t address = (uintptr_t)block;
    return (void *)al_event(0, 1, AL_BIRTH_DISTANCE_BITS, AL_WIDE_ALIGNED, block == NULL, address, size, alignment);
}

AL_PUBLIC void *memalign(size_t alignment, size_t size) {
    return aligned(al_real_malloc.memalign(alignment, size), alignment, size);
}

AL_PUBLIC void *aligned_alloc(size_t alignment, size_t size) {
    return aligned(al_real_malloc.aligned_alloc(alignment, size), alignment, size);
}

AL_PUBLIC int posix_memalign(void **out, size_t alignment, size_t size) {
    int error = al_real_malloc.posix_memalign(out, alignment, size);
    aligned(error == 0 ? *out : NULL, alignment, size);
    return error;
}

AL_PUBLIC void *valloc(size_t size) {
    return aligned(al_real_malloc.valloc(size), al_os_linux.page_size(), size);
}

/* The size is rounded up to whole pages, for the trace as for the program. */
AL_PUBLIC void *pvalloc(size_t size) {
    size_t page = al_os_linux.page_size(), bytes;
    bool overflows = __builtin_add_overflow(size, page - 1, &bytes);
    void *block = al_real_malloc.pvalloc(size);
    return aligned(block, page, overflows ? size : bytes / page * page);
}
