/* Bookkeeping memory: zeroed, taken piece by piece, given back all at once. */
#ifndef AL_REGION_OWN_H
#define AL_REGION_OWN_H

#include "os/os.h"

typedef struct al_own_piece al_own_piece;

/* All bytes in [at, end) are zero and belong to pieces, the newest piece. */
typedef struct al_own {
    const al_os *os;
    al_own_piece *pieces;
    char *at, *end;
    size_t next_bytes; /* of the next piece: each is twice the one before, up to a bound */
} al_own;

void al_own_init(al_own *own, const al_os *os);
void *al_own_take(al_own *own, size_t bytes); /* aligned to 64 bytes; NULL: no memory */
void al_own_release(al_own *own);

#endif
