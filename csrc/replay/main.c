/* alloclab-replay: one pass of a compiled trace over this process's malloc, usually a preloaded one. No Python, no stdio, no
 * malloc of its own: memory comes from the kernel, and is touched before the pass begins.
 *
 *     alloclab-replay --pass verify|memory|calls|time [--touch page|none] [--samples N] [--warm N] [--null]
 *                    [--preloaded] [--no-thp] [--no-aslr] FILE
 *
 *     --touch    policy: a byte in every page of a block and its last byte (default), or nothing. verify writes all bytes
 *     --samples  memory, calls: points of the timeline (200)
 *     --warm     time: passes after the first (0)
 *     --null     the built-in null allocator instead of malloc
 *     --preloaded  malloc must be that of a preloaded library
 *     --no-thp   no transparent huge pages      from before the allocator starts: the program starts itself again
 *     --no-aslr  the same addresses every time  (where the kernel lets it: some containers forbid it)
 *
 * Standard output: lines "name value", documented at verify.h, observe.h, timing.h and process.h, and
 *
 *     peak_resident N        memory: the kernel's high-water mark   unmarked WHY      it could not be reset
 *     uncounted WHY          calls: the system calls could not be counted, so what needs them is missing
 *     crash SIGNAL           verify: and "operation N", the one under way; the process then dies of the signal
 *     trouble WHAT           nothing could be measured
 *
 * Exit status: 0, 1 for trouble, 2 for arguments, 3 for a file that is no compiled trace, 4 if it is no malloc. */
#include "base/check.h"
#include "replay/job.h"
#include "replay/null.h"
#include "replay/observe.h"
#include "replay/process.h"
#include "replay/room.h"
#include "replay/rss.h"
#include "replay/startup.h"
#include "replay/sud.h"
#include "replay/timing.h"
#include "replay/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TROUBLE = 1, BAD_ARGUMENTS = 2, BAD_FILE = 3, NOT_MALLOC = 4 };
enum { SAMPLES_MAX = 1 << 20, WARM_MAX = 1 << 20, BREAK_ALIGNMENT = 2 << 20 };

static const uint64_t PRETOUCH_MAX = UINT64_C(2) << 30;

typedef struct arguments {
    al_job job;
    bool null, preloaded, no_thp, no_aslr;
    const char *file;
} arguments;

static void write_all(const char *from, const char *to) {
    while (from < to) {
        ssize_t wrote = write(STDOUT_FILENO, from, (size_t)(to - from));
        if (wrote < 0 && errno != EINTR) _exit(TROUBLE);
        if (wrote > 0) from += wrote;
    }
}

__attribute__((noreturn)) static void stop(int status, const char *what) {
    char line[512];
    al_text text = {line, line + sizeof line};
    al_text_line(&text, "trouble", what);
    write_all(line, text.at);
    _exit(status);
}

/* --- arguments --- */

static uint32_t number(const char *word, uint32_t most) {
    uint64_t n = 0;
    for (; *word >= '0' && *word <= '9' && n <= most; word++) n = n * 10 + (uint64_t)(*word - '0');
    if (*word != '\0' || n > most) stop(BAD_ARGUMENTS, "bad number among the arguments");
    return (uint32_t)n;
}

static al_pass pass_named(const char *word) {
    static const char *const names[] = {"verify", "memory", "calls", "time"};
    for (int i = 0; i < 4; i++)
        if (strcmp(word, names[i]) == 0) return (al_pass)i;
    stop(BAD_ARGUMENTS, "the pass is verify, memory, calls or time");
}

static arguments parse(char **words) {
    arguments a = {.job = {.touch = true, .samples = 200}};
    bool has_pass = false;
    for (words++; *words; words++) {
        const char *word = *words, *value = words[1] ? words[1] : "";
        if (strcmp(word, "--null") == 0)
            a.null = true;
        else if (strcmp(word, "--preloaded") == 0)
            a.preloaded = true;
        else if (strcmp(word, "--no-thp") == 0)
            a.no_thp = true;
        else if (strcmp(word, "--no-aslr") == 0)
            a.no_aslr = true;
        else if (word[0] != '-')
            a.file = word;
        else {
            if (strcmp(word, "--pass") == 0)
                a.job.pass = pass_named(value), has_pass = true;
            else if (strcmp(word, "--touch") == 0)
                a.job.touch = strcmp(value, "none") != 0;
            else if (strcmp(word, "--samples") == 0)
                a.job.samples = number(value, SAMPLES_MAX);
            else if (strcmp(word, "--warm") == 0)
                a.job.warm_passes = number(value, WARM_MAX);
            else
                stop(BAD_ARGUMENTS, "unknown argument");
            if (*value == '\0') stop(BAD_ARGUMENTS, "an argument wants a value");
            words++;
        }
    }
    if (a.file == NULL || !has_pass) stop(BAD_ARGUMENTS, "wanted: --pass PASS FILE");
    return a;
}

/* What is set is inherited, so it holds from the first instruction of the second start. */
static void start_again(const arguments *a, char **words) {
    if (a->no_thp && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) stop(TROUBLE, "this kernel cannot turn huge pages off");
    if (a->no_aslr && personality(ADDR_NO_RANDOMIZE) == -1 && !a->no_thp) return;
    char **kept = words;
    for (char **word = words; *word; word++)
        if (strcmp(*word, "--no-thp") != 0 && strcmp(*word, "--no-aslr") != 0) *kept++ = *word;
    *kept = NULL;
    execv("/proc/self/exe", words);
    stop(TROUBLE, "the program cannot start itself again");
}

/* --- the compiled trace --- */

static void load(al_job *job, const char *file) {
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) stop(BAD_FILE, "the compiled trace cannot be opened");
    size_t bytes = (size_t)status.st_size;
    if (bytes < sizeof *job->head) stop(BAD_FILE, "not a compiled trace");
    char *image = al_room_take(bytes, 1);
    if (image == NULL) stop(TROUBLE, "no memory for the compiled trace");
    for (size_t at = 0; at < bytes;) {
        ssize_t got = read(fd, image + at, bytes - at);
        if (got <= 0) stop(BAD_FILE, "the compiled trace cannot be read");
        at += (size_t)got;
    }
    close(fd);
    job->head = (const al_ops_head *)image;
    job->entries = (const al_op *)(job->head + 1);
    job->entry_room = (bytes - sizeof *job->head) / sizeof *job->entries;
    if (!al_job_sound(job)) stop(BAD_FILE, "not a compiled trace, or a damaged one");
}

static bool wants_aligned(const al_job *job) {
    for (uint64_t i = 0; i < job->head->entries; i++)
        if (job->entries[i].kind == AL_OP_ALIGNED) return true;
    return false;
}

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
    write_all(lines, text.at);
    raise(number); /* the handler is gone: SA_RESETHAND */
}

static void catch_crashes(void) {
    static char stack[1 << 16];
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &action, NULL);
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

static void pass_memory(const al_target *target, const al_ops *ops, const al_job *job, bool preloaded, size_t page,
                        al_text *out) {
    static memory m;
    if (al_rss_open(&m.rss) != 0) stop(TROUBLE, "/proc/self/statm and status cannot be read");
    m.preloaded = preloaded;
    al_sources sources = {.resident = al_rss_now, .context = &m};
    al_observation how = {.touch_page = page, .samples = job->samples, .begin = memory_begins};
    al_observe(target, ops, job->head, &sources, &how, out);
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

/* NULL, or why it cannot be done. */
static const char *watch_from_outside(al_account *account, bool preloaded) {
    static al_startup startup;
    if (al_startup_read(&startup, preloaded) != 0)
        return "what the allocator held before cannot be read from /proc/self/maps";
    al_account_init(account, al_sud_break());
    for (const al_startup_range *r = startup.ranges; r < startup.ranges + startup.count; r++)
        al_account_had(account, r->start, r->end, r->prot, r->heap);
    if (al_sud_init(account) != 0) return "this kernel has no Syscall User Dispatch (Linux 5.11 on x86-64)";
    return NULL;
}

/* A glass box counts for itself; anything else is watched from outside. */
static void pass_calls(const al_target *target, const al_ops *ops, const al_job *job, bool glass, bool preloaded, size_t page,
                       al_text *out) {
    static al_account account;
    al_sources sources = {0};
    al_observation how = {.touch_page = page, .samples = job->samples};
    const char *trouble = glass ? NULL : watch_from_outside(&account, preloaded);
    if (!glass && trouble == NULL) {
        sources.counters = &account.counters;
        how.begin = calls_begin;
        how.finish = calls_finish;
    }
    al_observe(target, ops, job->head, &sources, &how, out);
    if (trouble != NULL)
        al_text_line(out, "uncounted", trouble);
    else if (al_sud_incomplete())
        al_text_line(out, "uncounted", "the allocator started a thread or process, whose calls are not seen");
    else if (account.lost)
        al_text_line(out, "uncounted", "no memory to keep the account of mappings");
}

/* A glass box's heap begins where the break is when the first block is asked for. Aligned as in a window, blocks of large
 * alignments fall alike in both. */
static void align_break(void) {
    void *now;
    if (al_os_linux.brk(0, &now) != 0) return;
    al_os_linux.brk((intptr_t)(al_align_up((uintptr_t)now, BREAK_ALIGNMENT) - (uintptr_t)now), &now);
}

int main(int count, char **words) {
    (void)count;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    arguments a = parse(words);
    if (a.no_thp || a.no_aslr) start_again(&a, words);
    load(&a.job, a.file);
    const al_job *job = &a.job;
    const al_ops_head *head = job->head;

    size_t room = al_job_text_bytes(job);
    char *begin = al_room_take(room, 1);
    al_ops ops = {.begin = job->entries, .slot_count = head->slots};
    ops.end = ops.begin + head->entries;
    ops.slots = al_room_take(head->slots * sizeof *ops.slots, 1);
    al_null null;
    if (begin == NULL || ops.slots == NULL || (a.null && !al_null_init(&null, head->largest)))
        stop(TROUBLE, "no memory for the tables of the replay");
    al_text out = {begin, begin + room};

    al_target target = a.null ? al_null_target(&null) : al_process_target();
    size_t page = job->touch ? al_os_linux.page_size() : 0;
    if (!a.null && !al_process_identify(a.preloaded, wants_aligned(job), &out)) {
        write_all(begin, out.at);
        return NOT_MALLOC;
    }
    al_rss_warm_files();
    if (al_process_is_glass()) align_break();
    switch (job->pass) {
    case AL_PASS_VERIFY:
        catch_crashes();
        al_verify(&target, &ops, &progress, &out);
        break;
    case AL_PASS_MEMORY:
        pass_memory(&target, &ops, job, a.preloaded, page, &out);
        break;
    case AL_PASS_CALLS:
        pass_calls(&target, &ops, job, a.null || al_process_is_glass(), a.preloaded, page, &out);
        break;
    case AL_PASS_TIME:
        al_time(&target, &ops,
                &(al_timing){.touch_page = page, .warm_passes = job->warm_passes,
                             .pretouch = al_min(head->peak_live_bytes + head->peak_live_bytes / 2, PRETOUCH_MAX)},
                &out);
        break;
    }
    write_all(begin, out.at);
    _exit(0);
}
