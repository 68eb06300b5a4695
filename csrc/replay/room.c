#include "replay/room.h"

#include "base/align.h"
#include "base/lock.h"
#include "os/os.h"

enum { ROOMS_MAX = AL_ROOMS_NOTED_MAX + 16 };

/* Only of the first few: shadow leaves and the like are many, and belong to a pass that asks for no account. */
static al_room_range rooms[ROOMS_MAX];
static size_t room_count;
static al_lock lock;

static void remember(al_room_range room) {
    al_lock_take(&lock);
    if (room_count < ROOMS_MAX) rooms[room_count++] = room;
    al_lock_drop(&lock);
}

static void forget(size_t start) {
    al_lock_take(&lock);
    for (size_t i = 0; i < room_count; i++)
        if (rooms[i].start == start) rooms[i] = rooms[--room_count];
    al_lock_drop(&lock);
}

void *al_room_take(size_t bytes, int touched) {
    size_t page = al_os_linux.page_size(), whole = al_align_up(al_max(bytes, 1), page);
    void *room;
    if (bytes > PTRDIFF_MAX) return NULL;
    if (al_os_linux.map(NULL, whole, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, !touched, &room) != 0) return NULL;
    if (touched) {
        al_os_linux.advise(room, whole, AL_ADVISE_NOHUGEPAGE);
        for (size_t at = 0; at < whole; at += page) ((volatile char *)room)[at] = 0;
    }
    remember((al_room_range){(size_t)room, (size_t)room + whole});
    return room;
}

void al_room_drop(void *room, size_t bytes) {
    size_t whole = al_align_up(al_max(bytes, 1), al_os_linux.page_size());
    forget((size_t)room);
    al_os_linux.unmap(room, whole);
}

/* A stack that libc has handed out again is noted already. */
void al_room_note(size_t start, size_t end) {
    if (!al_room_holds(start)) remember((al_room_range){start, end});
}

bool al_room_holds(size_t address) {
    bool found = false;
    al_lock_take(&lock);
    for (size_t i = 0; i < room_count && !found; i++)
        found = address >= rooms[i].start && address < rooms[i].end;
    al_lock_drop(&lock);
    return found;
}

size_t al_rooms(const al_room_range **out) {
    *out = rooms;
    return room_count;
}
