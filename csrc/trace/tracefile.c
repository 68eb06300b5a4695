#include "trace/tracefile.h"

enum { LINE_MAX_BYTES = 4096 }; /* a line takes some tens of bytes */
enum { FIELDS = 4, CUT_OFF = -1 };
enum wire_type { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct reader {
    const uint8_t *at, *end;
} reader;

/* Returns a fault, FINE or CUT_OFF; so do all readers below. */
static int read_varint(reader *r, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (r->at == r->end) return CUT_OFF;
        uint64_t byte = *r->at++;
        if (shift == 63 && byte > 1) return AL_TRACEFILE_VARINT;
        *value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return AL_TRACEFILE_FINE;
    }
}

/* A field: its number, wire type, and its value or the length of its bytes, which are next. */
typedef struct field {
    uint64_t number, value;
    enum wire_type type;
} field;

static int read_field(reader *r, field *f) {
    uint64_t tag;
    int fault = read_varint(r, &tag);
    if (fault) return fault;
    *f = (field){.number = tag >> 3, .type = (enum wire_type)(tag & 7)};
    switch (f->type) {
    case VARINT:
    case BYTES: return read_varint(r, &f->value);
    case FIXED64: f->value = 8; return AL_TRACEFILE_FINE;
    case FIXED32: f->value = 4; return AL_TRACEFILE_FINE;
    default: return AL_TRACEFILE_WIRE_TYPE;
    }
}

/* Steps over the bytes of a field that nobody wants. */
static int skip_field(reader *r, const field *f) {
    if (f->type == VARINT) return AL_TRACEFILE_FINE;
    if ((uint64_t)(r->end - r->at) < f->value) return CUT_OFF;
    r->at += f->value;
    return AL_TRACEFILE_FINE;
}

/* The three numbers of an operation; bit n of *present says that number n is there. */
static int read_numbers(reader *r, uint64_t numbers[FIELDS], unsigned *present) {
    while (r->at < r->end) {
        field f;
        int fault = read_field(r, &f);
        if (fault == AL_TRACEFILE_FINE && f.number >= 1 && f.number < FIELDS) {
            if (f.type != VARINT) return AL_TRACEFILE_WIRE_TYPE;
            numbers[f.number] = f.value;
            *present |= 1u << f.number;
        } else if (fault == AL_TRACEFILE_FINE) {
            fault = skip_field(r, &f);
        }
        if (fault) return fault;
    }
    return AL_TRACEFILE_FINE;
}

static const al_event_op events[] = {0, AL_EVENT_MALLOC, AL_EVENT_FREE, AL_EVENT_REALLOC, AL_EVENT_CALLOC};
/* Which column operation o keeps its number n in; a free's hints are dropped. */
static const int columns[][FIELDS] = {
    {0},
    {0, AL_COLUMN_NAME, AL_COLUMN_SIZE, AL_COLUMN_ALIGN},
    {0, AL_COLUMN_NAME, AL_COLUMNS, AL_COLUMNS},
    {0, AL_COLUMN_NAME, AL_COLUMN_OLD, AL_COLUMN_SIZE},
    {0, AL_COLUMN_NAME, AL_COLUMN_COUNT, AL_COLUMN_SIZE},
};

/* One TraceLine, all of r: of several operations in its oneof, the last counts, as protobuf has it. */
static int read_line(reader *r, uint64_t where, al_import_rows *rows) {
    uint64_t operation = 0, numbers[FIELDS] = {0};
    unsigned present = 0;
    while (r->at < r->end) {
        field f;
        int fault = read_field(r, &f);
        if (fault) return fault;
        if (f.number < 1 || f.number > 4) {
            if ((fault = skip_field(r, &f))) return fault;
            continue;
        }
        if (f.type != BYTES) return AL_TRACEFILE_WIRE_TYPE;
        if ((uint64_t)(r->end - r->at) < f.value) return AL_TRACEFILE_LENGTH;
        reader inner = {r->at, r->at + f.value};
        if (f.number != operation) {
            present = 0;
            for (int i = 0; i < FIELDS; i++) numbers[i] = 0;
        }
        operation = f.number;
        if ((fault = read_numbers(&inner, numbers, &present))) return fault;
        r->at = inner.end;
    }
    if (operation == 0) return AL_TRACEFILE_EMPTY;
    al_row_begin(rows, events[operation], where);
    for (int n = 1; n < FIELDS; n++) {
        int column = columns[operation][n];
        if (column == AL_COLUMNS) continue;
        bool id = column == AL_COLUMN_NAME || column == AL_COLUMN_OLD, there = present >> n & 1;
        if (id && there && numbers[n] == UINT64_MAX) return AL_TRACEFILE_ID;
        al_row_set(rows, rows->count, (enum al_column)column, id ? (there ? numbers[n] + 1 : 0) : numbers[n]);
    }
    if (operation == 1 && numbers[3] != 0) rows->kind[rows->count] = AL_EVENT_ALIGNED;
    rows->count++;
    return AL_TRACEFILE_FINE;
}

enum al_tracefile_fault al_tracefile_scan(const uint8_t *data, size_t bytes, uint64_t base, al_import_rows *rows,
                                          size_t *consumed) {
    reader r = {data, data + bytes};
    int fault = AL_TRACEFILE_FINE;
    *consumed = 0;
    while (rows->count < rows->capacity && r.at < r.end) {
        uint64_t where = base + (uint64_t)(r.at - data);
        field f;
        if ((fault = read_field(&r, &f))) break;
        if (f.type != VARINT && f.value > LINE_MAX_BYTES) fault = AL_TRACEFILE_LENGTH;
        else if (f.number == 0 || (f.number == 1 && f.type != BYTES)) fault = AL_TRACEFILE_WIRE_TYPE;
        else if (f.type != VARINT && (uint64_t)(r.end - r.at) < f.value) fault = CUT_OFF;
        else if (f.number == 1) {
            reader line = {r.at, r.at + f.value};
            fault = read_line(&line, where, rows);
            if (fault == CUT_OFF) fault = AL_TRACEFILE_LENGTH; /* the line ends within one of its fields */
            r.at = line.end;
        } else {
            (void)skip_field(&r, &f);
        }
        if (fault) break;
        *consumed = (size_t)(r.at - data);
    }
    return fault == CUT_OFF ? AL_TRACEFILE_FINE : (enum al_tracefile_fault)fault;
}
