/* "name value" lines in a buffer, written without stdio (which allocates). What does not fit is cut. */
#ifndef AL_BASE_TEXT_H
#define AL_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct al_text {
    char *at, *end;
} al_text;

static inline void al_text_put(al_text *text, const char *s) {
    for (; *s != '\0' && text->at < text->end; s++) *text->at++ = *s;
}

static inline void al_text_number(al_text *text, uint64_t n, unsigned base) {
    char digits[64];
    size_t count = 0;
    do digits[count++] = "0123456789abcdef"[n % base];
    while ((n /= base) != 0);
    while (count > 0 && text->at < text->end) *text->at++ = digits[--count];
}

static inline void al_text_u64(al_text *text, uint64_t n) { al_text_number(text, n, 10); }

static inline void al_text_hex(al_text *text, uint64_t n) {
    al_text_put(text, "0x");
    al_text_number(text, n, 16);
}

/* Without what would end it: blanks, controls, % and all beyond ASCII are written %XX. */
static inline void al_text_word(al_text *text, const char *word) {
    for (; *word != '\0'; word++) {
        const unsigned char c = (unsigned char)*word;
        const bool plain = c > ' ' && c < 0x7f && c != '%';
        const char escaped[] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15], '\0'};
        al_text_put(text, plain ? (const char[]){*word, '\0'} : escaped);
    }
}

/* Nine digits after the point, cut off; 0 <= x < 2^64. */
static inline void al_text_real(al_text *text, double x) {
    uint64_t whole = (uint64_t)x, nano = (uint64_t)((x - (double)whole) * 1e9);
    al_text_u64(text, whole);
    al_text_put(text, ".");
    char digits[10] = {0};
    for (int i = 8; i >= 0; i--, nano /= 10) digits[i] = (char)('0' + nano % 10);
    al_text_put(text, digits);
}

static inline void al_text_figure(al_text *text, const char *name, uint64_t value) {
    al_text_put(text, name);
    al_text_put(text, " ");
    al_text_u64(text, value);
    al_text_put(text, "\n");
}

/* The name and its figures, each after a blank. */
static inline void al_text_row(al_text *text, const char *name, const uint64_t *values, size_t count) {
    al_text_put(text, name);
    for (size_t i = 0; i < count; i++) {
        al_text_put(text, " ");
        al_text_u64(text, values[i]);
    }
    al_text_put(text, "\n");
}

static inline void al_text_line(al_text *text, const char *name, const char *value) {
    al_text_put(text, name);
    al_text_put(text, " ");
    al_text_put(text, value);
    al_text_put(text, "\n");
}

#endif
