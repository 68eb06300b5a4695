#include "replay/job.h"

#include "base/align.h"

enum { TEXT_BYTES = 1 << 14, LINE_BYTES = 96 };

static bool sound_entry(const al_ops_head *head, const al_op *op, const al_op *next, uint64_t events) {
    if (op->slot >= head->slots || op->align_log2 > 63) return false;
    switch (op->kind) {
    case AL_OP_MALLOC:
    case AL_OP_CALLOC:
    case AL_OP_ALIGNED:
        return op->slot != 0;
    case AL_OP_REALLOC:
        return op->slot != 0 && next->kind == AL_OP_OPERAND;
    case AL_OP_FAILED:
        return op->original != AL_OP_REALLOC || next->kind == AL_OP_OPERAND;
    case AL_OP_THREAD:
    case AL_OP_EXIT:
        return op->size < head->entries; /* threads are numbered densely */
    case AL_OP_WAIT:
    case AL_OP_POST:
        return op->size < events;
    default:
        return op->kind < AL_OP_END;
    }
}

bool al_entries_sound(const al_ops_head *head, const al_op *entries, uint64_t count, uint64_t events) {
    const al_op *op = entries, *end = op + count;
    for (; op < end; op++)
        if (!sound_entry(head, op, op + 1, events)) return false;
    for (; op < end + AL_OPS_PAD; op++)
        if (op->kind != AL_OP_END || op->slot >= head->slots) return false;
    return true;
}

bool al_job_sound(const al_job *job) {
    const al_ops_head *head = job->head;
    if (head->magic != AL_OPS_MAGIC || head->slots == 0) return false;
    if (job->entry_room < AL_OPS_PAD || head->entries != job->entry_room - AL_OPS_PAD) return false;
    return al_entries_sound(head, job->entries, head->entries, 0);
}

size_t al_job_text_bytes(const al_job *job) {
    return TEXT_BYTES + ((size_t)job->samples + job->warm_passes) * LINE_BYTES;
}
