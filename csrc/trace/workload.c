#include "trace/workload.h"

#include <stdlib.h>

enum opcode {
    OP_NOP, OP_DONE, OP_MALLOC, OP_CALLOC, OP_REALLOC, OP_FREE, OP_SYNC_W, OP_SYNC_R, OP_ALLOC_PTRS, OP_ALLOC_SYNCS,
    OP_NTHREADS, OP_START_THREAD, OP_MEMALIGN, OP_VALLOC, OP_PVALLOC, OP_POSIX_MEMALIGN, OPCODES
};

static const uint8_t operands[OPCODES] = {
    [OP_MALLOC] = 2, [OP_CALLOC] = 2, [OP_REALLOC] = 3, [OP_FREE] = 1, [OP_SYNC_W] = 1, [OP_SYNC_R] = 1,
    [OP_ALLOC_PTRS] = 1, [OP_ALLOC_SYNCS] = 1, [OP_NTHREADS] = 1, [OP_START_THREAD] = 1, [OP_MEMALIGN] = 3,
    [OP_VALLOC] = 2, [OP_PVALLOC] = 2, [OP_POSIX_MEMALIGN] = 3,
};

typedef struct instruction {
    enum opcode opcode;
    uint64_t at, values[3];
} instruction;

static enum al_workload_fault fail(al_workload *w, enum al_workload_fault fault, uint64_t at) {
    w->fault_at = at;
    return fault;
}

static enum al_workload_fault read_varint(al_workload *w, uint64_t *at, uint64_t *value) {
    *value = 0;
    for (;;) {
        if (*at >= w->bytes) return fail(w, AL_WORKLOAD_CUT_OFF, *at);
        uint8_t byte = w->data[*at];
        if (*value >> 57) return fail(w, AL_WORKLOAD_VARINT, *at);
        *value = *value << 7 | (byte & 0x7f);
        (*at)++;
        if (byte < 0x80) return AL_WORKLOAD_FINE;
    }
}

static enum al_workload_fault read_instruction(al_workload *w, uint64_t *at, instruction *out) {
    *out = (instruction){.at = *at};
    if (*at >= w->bytes) return fail(w, AL_WORKLOAD_CUT_OFF, *at);
    uint8_t opcode = w->data[(*at)++];
    if (opcode >= OPCODES) return fail(w, AL_WORKLOAD_OPCODE, out->at);
    out->opcode = (enum opcode)opcode;
    for (unsigned i = 0; i < operands[opcode]; i++) {
        enum al_workload_fault fault = read_varint(w, at, &out->values[i]);
        if (fault) return fault;
    }
    return AL_WORKLOAD_FINE;
}

/* --- the head --- */

static enum al_workload_fault start_thread(al_workload *w, const instruction *in) {
    if (in->values[0] >= w->bytes) return fail(w, AL_WORKLOAD_OFFSET, in->at);
    if (w->thread_count == w->threads_capacity) {
        size_t capacity = w->threads_capacity == 0 ? 16 : 2 * w->threads_capacity;
        al_workload_thread *threads = reallocarray(w->threads, capacity, sizeof *threads);
        if (threads == NULL) return fail(w, AL_WORKLOAD_NO_MEMORY, in->at);
        w->threads = threads;
        w->threads_capacity = capacity;
    }
    w->threads[w->thread_count++] = (al_workload_thread){.at = in->values[0]};
    w->running++;
    return AL_WORKLOAD_FINE;
}

/* No file has more flags than bytes: each is written by an instruction of two bytes or more. */
static enum al_workload_fault set_syncs(al_workload *w, const instruction *in) {
    if (in->values[0] > w->bytes) return fail(w, AL_WORKLOAD_SYNC, in->at);
    free(w->flags);
    w->syncs = in->values[0];
    w->flags = calloc(w->syncs + 1, 1);
    return w->flags == NULL ? fail(w, AL_WORKLOAD_NO_MEMORY, in->at) : AL_WORKLOAD_FINE;
}

enum al_workload_fault al_workload_open(al_workload *w, const uint8_t *data, uint64_t bytes, uint64_t page) {
    *w = (al_workload){.data = data, .bytes = bytes, .page = page};
    enum al_workload_fault fault = AL_WORKLOAD_FINE;
    for (uint64_t at = 0; fault == AL_WORKLOAD_FINE;) {
        instruction in;
        if ((fault = read_instruction(w, &at, &in))) break;
        switch (in.opcode) {
        case OP_NOP:
        case OP_NTHREADS: break; /* the START_THREADs say it again */
        case OP_DONE: return AL_WORKLOAD_FINE;
        case OP_ALLOC_PTRS: w->pointers = in.values[0]; break;
        case OP_ALLOC_SYNCS: fault = set_syncs(w, &in); break;
        case OP_START_THREAD: fault = start_thread(w, &in); break;
        default: fault = fail(w, AL_WORKLOAD_OPCODE, in.at);
        }
    }
    return fault;
}

void al_workload_destroy(al_workload *w) {
    free(w->flags);
    free(w->threads);
    *w = (al_workload){0};
}

/* --- the threads' scripts --- */

static enum al_workload_fault append(al_workload *w, al_import_rows *rows, const instruction *in) {
    static const al_event_op events[OPCODES] = {
        [OP_MALLOC] = AL_EVENT_MALLOC, [OP_CALLOC] = AL_EVENT_CALLOC, [OP_REALLOC] = AL_EVENT_REALLOC,
        [OP_FREE] = AL_EVENT_FREE, [OP_MEMALIGN] = AL_EVENT_ALIGNED, [OP_VALLOC] = AL_EVENT_ALIGNED,
        [OP_PVALLOC] = AL_EVENT_ALIGNED, [OP_POSIX_MEMALIGN] = AL_EVENT_ALIGNED, [OP_DONE] = AL_EVENT_THREAD_EXIT,
    };
    enum opcode op = in->opcode;
    bool aligned = op == OP_MEMALIGN || op == OP_POSIX_MEMALIGN, paged = op == OP_VALLOC || op == OP_PVALLOC;
    if (op != OP_DONE && in->values[0] > w->pointers) return fail(w, AL_WORKLOAD_POINTER, in->at);
    if (op == OP_REALLOC && in->values[1] > w->pointers) return fail(w, AL_WORKLOAD_POINTER, in->at);
    al_row_begin(rows, events[op], in->at);
    size_t row = rows->count++;
    al_row_set(rows, row, AL_COLUMN_THREAD, w->turn);
    al_row_set(rows, row, AL_COLUMN_NAME, in->values[0]);
    if (op == OP_REALLOC) al_row_set(rows, row, AL_COLUMN_OLD, in->values[1]);
    if (op == OP_CALLOC) {
        al_row_set(rows, row, AL_COLUMN_COUNT, in->values[1]);
        al_row_set(rows, row, AL_COLUMN_SIZE, 1);
    } else {
        al_row_set(rows, row, AL_COLUMN_SIZE, in->values[op == OP_REALLOC || aligned ? 2 : 1]);
    }
    if (aligned || paged) al_row_set(rows, row, AL_COLUMN_ALIGN, paged ? w->page : in->values[1]);
    return AL_WORKLOAD_FINE;
}

/* One step of the thread whose turn it is. *waits: it stands before a flag not yet set. */
static enum al_workload_fault step(al_workload *w, al_import_rows *rows, bool *waits) {
    al_workload_thread *thread = &w->threads[w->turn];
    uint64_t at = thread->at;
    instruction in;
    enum al_workload_fault fault = read_instruction(w, &at, &in);
    if (fault) return fault;
    *waits = false;
    switch (in.opcode) {
    case OP_NOP: break;
    case OP_SYNC_W:
    case OP_SYNC_R:
        if (w->flags == NULL || in.values[0] > w->syncs) return fail(w, AL_WORKLOAD_SYNC, in.at);
        if (in.opcode == OP_SYNC_W) w->flags[in.values[0]] = 1;
        else if (!w->flags[in.values[0]]) *waits = true;
        break;
    case OP_ALLOC_PTRS:
    case OP_ALLOC_SYNCS:
    case OP_NTHREADS:
    case OP_START_THREAD: return fail(w, AL_WORKLOAD_OPCODE, in.at);
    default:
        if ((fault = append(w, rows, &in))) return fault;
        thread->done = in.opcode == OP_DONE;
        w->running -= thread->done;
    }
    if (!*waits) thread->at = at;
    return AL_WORKLOAD_FINE;
}

enum al_workload_fault al_workload_run(al_workload *w, al_import_rows *rows) {
    while (w->running > 0 && rows->count < rows->capacity) {
        al_workload_thread *thread = &w->threads[w->turn];
        if (!thread->done) {
            bool waits;
            enum al_workload_fault fault = step(w, rows, &waits);
            if (fault) return fault;
            w->waiting = waits ? w->waiting + 1 : 0;
            if (w->running > 0 && w->waiting >= w->running) return fail(w, AL_WORKLOAD_DEADLOCK, thread->at);
        }
        w->turn = (w->turn + 1) % w->thread_count;
    }
    return AL_WORKLOAD_FINE;
}
