/* The sizes of a summary: they leave no gap and do not overlap. */
#include "shim/digest.h"

#include "base/check.h"

static void sizes_meet(void) {
    for (size_t i = 0; i < AL_SIZES; i++) {
        const uint64_t bound = al_size_bound(i), below = i == 0 ? 0 : al_size_bound(i - 1);
        al_check(al_size_of(bound) == i, "a bound belongs to its size");
        al_check(al_size_of(below + 1) == i, "what is above a bound belongs to the next size");
    }
    al_check(al_size_of(0) == 0, "nothing has the least size");
    al_check(al_size_of(PTRDIFF_MAX) < AL_SIZES, "the largest block has a size");
}

/* Four to a doubling: no block is smaller than four fifths of its bound. */
static void sizes_are_close(void) {
    for (size_t i = 8; i < AL_SIZES; i++)
        al_check(al_size_bound(i - 1) >= al_size_bound(i) / 5 * 4, "a size is close to the one before");
}

int main(void) {
    sizes_meet();
    sizes_are_close();
    return 0;
}
