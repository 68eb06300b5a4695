#include "trace/addrmap.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 1024 };

static size_t home(const al_addrmap *map, uint64_t key) {
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (map->capacity - 1);
}

/* The index where key is, or the empty one where it would go. */
static size_t find(const al_addrmap *map, uint64_t key) {
    size_t i = home(map, key);
    while (map->keys[i] != 0 && map->keys[i] != key) i = (i + 1) & (map->capacity - 1);
    return i;
}

static bool reserve(al_addrmap *map, size_t capacity) {
    al_addrmap larger = {.capacity = capacity, .count = map->count};
    larger.keys = calloc(capacity, sizeof *map->keys);
    larger.values = malloc(capacity * sizeof *map->values);
    if (larger.keys == NULL || larger.values == NULL) {
        al_addrmap_destroy(&larger);
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->keys[i] == 0) continue;
        size_t at = find(&larger, map->keys[i]);
        larger.keys[at] = map->keys[i];
        larger.values[at] = map->values[i];
    }
    al_addrmap_destroy(map);
    *map = larger;
    return true;
}

bool al_addrmap_init(al_addrmap *map) {
    *map = (al_addrmap){0};
    return reserve(map, FIRST_CAPACITY);
}

void al_addrmap_destroy(al_addrmap *map) {
    free(map->keys);
    free(map->values);
    *map = (al_addrmap){0};
}

bool al_addrmap_put(al_addrmap *map, uint64_t key, int64_t value, int64_t *previous) {
    if (2 * (map->count + 1) > map->capacity && !reserve(map, 2 * map->capacity)) return false;
    size_t i = find(map, key);
    *previous = map->keys[i] == 0 ? -1 : map->values[i];
    map->count += map->keys[i] == 0;
    map->keys[i] = key;
    map->values[i] = value;
    return true;
}

int64_t al_addrmap_get(const al_addrmap *map, uint64_t key) {
    size_t i = find(map, key);
    return map->keys[i] == 0 ? -1 : map->values[i];
}

int64_t al_addrmap_take(al_addrmap *map, uint64_t key) {
    size_t hole = find(map, key);
    if (map->keys[hole] == 0) return -1;
    int64_t value = map->values[hole];
    /* Close the hole: whatever follows and may not be reached past an empty place moves back into it. */
    for (size_t i = (hole + 1) & (map->capacity - 1); map->keys[i] != 0; i = (i + 1) & (map->capacity - 1)) {
        size_t reach = (i - home(map, map->keys[i])) & (map->capacity - 1);
        if (reach < ((i - hole) & (map->capacity - 1))) continue;
        map->keys[hole] = map->keys[i];
        map->values[hole] = map->values[i];
        hole = i;
    }
    map->keys[hole] = 0;
    map->count--;
    return value;
}

void al_addrmap_prefetch(const al_addrmap *map, uint64_t key) {
    size_t i = home(map, key);
    __builtin_prefetch(&map->keys[i], 1);
    __builtin_prefetch(&map->values[i], 1);
}
