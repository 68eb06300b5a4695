/* The process image: its capture file, and what it takes to keep hold of it through forks, closed descriptors and full
 * disks. No call here may be a cancellation point: system calls that the C library makes one are made directly. */
#include "base/align.h"
#include "os/os.h"
#include "record/events.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FIRST_DESCRIPTOR = 900, IMAGES_MAX = 100000 };

al_image *al_image_now;
al_limits al_image_limits;

/* The open capture. Not wiped by a fork: the child closes what it inherited. */
static struct {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
    char path[PATH_MAX];
} file = {.fd = -1};

static char directory[PATH_MAX - 64]; /* "": recording was not asked for */
static pid_t only_process;            /* 0, or the one process to be recorded */

static void copy_text(char *to, size_t room, const char *from) {
    size_t n = strnlen(from, room - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

char *al_put_text(char *to, const char *from) { return stpcpy(to, from); }

char *al_put_number(char *to, uint64_t n) {
    char digits[20];
    size_t count = 0;
    do digits[count++] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    while (count > 0) *to++ = digits[--count];
    *to = 0;
    return to;
}

static uint64_t asked_number(const char *name) {
    const char *asked = getenv(name);
    return asked == NULL ? 0 : strtoull(asked, NULL, 10);
}

static void read_environment(void) {
    const char *asked = getenv("ALLOCLAB_RECORD_DIR");
    if (asked != NULL && strlen(asked) < sizeof directory) copy_text(directory, sizeof directory, asked);
    only_process = (pid_t)asked_number("ALLOCLAB_RECORD_ONLY");
    al_image_limits.until_ns = asked_number("ALLOCLAB_RECORD_UNTIL");
    al_image_limits.events = asked_number("ALLOCLAB_RECORD_EVENTS");
}

/* Programs close descriptors they do not know, mostly the low ones. */
static int move_up(int fd) {
    struct rlimit files = {0};
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &files);
    rlim_t up = files.rlim_cur > FIRST_DESCRIPTOR + 8 ? FIRST_DESCRIPTOR : files.rlim_cur / 2;
    int moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (long)up);
    if (moved < 0) return fd;
    syscall(SYS_close, fd);
    return moved;
}

static int open_path(int flags) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file.path, O_RDWR | O_CLOEXEC | flags, 0600);
    return fd < 0 ? fd : move_up(fd);
}

static bool is_capture(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_dev == file.device && found.st_ino == file.inode;
}

/* The capture's descriptor, opened again should the program have closed it, or -1. A child of vfork, which has closed
 * its own, leaves us another number at any time: what is returned is what was looked at. */
static int descriptor(void) {
    int fd = file.fd;
    return is_capture(fd) ? fd : (file.fd = open_path(0));
}

/* DIRECTORY/PID.IMAGE.capture, IMAGE counting the programs that this process has been. */
static uint32_t create_file(void) {
    if (file.fd >= 0 && is_capture(file.fd)) syscall(SYS_close, file.fd);
    file.fd = -1;
    char *stem = al_put_text(al_put_text(file.path, directory), "/");
    stem = al_put_text(al_put_number(stem, (uint64_t)getpid()), ".");
    for (uint32_t image = 0; image < IMAGES_MAX; image++) {
        al_put_text(al_put_number(stem, image), ".capture");
        file.fd = open_path(O_CREAT | O_EXCL);
        struct stat made;
        if (file.fd >= 0 && fstat(file.fd, &made) == 0) {
            file.device = made.st_dev;
            file.inode = made.st_ino;
            return image;
        }
        if (errno != EEXIST) break;
    }
    return IMAGES_MAX;
}

/* Room on the disk for what will be stored through a mapping: a page without would be a fatal signal. */
static bool reserve(int fd, uint64_t offset, size_t bytes) {
    struct rlimit size = {0};
    if (syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &size) == 0 && offset + bytes > size.rlim_cur) {
        errno = EFBIG; /* to write past it would be another */
        return false;
    }
    int failed;
    do failed = (int)syscall(SYS_fallocate, fd, 0, offset, bytes);
    while (failed != 0 && errno == EINTR);
    if (failed == 0 || errno != EOPNOTSUPP) return failed == 0;
    static const char zeros[4096];
    for (size_t done = 0; done < bytes;) {
        long wrote = syscall(SYS_pwrite64, fd, zeros, al_min(bytes - done, sizeof zeros), offset + done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote == 0) errno = ENOSPC;
        if (wrote <= 0) return false;
        done += (size_t)wrote;
    }
    return true;
}

static void describe(al_capture_header *header, uint32_t image, bool forked) {
    header->unit_bytes = AL_CAPTURE_UNIT;
    header->header_bytes = AL_CAPTURE_HEADER;
    header->pid = (uint32_t)getpid();
    header->parent = (uint32_t)getppid();
    header->image = image;
    header->forked = forked;
    header->start_ns = al_os_linux.now();
    header->units = 1;
    header->last = UINT64_MAX;
    long n = readlink("/proc/self/exe", header->program, sizeof header->program - 1);
    header->program[n < 0 ? 0 : n] = 0;
    header->command_bytes = (uint32_t)al_ending_read("/proc/self/cmdline", header->command, sizeof header->command);
    copy_text(header->allocator, sizeof header->allocator, al_real_library());
    copy_text(header->libc, sizeof header->libc, gnu_get_libc_version());
    atomic_signal_fence(memory_order_seq_cst);
    header->magic = AL_CAPTURE_MAGIC;
}

/* Opens the capture of this process; it is the only thread here. */
static bool open_capture(al_image *image) {
    static bool again; /* an image before this one was recorded: then it is a fork's child */
    if (directory[0] == 0 || (only_process != 0 && only_process != getpid())) return false;
    if (al_image_limits.until_ns != 0 && al_os_linux.now() >= al_image_limits.until_ns) return false;
    uint32_t number = create_file();
    if (number == IMAGES_MAX) return false;
    void *header;
    if (!reserve(file.fd, 0, AL_CAPTURE_HEADER) || al_os_linux.map_file(file.fd, 0, AL_CAPTURE_HEADER, &header) != 0)
        return false;
    describe(header, number, again);
    again = true;
    atomic_store(&al_sequence, 0);
    image->header = header;
    return true;
}

uint64_t al_signals_block(void) {
    uint64_t all = UINT64_MAX, before = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    return before;
}

void al_signals_restore(uint64_t blocked) { syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof blocked); }

/* Memory for the image and its streams, once in a process's life; children find it wiped. */
static al_image *make_image(void) {
    void *memory;
    size_t page = al_os_linux.page_size(), bytes = sizeof(al_image) + AL_STREAMS_MAX * sizeof(al_stream);
    bytes = (bytes + page - 1) / page * page;
    if (al_os_linux.map(NULL, bytes, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, true, &memory) != 0) return NULL;
    al_os_linux.advise(memory, bytes, AL_ADVISE_NOHUGEPAGE); /* of which most is never touched; may be unknown here */
    if (al_os_linux.advise(memory, bytes, AL_ADVISE_WIPEONFORK) == 0) return memory;
    al_os_linux.unmap(memory, bytes);
    return NULL;
}

bool al_image_open(void) {
    static bool gave_up;
    if (al_image_now == NULL) {
        if (gave_up || !al_real_find()) return false;
        read_environment();
        if (directory[0] == 0 || (al_image_now = make_image()) == NULL) {
            gave_up = true;
            return false;
        }
        al_streams_prepare();
    }
    al_image *image = al_image_now;
    int state = atomic_load_explicit(&image->state, memory_order_relaxed);
    if (state != AL_IMAGE_NONE) return state == AL_IMAGE_OPEN;
    uint64_t blocked = al_signals_block();
    if (atomic_compare_exchange_strong(&image->state, &state, AL_IMAGE_OPENING))
        atomic_store(&image->state, state = open_capture(image) ? AL_IMAGE_OPEN : AL_IMAGE_OFF);
    al_signals_restore(blocked);
    return state == AL_IMAGE_OPEN;
}

/* All events up to now are in the live units; later ones would refer to what is missing. */
void al_image_stop(int why) {
    al_capture_header *header = al_image_now->header;
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&header->stopped, &none, (uint32_t)why)) {
        atomic_store(&header->last, atomic_load(&al_sequence));
        atomic_store(&header->stop_ns, al_os_linux.now() - header->start_ns);
        atomic_store(&al_image_now->state, AL_IMAGE_OFF);
        al_ending_name_threads(al_image_now);
    }
}

static uint64_t next_offset(void) {
    return atomic_fetch_add(&al_image_now->header->units, 1) * AL_CAPTURE_UNIT;
}

bool al_image_make_room(uint64_t offset, size_t bytes) {
    int fd = descriptor();
    if (fd >= 0 && reserve(fd, offset, bytes)) return true;
    al_image_stop(errno);
    return false;
}

al_capture_unit *al_image_map_unit(uint64_t *offset) {
    void *unit = NULL;
    *offset = next_offset();
    if (!al_image_make_room(*offset, AL_ROOM_FIRST)) return NULL;
    int error = al_os_linux.map_file(descriptor(), *offset, AL_CAPTURE_UNIT, &unit);
    if (error != 0) al_image_stop(error);
    return unit;
}

bool al_image_copy_unit(const al_capture_unit *head, const void *words, size_t bytes) {
    uint64_t offset = next_offset();
    struct rlimit size = {0};
    if (syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &size) == 0 && offset + AL_CAPTURE_UNIT > size.rlim_cur) {
        al_image_stop(EFBIG);
        return false;
    }
    struct iovec parts[2] = {{(void *)head, sizeof *head}, {(void *)words, bytes}};
    for (int first = 0; first < 2;) {
        int fd = descriptor();
        long n = fd < 0 ? -1 : syscall(SYS_pwritev, fd, parts + first, 2 - first, offset, 0L);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            al_image_stop(n < 0 ? errno : ENOSPC);
            return false;
        }
        offset += (uint64_t)n;
        for (; first < 2 && (size_t)n >= parts[first].iov_len; first++) n -= (long)parts[first].iov_len;
        if (first < 2) {
            parts[first].iov_base = (char *)parts[first].iov_base + n;
            parts[first].iov_len -= (size_t)n;
        }
    }
    return true;
}

__attribute__((constructor)) static void begin(void) {
    int saved = errno;
    al_image_open();
    errno = saved;
}

__attribute__((destructor)) static void end(void) {
    al_image *image = al_image_now;
    if (image == NULL || image->header == NULL) return;
    if (atomic_load(&image->state) == AL_IMAGE_OPEN) al_ending_name_threads(image);
    al_ending_note_memory(image);
    atomic_store(&image->header->end_ns, al_os_linux.now() - image->header->start_ns);
}
