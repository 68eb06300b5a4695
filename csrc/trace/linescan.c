#include "trace/linescan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERNS = 64, MAX_STEPS = 40, MAX_TEXT = 8192, NO_COLUMN = AL_COLUMNS };

enum kind { LITERAL, BLANKS, SKIP, REST, GROUP, GROUP_END, DECIMAL, HEX, NUMBER, POINTER, ID };

typedef struct step {
    uint8_t kind, column;
    uint16_t end;          /* GROUP: the index of its GROUP_END */
    uint16_t text, length; /* LITERAL, SKIP: where in scan->text */
} step;

typedef struct pattern {
    step steps[MAX_STEPS];
    unsigned count;
    unsigned shared; /* leading steps, outside groups, that equal those of the pattern before */
} pattern;

struct al_linescan {
    pattern patterns[MAX_PATTERNS];
    unsigned count;
    size_t text_used;
    char text[MAX_TEXT];
};

static const char *const column_names[AL_COLUMNS + 1] = {"thread", "name",  "old",  "size",
                                                         "count",  "align", "time", "_"};
static const uint64_t column_defaults[AL_COLUMNS] = {0, 0, 0, 0, 1, 0, UINT64_MAX};

al_linescan *al_linescan_new(void) { return calloc(1, sizeof(al_linescan)); }

void al_linescan_free(al_linescan *scan) { free(scan); }

/* --- compiling --- */

static bool keep_text(al_linescan *scan, step *out, const char *from, size_t length) {
    if (length == 0 || length > MAX_TEXT - scan->text_used) return false;
    memcpy(scan->text + scan->text_used, from, length);
    out->text = (uint16_t)scan->text_used;
    out->length = (uint16_t)length;
    scan->text_used += length;
    return true;
}

/* "{COLUMN:k}" at *at; moves *at past it. */
static bool compile_number(const char **at, step *out) {
    const char *name = *at + 1, *colon = strchr(name, ':');
    if (colon == NULL || colon[1] == '\0' || colon[2] != '}') return false;
    size_t length = (size_t)(colon - name);
    uint8_t column = 0;
    while (column <= NO_COLUMN &&
           !(strlen(column_names[column]) == length && memcmp(column_names[column], name, length) == 0))
        column++;
    const char *letters = "uxnpi", *letter = strchr(letters, colon[1]);
    static const uint8_t kinds[] = {DECIMAL, HEX, NUMBER, POINTER, ID};
    if (column > NO_COLUMN || letter == NULL) return false;
    *out = (step){.kind = kinds[letter - letters], .column = column};
    *at = colon + 3;
    return true;
}

/* The step at *at; moves *at past it. */
static bool compile_step(al_linescan *scan, const char **at, step *out) {
    const char *p = *at;
    if (*p == ' ') {
        *out = (step){.kind = BLANKS};
        *at = p + 1;
        return true;
    }
    bool skip = strncmp(p, "{~}", 3) == 0;
    if (*p != '{' || skip) {
        p += skip ? 3 : 0;
        size_t length = strcspn(p, " {");
        *out = (step){.kind = skip ? SKIP : LITERAL};
        *at = p + length;
        return keep_text(scan, out, p, length);
    }
    const char *const marks[] = {"{*}", "{(}", "{)}"};
    static const uint8_t kinds[] = {REST, GROUP, GROUP_END};
    for (int i = 0; i < 3; i++) {
        if (strncmp(p, marks[i], 3) != 0) continue;
        *out = (step){.kind = kinds[i]};
        *at = p + 3;
        return true;
    }
    return compile_number(at, out);
}

static bool same_step(const al_linescan *scan, const step *a, const step *b) {
    return a->kind == b->kind && a->column == b->column && a->length == b->length && a->end == b->end &&
           memcmp(scan->text + a->text, scan->text + b->text, a->length) == 0;
}

/* How many leading steps two patterns share, cut back so that the cut lies in no group. */
static unsigned shared_steps(const al_linescan *scan, const pattern *a, const pattern *b) {
    unsigned shared = 0, outside = 0, in_group = 0;
    while (shared < a->count && shared < b->count && same_step(scan, &a->steps[shared], &b->steps[shared])) {
        in_group += a->steps[shared].kind == GROUP;
        in_group -= a->steps[shared].kind == GROUP_END;
        shared++;
        if (!in_group) outside = shared;
    }
    return outside;
}

int al_linescan_add(al_linescan *scan, const char *text) {
    if (scan->count == MAX_PATTERNS) return -1;
    pattern *p = &scan->patterns[scan->count];
    *p = (pattern){0};
    int group = -1;
    while (*text != '\0') {
        step *s = &p->steps[p->count];
        if (p->count == MAX_STEPS || !compile_step(scan, &text, s)) return -1;
        if ((s->kind == GROUP) != (group < 0) && (s->kind == GROUP || s->kind == GROUP_END)) return -1;
        if (s->kind == GROUP) group = (int)p->count;
        if (s->kind == GROUP_END) {
            p->steps[group].end = (uint16_t)p->count;
            group = -1;
        }
        p->count++;
    }
    if (group >= 0 || p->count == 0) return -1;
    p->shared = scan->count == 0 ? 0 : shared_steps(scan, p - 1, p);
    return (int)scan->count++;
}

/* --- scanning --- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static bool read_decimal(const char **at, const char *end, uint64_t *value) {
    const char *p = *at;
    uint64_t v = 0;
    for (; p < end && (unsigned char)(*p - '0') < 10; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10) return false;
        v = 10 * v + digit;
    }
    *value = v;
    bool any = p > *at;
    *at = p;
    return any;
}

static unsigned hex_digit(char c) {
    if ((unsigned char)(c - '0') < 10) return (unsigned)(c - '0');
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

static bool read_hex(const char **at, const char *end, uint64_t *value) {
    const char *p = *at;
    uint64_t v = 0;
    for (unsigned digit; p < end && (digit = hex_digit(*p)) < 16; p++) {
        if (v >> 60) return false;
        v = v << 4 | digit;
    }
    *value = v;
    bool any = p > *at;
    *at = p;
    return any;
}

static bool take(const char **at, const char *end, const char *text, size_t length) {
    if ((size_t)(end - *at) < length || memcmp(*at, text, length) != 0) return false;
    *at += length;
    return true;
}

static bool read_pointer(const char **at, const char *end, uint64_t *value) {
    *value = 0;
    if (take(at, end, "0x", 2)) return read_hex(at, end, value);
    return take(at, end, "0", 1) || take(at, end, "nil", 3) || take(at, end, "(nil)", 5) || take(at, end, "NULL", 4);
}

static bool read_number(uint8_t kind, const char **at, const char *end, uint64_t *value) {
    switch (kind) {
    case HEX: (void)take(at, end, "0x", 2); return read_hex(at, end, value);
    case NUMBER: return take(at, end, "0x", 2) ? read_hex(at, end, value) : read_decimal(at, end, value);
    case POINTER: return read_pointer(at, end, value);
    case ID: return read_decimal(at, end, value) && (*value)++ < UINT64_MAX;
    default: return read_decimal(at, end, value);
    }
}

/* One line on its way through the patterns. Before step s of the current pattern, marks[s] was the place in the line
 * and masks[s] the columns filled so far. */
typedef struct line {
    const char *end;
    const char *marks[MAX_STEPS + 1];
    unsigned masks[MAX_STEPS + 1];
    uint64_t values[AL_COLUMNS + 1], before_group[AL_COLUMNS + 1];
} line;

static bool match_step(const al_linescan *scan, const step *s, line *l, const char **at, unsigned *mask) {
    const char *text = scan->text + s->text, *found;
    switch (s->kind) {
    case LITERAL: return take(at, l->end, text, s->length);
    case BLANKS:
        if (*at == l->end || !is_blank(**at)) return false;
        while (*at < l->end && is_blank(**at)) (*at)++;
        return true;
    case SKIP:
        found = memmem(*at, (size_t)(l->end - *at), text, s->length);
        if (found == NULL) return false;
        *at = found + s->length;
        return true;
    case REST: *at = l->end; return true;
    case GROUP:
    case GROUP_END: return true;
    default: *mask |= 1u << s->column; return read_number(s->kind, at, l->end, &l->values[s->column]);
    }
}

/* Matches p from its step `from` on. Returns the step that failed: p->count where only the line's end is wrong, and
 * one more where the whole line fits. */
static unsigned match(const al_linescan *scan, const pattern *p, unsigned from, line *l) {
    const char *at = l->marks[from];
    unsigned mask = l->masks[from], group = 0;
    bool in_group = false;
    for (unsigned s = from; s < p->count; s++) {
        l->marks[s] = at;
        l->masks[s] = mask;
        if (p->steps[s].kind == GROUP) {
            group = s;
            in_group = true;
            memcpy(l->before_group, l->values, sizeof l->values);
        } else if (p->steps[s].kind == GROUP_END) {
            in_group = false;
        } else if (!match_step(scan, &p->steps[s], l, &at, &mask)) {
            if (!in_group) return s;
            at = l->marks[group]; /* the group is missing: go on behind it */
            mask = l->masks[group];
            memcpy(l->values, l->before_group, sizeof l->values);
            s = p->steps[group].end;
            in_group = false;
        }
    }
    l->marks[p->count] = at;
    l->masks[p->count] = mask;
    return p->count + (at == l->end);
}

/* The first pattern that fits [at, l->end), its values in l and the columns it filled in *mask. */
static uint8_t match_line(const al_linescan *scan, line *l, const char *at, unsigned *mask) {
    unsigned failed = 0;
    l->marks[0] = at;
    l->masks[0] = 0;
    for (unsigned i = 0; i < scan->count; i++) {
        const pattern *p = &scan->patterns[i];
        /* The pattern before failed within what both share: this one would fail at the same place. */
        if (failed < p->shared) continue;
        failed = match(scan, p, p->shared, l);
        if (failed <= p->count) continue;
        *mask = l->masks[p->count];
        return (uint8_t)i;
    }
    return AL_LINE_UNKNOWN;
}

static uint8_t line_kind(const al_linescan *scan, line *l, const char *first, ptrdiff_t length, unsigned *mask) {
    if (length > AL_LINE_MAX) return AL_LINE_UNKNOWN;
    return first == l->end ? AL_LINE_BLANK : match_line(scan, l, first, mask);
}

static void write_row(al_import_rows *rows, size_t row, const line *l, unsigned mask) {
    for (unsigned c = 0; c < AL_COLUMNS; c++)
        al_row_set(rows, row, (enum al_column)c, mask >> c & 1 ? l->values[c] : column_defaults[c]);
}

size_t al_linescan_run(const al_linescan *scan, const char *text, size_t bytes, al_import_rows *rows) {
    const char *at = text, *const stop = text + bytes;
    size_t row = 0;
    line l;
    for (; row < rows->capacity && at < stop; row++) {
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        if (newline == NULL) break;
        const char *first = at;
        l.end = newline;
        while (first < l.end && is_blank(*first)) first++;
        while (l.end > first && is_blank(l.end[-1])) l.end--;
        unsigned mask = 0;
        rows->kind[row] = line_kind(scan, &l, first, newline - at, &mask);
        rows->where[row] = (uint64_t)(at - text);
        write_row(rows, row, &l, mask);
        at = newline + 1;
    }
    rows->count = row;
    return (size_t)(at - text);
}
