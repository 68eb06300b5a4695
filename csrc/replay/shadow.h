/* Which bytes of the address space belong to a live block: one bit per byte, in leaves made when first needed.
 *
 *     address = | leaf: 21 bits | byte in leaf: 26 bits |      user space has 47 bits
 */
#ifndef AL_REPLAY_SHADOW_H
#define AL_REPLAY_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct al_shadow {
    uint64_t **leaves;
} al_shadow;

bool al_shadow_init(al_shadow *shadow); /* false: no memory */
void al_shadow_destroy(al_shadow *shadow);

typedef enum al_shadow_result {
    AL_SHADOW_TAKEN,
    AL_SHADOW_OVERLAP,
    AL_SHADOW_OUTSIDE, /* of user space */
    AL_SHADOW_NO_MEMORY
} al_shadow_result;

/* Marks [address, address + bytes). OVERLAP: *where is the first byte that another block has; nothing was marked. */
al_shadow_result al_shadow_take(al_shadow *shadow, uintptr_t address, size_t bytes, uintptr_t *where);
/* pre: taken as a whole before. */
void al_shadow_release(al_shadow *shadow, uintptr_t address, size_t bytes);

#endif
