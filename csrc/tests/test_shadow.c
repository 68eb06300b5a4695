/* The shadow against a plain array of bytes, around the border of two leaves; and what lies outside of user space. */
#include "base/check.h"
#include "base/rng.h"
#include "replay/shadow.h"

#include <stdlib.h>

enum { SPAN = 4096, STEPS = 20000, BLOCKS = 64 };

static const uintptr_t ORIGIN = (UINT64_C(1) << 40) - SPAN / 2; /* a leaf ends in the middle of the span */

typedef struct block {
    size_t start, bytes; /* bytes = 0: not taken */
} block;

static size_t first_taken(const unsigned char *plain, size_t start, size_t end) {
    while (start < end && !plain[start]) start++;
    return start;
}

static void takes_and_releases_as_a_plain_array(void) {
    al_shadow shadow;
    al_check(al_shadow_init(&shadow), "init");
    static unsigned char plain[SPAN];
    static block blocks[BLOCKS];
    al_rng rng = {1};
    for (int step = 0; step < STEPS; step++) {
        block *b = &blocks[al_rng_next(&rng) % BLOCKS];
        if (b->bytes != 0) {
            al_shadow_release(&shadow, ORIGIN + b->start, b->bytes);
            for (size_t i = 0; i < b->bytes; i++) plain[b->start + i] = 0;
            b->bytes = 0;
            continue;
        }
        size_t start = al_rng_next(&rng) % (SPAN - 300), bytes = 1 + al_rng_next(&rng) % (step % 2 ? 300 : 9);
        size_t taken = first_taken(plain, start, start + bytes);
        uintptr_t where = 0;
        al_shadow_result result = al_shadow_take(&shadow, ORIGIN + start, bytes, &where);
        if (taken < start + bytes) {
            al_check(result == AL_SHADOW_OVERLAP && where == ORIGIN + taken, "the first overlapping byte is named");
        } else {
            al_check(result == AL_SHADOW_TAKEN, "free bytes are taken");
            for (size_t i = 0; i < bytes; i++) plain[start + i] = 1;
            *b = (block){start, bytes};
        }
    }
    al_shadow_destroy(&shadow);
}

static void refuses_what_no_block_can_have(void) {
    al_shadow shadow;
    al_check(al_shadow_init(&shadow), "init");
    uintptr_t where, end = UINT64_C(1) << 47;
    al_check(al_shadow_take(&shadow, end - 8, 8, &where) == AL_SHADOW_TAKEN, "the last bytes of user space");
    al_check(al_shadow_take(&shadow, end - 16, 17, &where) == AL_SHADOW_OUTSIDE, "one byte more");
    al_check(al_shadow_take(&shadow, UINTPTR_MAX - 8, 100, &where) == AL_SHADOW_OUTSIDE, "wraps around");
    al_check(al_shadow_take(&shadow, UINT64_C(0xdeadbeefdeadbee0), 8, &where) == AL_SHADOW_OUTSIDE, "no address");
    al_shadow_destroy(&shadow);
}

int main(void) {
    takes_and_releases_as_a_plain_array();
    refuses_what_no_block_can_have();
    return 0;
}
