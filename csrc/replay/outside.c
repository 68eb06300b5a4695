#include "replay/outside.h"

#include "replay/observe.h"
#include "replay/rss.h"
#include "replay/startup.h"
#include "replay/sud.h"
#include "replay/verify.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- verify: a crash is told before it happens --- */

static volatile uint64_t progress;

static void on_crash(int number) {
    const char *name = sigabbrev_np(number);
    char lines[128];
    al_text text = {lines, lines + sizeof lines};
    al_text_put(&text, "crash SIG");
    al_text_put(&text, name ? name : "?");
    al_text_put(&text, "\n");
    al_text_figure(&text, "operation", progress);
    if (write(STDOUT_FILENO, lines, (size_t)(text.at - lines)) < 0) _exit(1);
    raise(number); /* the handler is gone: SA_RESETHAND */
}

static void catch_crashes(void) {
    static char stack[1 << 16];
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &action, NULL);
}

void al_outside_verify(const al_outside *outside, al_text *out) {
    catch_crashes();
    al_verify(outside->target, outside->ops, &progress, out);
}

/* --- memory --- */

typedef struct memory {
    al_rss rss; /* first: al_rss_now takes the context */
    al_startup startup;
    bool preloaded;
    int error;
} memory;

static void memory_begins(void *context) {
    memory *m = context;
    size_t own = 0;
    if (al_startup_read(&m->startup, m->preloaded) == 0) al_startup_resident(&m->startup, &own);
    m->error = al_rss_begin(&m->rss, own);
}

void al_outside_memory(const al_outside *outside, al_text *out) {
    static memory m;
    if (al_rss_open(&m.rss) != 0) {
        al_text_line(out, "trouble", "/proc/self/statm and /proc/self/status cannot be read");
        return;
    }
    m.preloaded = outside->preloaded;
    al_sources sources = {.resident = al_rss_now, .context = &m};
    al_observation how = {
        .touch_page = outside->touch_page, .samples = outside->job->samples, .begin = memory_begins};
    al_observe(outside->target, outside->ops, outside->job->head, &sources, &how, out);
    if (m.error == 0)
        al_text_figure(out, "peak_resident", al_rss_peak(&m.rss));
    else
        al_text_line(out, "unmarked", strerrordesc_np(m.error));
}

/* --- calls --- */

static void calls_begin(void *context) {
    (void)context;
    al_sud_on();
}

static void calls_finish(void *context) {
    (void)context;
    al_sud_off();
}

/* A folder has a link from each folder in it, and two of its own. */
static bool has_other_threads(void) {
    struct stat status;
    return stat("/proc/self/task", &status) == 0 && status.st_nlink > 3;
}

/* NULL, or why it cannot be done. */
static const char *watch_from_outside(al_account *account, bool preloaded) {
    static al_startup startup;
    if (has_other_threads()) return "the library runs threads of its own, whose calls are not seen";
    if (al_startup_read(&startup, preloaded) != 0)
        return "what the allocator held before cannot be read from /proc/self/maps";
    al_account_init(account, al_sud_break());
    for (const al_startup_range *r = startup.ranges; r < startup.ranges + startup.count; r++)
        al_account_had(account, r->start, r->end, r->prot, r->heap);
    if (al_sud_init(account) != 0) return "this kernel has no Syscall User Dispatch (Linux 5.11 on x86-64)";
    return NULL;
}

/* A glass box counts for itself; anything else is watched. */
void al_outside_calls(const al_outside *outside, al_text *out) {
    static al_account account;
    al_sources sources = {0};
    al_observation how = {.touch_page = outside->touch_page, .samples = outside->job->samples};
    const char *trouble = outside->glass ? NULL : watch_from_outside(&account, outside->preloaded);
    if (!outside->glass && trouble == NULL) {
        sources.counters = &account.counters;
        how.begin = calls_begin;
        how.finish = calls_finish;
    }
    al_observe(outside->target, outside->ops, outside->job->head, &sources, &how, out);
    if (trouble != NULL)
        al_text_line(out, "uncounted", trouble);
    else if (al_sud_incomplete())
        al_text_line(out, "uncounted", "the allocator started a thread or process, whose calls are not seen");
    else if (account.lost)
        al_text_line(out, "uncounted", "no memory to keep the account of mappings");
}
