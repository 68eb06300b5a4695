#include "check/rule.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINES_MAX = 32, LINE_MAX_BYTES = 400, STACK_BYTES = 1 << 16 };

static struct {
    bool must;
    int lines;
    const char *formats[LINES_MAX]; /* of the lines said */
    size_t again[LINES_MAX];
    char step[LINE_MAX_BYTES];
    const char *fault; /* NULL: there is none to look for */
    size_t number;
} said;

static int answers = STDOUT_FILENO;

void al_answer_on(int file) {
    answers = file;
    fcntl(file, F_SETFD, FD_CLOEXEC);
}

static void put(const char *line, size_t bytes) {
    while (bytes > 0) {
        ssize_t wrote = write(answers, line, bytes);
        if (wrote <= 0) _exit(2);
        line += wrote;
        bytes -= (size_t)wrote;
    }
}

static void say_step(const char *fault) {
    char line[2 * LINE_MAX_BYTES];
    put(line, (size_t)snprintf(line, sizeof line, "by %s %zu %s\n", fault, said.number, said.step));
}

/* snprintf of plain numbers and words takes no memory. */
static void say(const char *verdict, bool once, const char *format, va_list arguments) {
    const char *fault = said.fault;
    said.fault = NULL;
    for (int i = 0; i < said.lines; i++) {
        if (once && said.formats[i] == format) {
            said.again[i]++;
            return;
        }
    }
    if (said.lines == LINES_MAX) return;
    said.formats[said.lines++] = format;
    char line[LINE_MAX_BYTES];
    size_t at = (size_t)snprintf(line, sizeof line, "%s ", verdict);
    const int wants = vsnprintf(line + at, sizeof line - at - 1, format, arguments);
    at += wants < (int)(sizeof line - at - 1) ? (size_t)wants : sizeof line - at - 2;
    line[at] = '\n';
    put(line, at + 1);
    if (fault != NULL) say_step(fault);
}

static bool kept(bool holds) {
    if (holds) said.fault = NULL;
    return holds;
}

bool al_holds(bool holds, const char *format, ...) {
    if (kept(holds)) return true;
    va_list arguments;
    va_start(arguments, format);
    say(said.must ? "fail" : "deviates", true, format, arguments);
    va_end(arguments);
    return false;
}

bool al_expects(bool holds, const char *format, ...) {
    if (kept(holds)) return true;
    va_list arguments;
    va_start(arguments, format);
    say("deviates", true, format, arguments);
    va_end(arguments);
    return false;
}

void al_recorded(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("recorded", false, format, arguments);
    va_end(arguments);
}

void al_not_applicable(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("not-applicable", false, format, arguments);
    va_end(arguments);
}

void al_fault(const char *kind, size_t number) {
    said.fault = kind;
    said.number = number;
}

void al_step(const char *format, ...) {
    said.fault = NULL;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said.step, sizeof said.step, format, arguments);
    va_end(arguments);
}

/* The handler is gone by now; the signal comes again, and ends the process. */
static void last_words(int signal_number) {
    if (said.step[0] != '\0') {
        put("while ", 6);
        put(said.step, strlen(said.step));
        put("\n", 1);
    }
    raise(signal_number);
}

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGALRM};

static void handle(void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK | (int)SA_RESETHAND;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

void al_begin(bool must, unsigned seconds) {
    static char stack[STACK_BYTES];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&other, NULL);
    handle(last_words);
    said.must = must;
    alarm(seconds);
}

void al_alone(void) { handle(SIG_DFL); }

int al_wait(pid_t child) {
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

void al_end(void) {
    for (int i = 0; i < said.lines; i++) {
        char line[64];
        if (said.again[i] > 0) put(line, (size_t)snprintf(line, sizeof line, "again %d %zu\n", i, said.again[i]));
    }
    if (said.lines == 0) put("pass\n", 5);
    put("complete\n", 9);
}
