/* Numbers, and lists of ranges of sizes, as jemalloc reads them in its settings: each off the front of a text. */
#ifndef AL_ALLOCATORS_JEMALLOC_TEXT_H
#define AL_ALLOCATORS_JEMALLOC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct je_text {
    const char *at;
    size_t bytes;
} je_text;

/* UINT32_MAX where it is none. */
unsigned al_je_digit(char c);
bool al_je_take_char(je_text *text, char c);
/* False: there are no digits, or the number became smaller by one of them. So jemalloc notices most numbers that are
 * too large, and takes the others modulo 2^64. */
bool al_je_take_digits(je_text *text, unsigned base, uint64_t *value);
/* As C writes it, with a sign and in any base; behind spaces. */
bool al_je_take_number(je_text *text, uint64_t *value);

/* Blocks of `from` to `to` bytes, both included. */
typedef struct je_range {
    uint64_t from, to, number;
} je_range;

/* FROM-TO:NUMBER, and the bar behind it, which is not missed. Taken until the text is empty; false: it goes on with
 * something else. */
bool al_je_take_range(je_text *text, je_range *range);

#endif
