#include "allocators/jemalloc/text.h"

#include <string.h>

unsigned al_je_digit(char c) {
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
    return UINT32_MAX;
}

static void skip(je_text *text, size_t bytes) { *text = (je_text){text->at + bytes, text->bytes - bytes}; }

bool al_je_take_char(je_text *text, char c) {
    if (text->bytes == 0 || *text->at != c) return false;
    skip(text, 1);
    return true;
}

bool al_je_take_digits(je_text *text, unsigned base, uint64_t *value) {
    const char *at = text->at, *end = at + text->bytes;
    *value = 0;
    for (unsigned d; at < end && (d = al_je_digit(*at)) < base; at++) {
        const uint64_t before = *value;
        *value = before * base + d;
        if (*value < before) return false;
    }
    bool any = at > text->at;
    *text = (je_text){at, (size_t)(end - at)};
    return any;
}

bool al_je_take_number(je_text *text, uint64_t *value) {
    while (text->bytes > 0 && memchr(" \t\n\v\f\r", *text->at, 6) != NULL) skip(text, 1);
    bool negative = al_je_take_char(text, '-');
    if (!negative) al_je_take_char(text, '+');
    unsigned base = text->bytes > 0 && *text->at == '0' ? 8 : 10;
    if (base == 8 && text->bytes > 1 && (text->at[1] == 'x' || text->at[1] == 'X')) {
        base = 16;
        skip(text, 2);
    }
    if (!al_je_take_digits(text, base, value)) return false;
    if (negative) *value = -*value;
    return true;
}

bool al_je_take_range(je_text *text, je_range *range) {
    if (!al_je_take_number(text, &range->from) || !al_je_take_char(text, '-') || !al_je_take_number(text, &range->to) ||
        !al_je_take_char(text, ':') || !al_je_take_number(text, &range->number))
        return false;
    al_je_take_char(text, '|');
    return true;
}
