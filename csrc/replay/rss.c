#include "replay/rss.h"

#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_BYTES = 8192 };

static size_t number(const char **at) {
    while (**at == ' ' || **at == '\t') ++*at;
    size_t n = 0;
    while (**at >= '0' && **at <= '9') n = n * 10 + (size_t)(*(*at)++ - '0');
    return n;
}

/* The file's text with a zero at its end; empty if it cannot be read. */
static void read_text(int fd, char *text, size_t room) {
    ssize_t got = pread(fd, text, room - 1, 0);
    text[got > 0 ? got : 0] = '\0';
}

/* statm is "size resident shared ...", in pages; shared are the pages of files and shared memory. */
static void read_statm(const al_rss *rss, size_t *resident, size_t *shared) {
    char text[256];
    read_text(rss->statm, text, sizeof text);
    const char *at = text;
    number(&at);
    *resident = number(&at) * rss->page;
    *shared = number(&at) * rss->page;
}

static size_t above(size_t x, size_t baseline) { return x > baseline ? x - baseline : 0; }

static size_t anonymous(const al_rss *rss) {
    size_t resident, shared;
    read_statm(rss, &resident, &shared);
    return above(resident, shared);
}

int al_rss_open(al_rss *rss) {
    *rss = (al_rss){.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC), .page = al_os_linux.page_size()};
    if (rss->statm < 0) return errno;
    rss->status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    return rss->status < 0 ? errno : 0;
}

static int warm_object(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    size_t page = *(const size_t *)context;
    for (const ElfW(Phdr) *part = info->dlpi_phdr; part < info->dlpi_phdr + info->dlpi_phnum; part++) {
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_R)) continue;
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        for (uintptr_t at = start; at < start + part->p_filesz; at += page) (void)*(const volatile char *)at;
    }
    return 0;
}

void al_rss_warm_files(void) {
    size_t page = al_os_linux.page_size();
    dl_iterate_phdr(warm_object, &page);
}

int al_rss_begin(al_rss *rss, size_t own) {
    int error = 0, fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1) error = errno;
    if (fd >= 0) close(fd);
    rss->baseline = above(anonymous(rss), own);
    return error;
}

size_t al_rss_now(void *rss) { return above(anonymous(rss), ((const al_rss *)rss)->baseline); }

size_t al_rss_peak(const al_rss *rss) {
    char text[STATUS_BYTES];
    read_text(rss->status, text, sizeof text);
    const char *mark = strstr(text, "VmHWM:");
    if (mark == NULL) return 0;
    mark += strlen("VmHWM:");
    size_t resident, shared;
    read_statm(rss, &resident, &shared);
    return above(number(&mark) * 1024, shared + rss->baseline);
}
