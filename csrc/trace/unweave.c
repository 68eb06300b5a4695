#include "base/align.h"
#include "trace/strands.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_SLOTS = 8, POSTS = 1, WAITS = 2, NOBODY = UINT32_MAX };

/* The blocks of the recorded order are told apart by its own slots. */
typedef struct block {
    uint64_t last;   /* entry of the latest operation on it */
    uint32_t strand; /* whose that was */
    uint32_t slot;   /* among the strands' */
    uint32_t event;  /* posted behind `last`, if marked so */
} block;

typedef struct thread {
    uint64_t count;       /* of entries, then where its next one goes */
    uint32_t spare;       /* latest free slot, 0: none */
    uint32_t fresh, left; /* never used: [fresh, fresh + left), what is left of a cache line */
    uint32_t none;        /* its slot that stays NULL, for free(NULL); 0: not needed so far */
} thread;

typedef struct unweaver {
    const al_ops_head *head;
    const al_op *entries;
    al_strands_image *image;
    block *blocks;       /* by slot of the recorded order */
    uint8_t *marks;      /* by entry: POSTS, WAITS */
    uint32_t *strand_of; /* by thread: the living strand, or NOBODY */
    thread *strands;
    uint32_t *next_spare; /* by slot of the strands': the next free one of the strand's */
    uint64_t threads, slot_room;
    uint32_t slots;      /* handed out */
    uint32_t now;        /* the strand that the operations are of */
} unweaver;

static bool is_operation(const al_op *op) { return op->kind < AL_OP_TICK; }

static bool is_birth(const al_op *op) { return op->kind <= AL_OP_ALIGNED; }

static bool is_death(const al_op *op) { return op->kind == AL_OP_FREE || op->kind == AL_OP_REALLOC_ZERO; }

/* --- first: who there is, who starts and ends when, and who waits for whom --- */

static void act(al_strands_image *image, uint32_t strand, bool exits) {
    image->acts[image->head.acts++] = (al_act){strand, exits};
}

static void look_at_threads(unweaver *u) {
    al_strands_head *head = &u->image->head;
    uint64_t alive = 0;
    memset(u->strand_of, 0xff, u->threads * sizeof *u->strand_of);
    for (const al_op *op = u->entries; op < u->entries + u->head->entries; op++) {
        if (op->kind == AL_OP_THREAD && u->strand_of[op->size] == NOBODY) {
            u->strand_of[op->size] = (uint32_t)head->strands;
            if (head->strands++ > 0) act(u->image, u->strand_of[op->size], false);
            head->alive = al_max(head->alive, ++alive);
        } else if (op->kind == AL_OP_EXIT) {
            act(u->image, u->strand_of[op->size], true);
            u->strand_of[op->size] = NOBODY;
            alive--;
        }
    }
}

static void look_at_operation(unweaver *u, uint64_t i) {
    const al_op *op = &u->entries[i];
    thread *s = &u->strands[u->now];
    s->count += 1 + (op[1].kind == AL_OP_OPERAND);
    if (op->slot == 0) return;
    block *b = &u->blocks[op->slot];
    if (!is_birth(op) && b->strand != u->now) {
        u->marks[b->last] |= POSTS;
        u->marks[i] |= WAITS;
        u->strands[b->strand].count++;
        s->count++;
        u->image->head.events++;
    }
    b->last = i;
    b->strand = u->now;
}

/* Calls back for every operation, `now` being its strand. */
static void go_through(unweaver *u, void (*look)(unweaver *u, uint64_t i)) {
    uint32_t next = 0;
    memset(u->strand_of, 0xff, u->threads * sizeof *u->strand_of);
    for (uint64_t i = 0; i < u->head->entries; i++) {
        const al_op *op = &u->entries[i];
        if (op->kind == AL_OP_THREAD) {
            if (u->strand_of[op->size] == NOBODY) u->strand_of[op->size] = next++;
            u->now = u->strand_of[op->size];
        } else if (op->kind == AL_OP_EXIT) {
            u->strand_of[op->size] = NOBODY;
        } else if (is_operation(op)) {
            look(u, i);
        }
    }
}

/* --- then: their entries --- */

static void put(unweaver *u, al_op op) { u->image->entries[u->strands[u->now].count++] = op; }

static uint32_t take_slot(unweaver *u, thread *s) {
    uint32_t slot = s->spare;
    if (slot != 0) {
        s->spare = u->next_spare[slot];
        return slot;
    }
    if (s->left == 0) {
        s->fresh = u->slots;
        s->left = LINE_SLOTS;
        u->slots += LINE_SLOTS;
    }
    s->left--;
    return s->fresh++;
}

static uint32_t slot_for(unweaver *u, const al_op *op) {
    thread *s = &u->strands[u->now];
    if (op->slot != 0) return is_birth(op) ? u->blocks[op->slot].slot = take_slot(u, s) : u->blocks[op->slot].slot;
    if (op->kind != AL_OP_FREE) return 0;
    if (s->none == 0) s->none = take_slot(u, s);
    return s->none;
}

static void emit(unweaver *u, uint64_t i) {
    const al_op *op = &u->entries[i];
    thread *s = &u->strands[u->now];
    block *b = &u->blocks[op->slot];
    al_op own = *op;
    own.slot = slot_for(u, op);
    if (u->marks[i] & WAITS) put(u, (al_op){.kind = AL_OP_WAIT, .size = b->event});
    put(u, own);
    if (op[1].kind == AL_OP_OPERAND) {
        al_op operand = op[1];
        operand.slot = own.slot;
        put(u, operand);
    }
    if (u->marks[i] & POSTS) {
        b->event = (uint32_t)u->image->head.events++;
        put(u, (al_op){.kind = AL_OP_POST, .size = b->event});
    }
    if (is_death(op) && op->slot != 0) {
        u->next_spare[own.slot] = s->spare;
        s->spare = own.slot;
    }
}

/* --- memory --- */

static bool take(void **out, uint64_t count, size_t each) {
    *out = calloc(al_max(count, 1), each);
    return *out != NULL;
}

/* Every birth may want a slot, and every strand one for NULL; lines are whole. */
static uint64_t count_slots(const unweaver *u, uint64_t strands) {
    uint64_t births = 0;
    for (const al_op *op = u->entries; op < u->entries + u->head->entries; op++) births += is_birth(op);
    return births + (strands + 1) * (LINE_SLOTS + 1);
}

static bool prepare(unweaver *u) {
    uint64_t marks = 0;
    for (const al_op *op = u->entries; op < u->entries + u->head->entries; op++) {
        if (op->kind == AL_OP_THREAD) u->threads = al_max(u->threads, op->size + 1);
        marks += op->kind == AL_OP_THREAD || op->kind == AL_OP_EXIT;
    }
    return take((void **)&u->image->acts, marks, sizeof(al_act)) &&
           take((void **)&u->strand_of, u->threads, sizeof *u->strand_of) &&
           take((void **)&u->blocks, u->head->slots, sizeof *u->blocks) &&
           take((void **)&u->marks, u->head->entries, sizeof *u->marks);
}

static bool lay_out(unweaver *u) {
    al_strands_image *image = u->image;
    if (!take((void **)&image->ranges, image->head.strands, sizeof *image->ranges)) return false;
    for (uint64_t i = 0; i < image->head.strands; i++) {
        image->ranges[i] = (al_strand_range){image->entry_count, u->strands[i].count};
        u->strands[i].count = image->entry_count;
        image->entry_count += image->ranges[i].count + AL_OPS_PAD;
    }
    if (!take((void **)&image->entries, image->entry_count, sizeof *image->entries)) return false;
    for (uint64_t i = 0; i < image->head.strands; i++) {
        al_op *end = image->entries + image->ranges[i].first + image->ranges[i].count;
        for (size_t pad = 0; pad < AL_OPS_PAD; pad++) end[pad] = (al_op){.kind = AL_OP_END};
    }
    return true;
}

static bool unweave(unweaver *u) {
    al_strands_head *head = &u->image->head;
    if (!prepare(u)) return false;
    look_at_threads(u);
    if (!take((void **)&u->strands, head->strands, sizeof *u->strands)) return false;
    go_through(u, look_at_operation);
    u->slot_room = count_slots(u, head->strands);
    if (u->slot_room > UINT32_MAX || head->events > UINT32_MAX) return false;
    if (!take((void **)&u->next_spare, u->slot_room, sizeof *u->next_spare) || !lay_out(u)) return false;
    u->slots = LINE_SLOTS; /* slot 0 has a line that nobody writes to */
    head->events = 0;
    go_through(u, emit);
    head->whole.slots = u->slots;
    head->whole.entries = u->image->entry_count;
    return true;
}

bool al_unweave(const al_ops_head *head, const al_op *entries, al_strands_image *image) {
    *image = (al_strands_image){.head = {.magic = AL_STRANDS_MAGIC, .whole = *head}};
    unweaver u = {.head = head, .entries = entries, .image = image};
    bool done = unweave(&u);
    free(u.blocks);
    free(u.marks);
    free(u.strand_of);
    free(u.strands);
    free(u.next_spare);
    if (!done) al_strands_image_free(image);
    return done;
}

void al_strands_image_free(al_strands_image *image) {
    free(image->ranges);
    free(image->acts);
    free(image->entries);
    *image = (al_strands_image){0};
}
