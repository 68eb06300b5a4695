/* alloclab-replay: one pass of a compiled trace over this process's malloc, usually a preloaded one. No Python, no
 * stdio, no malloc of its own: memory comes from the kernel, and is touched before the pass begins.
 *
 *     alloclab-replay --pass verify|memory|calls|time|places [--touch page|none] [--samples N] [--warm N] [--null]
 *                    [--preloaded] [--no-thp] [--no-aslr] [--places FILE] [--fail-call N] [--limit BYTES]
 *                    [--break-beyond BYTES] [--stop N] [--explain ADDRESS] [--explain ADDRESS] [--answers N] FILE
 *
 *     alloclab-replay --serve [--preloaded] [--answers N]    answers requests, as serve.h says
 *
 *     --answers    the file descriptor for what it says (1): standard output may be the malloc's
 *     --touch      a byte in every page of a block and its last byte (page, the default), or nothing; verify writes all
 *     --samples    memory, calls: points of the timeline (200)
 *     --warm       time: passes after the first (0)
 *     --places     places: the file to write, as places.h says
 *     --fail-call  places: the N-th system call for memory from the first operation on fails with ENOMEM
 *     --limit      places: what would make more than so many bytes readable and writable fails likewise
 *     --break-beyond  places: by so much the heap of the break begins beyond a multiple of 2 MiB (0)
 *     --stop       places: only the first N operations
 *     --explain    places: what a glass box then has at the address
 *     --null       the built-in null allocator instead of malloc
 *     --preloaded  malloc must be that of a preloaded library
 *     --no-thp     no transparent huge pages      from before the allocator starts: the program starts itself again
 *     --no-aslr    the same addresses every time  (where the kernel lets it: some containers forbid it)
 *
 * FILE is a trace in recorded order (ops.h), or strands (trace/strands.h): then its threads run side by side, and there
 * are no places.
 *
 * Answers: lines "name value", documented at verify.h, observe.h, timing.h, concurrent.h, places.h and
 * process.h, and
 *
 *     peak_resident N        memory: the kernel's high-water mark   unmarked WHY      it could not be reset
 *     uncounted WHY          calls: the system calls could not be counted, so what needs them is missing
 *     crash SIGNAL           verify: and "operation N", the one under way; the process then dies of the signal
 *     trouble WHAT           nothing could be measured
 *     complete 1             the last line: the pass came to its end (the allocator did not end the process before)
 *
 * Exit status: 0, 1 for trouble, 2 for arguments, 3 for a file that is no compiled trace, 4 if it is no malloc. */
#include "base/align.h"
#include "os/os.h"
#include "replay/concurrent.h"
#include "replay/job.h"
#include "replay/null.h"
#include "replay/outside.h"
#include "replay/process.h"
#include "replay/room.h"
#include "replay/rss.h"
#include "replay/serve.h"
#include "replay/timing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TROUBLE = 1, BAD_ARGUMENTS = 2, BAD_FILE = 3, NOT_MALLOC = 4 };
enum { SAMPLES_MAX = 1 << 20, WARM_MAX = 1 << 20 };

static const unsigned long PERSONALITY_NOW = 0xffffffff;
static const uint64_t PRETOUCH_MAX = UINT64_C(2) << 30;

typedef struct arguments {
    al_job job;
    bool null, preloaded, no_thp, no_aslr;
    const char *file, *places;
    uint64_t fail_call, limit, stop;
    size_t break_beyond;
    uintptr_t explained[AL_EXPLAINED_MAX];
} arguments;

static int answers = STDOUT_FILENO;

static void write_all(int file, const char *from, const char *to) {
    while (from < to) {
        ssize_t wrote = write(file, from, (size_t)(to - from));
        if (wrote < 0 && errno != EINTR) _exit(TROUBLE);
        if (wrote > 0) from += wrote;
    }
}

__attribute__((noreturn)) static void stop(int status, const char *what) {
    char line[512];
    al_text text = {line, line + sizeof line};
    al_text_line(&text, "trouble", what);
    write_all(answers, line, text.at);
    _exit(status);
}

__attribute__((noreturn)) static void give_up(const char *why) { stop(TROUBLE, why); }

/* --- arguments --- */

static uint64_t number(const char *word, uint64_t most) {
    uint64_t n = 0;
    for (; *word >= '0' && *word <= '9' && n <= most; word++) n = n * 10 + (uint64_t)(*word - '0');
    if (*word != '\0' || n > most) stop(BAD_ARGUMENTS, "bad number among the arguments");
    return n;
}

static al_pass pass_named(const char *word) {
    static const char *const names[] = {"verify", "memory", "calls", "time", "places"};
    for (int i = 0; i < 5; i++)
        if (strcmp(word, names[i]) == 0) return (al_pass)i;
    stop(BAD_ARGUMENTS, "the pass is verify, memory, calls, time or places");
}

static arguments parse(char **words) {
    arguments a = {.job = {.touch = true, .samples = 200}, .stop = UINT64_MAX};
    size_t explained = 0;
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
                a.job.samples = (uint32_t)number(value, SAMPLES_MAX);
            else if (strcmp(word, "--warm") == 0)
                a.job.warm_passes = (uint32_t)number(value, WARM_MAX);
            else if (strcmp(word, "--places") == 0)
                a.places = value;
            else if (strcmp(word, "--fail-call") == 0)
                a.fail_call = number(value, PTRDIFF_MAX);
            else if (strcmp(word, "--limit") == 0)
                a.limit = number(value, PTRDIFF_MAX);
            else if (strcmp(word, "--break-beyond") == 0)
                a.break_beyond = number(value, AL_BREAK_ALIGNMENT - 1);
            else if (strcmp(word, "--stop") == 0)
                a.stop = number(value, PTRDIFF_MAX);
            else if (strcmp(word, "--answers") == 0)
                answers = (int)number(value, INT_MAX);
            else if (strcmp(word, "--explain") == 0 && explained < AL_EXPLAINED_MAX)
                a.explained[explained++] = number(value, PTRDIFF_MAX);
            else
                stop(BAD_ARGUMENTS, "unknown argument");
            if (*value == '\0') stop(BAD_ARGUMENTS, "an argument wants a value");
            words++;
        }
    }
    if (a.file == NULL || !has_pass) stop(BAD_ARGUMENTS, "wanted: --pass PASS FILE");
    if ((a.places != NULL) != (a.job.pass == AL_PASS_PLACES)) stop(BAD_ARGUMENTS, "--places goes with --pass places");
    return a;
}

/* Also where one may not even ask. */
static bool addresses_are_random(void) {
    int now = personality(PERSONALITY_NOW);
    return now == -1 || !(now & ADDR_NO_RANDOMIZE);
}

/* What is set is inherited, so it holds from the first instruction of the second start. */
static void start_again(const arguments *a, char **words) {
    if (a->no_thp && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
        stop(TROUBLE, "this kernel cannot turn huge pages off");
    bool fixed = a->no_aslr && personality((unsigned long)personality(PERSONALITY_NOW) | ADDR_NO_RANDOMIZE) != -1;
    if (!fixed && !a->no_thp) return;
    char **kept = words;
    for (char **word = words; *word; word++)
        if (strcmp(*word, "--no-thp") != 0 && strcmp(*word, "--no-aslr") != 0) *kept++ = *word;
    *kept = NULL;
    execv("/proc/self/exe", words);
    stop(TROUBLE, "the program cannot start itself again");
}

/* --- the compiled trace --- */

static void load(al_job *job, al_strands *strands, const char *file) {
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
    if (al_strands_read(strands, image, bytes)) {
        job->head = &strands->head->whole;
        job->entries = strands->entries;
        return;
    }
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

/* Most libraries begin as they are loaded, a drop-in of ours with the first request: what that costs is no
 * operation's. */
static void let_it_begin(const al_calls *calls) { calls->free(NULL, calls->malloc(NULL, 1)); }

static void take_time(const al_job *job, const al_target *target, const al_ops *ops, size_t page, al_text *out) {
    const uint64_t peak = job->head->peak_live_bytes;
    al_pretouch(al_min(peak + peak / 2, PRETOUCH_MAX));
    if (target->concurrent != NULL)
        al_concurrent_time(target, page, out);
    else
        al_time(target, ops, &(al_timing){.touch_page = page, .warm_passes = job->warm_passes}, out);
}

static void run(const arguments *a, const al_target *target, const al_ops *ops, al_text *out) {
    const al_job *job = &a->job;
    size_t page = job->touch ? al_os_linux.page_size() : 0;
    al_outside outside = {.target = target, .ops = ops, .job = job, .touch_page = page, .preloaded = a->preloaded,
                          .glass = a->null || al_process_is_glass(), .places = a->places,
                          .fail_call = a->fail_call, .limit = a->limit, .stop = a->stop,
                          .break_beyond = a->break_beyond, .answers = answers};
    memcpy(outside.explained, a->explained, sizeof outside.explained);
    switch (job->pass) {
    case AL_PASS_VERIFY:
        al_outside_verify(&outside, out);
        break;
    case AL_PASS_MEMORY:
        al_outside_memory(&outside, out);
        break;
    case AL_PASS_CALLS:
        al_outside_calls(&outside, out);
        break;
    case AL_PASS_TIME:
        if (al_process_is_glass()) let_it_begin(target->calls);
        take_time(job, target, ops, page, out);
        break;
    case AL_PASS_PLACES:
        al_outside_places(&outside, out);
        if (addresses_are_random()) al_text_figure(out, "random", 1);
        break;
    }
}

/* What is wrong with the malloc goes to standard error, as standard output may be for replies. */
__attribute__((noreturn)) static void serve(char **words) {
    bool preloaded = false;
    for (; *words; words++) {
        if (strcmp(*words, "--preloaded") == 0)
            preloaded = true;
        else if (strcmp(*words, "--answers") == 0 && words[1] != NULL)
            answers = (int)number(*++words, INT_MAX);
        else
            stop(BAD_ARGUMENTS, "unknown argument");
    }
    char line[512];
    al_text out = {line, line + sizeof line};
    if (al_process_identify(preloaded, true, &out))
        _exit(al_serve(answers) == 0 ? 0 : TROUBLE);
    write_all(STDERR_FILENO, line, out.at);
    _exit(NOT_MALLOC);
}

int main(int count, char **words) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (count > 1 && strcmp(words[1], "--serve") == 0) serve(words + 2);
    arguments a = parse(words);
    if (a.no_thp || a.no_aslr) start_again(&a, words);
    static al_strands strands;
    load(&a.job, &strands, a.file);
    const bool concurrent = strands.head != NULL;
    strands.give_up = give_up;
    if (concurrent && a.job.pass == AL_PASS_PLACES) stop(BAD_ARGUMENTS, "strands have no places");

    const al_ops_head *head = a.job.head;
    size_t room = al_job_text_bytes(&a.job);
    char *begin = al_room_take(room, 1);
    al_ops ops = {.begin = a.job.entries, .end = a.job.entries + head->entries, .slot_count = head->slots};
    ops.slots = al_room_take(head->slots * sizeof *ops.slots, 1);
    al_null null;
    if (begin == NULL || ops.slots == NULL || (a.null && !al_null_init(&null, head->largest)))
        stop(TROUBLE, "no memory for the tables of the replay");

    al_text out = {begin, begin + room};
    al_target serial = a.null ? al_null_target(&null) : al_process_target();
    if (a.null && concurrent) serial = al_null_strands_target(&null);
    const al_target target = concurrent ? al_concurrent_target(&serial, &strands) : serial;
    bool sound = a.null || al_process_identify(a.preloaded, wants_aligned(&a.job), &out);
    al_rss_warm_files();
    if (al_process_is_glass()) al_process_align_break(a.break_beyond);
    if (sound) {
        const char *trouble = concurrent ? al_strands_prepare(&strands, ops.slots) : NULL;
        if (trouble == NULL) run(&a, &target, &ops, &out);
        if (trouble != NULL) al_text_line(&out, "trouble", trouble);
        al_text_figure(&out, "complete", 1);
    }
    write_all(answers, begin, out.at);
    _exit(sound ? 0 : NOT_MALLOC);
}
