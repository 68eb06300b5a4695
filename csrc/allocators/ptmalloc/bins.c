/* The order of bins. A small bin is a queue: in at the head (fd), out at the tail (bk). A large bin is sorted, and the
 * first chunk of each size is linked with those of the next smaller and larger size, around:
 *
 *     head -> 4000 <-> 4000 <-> 3600 <-> 3584 <-> 3584 <-> head      fd: ->   bk: <-
 *              |                 |        |
 *              +---- fd_size --->+------->+--> (4000)                others have fd_size = bk_size = NULL */
#include "allocators/ptmalloc/bins.h"

void al_pt_arena_init(pt_arena *arena) {
    arena->top = &arena->none;
    for (size_t i = 1; i < PT_BINS; i++) {
        pt_chunk *bin = al_pt_bin(arena, i);
        bin->fd = bin->bk = bin;
    }
}

/* Of several of one size the next becomes the one that is linked with other sizes. */
static void unlink_size(const pt_chunk *chunk, pt_chunk *fd) {
    pt_chunk *smaller = chunk->fd_size, *larger = chunk->bk_size;
    al_check(smaller->bk_size == chunk && larger->fd_size == chunk, "corrupted double-linked list (not small)");
    if (fd->fd_size != NULL) { /* another size, or the bin's head: what lies there, the next bin, is not NULL */
        smaller->bk_size = larger;
        larger->fd_size = smaller;
    } else if (smaller == chunk) {
        fd->fd_size = fd->bk_size = fd;
    } else {
        fd->fd_size = smaller;
        fd->bk_size = larger;
        smaller->bk_size = larger->fd_size = fd;
    }
}

void al_pt_unlink(pt_chunk *chunk) {
    size_t size = al_pt_size(chunk);
    al_check(size == al_pt_at(chunk, size)->prev_size, "corrupted size vs. prev_size");
    pt_chunk *fd = chunk->fd, *bk = chunk->bk;
    al_check(fd->bk == chunk && bk->fd == chunk, "corrupted double-linked list");
    fd->bk = bk;
    bk->fd = fd;
    if (size >= PT_SMALL_END && chunk->fd_size != NULL) unlink_size(chunk, fd);
}

static void link_size(pt_chunk *chunk, pt_chunk *smaller) {
    pt_chunk *larger = smaller->bk_size;
    chunk->fd_size = smaller;
    chunk->bk_size = larger;
    smaller->bk_size = larger->fd_size = chunk;
}

/* Where in a sorted bin the chunk goes: before the one returned. */
static pt_chunk *find_place(pt_chunk *bin, pt_chunk *chunk, size_t size) {
    pt_chunk *largest = bin->fd;
    if (largest == bin) {
        chunk->fd_size = chunk->bk_size = chunk;
        return bin;
    }
    if (size < al_pt_size(bin->bk)) {
        link_size(chunk, largest);
        return bin;
    }
    pt_chunk *at = largest;
    while (size < al_pt_size(at)) at = at->fd_size;
    if (size == al_pt_size(at)) return at->fd; /* second, so that the links between sizes stay as they are */
    al_check(at->bk_size->fd_size == at, "malloc(): largebin double linked list corrupted (nextsize)");
    link_size(chunk, at);
    return at;
}

void al_pt_sort_in(pt_arena *arena, pt_chunk *chunk, size_t size, bool first_fit) {
    size_t index = al_pt_bin_of(size);
    pt_chunk *bin = al_pt_bin(arena, index), *before = bin->fd;
    if (size >= PT_SMALL_END && !first_fit) {
        before = find_place(bin, chunk, size);
        al_check(before->bk->fd == before, "malloc(): largebin double linked list corrupted (bk)");
    }
    al_pt_insert_between(before->bk, chunk, before);
    arena->binmap[index / 64] |= UINT64_C(1) << index % 64;
}
