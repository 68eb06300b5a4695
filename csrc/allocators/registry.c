/* The list of allocators, from the one file that the build reads too. */
#include "allocators/heap.h"

#include <string.h>

#define AL_ALLOCATOR(name, file) extern const al_allocator al_##name;
#include "allocators/allocators.def"
#undef AL_ALLOCATOR

const al_allocator *const al_allocators[] = {
#define AL_ALLOCATOR(name, file) &al_##name,
#include "allocators/allocators.def"
#undef AL_ALLOCATOR
    NULL,
};

const al_allocator *al_allocator_find(const char *name) {
    for (const al_allocator *const *a = al_allocators; *a != NULL; a++)
        if (strcmp((*a)->name, name) == 0) return *a;
    return NULL;
}
