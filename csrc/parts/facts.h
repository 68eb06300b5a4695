/* Facts told one after the other, into whatever room there is for them. */
#ifndef AL_PARTS_FACTS_H
#define AL_PARTS_FACTS_H

#include "parts/walk.h"

typedef struct al_facts {
    al_fact *out;
    size_t room, count; /* count may exceed room: so many there are */
} al_facts;

static inline void al_tell_fact(al_facts *facts, al_fact fact) {
    if (facts->count < facts->room) facts->out[facts->count] = fact;
    facts->count++;
}

static inline void al_tell(al_facts *facts, const char *name, al_fact_kind kind, uint64_t value) {
    al_tell_fact(facts, (al_fact){.name = name, .kind = kind, .value = value});
}
static inline void al_tell_count(al_facts *facts, const char *name, uint64_t value) {
    al_tell(facts, name, AL_FACT_COUNT, value);
}
static inline void al_tell_bytes(al_facts *facts, const char *name, uint64_t value) {
    al_tell(facts, name, AL_FACT_BYTES, value);
}
static inline void al_tell_flag(al_facts *facts, const char *name, bool value) {
    al_tell(facts, name, AL_FACT_FLAG, value);
}
static inline void al_tell_address(al_facts *facts, const char *name, const void *at) {
    al_tell(facts, name, AL_FACT_ADDRESS, (uintptr_t)at);
}
/* text: a constant string. */
static inline void al_tell_text(al_facts *facts, const char *name, const char *text) {
    al_tell_fact(facts, (al_fact){.name = name, .kind = AL_FACT_TEXT, .text = text});
}

/* Rows of a table, one at a time. */
enum { AL_COLUMNS_MOST = 20 };

typedef struct al_rows {
    al_row_fn *visit;
    void *context;
    al_fact row[AL_COLUMNS_MOST];
    al_facts facts;
} al_rows;

static inline al_facts *al_row_begin(al_rows *rows) {
    rows->facts = (al_facts){.out = rows->row, .room = AL_COLUMNS_MOST};
    return &rows->facts;
}

/* Shows it; false: no more are wanted. */
static inline bool al_row_end(al_rows *rows) { return rows->visit(rows->context, rows->row, rows->facts.count); }

#endif
