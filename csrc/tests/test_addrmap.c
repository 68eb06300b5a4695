/* The address map against a plain array, through many random insertions and removals of a small key space. */
#undef NDEBUG
#include "base/rng.h"
#include "trace/addrmap.h"

#include <assert.h>

enum { KEYS = 5000, STEPS = 400000 };

int main(void) {
    static int64_t model[KEYS];
    for (int i = 0; i < KEYS; i++) model[i] = -1;
    al_addrmap map;
    assert(al_addrmap_init(&map));
    al_rng rng = {42};
    for (int step = 0; step < STEPS; step++) {
        uint64_t draw = al_rng_next(&rng);
        uint64_t k = draw % KEYS, key = 0x7f0000000000 + 16 * k;
        if (draw >> 63) {
            int64_t previous = 0;
            assert(al_addrmap_put(&map, key, step, &previous));
            assert(previous == model[k]);
            model[k] = step;
        } else {
            assert(al_addrmap_take(&map, key) == model[k]);
            model[k] = -1;
        }
    }
    size_t live = 0;
    for (uint64_t k = 0; k < KEYS; k++) {
        assert(al_addrmap_get(&map, 0x7f0000000000 + 16 * k) == model[k]);
        live += model[k] >= 0;
    }
    assert(map.count == live);
    al_addrmap_destroy(&map);
    return 0;
}
