/* The faulty malloc with the whole family, writing to standard output as it begins, in every malloc and as it ends. */
#define malloc quiet
#include "faulty_family.c"
#undef malloc

static void say(const char *line) {
    if (write(STDOUT_FILENO, line, strlen(line)) < 0) _exit(9);
}

__attribute__((constructor)) static void begins(void) { say("trouble in mind\nsample me\n"); }
__attribute__((destructor)) static void ends(void) { say("by nothing\nthe statistics"); }

void *malloc(size_t bytes) {
    say("fail C01 x\n");
    return quiet(bytes);
}
