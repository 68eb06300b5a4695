/* A heap for a test; that there is none, or no such option, is a failure of the test. */
#ifndef AL_TESTS_HEAPS_H
#define AL_TESTS_HEAPS_H

#include "allocators/heap.h"

#include <assert.h>
#include <stdio.h>

static inline al_heap *make_heap(const al_allocator *allocator, const char *options, al_regions_config config) {
    al_settings settings;
    char message[200] = "";
    al_tunables_default(allocator, &settings);
    int error = al_tunables_parse(allocator, options, &settings, message, sizeof message);
    if (error != 0) fprintf(stderr, "%s\n", message);
    assert(error == 0);
    al_heap *heap = al_heap_create(allocator, &settings, &config, &error);
    assert(heap != NULL);
    return heap;
}

#endif
