#include "replay/outside.h"

#include "replay/landing.h"
#include "replay/observe.h"
#include "replay/places.h"
#include "replay/process.h"
#include "replay/room.h"
#include "replay/rss.h"
#include "replay/startup.h"
#include "replay/sud.h"
#include "replay/verify.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- a crash is told before it happens --- */

static volatile uint64_t progress;
static int answers;

static void tell_of_crash(int number) {
    const char *name = sigabbrev_np(number);
    char lines[128];
    al_text text = {lines, lines + sizeof lines};
    al_text_put(&text, "crash SIG");
    al_text_put(&text, name ? name : "?");
    al_text_put(&text, "\n");
    al_text_figure(&text, "operation", progress);
    if (write(answers, lines, (size_t)(text.at - lines)) < 0) _exit(1);
}

/* It is none where the teller crashed as it told, and came back; or was the child of a vfork, and is gone. */
static bool another_tells(pid_t teller) { return teller != gettid() && tgkill(getpid(), teller, 0) == 0; }

/* Of threads that crash at once one tells, and then ends the process; the others wait for that. */
static void on_crash(int number) {
    static _Atomic pid_t teller;
    pid_t first = 0;
    if (atomic_compare_exchange_strong(&teller, &first, gettid()))
        tell_of_crash(number);
    else
        while (another_tells(first)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_crashes(int tell) {
    answers = tell;
    static char stack[1 << 16];
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &action, NULL);
}

void al_outside_verify(const al_outside *outside, al_text *out) {
    catch_crashes(outside->answers);
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
static const char *read_startup(al_startup *startup, bool preloaded) {
    if (has_other_threads()) return "the library runs threads of its own, whose calls are not seen";
    bool read = al_startup_read(startup, preloaded) == 0;
    return read ? NULL : "what the allocator held before cannot be read from /proc/self/maps";
}

static const char *watch_from_outside(al_account *account, const al_startup *startup) {
    al_account_init(account, al_sud_break(0));
    for (const al_startup_range *r = startup->ranges; r < startup->ranges + startup->count; r++)
        al_account_had(account, r->start, r->end, r->prot, r->heap);
    if (al_sud_init(account) != 0) return "this kernel has no Syscall User Dispatch (Linux 5.11 on x86-64)";
    return NULL;
}

/* Why what was watched is not all, or NULL. */
static const char *unseen(const al_account *account) {
    if (al_sud_incomplete()) return "the allocator started a thread or process, whose calls are not seen";
    return account->lost ? "no memory to keep the account of mappings" : NULL;
}

/* A glass box counts for itself; anything else is watched. */
void al_outside_calls(const al_outside *outside, al_text *out) {
    static al_account account;
    static al_startup startup;
    al_sources sources = {0};
    al_observation how = {.touch_page = outside->touch_page, .samples = outside->job->samples};
    if (outside->glass && outside->job->head->slots > 1) al_process_begin(); /* what that asks for is past */
    const char *trouble = outside->glass ? NULL : read_startup(&startup, outside->preloaded);
    if (!outside->glass && trouble == NULL) trouble = watch_from_outside(&account, &startup);
    if (!outside->glass && trouble == NULL) {
        sources.counters = &account.counters;
        how.begin = outside->target->concurrent == NULL ? calls_begin : NULL; /* or each thread begins for itself */
        how.finish = calls_finish;
    }
    al_observe(outside->target, outside->ops, outside->job->head, &sources, &how, out);
    if (trouble == NULL) trouble = unseen(&account);
    if (trouble != NULL) al_text_line(out, "uncounted", trouble);
}

/* --- places --- */

enum { LOG_ROWS = 1 << 20 };

typedef struct holding {
    al_event *rows; /* what it holds, as calls that get it */
    size_t count;
    uintptr_t heap_begins; /* of the break */
} holding;

static void hold(holding *h, uintptr_t start, uintptr_t end, al_prot prot, bool heap) {
    if (heap && h->heap_begins == 0) h->heap_begins = start;
    h->rows[h->count++] = (al_event){.call = heap ? AL_CALL_BRK : AL_CALL_MMAP, .address = start, .bytes = end - start,
                                     .result = heap ? end : start, .extra = heap ? 0 : prot};
}

static bool hold_startup(holding *h, const al_startup *startup) {
    h->rows = al_room_take(startup->count * sizeof *h->rows, 1);
    if (h->rows == NULL) return false;
    for (const al_startup_range *r = startup->ranges; r < startup->ranges + startup->count; r++)
        hold(h, r->start, r->end, r->prot, r->heap);
    return true;
}

static bool hold_vmas(holding *h, const al_regions *regions) {
    al_vma vma;
    h->rows = al_room_take(al_regions_counters(regions)->vmas * sizeof *h->rows, 1);
    if (h->rows == NULL) return false;
    for (uintptr_t at = 0; al_regions_vma_after(regions, at, &vma); at = vma.end)
        hold(h, vma.start, vma.end, vma.prot, vma.heap);
    return true;
}

static al_events_so_far glass_events(void *context) {
    al_events_so_far so_far;
    so_far.events = al_regions_events(((al_heap *)context)->regions, &so_far.count, &so_far.dropped);
    return so_far;
}

static al_events_so_far account_events(void *context) {
    const al_log *log = &((al_account *)context)->log;
    return (al_events_so_far){log->events, log->count, log->dropped};
}

extern void *__curbrk; /* where libc thinks the break is; NULL while nobody has asked it */

/* As aligned as a glass box finds it. Who has asked libc before must hear of it, and who has not asks later. */
static uintptr_t align_break(size_t beyond) {
    uintptr_t now = al_sud_break(0), to = al_process_break_for(now, beyond);
    void *old;
    if (__curbrk == NULL) return al_sud_break(to);
    return al_os_linux.brk((intptr_t)(to - now), &old) == 0 ? to : now;
}

static const char *places_of_glass(const al_outside *outside, al_places *places, holding *held, al_text *out) {
    al_heap *heap = al_process_begin();
    if (heap == NULL) return "it has no heap to look into";
    if (!hold_vmas(held, heap->regions) || al_regions_start_log(heap->regions, LOG_ROWS) != 0)
        return "no memory for the log of system calls";
    if (held->heap_begins == 0) held->heap_begins = align_break(outside->break_beyond);
    places->events = glass_events;
    places->context = heap;
    al_text_figure(out, "mapped_before", al_regions_counters(heap->regions)->mapped);
    al_regions_set_fail_call(heap->regions, outside->fail_call);
    al_regions_set_limit(heap->regions, outside->limit);
    al_landing_align();
    al_places_replay(places, outside->ops, outside->touch_page);
    al_text_figure(out, "peak_mapped", al_regions_counters(heap->regions)->peak_mapped);
    for (size_t i = 0; i < AL_EXPLAINED_MAX; i++)
        if (outside->explained[i] != 0) al_places_explain(heap, outside->explained[i], i, out);
    return NULL;
}

static const char *places_of_stranger(const al_outside *outside, al_places *places, holding *held, al_text *out) {
    static al_account account;
    static al_startup startup;
    const char *trouble = read_startup(&startup, outside->preloaded);
    if (trouble != NULL) return trouble;
    if (!hold_startup(held, &startup)) return "no memory for the log of system calls";
    if (held->heap_begins == 0) held->heap_begins = align_break(outside->break_beyond);
    if ((trouble = watch_from_outside(&account, &startup)) != NULL) return trouble;
    if (al_log_reserve(&account.log, &al_os_linux, LOG_ROWS) != 0) return "no memory for the log of system calls";
    account.keep_log = true;
    account.fail_call = outside->fail_call;
    account.limit_bytes = outside->limit;
    places->events = account_events;
    places->context = &account;
    al_text_figure(out, "mapped_before", account.counters.mapped);
    al_landing_align();
    al_sud_on();
    al_places_replay(places, outside->ops, outside->touch_page);
    al_sud_off();
    al_text_figure(out, "peak_mapped", account.counters.peak_mapped);
    return unseen(&account);
}

void al_outside_places(const al_outside *outside, al_text *out) {
    const al_calls calls = al_process_timed(outside->target->calls);
    const al_target target = {.calls = &calls, .self = outside->target->self};
    al_places places = {.target = &target, .progress = &progress, .stop = outside->stop};
    holding held = {0};
    const char *trouble = NULL;
    catch_crashes(outside->answers);
    int file = open(outside->places, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        trouble = "the file of places cannot be opened";
    else if (!al_places_take(&places, outside->job->head->operations))
        trouble = "no memory for the places of blocks";
    else if (outside->glass)
        trouble = places_of_glass(outside, &places, &held, out);
    else
        trouble = places_of_stranger(outside, &places, &held, out);
    al_text_figure(out, "heap_begins", held.heap_begins);
    if (trouble == NULL) trouble = al_places_write(&places, file, held.rows, held.count, out);
    if (trouble != NULL) al_text_line(out, "trouble", trouble);
}
