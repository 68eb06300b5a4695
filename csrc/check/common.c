#include "check/rule.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile size_t al_huge = SIZE_MAX;

const size_t al_sizes[] = {0,    1,    2,    7,     8,     9,     15,    16,    17,     24,     25,     31,     32,
                           33,   63,   64,   65,    100,   127,   128,   129,   255,    256,    257,    511,    512,
                           513,  1000, 1023, 1024,  1025,  2047,  2048,  2049,  4095,   4096,   4097,   8191,   8192,
                           8193, 16384, 32767, 32768, 32769, 65536, 70000, 131071, 131072, 131073, 200000, 262144,
                           262145, 1048576, 5000000};
const int al_sizes_count = sizeof al_sizes / sizeof *al_sizes;

bool al_filled(const void *block, size_t bytes, unsigned char value) {
    const unsigned char *at = block;
    return bytes == 0 || (at[0] == value && memcmp(at, at + 1, bytes - 1) == 0);
}

bool al_aligned(const void *block, size_t alignment) { return (uintptr_t)block % alignment == 0; }

size_t al_usable(void *block, size_t asked) {
    static enum { UNKNOWN, OWN, FOREIGN } whose;
    if (whose == UNKNOWN) whose = al_is_own("malloc_usable_size") ? OWN : FOREIGN;
    return whose == OWN ? malloc_usable_size(block) : asked;
}

/* The size in pages and what is resident of it: the first two words of statm. */
static size_t statm(int word) {
    char text[128] = "";
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t bytes = read(file, text, sizeof text - 1);
    close(file);
    size_t pages[2] = {0, 0};
    if (bytes <= 0 || sscanf(text, "%zu %zu", &pages[0], &pages[1]) != 2) return 0;
    return pages[word] * (size_t)sysconf(_SC_PAGESIZE);
}

size_t al_mapped(void) { return statm(0); }
size_t al_resident(void) { return statm(1); }

size_t al_grown(size_t resident) {
    const size_t now = al_resident();
    return now > resident ? now - resident : 0;
}

const char *al_owner(const char *symbol) {
    void *address = dlsym(RTLD_DEFAULT, symbol);
    Dl_info info;
    if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    return slash == NULL ? info.dli_fname : slash + 1;
}

bool al_is_own(const char *symbol) {
    const char *owner = al_owner(symbol), *own = al_owner("malloc");
    return owner != NULL && own != NULL && strcmp(owner, own) == 0;
}

bool al_applies(const char *symbol) {
    const char *owner = al_owner(symbol), *own = al_owner("malloc");
    if (al_is_own(symbol)) return true;
    al_step("%s", symbol);
    al_fault("foreign", 0);
    if (owner == NULL)
        al_not_applicable("%s is not there", symbol);
    else
        al_not_applicable("%s is answered by %s, not by %s", symbol, owner, own == NULL ? "nobody" : own);
    return false;
}

bool al_never_reuses(void) {
    enum { TIMES = 1000, BYTES = 30000 };
    const size_t before = al_resident();
    for (int i = 0; i < TIMES; i++) {
        void *block = malloc(BYTES);
        if (block != NULL) memset(block, 1, BYTES);
        free(block);
    }
    return al_grown(before) > (size_t)TIMES * BYTES / 10 * 9;
}

bool al_no_memory(const char *call, const void *block) {
    const int error = errno;
    errno = 0;
    al_fault("served", 0);
    if (!al_holds(block == NULL, "%s returned a block", call)) return false;
    al_fault("errno", ENOMEM);
    return al_holds(error == ENOMEM, "%s failed with errno %d, not ENOMEM", call, error);
}
