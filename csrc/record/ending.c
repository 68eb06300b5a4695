/* What is noted when recording ends, by the exit of the process or before it: the names of its threads, and what memory
 * it holds. No call here may be a cancellation point. */
#include "os/os.h"
#include "record/record.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

size_t al_ending_read(const char *path, char *to, size_t room) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    long n = fd < 0 ? 0 : syscall(SYS_read, fd, to, room);
    if (fd >= 0) syscall(SYS_close, fd);
    return n < 0 ? 0 : (size_t)n;
}

void al_ending_own_name(char name[AL_NAME_BYTES]) {
    memset(name, 0, AL_NAME_BYTES);
    syscall(SYS_prctl, PR_GET_NAME, name, 0L, 0L, 0L);
}

/* False for a thread that has gone, and where /proc is out of reach. */
static bool read_name(pid_t tid, char name[AL_NAME_BYTES]) {
    char path[64];
    al_put_text(al_put_number(al_put_text(path, "/proc/self/task/"), (uint64_t)tid), "/comm");
    memset(name, 0, AL_NAME_BYTES);
    size_t n = al_ending_read(path, name, AL_NAME_BYTES);
    if (n > 0) name[n - 1] = 0; /* the end of the line */
    return n > 0;
}

void al_ending_name_threads(al_image *image) {
    pid_t mine = (pid_t)syscall(SYS_gettid);
    for (uint32_t i = AL_NESTED_STREAM + 1; i < image->streams; i++) {
        const al_stream *stream = &image->stream[i];
        pid_t tid = stream->tid;
        if (tid == 0 || stream->leaving) continue;
        char name[AL_NAME_BYTES];
        if (tid == mine)
            al_ending_own_name(name);
        else if (!read_name(tid, name))
            continue;
        memcpy(stream->unit->name, name, sizeof name);
        atomic_store(&stream->unit->named, stream->thread + 1);
    }
}

/* What streams hold of the file is no memory of the program's. It stays in the file, and comes back when it is used. */
void al_ending_note_memory(al_image *image) {
    for (uint32_t i = AL_NESTED_STREAM; i < image->streams; i++)
        if (image->stream[i].unit != NULL)
            al_os_linux.advise(image->stream[i].unit, AL_CAPTURE_UNIT, AL_ADVISE_DONTNEED);
    al_ending_read("/proc/self/smaps_rollup", image->header->smaps, sizeof image->header->smaps - 1);
}
