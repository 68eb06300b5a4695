/* What a block is filled with to see whether it is kept: a pattern of its own, which depends on a key and the place. */
#ifndef AL_REPLAY_CONTENTS_H
#define AL_REPLAY_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes [from, to). Eight bytes at a time are never those of another key or place, nor zero, for 2^32 keys and blocks
 * under 32 GiB. */
void al_contents_fill(char *block, uint64_t key, size_t from, size_t to);
/* The first byte below `to` that is not so, or `to`. */
size_t al_contents_wrong(const char *block, uint64_t key, size_t to);
/* The first byte below `bytes` that is not zero, or `bytes`. */
size_t al_contents_not_zero(const char *block, size_t bytes);

#endif
