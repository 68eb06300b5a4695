/* For programs that say what a malloc tells of itself, after steps that are the same for every malloc. All is said at the
 * end: nothing but the steps allocates. */
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

__attribute__((weak)) int alloclab_control(const char *name, uint64_t *value, bool set);

static char text[32 << 20];
static size_t filled;

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    filled += (size_t)vsnprintf(text + filled, sizeof text - filled, format, arguments);
    va_end(arguments);
}

static void done(void) {
    for (size_t at = 0; at < filled;) {
        ssize_t written = write(STDOUT_FILENO, text + at, filled - at);
        if (written <= 0) _exit(1);
        at += (size_t)written;
    }
}

/* The program's own: says every figure, under this title. */
static void step(const char *title);

enum { BLOCKS = 4000 };

static void *blocks[BLOCKS];

static void take(size_t from, size_t to, size_t every, size_t bytes, size_t more) {
    for (size_t i = from; i < to; i += every) blocks[i] = malloc(bytes + i * more);
}

static void give(size_t from, size_t to, size_t every) {
    for (size_t i = from; i < to; i += every) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void small_blocks(void) {
    take(0, 10, 1, 64, 0);
    step("ten of 64");
    give(0, 5, 1);
    step("five freed");
    take(0, 3000, 1, 0, 5);
    step("small ones");
    give(0, 3000, 2);
    step("every second freed");
    give(1, 3000, 2);
    step("all freed");
}
