/* The page map against an array, through random ranges that lie across the borders of leaves and nodes. */
#undef NDEBUG
#include "base/rng.h"
#include "region/pagemap.h"

#include <assert.h>

enum { PAGE = 4096, LEAF = AL_PAGEMAP_FANOUT, PAGES = 3 * LEAF, STEPS = 4000, OWNERS = 16 };

static char owners[OWNERS];
static unsigned char model[PAGES]; /* index of the owner + 1; 0 = none */

static void test_against_array(al_regions *regions, uintptr_t base) {
    al_pagemap map;
    assert(al_pagemap_init(&map, regions) == 0);
    al_rng rng = {11};
    for (size_t i = 0; i < PAGES; i++) model[i] = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t from = al_rng_next(&rng) % PAGES, pages = 1 + al_rng_next(&rng) % (al_rng_next(&rng) % 8 ? 9 : LEAF);
        if (pages > PAGES - from) pages = PAGES - from;
        uintptr_t start = base + from * PAGE + al_rng_next(&rng) % PAGE;
        size_t bytes = base + (from + pages) * PAGE - start;
        unsigned char owner = (unsigned char)(al_rng_next(&rng) % (OWNERS + 1));
        if (owner == 0)
            al_pagemap_clear(&map, start, bytes);
        else
            assert(al_pagemap_set(&map, start, bytes, &owners[owner - 1]) == 0);
        for (size_t i = from; i < from + pages; i++) model[i] = owner;
        for (int probe = 0; probe < 100; probe++) {
            size_t page = al_rng_next(&rng) % PAGES;
            void *expected = model[page] == 0 ? NULL : &owners[model[page] - 1];
            assert(al_pagemap_get(&map, base + page * PAGE + al_rng_next(&rng) % PAGE) == expected);
        }
    }
    for (size_t page = 0; page < PAGES; page++) {
        void *expected = model[page] == 0 ? NULL : &owners[model[page] - 1];
        assert(al_pagemap_get(&map, base + page * PAGE) == expected);
    }
    assert(al_pagemap_get(&map, base - 1) == NULL && al_pagemap_get(&map, base + (uintptr_t)PAGES * PAGE) == NULL);
}

static void test_ends_of_the_address_space(al_regions *regions) {
    al_pagemap map;
    assert(al_pagemap_init(&map, regions) == 0);
    const uintptr_t last = ((uintptr_t)1 << 48) - 1;
    assert(al_pagemap_set(&map, 0, 1, owners) == 0 && al_pagemap_set(&map, last, 1, owners + 1) == 0);
    assert(al_pagemap_get(&map, PAGE - 1) == owners && al_pagemap_get(&map, PAGE) == NULL);
    assert(al_pagemap_get(&map, last) == owners + 1 && al_pagemap_get(&map, last + 1) == NULL);
    assert(al_pagemap_get(&map, UINTPTR_MAX) == NULL);
    al_pagemap_clear(&map, last, 1);
    assert(al_pagemap_get(&map, last) == NULL);
}

int main(void) {
    int error = 0;
    al_regions_config config = {.window_bytes = PAGE};
    al_regions *regions = al_regions_create(&config, &error);
    assert(regions != NULL);
    test_against_array(regions, (uintptr_t)0x7f1234000000 + (LEAF - 5) * PAGE);
    test_against_array(regions, ((uintptr_t)77 << 36) - (uintptr_t)LEAF * PAGE);
    test_ends_of_the_address_space(regions);
    al_regions_destroy(regions);
    return 0;
}
