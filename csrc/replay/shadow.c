#include "replay/shadow.h"

#include "replay/room.h"

enum { SPACE_BITS = 47, LEAF_BITS = 26 };

static const size_t LEAVES = (size_t)1 << (SPACE_BITS - LEAF_BITS);
static const size_t LEAF_SPAN = (size_t)1 << LEAF_BITS;
static const size_t LEAF_BYTES = ((size_t)1 << LEAF_BITS) / 8;

bool al_shadow_init(al_shadow *shadow) {
    shadow->leaves = al_room_take(LEAVES * sizeof *shadow->leaves, 0);
    return shadow->leaves != NULL;
}

void al_shadow_destroy(al_shadow *shadow) {
    for (size_t i = 0; i < LEAVES; i++)
        if (shadow->leaves[i]) al_room_drop(shadow->leaves[i], LEAF_BYTES);
    al_room_drop(shadow->leaves, LEAVES * sizeof *shadow->leaves);
}

/* Bits [from, to) of one word. */
static uint64_t mask(size_t from, size_t to) {
    uint64_t below = to == 64 ? ~UINT64_C(0) : (UINT64_C(1) << to) - 1;
    return below & (~UINT64_C(0) << from);
}

typedef enum action { TEST, SET, CLEAR } action;

/* Walks the words that [address, end) covers. TEST stops at the first marked byte and returns it; otherwise returns
 * end. */
static uintptr_t walk(al_shadow *shadow, uintptr_t address, uintptr_t end, action what) {
    while (address < end) {
        uint64_t *leaf = shadow->leaves[address >> LEAF_BITS];
        size_t byte = address & (LEAF_SPAN - 1), bit = byte % 64;
        size_t bits = 64 - bit < end - address ? 64 - bit : end - address;
        uint64_t *word = &leaf[byte / 64], these = mask(bit, bit + bits);
        if (what == SET)
            *word |= these;
        else if (what == CLEAR)
            *word &= ~these;
        else if (*word & these)
            return address - bit + (size_t)__builtin_ctzll(*word & these);
        address += bits;
    }
    return end;
}

al_shadow_result al_shadow_take(al_shadow *shadow, uintptr_t address, size_t bytes, uintptr_t *where) {
    uintptr_t end;
    if (__builtin_add_overflow(address, bytes, &end) || end > (uintptr_t)1 << SPACE_BITS) return AL_SHADOW_OUTSIDE;
    for (size_t i = address >> LEAF_BITS; bytes != 0 && i <= (end - 1) >> LEAF_BITS; i++) {
        if (shadow->leaves[i] == NULL) shadow->leaves[i] = al_room_take(LEAF_BYTES, 0);
        if (shadow->leaves[i] == NULL) return AL_SHADOW_NO_MEMORY;
    }
    *where = walk(shadow, address, end, TEST);
    if (*where != end) return AL_SHADOW_OVERLAP;
    walk(shadow, address, end, SET);
    return AL_SHADOW_TAKEN;
}

void al_shadow_release(al_shadow *shadow, uintptr_t address, size_t bytes) {
    walk(shadow, address, address + bytes, CLEAR);
}
