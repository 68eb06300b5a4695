/* Finds the malloc that answers: the next one in the loader's order of search. */
#include "record/record.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

char al_boot[AL_BOOT_BYTES] __attribute__((aligned(16)));
static _Atomic size_t boot_used;
static atomic_bool finding, found;
static char library[1024];

/* | bytes, 16 wide | block | */
static void *boot_take(size_t alignment, size_t bytes) {
    if (bytes > AL_BOOT_BYTES || alignment > 4096) return NULL;
    size_t whole = (bytes + 16 + alignment + 15) & ~(size_t)15;
    size_t at = atomic_fetch_add(&boot_used, whole);
    if (at + whole > AL_BOOT_BYTES) return NULL;
    uintptr_t block = ((uintptr_t)al_boot + at + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
    ((size_t *)block)[-1] = bytes;
    return (void *)block;
}

size_t al_boot_bytes(const void *block) { return ((const size_t *)block)[-1]; }

const char *al_real_library(void) { return library; }

static void *boot_malloc(size_t size) { return al_real_find() ? al_real_malloc.malloc(size) : boot_take(16, size); }

/* Boot memory is used once, so it is zero. */
static void *boot_calloc(size_t count, size_t size) {
    size_t bytes;
    if (al_real_find()) return al_real_malloc.calloc(count, size);
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : boot_take(16, bytes);
}

static void *boot_realloc(void *block, size_t size) {
    if (al_real_find()) return al_real_malloc.realloc(block, size);
    void *moved = boot_take(16, size);
    if (moved != NULL && block != NULL) {
        size_t old = al_boot_bytes(block);
        memcpy(moved, block, old < size ? old : size);
    }
    return moved;
}

static void boot_free(void *block) {
    if (al_real_find()) al_real_malloc.free(block);
}

static void *boot_memalign(size_t alignment, size_t size) {
    return al_real_find() ? al_real_malloc.memalign(alignment, size) : boot_take(alignment < 16 ? 16 : alignment, size);
}

static void *boot_aligned_alloc(size_t alignment, size_t size) {
    if (al_real_find()) return al_real_malloc.aligned_alloc(alignment, size);
    return boot_take(alignment < 16 ? 16 : alignment, size);
}

static int boot_posix_memalign(void **out, size_t alignment, size_t size) {
    if (al_real_find()) return al_real_malloc.posix_memalign(out, alignment, size);
    void *block = boot_take(alignment < 16 ? 16 : alignment, size);
    if (block == NULL) return ENOMEM;
    *out = block;
    return 0;
}

static void *boot_valloc(size_t size) { return al_real_find() ? al_real_malloc.valloc(size) : boot_take(4096, size); }
static void *boot_pvalloc(size_t size) { return al_real_find() ? al_real_malloc.pvalloc(size) : boot_take(4096, size); }

al_real al_real_malloc = {
    .malloc = boot_malloc,
    .calloc = boot_calloc,
    .realloc = boot_realloc,
    .free = boot_free,
    .memalign = boot_memalign,
    .aligned_alloc = boot_aligned_alloc,
    .posix_memalign = boot_posix_memalign,
    .valloc = boot_valloc,
    .pvalloc = boot_pvalloc,
};

/* Stores the address of the next function of this name; ISO C knows no conversion from void * to a function. */
static void look_up(const char *name, void *pointer) {
    void *address = dlsym(RTLD_NEXT, name);
    if (address != NULL) memcpy(pointer, &address, sizeof address);
}

bool al_real_find(void) {
    if (atomic_load(&found)) return true;
    if (atomic_exchange(&finding, true)) return false;
    al_real next = al_real_malloc;
    look_up("malloc", &next.malloc);
    look_up("calloc", &next.calloc);
    look_up("realloc", &next.realloc);
    look_up("free", &next.free);
    look_up("memalign", &next.memalign);
    look_up("aligned_alloc", &next.aligned_alloc);
    look_up("posix_memalign", &next.posix_memalign);
    look_up("valloc", &next.valloc);
    look_up("pvalloc", &next.pvalloc);
    look_up("free_sized", &next.free_sized);
    look_up("free_aligned_sized", &next.free_aligned_sized);
    dlerror(); /* a program must not find our failed look-ups in its own dlerror */
    Dl_info where;
    void *address;
    memcpy(&address, &next.malloc, sizeof address);
    if (dladdr(address, &where) != 0 && strlen(where.dli_fname) < sizeof library) strcpy(library, where.dli_fname);
    al_real_malloc = next;
    atomic_store(&found, true);
    return true;
}
