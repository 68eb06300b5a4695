#include "replay/startup.h"

#include "base/align.h"
#include "replay/room.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

enum { MAPS_BYTES = 1 << 20, PAGES_AT_ONCE = 4096, OTHERS_MAX = AL_ROOMS_NOTED_MAX + 512, LOADER_BYTES = 1 << 16 };

/* What is not the allocator's. */
typedef struct others {
    al_room_range ranges[OTHERS_MAX];
    size_t count;
    uintptr_t loader; /* all from here upwards */
} others;

static void add_other(others *o, uintptr_t start, uintptr_t end) {
    size_t page = al_os_linux.page_size();
    if (o->count == OTHERS_MAX) return;
    o->ranges[o->count++] = (al_room_range){al_align_down(start, page), al_align_up(end, page)};
}

static int add_object(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    others *o = context;
    uintptr_t tls = (uintptr_t)info->dlpi_tls_data;
    if (tls != 0 && tls < o->loader) o->loader = tls;
    for (const ElfW(Phdr) *part = info->dlpi_phdr; part < info->dlpi_phdr + info->dlpi_phnum; part++) {
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD) add_other(o, start, start + part->p_memsz);
    }
    return 0;
}

static void find_others(others *o) {
    const al_room_range *rooms;
    size_t count = al_rooms(&rooms);
    *o = (others){.loader = UINTPTR_MAX};
    for (size_t i = 0; i < count; i++) add_other(o, rooms[i].start, rooms[i].end);
    dl_iterate_phdr(add_object, o);
    o->loader = al_align_down(o->loader, al_os_linux.page_size());
}

static uint64_t hexadecimal(const char **at) {
    uint64_t n = 0;
    for (;; ++*at) {
        char c = **at;
        if (c >= '0' && c <= '9')
            n = n << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n << 4 | (uint64_t)(c - 'a' + 10);
        else
            return n;
    }
}

static const char *field(const char *at) {
    while (*at != ' ' && *at != '\n' && *at != '\0') at++;
    while (*at == ' ') at++;
    return at;
}

/* "start-end rights offset device inode   name"; false: not a mapping of an allocator's. */
static bool parse(const char *line, al_startup_range *range) {
    range->start = hexadecimal(&line);
    line++;
    range->end = hexadecimal(&line);
    const char *perms = field(line), *inode = field(field(field(perms))), *name = field(inode);
    bool writable = memcmp(perms, "rw-p", 4) == 0, reserved = memcmp(perms, "---p", 4) == 0;
    range->prot = writable ? AL_PROT_READ_WRITE : AL_PROT_NONE;
    range->heap = strncmp(name, "[heap]", 6) == 0;
    bool anonymous = inode[0] == '0' && (*name == '\n' || *name == '\0' || strncmp(name, "[anon", 5) == 0);
    return (writable || reserved) && (anonymous || range->heap);
}

static bool add(al_startup *startup, al_startup_range range) {
    if (startup->count == AL_STARTUP_MAX) return false;
    startup->ranges[startup->count++] = range;
    return true;
}

/* A little below the static TLS block, in the same mapping, lies what else the loader took. */
static bool is_loaders(const others *o, al_startup_range range) {
    return range.start < o->loader && range.end > o->loader && o->loader - range.start <= LOADER_BYTES;
}

/* Adds what of the range is nobody else's. The others are not ordered: the first that meets the range splits it. */
static bool add_own(al_startup *startup, const others *o, al_startup_range range) {
    if (is_loaders(o, range)) return true;
    range.end = al_min(range.end, o->loader);
    if (range.start >= range.end) return true;
    for (size_t i = 0; i < o->count; i++) {
        if (o->ranges[i].end <= range.start || o->ranges[i].start >= range.end) continue;
        al_startup_range below = range, above = range;
        below.end = al_max(o->ranges[i].start, range.start);
        above.start = al_min(o->ranges[i].end, range.end);
        return add_own(startup, o, below) && add_own(startup, o, above);
    }
    return add(startup, range);
}

static int read_maps(char *text) {
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, text + length, MAPS_BYTES - 1 - length)) > 0) length += (size_t)got;
    int error = got < 0 ? errno : length == MAPS_BYTES - 1 ? E2BIG : 0;
    close(fd);
    return error;
}

int al_startup_read(al_startup *startup, bool preloaded) {
    static others o;
    startup->count = 0;
    char *text = al_room_take(MAPS_BYTES, 0);
    if (text == NULL) return ENOMEM;
    find_others(&o);
    int error = read_maps(text);
    for (const char *line = text; error == 0 && *line != '\0';) {
        al_startup_range range;
        if (parse(line, &range) && (preloaded || range.heap) && !add_own(startup, &o, range)) error = E2BIG;
        const char *next = strchr(line, '\n');
        line = next ? next + 1 : line + strlen(line);
    }
    al_room_drop(text, MAPS_BYTES);
    return error;
}

int al_startup_resident(const al_startup *startup, size_t *bytes) {
    const size_t page = al_os_linux.page_size();
    unsigned char backing[PAGES_AT_ONCE];
    *bytes = 0;
    for (const al_startup_range *r = startup->ranges; r < startup->ranges + startup->count; r++) {
        if (r->prot != AL_PROT_READ_WRITE) continue;
        for (uintptr_t at = r->start; at < r->end;) {
            size_t pages = al_min((r->end - at) / page, PAGES_AT_ONCE);
            int error = al_os_linux.resident((void *)at, pages, backing);
            if (error != 0) return error;
            for (size_t i = 0; i < pages; i++) *bytes += backing[i] == AL_BACKING_PHYSICAL ? page : 0;
            at += pages * page;
        }
    }
    return 0;
}
