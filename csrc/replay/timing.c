#include "replay/timing.h"

#include "os/os.h"

static void touch(uint64_t bytes, al_advice advice) {
    size_t page = al_os_linux.page_size(), whole = al_align_up(bytes, page);
    void *room;
    if (bytes == 0 || al_os_linux.map(NULL, whole, AL_PROT_READ_WRITE, AL_PLACE_ANYWHERE, true, &room) != 0) return;
    al_os_linux.advise(room, whole, advice);
    for (size_t at = 0; at < whole; at += page) ((volatile char *)room)[at] = 1;
    al_os_linux.unmap(room, whole);
}

void al_pretouch(uint64_t bytes) {
    touch(bytes, AL_ADVISE_HUGEPAGE);
    touch(bytes, AL_ADVISE_NOHUGEPAGE);
}

void al_time(const al_target *target, const al_ops *ops, const al_timing *how, al_text *out) {
    for (uint32_t pass = 0; pass <= how->warm_passes; pass++) {
        if (pass > 0) al_drain(target->calls, target->self, ops);
        uint64_t start = al_os_linux.thread_time();
        target->loop(target->self, ops, how->touch_page);
        al_text_figure(out, "pass_ns", al_os_linux.thread_time() - start);
    }
}
