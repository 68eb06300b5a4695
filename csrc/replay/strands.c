#include "replay/strands.h"

#include "os/os.h"
#include "replay/job.h"
#include "replay/room.h"

#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PENDING, AWAITED, POSTED }; /* an event; the other words that threads wait for are 0, then 1 */

/* A thread needs little; libc keeps up to 40 MiB of stacks at hand. Touched: what of a stack is used and kept. */
enum { STACK_BYTES = (40 << 20) / AL_ROOMS_NOTED_MAX, TOUCHED_BYTES = 12 << 10, SPINS = 100 };
enum { GONE_PAUSE_NS = 100000 };

static const char NO_THREADS[] = "the system starts no more threads";

static void futex(_Atomic uint32_t *word, int what, uint32_t value) {
    syscall(SYS_futex, word, what, value, NULL, NULL, 0);
}

static void wait_for(_Atomic uint32_t *word) {
    while (atomic_load(word) == 0) futex(word, FUTEX_WAIT_PRIVATE, 0);
}

static void open_gate(_Atomic uint32_t *word) {
    atomic_store(word, 1);
    futex(word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

/* --- edges --- */

static bool posted(_Atomic uint32_t *event) {
    return __builtin_expect(atomic_load_explicit(event, memory_order_acquire) == POSTED, 1);
}

static void sleep_for(al_strand *strand, _Atomic uint32_t *event) {
    uint32_t found = PENDING;
    if (!atomic_compare_exchange_strong(event, &found, AWAITED) && found == POSTED) return;
    strand->sleeps++;
    while (!posted(event)) futex(event, FUTEX_WAIT_PRIVATE, AWAITED);
}

/* Most are over in a moment, before a sleep would have begun. */
__attribute__((noinline)) static void await(al_strand *strand, _Atomic uint32_t *event) {
    const uint64_t start = al_os_linux.now();
    strand->waits++;
    for (unsigned spin = 0; spin < SPINS && !posted(event); spin++) __builtin_ia32_pause();
    if (!posted(event)) sleep_for(strand, event);
    strand->waited_ns += al_os_linux.now() - start;
}

static void post(_Atomic uint32_t *event) {
    if (atomic_exchange_explicit(event, POSTED, memory_order_acq_rel) == AWAITED)
        futex(event, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

bool al_strand_aside(void *self, const al_op *op) {
    al_strand *strand = self;
    if (op->kind == AL_OP_POST) post(&strand->all->events[op->size]);
    if (op->kind != AL_OP_WAIT) return true;
    if (!posted(&strand->all->events[op->size])) await(strand, &strand->all->events[op->size]);
    return !atomic_load_explicit(&strand->all->stopped, memory_order_relaxed);
}

/* Whoever sees such an event posted sees `stopped` as well. */
static void stop_waiting(al_strands *all) {
    if (atomic_exchange(&all->stopped, true)) return;
    for (uint64_t i = 0; i < all->head->events; i++) post(&all->events[i]);
}

/* --- threads --- */

/* libc takes no stack of its own where it has one at hand that an ended thread has left. */
static int start(pthread_t *thread, void *(*run)(void *), void *context) {
    pthread_attr_t how;
    pthread_attr_init(&how);
    pthread_attr_setguardsize(&how, 0);
    int error = pthread_attr_setstacksize(&how, STACK_BYTES);
    if (error == 0) error = pthread_create(thread, &how, run, context);
    pthread_attr_destroy(&how);
    return error;
}

static void come_to_the_end(al_strand *strand) {
    al_strands *all = strand->all;
    const uint64_t began = al_os_linux.thread_time();
    if (!all->work(all->context, strand)) stop_waiting(all);
    strand->cpu_ns = al_os_linux.thread_time() - began;
    if (atomic_fetch_sub(&all->busy, 1) == 1) futex(&all->busy, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

static void *live(void *context) {
    al_strand *strand = context;
    come_to_the_end(strand);
    while (!strand->ends) pause();
    return NULL;
}

static void act(al_strands *all, al_act act) {
    al_strand *strand = &all->strands[act.strand];
    if (!act.exits) {
        if (start(&strand->thread, live, strand) != 0) all->give_up(NO_THREADS);
    } else if (act.strand == 0) {
        wait_for(&all->first_done);
    } else {
        pthread_join(strand->thread, NULL);
    }
}

/* Starts and ends threads in the recorded order. It has no block of its own, so it changes nothing in a heap. */
static void *keep(void *context) {
    al_strands *all = context;
    for (uint64_t i = 0; i < all->head->acts; i++) act(all, all->acts[i]);
    return NULL;
}

void al_strands_run(al_strands *all, al_strand_work *work, void *context) {
    pthread_t keeper;
    all->work = work;
    all->context = context;
    all->busy = (uint32_t)all->head->strands;
    if (all->head->strands == 0) return;
    const uint64_t began = al_os_linux.now();
    if (all->head->acts > 0 && start(&keeper, keep, all) != 0) all->give_up(NO_THREADS);
    come_to_the_end(&all->strands[0]);
    open_gate(&all->first_done);
    if (all->head->acts > 0) pthread_join(keeper, NULL);
    for (uint32_t busy; (busy = all->busy) != 0;) futex(&all->busy, FUTEX_WAIT_PRIVATE, busy);
    all->wall_ns = al_os_linux.now() - began;
}

/* --- stacks at hand --- */

/* libc keeps the thread's own tables at the upper end of its stack. */
static void note_stack(void) {
    const uintptr_t end = al_align_up((uintptr_t)pthread_self() + 1, al_os_linux.page_size());
    al_room_note(end - STACK_BYTES, end);
}

static void *stand_by(void *context) {
    volatile char used[TOUCHED_BYTES];
    for (size_t at = 0; at < sizeof used; at += 512) used[at] = 1;
    note_stack();
    wait_for(context);
    return (void *)(intptr_t)gettid();
}

/* Whoever was waited for is among the process's threads for a moment yet, which is long where others have the CPU: who
 * counts them would take it for another. */
static void see_off(pthread_t thread) {
    void *number;
    pthread_join(thread, &number);
    while (tgkill(getpid(), (pid_t)(intptr_t)number, 0) == 0)
        nanosleep(&(struct timespec){.tv_nsec = GONE_PAUSE_NS}, NULL);
}

static const char *prepare_stacks(al_strands *all) {
    _Atomic uint32_t gate = 0;
    pthread_t keeper;
    uint64_t wanted = all->head->alive - 1, made = 0;
    if (all->head->acts == 0) return NULL;
    if (wanted + 1 > AL_ROOMS_NOTED_MAX) return "more than 640 threads at once";
    if (start(&keeper, stand_by, &gate) != 0) return NO_THREADS;
    while (made < wanted && start(&all->strands[made].thread, stand_by, &gate) == 0) made++;
    open_gate(&gate);
    for (uint64_t i = 0; i < made; i++) see_off(all->strands[i].thread);
    see_off(keeper);
    return made == wanted ? NULL : NO_THREADS;
}

/* --- tables --- */

/* Whether every strand starts once, and ends once or not at all; 0 is there from the start. */
static bool acts_sound(const al_strands *all) {
    enum { NOT_YET, ALIVE, ENDED };
    const uint64_t strands = all->head->strands;
    uint64_t started = strands > 0;
    uint8_t *now = al_room_take(strands, 0);
    if (now == NULL) return false;
    now[0] = ALIVE;
    bool good = true;
    for (const al_act *a = all->acts; good && a < all->acts + all->head->acts; a++) {
        good = a->strand < strands && now[a->strand] == (a->exits ? ALIVE : NOT_YET);
        if (!good) break;
        now[a->strand] = a->exits ? ENDED : ALIVE;
        started += !a->exits;
    }
    al_room_drop(now, strands);
    return good && started == strands;
}

static bool sound(const al_strands *all, uint64_t entry_count) {
    const al_strands_head *head = all->head;
    if (head->events > entry_count || head->alive > head->strands || (head->alive == 0) != (head->strands == 0))
        return false;
    if (head->whole.slots == 0 || head->whole.slots > UINT32_MAX) return false;
    if (!acts_sound(all)) return false;
    for (uint64_t i = 0; i < head->strands; i++) {
        const al_strand_range *r = &all->ranges[i];
        if (r->first > entry_count || r->count > entry_count - r->first) return false;
        if (entry_count - r->first - r->count < AL_OPS_PAD) return false;
        if (!al_entries_sound(&head->whole, all->entries + r->first, r->count, head->events)) return false;
    }
    return true;
}

bool al_strands_read(al_strands *all, const void *image, size_t bytes) {
    const al_strands_head *head = image;
    if (bytes < sizeof *head || head->magic != AL_STRANDS_MAGIC) return false;
    size_t left = bytes - sizeof *head;
    if (head->strands > left / sizeof(al_strand_range)) return false;
    left -= head->strands * sizeof(al_strand_range);
    if (head->acts > left / sizeof(al_act)) return false;
    left -= head->acts * sizeof(al_act);
    const al_strand_range *ranges = (const al_strand_range *)(head + 1);
    const al_act *acts = (const al_act *)(ranges + head->strands);
    *all = (al_strands){.head = head, .ranges = ranges, .acts = acts, .entries = (const al_op *)(acts + head->acts)};
    return left / sizeof(al_op) == head->whole.entries && sound(all, head->whole.entries);
}

const char *al_strands_prepare(al_strands *all, void **slots) {
    const al_strands_head *head = all->head;
    all->strands = al_room_take(head->strands * sizeof *all->strands, 1);
    all->events = al_room_take(head->events * sizeof *all->events, 1);
    if (all->strands == NULL || all->events == NULL) return "no memory for the tables of the replay";
    for (uint64_t i = 0; i < head->strands; i++) {
        const al_op *first = all->entries + all->ranges[i].first;
        all->strands[i] = (al_strand){.all = all};
        all->strands[i].ops = (al_ops){first, first + all->ranges[i].count, slots, head->whole.slots};
    }
    for (uint64_t i = 0; i < head->acts; i++)
        if (all->acts[i].exits) all->strands[all->acts[i].strand].ends = true;
    return prepare_stacks(all);
}
