#include "replay/process.h"

#include "replay/clock.h"
#include "replay/strands.h"
#include "shim/dropin.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#pragma weak alloclab_heap
#pragma weak alloclab_begin
#pragma weak alloclab_pass

static void *process_malloc(void *self, size_t bytes) {
    (void)self;
    return malloc(bytes);
}

static void *process_calloc(void *self, size_t bytes) {
    (void)self;
    return calloc(1, bytes);
}

static void *process_memalign(void *self, size_t alignment, size_t bytes) {
    (void)self;
    void *block;
    return posix_memalign(&block, al_max(alignment, sizeof(void *)), bytes) == 0 ? block : NULL;
}

static void *process_realloc(void *self, void *block, size_t bytes) {
    (void)self;
    return realloc(block, bytes);
}

static void process_free(void *self, void *block) {
    (void)self;
    free(block);
}

static size_t process_usable_size(void *self, void *block) {
    (void)self;
    return malloc_usable_size(block);
}

static bool pass_time(void *self, const al_op *op) {
    (void)self;
    if (op->kind == AL_OP_TICK) alloclab_pass(op->size);
    return true;
}

static al_heap *process_glass(void *self) {
    (void)self;
    return alloclab_heap ? alloclab_heap() : NULL;
}

/* `self` is the strand where threads run side by side, else nothing. */
static const al_calls sized_calls = {
    .malloc = process_malloc,
    .calloc = process_calloc,
    .memalign = process_memalign,
    .realloc = process_realloc,
    .free = process_free,
    .usable_size = process_usable_size,
    .aside = al_strand_aside,
    .glass = process_glass,
};

/* For libraries without a malloc_usable_size: libc's would read headers that are not there. */
static const al_calls unsized_calls = {
    .malloc = process_malloc,
    .calloc = process_calloc,
    .memalign = process_memalign,
    .realloc = process_realloc,
    .free = process_free,
    .aside = al_strand_aside,
    .glass = process_glass,
};

al_calls al_process_timed(const al_calls *calls) {
    al_calls timed = *calls;
    timed.aside = alloclab_pass ? pass_time : NULL;
    return timed;
}

static const al_watch nobody = {NULL, NULL};

void al_loop_process(void *self, const al_ops *ops, size_t touch_page) {
    al_replay(&sized_calls, self, &nobody, NULL, ops, touch_page);
}

bool al_process_is_glass(void) { return alloclab_heap != NULL; }

al_heap *al_process_begin(void) { return alloclab_begin ? alloclab_begin() : NULL; }

uintptr_t al_process_break_for(uintptr_t now, size_t beyond) {
    return al_align_up(now - beyond, AL_BREAK_ALIGNMENT) + beyond;
}

void al_process_align_break(size_t beyond) {
    void *now;
    if (process_glass(NULL) != NULL || al_os_linux.brk(0, &now) != 0) return;
    al_os_linux.brk((intptr_t)(al_process_break_for((uintptr_t)now, beyond) - (uintptr_t)now), &now);
}

static const char *object_of(void *function) {
    Dl_info info;
    return dladdr(function, &info) && info.dli_fname ? info.dli_fname : "?";
}

al_target al_process_target(void) {
    bool sized = object_of((void *)malloc_usable_size) == object_of((void *)malloc);
    return (al_target){.calls = sized ? &sized_calls : &unsized_calls, .loop = al_loop_process};
}

/* Names of one object are one pointer, so they compare as pointers. */
bool al_process_identify(bool preloaded, bool aligned, al_text *out) {
    const char *from = object_of((void *)malloc);
    static const struct {
        const char *name;
        void *function;
    } family[] = {{"calloc", (void *)calloc}, {"realloc", (void *)realloc}, {"free", (void *)free},
                  {"posix_memalign", (void *)posix_memalign}};
    if (preloaded && from == object_of((void *)getppid)) {
        al_text_line(out, "not_malloc", "it does not define malloc");
        return false;
    }
    for (size_t i = 0; i < sizeof family / sizeof *family - !aligned; i++) {
        if (object_of(family[i].function) == from) continue;
        al_text_put(out, "not_malloc it defines malloc but not ");
        al_text_put(out, family[i].name);
        al_text_put(out, ", which would be another library's\n");
        return false;
    }
    al_text_line(out, "malloc_from", from);
    return true;
}
