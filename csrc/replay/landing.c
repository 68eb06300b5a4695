#include "replay/landing.h"

#include "base/align.h"
#include "os/os.h"

enum { ALIGNMENT = 1 << 30, LARGEST_GAP = 1 << 20, GAPS_MAX = 4096 };

/* No gap among libraries is as large. */
static const size_t FREE_BYTES = (size_t)8 << 30;

/* Address space without rights; 0: none left. */
static uintptr_t reserve(size_t bytes) {
    void *at;
    return al_os_linux.map(NULL, bytes, AL_PROT_NONE, AL_PLACE_ANYWHERE, true, &at) == 0 ? (uintptr_t)at : 0;
}

/* Until the next mapping of so many bytes would end at `top`. */
static void fill_gaps(size_t bytes, uintptr_t top) {
    for (int i = 0; i < GAPS_MAX; i++) {
        uintptr_t at = reserve(bytes);
        if (at != 0 && at < top) al_os_linux.unmap((void *)at, bytes);
        if (at < top) return;
    }
}

void al_landing_align(void) {
    uintptr_t free = reserve(FREE_BYTES), end = free + FREE_BYTES, top = al_align_down(end, ALIGNMENT);
    void *pad;
    if (free == 0) return;
    al_os_linux.unmap((void *)free, FREE_BYTES);
    if (top < end) al_os_linux.map((void *)top, end - top, AL_PROT_NONE, AL_PLACE_NOREPLACE, true, &pad);
    for (size_t bytes = LARGEST_GAP; bytes >= al_os_linux.page_size(); bytes /= 2) fill_gaps(bytes, top);
}
