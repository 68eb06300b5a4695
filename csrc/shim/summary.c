/* What a process says of its heap when it ends, for `alloclab run --stats`: a file of its own in the folder that
 * ALLOCLAB_STATS_DIR names, FOLDER/PID.IMAGE.stats, IMAGE counting the programs that the process has been.
 *
 *     as it begins    pid parent image forked allocator program command
 *     as it exits     what the heap is, then "complete 1"
 *
 * in lines of "name value" (base/text.h), so whoever ends without exit has left a trace. Our exit handler is registered
 * before the C library's own, so it runs after all others: the program's, destructors of C++ and of every library. What
 * cannot be written is not: nothing of this is to be seen in the process. */
#include "os/os.h"
#include "shim/digest.h"
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IMAGES_MAX = 100000, NAME_BYTES = 64, COMMAND_BYTES = 4096, TEXT_BYTES = 1 << 20 };

static struct {
    char path[PATH_MAX];  /* the file's, in the first `folder` bytes its folder's; those are 0: nothing is asked for */
    size_t folder;
    pid_t pid, parent;    /* of the process that it is about */
    bool forked, alone;   /* alone: its children do not count */
    int status;           /* that it exits with */
    bool resident_known;
    size_t resident;
} file;

static void write_whole(int fd, const char *at, const char *end) {
    while (at < end) {
        ssize_t wrote = write(fd, at, (size_t)(end - at));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        at += wrote;
    }
    close(fd);
}

/* Room for a text of zeros and what else there is; nothing gives it back but the end of a process. */
static void *room(size_t bytes) {
    void *at;
    return al_os_linux.map(NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, true, &at) == 0 ? at : NULL;
}

/* --- as it begins --- */

/* The first number that is free, and its file. */
static int create(uint32_t *image) {
    for (*image = 0; *image < IMAGES_MAX; ++*image) {
        al_text name = {file.path + file.folder, file.path + sizeof file.path - 1};
        al_text_put(&name, "/");
        al_text_u64(&name, (uint64_t)file.pid);
        al_text_put(&name, ".");
        al_text_u64(&name, *image);
        al_text_put(&name, ".stats");
        *name.at = '\0';
        int fd = open(file.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static void put_program(al_text *text) {
    char path[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    al_text_put(text, "program ");
    al_text_word(text, path);
    al_text_put(text, "\n");
}

/* Its words, of which the last may be cut. */
static void put_command(al_text *text) {
    char words[COMMAND_BYTES + 1] = {0};
    const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, words, COMMAND_BYTES);
    if (fd >= 0) close(fd);
    al_text_put(text, "command");
    for (const char *word = words; word < words + n; word += strlen(word) + 1) {
        al_text_put(text, " ");
        al_text_word(text, word);
    }
    al_text_put(text, "\n");
}

static void write_beginning(void) {
    char buffer[4 * (PATH_MAX + COMMAND_BYTES)];
    uint32_t image;
    const int fd = create(&image);
    if (fd < 0) return;
    al_text text = {buffer, buffer + sizeof buffer};
    al_text_figure(&text, "pid", (uint64_t)file.pid);
    al_text_figure(&text, "parent", (uint64_t)file.parent);
    al_text_figure(&text, "image", image);
    al_text_figure(&text, "forked", file.forked);
    al_text_line(&text, "allocator", AL_SHIM.name);
    put_program(&text);
    put_command(&text);
    write_whole(fd, buffer, text.at);
}

static void begin_file(bool forked) {
    file.pid = getpid();
    file.parent = getppid();
    file.forked = forked;
    al_shim_apart(write_beginning);
}

/* --- as it exits --- */

static void put_ledger(al_text *text, al_heap *heap) {
    const al_ledger ledger = al_heap_ledger(heap);
    al_text_figure(text, "usable", ledger.usable);
    al_text_figure(text, "metadata", ledger.metadata);
    al_text_figure(text, "cached", ledger.cached);
    al_text_figure(text, "free", ledger.free);
}

static void put_calls(al_text *text, const al_counters *c) {
    static const char *const names[AL_CALL_KINDS] = {"brk", "mmap", "munmap", "mremap", "madvise", "mprotect"};
    for (size_t i = 0; i < AL_CALL_KINDS; i++) {
        al_text_put(text, "call ");
        al_text_row(text, names[i], (const uint64_t[]){c->calls[i], c->failed[i], c->bytes[i]}, 3);
    }
}

static void put_memory(al_text *text, al_heap *heap) {
    const al_counters c = *al_regions_counters(heap->regions);
    if (file.resident_known) al_text_figure(text, "resident", file.resident);
    al_text_figure(text, "mapped", c.mapped);
    al_text_figure(text, "reserved", c.reserved);
    al_text_figure(text, "vmas", c.vmas);
    al_text_figure(text, "peak_mapped", c.peak_mapped);
    al_text_figure(text, "peak_reserved", c.peak_reserved);
    al_text_figure(text, "peak_vmas", c.peak_vmas);
    put_calls(text, &c);
}

static void put_settings(al_text *text, const al_heap *heap) {
    for (size_t i = 0; i < AL_SHIM.tunable_count; i++) {
        const al_tunable *tunable = &AL_SHIM.tunables[i];
        al_text_put(text, "setting ");
        al_text_put(text, tunable->name);
        al_text_put(text, " ");
        if (tunable->type == AL_TUNABLE_TEXT)
            al_text_word(text, al_setting_text(&heap->settings, i));
        else
            al_text_u64(text, heap->settings.values[i]);
        al_text_put(text, "\n");
    }
}

static void put_stats(al_text *text, al_heap *heap) {
    al_stat stats[AL_STATS_MOST];
    const size_t count = al_min(al_heap_stats(heap, stats, AL_STATS_MOST), AL_STATS_MOST);
    for (size_t i = 0; i < count; i++) {
        al_text_put(text, "stat ");
        al_text_figure(text, stats[i].name, stats[i].value);
    }
}

static void write_digest(void) {
    al_heap *heap = al_shim_heap();
    char *buffer = room(TEXT_BYTES);
    al_digest *digest = room(sizeof *digest);
    const int fd = open(file.path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (buffer == NULL || digest == NULL || fd < 0) return;
    al_text text = {buffer, buffer + TEXT_BYTES};
    al_text_figure(&text, "status", (uint64_t)file.status & 0xff);
    al_text_figure(&text, "threads", al_shim_users);
    put_ledger(&text, heap);
    put_memory(&text, heap);
    put_settings(&text, heap);
    put_stats(&text, heap);
    al_digest_fill(digest, heap);
    al_digest_put(digest, &text);
    al_text_figure(&text, "complete", 1);
    write_whole(fd, buffer, text.at);
}

/* Other threads may be at work still. What is resident would not be told of pages that are shared with a copy. */
static void write_end(void) {
    al_heap *heap = al_shim_heap();
    al_lock_take(&heap->lock);
    file.resident_known = al_regions_resident(heap->regions, &file.resident) == 0;
    al_lock_drop(&heap->lock);
    al_shim_in_copy(heap, write_digest);
}

/* A child of clone or vfork passes no fork handler, and may exit all the same. */
static void finish(int status, void *nothing) {
    (void)nothing;
    file.status = status;
    const bool unheard_of = file.pid != getpid();
    if (file.folder == 0 || (unheard_of && file.alone)) return;
    if (unheard_of) begin_file(true);
    al_shim_apart(write_end);
}

/* --- when --- */

void al_shim_summary_begin(void) {
    const char *folder = getenv("ALLOCLAB_STATS_DIR");
    const size_t length = folder == NULL ? 0 : strlen(folder);
    if (length == 0 || length >= sizeof file.path - NAME_BYTES || on_exit(finish, NULL) != 0) return;
    memcpy(file.path, folder, length);
    file.folder = length;
    file.alone = getenv("ALLOCLAB_ALONE") != NULL;
    al_shim_heap(); /* of a program that never allocates, too */
    begin_file(false);
}

void al_shim_summary_in_child(void) {
    if (file.alone) file.folder = 0;
    if (file.folder == 0) return;
    al_regions_recount(al_shim_heap()->regions);
    begin_file(true);
}
