/* Memory for the replayer itself, straight from the kernel, since it must not call the malloc that it measures. */
#ifndef AL_REPLAY_ROOM_H
#define AL_REPLAY_ROOM_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed. touched: every page has its physical page now, so that none is faulted in during a pass. NULL: no memory. */
void *al_room_take(size_t bytes, int touched);
void al_room_drop(void *room, size_t bytes);

/* Memory that is the program's as well, though it did not take it here: a thread's stack, for good. */
enum { AL_ROOMS_NOTED_MAX = 640 };
void al_room_note(size_t start, size_t end);
bool al_room_holds(size_t address);

/* Where the program's own rooms lie, so that they are not taken for the allocator's. Returns how many there are. */
typedef struct al_room_range {
    size_t start, end;
} al_room_range;
size_t al_rooms(const al_room_range **out);

#endif
