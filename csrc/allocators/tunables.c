/* Tunables from text: "name=value,name=value". Runs inside a drop-in's first malloc, so it neither allocates nor
 * prints. */
#include "allocators/heap.h"

#include <errno.h>
#include <string.h>

/* A piece of the text. */
typedef struct span {
    const char *at;
    size_t bytes;
} span;

static span span_of(const char *text) { return (span){text, strlen(text)}; }

static bool span_equals(span s, const char *text) {
    return strlen(text) == s.bytes && memcmp(s.at, text, s.bytes) == 0;
}

/* Takes what stands before the next `separator` (or the end) off the front of *rest. */
static span span_split(span *rest, char separator) {
    const char *found = memchr(rest->at, separator, rest->bytes);
    span head = {rest->at, found == NULL ? rest->bytes : (size_t)(found - rest->at)};
    size_t taken = head.bytes + (found != NULL);
    *rest = (span){rest->at + taken, rest->bytes - taken};
    return head;
}

/* --- the message: one line, cut where the room ends --- */

typedef struct line {
    char *at;
    size_t room;
} line;

static void put_span(line *out, span s) {
    size_t bytes = out->room == 0 ? 0 : s.bytes < out->room - 1 ? s.bytes : out->room - 1;
    if (out->room == 0) return;
    memcpy(out->at, s.at, bytes);
    out->at += bytes;
    out->room -= bytes;
    *out->at = '\0';
}

static void put(line *out, const char *text) { put_span(out, span_of(text)); }

static void put_number(line *out, uint64_t value) {
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do *--at = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    put(out, at);
}

static void put_integer(line *out, uint64_t value) {
    bool negative = (int64_t)value < 0;
    if (negative) put(out, "-");
    put_number(out, negative ? -value : value);
}

enum { UNITS = 7 };

static const char *const unit_names[UNITS] = {"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

static void put_bytes(line *out, uint64_t value) {
    unsigned unit = 0;
    while (unit < UNITS - 1 && value != 0 && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    put_number(out, value);
    put(out, unit_names[unit]);
}

static int say_unknown(const al_allocator *allocator, span name, line out) {
    put(&out, allocator->name);
    put(&out, " has no tunable '");
    put_span(&out, name);
    put(&out, allocator->tunable_count == 0 ? "'; it has none" : "'; it has: ");
    for (size_t i = 0; i < allocator->tunable_count; i++) {
        if (i > 0) put(&out, ", ");
        put(&out, allocator->tunables[i].name);
    }
    return EINVAL;
}

static int say_too_long(const al_allocator *allocator, const al_tunable *tunable, uint64_t room, line out) {
    put(&out, allocator->name);
    put(&out, ": ");
    put(&out, tunable->name);
    put(&out, " is too long: there is room for ");
    put_number(&out, room);
    put(&out, " characters");
    return EINVAL;
}

static int say_wrong(const al_allocator *allocator, const al_tunable *tunable, span value, line out) {
    put(&out, allocator->name);
    put(&out, ": ");
    put(&out, tunable->name);
    if (tunable->type == AL_TUNABLE_CHOICE) {
        put(&out, " is one of ");
        put(&out, tunable->choices);
    } else if (tunable->type == AL_TUNABLE_BOOL) {
        put(&out, " is true or false");
    } else if (tunable->type == AL_TUNABLE_TEXT) {
        put(&out, " is written ");
        put(&out, tunable->choices);
    } else {
        void (*put_value)(line *, uint64_t) = tunable->type == AL_TUNABLE_BYTES     ? put_bytes
                                              : tunable->type == AL_TUNABLE_INTEGER ? put_integer
                                                                                    : put_number;
        put(&out, tunable->type == AL_TUNABLE_BYTES ? " is a size from " : " is a number from ");
        bool open = tunable->most == UINT64_MAX && tunable->type != AL_TUNABLE_INTEGER;
        put_value(&out, tunable->least);
        put(&out, open ? " up" : " to ");
        if (!open) put_value(&out, tunable->most);
    }
    put(&out, ", not '");
    put_span(&out, value);
    put(&out, "'");
    return EINVAL;
}

/* --- values --- */

static bool parse_choice(const char *choices, span text, uint64_t *value) {
    span rest = span_of(choices);
    for (uint64_t index = 0; rest.bytes > 0; index++) {
        span choice = span_split(&rest, '|');
        if (choice.bytes != text.bytes || memcmp(choice.at, text.at, text.bytes) != 0) continue;
        *value = index;
        return true;
    }
    return false;
}

static bool parse_bool(span text, uint64_t *value) {
    *value = span_equals(text, "true") || span_equals(text, "1");
    return *value || span_equals(text, "false") || span_equals(text, "0");
}

static bool parse_unit(span text, uint64_t *unit) {
    for (unsigned i = 0; i < UNITS; i++) {
        *unit = UINT64_C(1) << (10 * i);
        if (span_equals(text, unit_names[i])) return true;
    }
    return false;
}

static bool parse_number(span text, bool units, uint64_t *value) {
    size_t digits = 0;
    uint64_t number = 0, unit = 1;
    for (; digits < text.bytes && text.at[digits] >= '0' && text.at[digits] <= '9'; digits++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text.at[digits] - '0'), &number))
            return false;
    span rest = {text.at + digits, text.bytes - digits};
    if (digits == 0 || (units ? !parse_unit(rest, &unit) : rest.bytes > 0)) return false;
    return !__builtin_mul_overflow(number, unit, value);
}

static bool parse_integer(span text, uint64_t *value) {
    bool negative = text.bytes > 0 && text.at[0] == '-';
    span digits = {text.at + negative, text.bytes - negative};
    if (!parse_number(digits, false, value) || *value > INT64_MAX) return false;
    if (negative) *value = -*value;
    return true;
}

static bool in_range(const al_tunable *tunable, uint64_t value) {
    if (tunable->type != AL_TUNABLE_INTEGER) return value >= tunable->least && value <= tunable->most;
    return (int64_t)value >= (int64_t)tunable->least && (int64_t)value <= (int64_t)tunable->most;
}

static bool parse_value(const al_tunable *tunable, span text, uint64_t *value) {
    bool read = false;
    switch (tunable->type) {
    case AL_TUNABLE_CHOICE: read = parse_choice(tunable->choices, text, value); break;
    case AL_TUNABLE_BOOL: read = parse_bool(text, value); break;
    case AL_TUNABLE_INTEGER: read = parse_integer(text, value); break;
    case AL_TUNABLE_BYTES: read = parse_number(text, true, value); break;
    case AL_TUNABLE_COUNT: read = parse_number(text, false, value); break;
    case AL_TUNABLE_TEXT: return text.bytes == 0 || tunable->takes(text.at, text.bytes);
    }
    return read && in_range(tunable, *value);
}

/* --- the contract --- */

void al_tunables_default(const al_allocator *allocator, al_settings *settings) {
    *settings = (al_settings){.given = 0};
    for (size_t i = 0; i < allocator->tunable_count; i++) settings->values[i] = allocator->tunables[i].value;
}

static size_t text_room(const al_settings *settings) {
    const size_t left = AL_TEXTS_BYTES - settings->texts_used;
    return left - (left > 0);
}

bool al_tunables_set_text(al_settings *settings, size_t tunable, const char *text, size_t bytes) {
    if (bytes > text_room(settings)) return false;
    const uint32_t at = bytes == 0 ? 0 : 1 + settings->texts_used;
    memcpy(settings->texts + at, text, bytes);
    settings->texts_used += bytes == 0 ? 0 : (uint32_t)bytes + 1;
    settings->values[tunable] = at;
    settings->given |= UINT32_C(1) << tunable;
    return true;
}

static int set_one(const al_allocator *allocator, size_t i, span text, al_settings *settings, line out) {
    const al_tunable *tunable = &allocator->tunables[i];
    uint64_t value;
    if (!parse_value(tunable, text, &value)) return say_wrong(allocator, tunable, text, out);
    if (tunable->type == AL_TUNABLE_TEXT) {
        bool fits = al_tunables_set_text(settings, i, text.at, text.bytes);
        return fits ? 0 : say_too_long(allocator, tunable, text_room(settings), out);
    }
    settings->values[i] = value;
    settings->given |= UINT32_C(1) << i;
    return 0;
}

static int parse_one(const al_allocator *allocator, span setting, al_settings *settings, line out) {
    span value = setting, name = span_split(&value, '=');
    for (size_t i = 0; i < allocator->tunable_count; i++)
        if (span_equals(name, allocator->tunables[i].name)) return set_one(allocator, i, value, settings, out);
    return say_unknown(allocator, name, out);
}

int al_tunables_parse(const al_allocator *allocator, const char *text, al_settings *settings, char *message,
                      size_t message_bytes) {
    al_settings parsed = *settings;
    for (span rest = span_of(text); rest.bytes > 0;) {
        int error = parse_one(allocator, span_split(&rest, ','), &parsed, (line){message, message_bytes});
        if (error != 0) return error;
    }
    *settings = parsed;
    return 0;
}
