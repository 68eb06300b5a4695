#include "replay/contents.h"

#include "base/align.h"

#include <string.h>

static uint64_t pattern(uint64_t key, size_t word) {
    uint64_t mixed = (key << 32 | (uint32_t)word) * UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ mixed >> 32; /* so that the first bytes, too, depend on the key */
}

void al_contents_fill(char *block, uint64_t key, size_t from, size_t to) {
    while (from < to) {
        uint64_t word = pattern(key, from / 8);
        size_t skip = from % 8, bytes = al_min(8 - skip, to - from);
        memcpy(block + from, (char *)&word + skip, bytes);
        from += bytes;
    }
}

size_t al_contents_wrong(const char *block, uint64_t key, size_t to) {
    size_t at = 0;
    for (; at + 8 <= to; at += 8) {
        uint64_t want = pattern(key, at / 8), got;
        memcpy(&got, block + at, 8);
        if (got != want) break;
    }
    uint64_t want = pattern(key, at / 8);
    for (; at < to; at++) {
        if (at % 8 == 0) want = pattern(key, at / 8);
        if (block[at] != ((const char *)&want)[at % 8]) return at;
    }
    return to;
}

size_t al_contents_not_zero(const char *block, size_t bytes) {
    size_t at = 0;
    for (uint64_t word; at + 8 <= bytes; at += 8) {
        memcpy(&word, block + at, 8);
        if (word != 0) break;
    }
    while (at < bytes && block[at] == 0) at++;
    return at;
}
