/* What every reader of a foreign format fills: rows of numbers by column, names not yet resolved. */
#ifndef AL_TRACE_ROWS_H
#define AL_TRACE_ROWS_H

#include "trace/events.h"

/* Columns of a row that its source does not fill hold 0; count holds 1 and time UINT64_MAX. */
enum al_column {
    AL_COLUMN_THREAD,
    AL_COLUMN_NAME, /* the block made, moved to or freed; 0 is NULL */
    AL_COLUMN_OLD,  /* realloc: the block given */
    AL_COLUMN_SIZE,
    AL_COLUMN_COUNT,
    AL_COLUMN_ALIGN,
    AL_COLUMN_TIME,
    AL_COLUMNS
};

enum { AL_ROW_RENAME = AL_EVENT_OPS }; /* as an event: the block OLD goes by NAME from here on */

/* Row r: kind[r] is its event (or pattern), where[r] its byte offset, columns[c * capacity + r] its columns. */
typedef struct al_import_rows {
    size_t capacity, count;
    uint8_t *kind;
    uint64_t *where, *columns;
} al_import_rows;

static inline void al_row_set(al_import_rows *rows, size_t row, enum al_column column, uint64_t value) {
    rows->columns[(size_t)column * rows->capacity + row] = value;
}

static inline void al_row_begin(al_import_rows *rows, al_event_op event, uint64_t where) {
    size_t row = rows->count;
    rows->kind[row] = (uint8_t)event;
    rows->where[row] = where;
    for (int c = 0; c < AL_COLUMNS; c++)
        al_row_set(rows, row, (enum al_column)c, c == AL_COLUMN_COUNT ? 1 : c == AL_COLUMN_TIME ? UINT64_MAX : 0);
}

#endif
