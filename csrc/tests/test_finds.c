/* What was found is sorted, searched, and leaves nothing behind. */
#undef NDEBUG
#include "base/rng.h"
#include "parts/finds.h"

#include <assert.h>

static al_regions *regions;

static void are_sorted_and_searched(void) {
    al_rng rng = {5};
    for (size_t count = 0; count < 5000; count = 3 * count + 1) {
        al_finds finds;
        al_finds_open(&finds, regions);
        for (size_t i = 0; i < count; i++)
            al_finds_add(&finds, al_rng_next(&rng) % (count + 1), al_rng_next(&rng) % 3, &rng);
        al_finds_sort(&finds);
        assert(finds.count == count && !finds.lost);
        for (size_t i = 1; i < count; i++) {
            const al_find *a = &finds.all[i - 1], *b = &finds.all[i];
            assert(a->key < b->key || (a->key == b->key && a->next <= b->next));
        }
        for (uint64_t key = 0; key < count + 3; key++) {
            size_t from = al_finds_from(&finds, key);
            assert(from == 0 || finds.all[from - 1].key < key);
            assert(from == count || finds.all[from].key >= key);
            const al_find *at = al_finds_at(&finds, key);
            assert(at == (from < count && finds.all[from].key == key ? &finds.all[from] : NULL));
        }
        al_finds_close(&finds);
    }
}

static void only_mapped_memory_is_readable(void) {
    void *at, *none;
    assert(al_regions_mmap(regions, NULL, 8192, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, &at) == 0);
    assert(al_regions_mmap(regions, NULL, 4096, AL_PROT_NONE, AL_PLACE_ANYWHERE, &none) == 0);
    char *bytes = at;
    assert(al_readable(regions, bytes, 8192, 4096) && al_readable(regions, bytes + 8184, 8, 8));
    assert(!al_readable(regions, bytes + 8184, 16, 8) && !al_readable(regions, bytes + 4, 8, 8));
    assert(!al_readable(regions, bytes - 8, 8, 8) && !al_readable(regions, none, 8, 8));
    assert(!al_readable(regions, NULL, 8, 8));
}

int main(void) {
    int error;
    const al_regions_config config = {.window_bytes = (size_t)1 << 30};
    regions = al_regions_create(&config, &error);
    assert(regions != NULL);
    are_sorted_and_searched();
    only_mapped_memory_is_readable();
    assert(al_regions_counters(regions)->mapped == 8192);
    al_regions_destroy(regions);
    return 0;
}
