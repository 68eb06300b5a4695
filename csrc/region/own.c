#include "region/own.h"

#include "base/align.h"

/* The head of each piece, so that the account of pieces needs no memory of its own. */
struct al_own_piece {
    al_own_piece *next;
    size_t bytes;
};

enum { ALIGNMENT = 64, FIRST_BYTES = 256 << 10, LARGEST_BYTES = 64 << 20 };

void al_own_init(al_own *own, const al_os *os) { *own = (al_own){.os = os, .next_bytes = FIRST_BYTES}; }

static al_own_piece *map_piece(const al_own *own, size_t bytes) {
    void *at = NULL;
    if (own->os->map(NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, false, &at) != 0) return NULL;
    al_own_piece *piece = at;
    piece->bytes = bytes;
    return piece;
}

void *al_own_take(al_own *own, size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2) return NULL;
    bytes = al_align_up(al_max(bytes, 1), ALIGNMENT);
    if (bytes > (size_t)(own->end - own->at)) {
        size_t least = al_align_up(bytes + ALIGNMENT, own->os->page_size());
        al_own_piece *piece = map_piece(own, al_max(least, own->next_bytes));
        if (piece == NULL) return NULL;
        piece->next = own->pieces;
        own->pieces = piece;
        own->at = (char *)piece + ALIGNMENT;
        own->end = (char *)piece + piece->bytes;
        own->next_bytes = al_min(2 * own->next_bytes, LARGEST_BYTES);
    }
    void *taken = own->at;
    own->at += bytes;
    return taken;
}

void al_own_release(al_own *own) {
    for (al_own_piece *piece = own->pieces, *next; piece != NULL; piece = next) {
        next = piece->next;
        own->os->unmap(piece, piece->bytes);
    }
    al_own_init(own, own->os);
}
