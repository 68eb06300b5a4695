#include "trace/check.h"

#include "base/align.h"

enum { STARTED = 1, GONE = 2, AHEAD = 16 };

bool al_checker_init(al_checker *checker) {
    *checker = (al_checker){0};
    if (al_live_init(&checker->live) && al_addrmap_init(&checker->threads)) return true;
    al_checker_destroy(checker);
    return false;
}

void al_checker_destroy(al_checker *checker) {
    al_live_destroy(&checker->live);
    al_addrmap_destroy(&checker->threads);
}

static void report(al_checker *checker, size_t row, al_fault fault) {
    checker->counts[fault]++;
    if (checker->found < checker->capacity)
        checker->problems[checker->found++] = (al_finding){.row = row, .fault = fault};
}

/* What a row says by itself. */
static void check_values(al_checker *checker, const al_events *events, size_t i) {
    uint8_t op = events->op[i];
    if (events->object[i] < -1) report(checker, i, AL_FAULT_NEGATIVE_OBJECT);
    if (events->time_ns[i] < -1) report(checker, i, AL_FAULT_NEGATIVE_TIME);
    if (op >= AL_EVENT_FREE) return;
    bool named = events->object[i] >= 0;
    if (events->failed[i]) {
        if (named && op != AL_EVENT_REALLOC) report(checker, i, AL_FAULT_FAILED_BIRTH);
        return;
    }
    uint64_t bytes = al_event_bytes(events, i);
    if (bytes > PTRDIFF_MAX) report(checker, i, AL_FAULT_IMPOSSIBLE_SIZE);
    else if (bytes > 0 && !named) report(checker, i, AL_FAULT_UNNAMED);
    if (op == AL_EVENT_ALIGNED && !al_is_power_of_two(events->align[i])) report(checker, i, AL_FAULT_BAD_ALIGNMENT);
}

/* What a row says against the blocks that live. A birth of impossible size counts as one, so that its free is no
 * news. */
static bool check_block(al_checker *checker, const al_events *events, size_t i) {
    uint32_t slot;
    uint64_t bytes;
    al_fault fault = AL_FAULT_NONE;
    int64_t object = events->object[i];
    switch (al_event_deed(events, i)) {
    case AL_DEED_BIRTH:
        if (object >= 0) fault = al_live_birth(&checker->live, object, al_event_bytes(events, i), &slot);
        break;
    case AL_DEED_RESIZE: fault = al_live_find(&checker->live, object, &slot); break;
    case AL_DEED_DEATH: fault = al_live_death(&checker->live, object, &slot, &bytes); break;
    case AL_DEED_NONE:
        if (events->op[i] == AL_EVENT_REALLOC && object >= 0) fault = al_live_find(&checker->live, object, &slot);
        break;
    }
    if (fault == AL_FAULT_NO_MEMORY) return false;
    if (fault != AL_FAULT_NONE) report(checker, i, fault);
    return true;
}

static bool check_thread(al_checker *checker, const al_events *events, size_t i) {
    uint8_t op = events->op[i];
    if (op < AL_EVENT_THREAD_START && checker->any_exit == 0) return true;
    uint64_t key = (uint64_t)events->thread[i] + 1;
    int64_t known = al_addrmap_get(&checker->threads, key);
    if (known < 0) known = 0;
    if (known & GONE) report(checker, i, AL_FAULT_THREAD_GONE);
    else if (op == AL_EVENT_THREAD_START && known & STARTED) report(checker, i, AL_FAULT_THREAD_TWICE);
    if (op < AL_EVENT_THREAD_START) return true;
    checker->any_exit += op == AL_EVENT_THREAD_EXIT;
    int64_t previous;
    return al_addrmap_put(&checker->threads, key, known | (op == AL_EVENT_THREAD_EXIT ? GONE : STARTED), &previous);
}

bool al_checker_add(al_checker *checker, const al_events *events, al_finding *problems, size_t capacity) {
    checker->problems = problems;
    checker->capacity = capacity;
    checker->found = 0;
    for (size_t i = 0; i < events->rows; i++) {
        if (i + AHEAD < events->rows) al_live_prefetch(&checker->live, events->object[i + AHEAD]);
        check_values(checker, events, i);
        if (!check_thread(checker, events, i) || !check_block(checker, events, i)) return false;
    }
    return true;
}
