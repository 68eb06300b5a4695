/* The line scanner: each hole of the pattern language, the shared beginnings of patterns, and random bytes. */
#undef NDEBUG
#include "base/rng.h"
#include "trace/linescan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 };

static uint8_t kind[ROWS];
static uint64_t where[ROWS], columns[AL_COLUMNS * ROWS];
static al_import_rows rows = {.capacity = ROWS, .kind = kind, .where = where, .columns = columns};

static uint64_t value(size_t row, enum al_column column) { return columns[(size_t)column * ROWS + row]; }

/* The kind that a scanner of one pattern gives to a line of text, which it copies to the heap's edge for ASan. */
static uint8_t scan_one(const char *pattern, const char *text) {
    al_linescan *scan = al_linescan_new();
    assert(scan != NULL && al_linescan_add(scan, pattern) == 0);
    size_t bytes = strlen(text);
    char *copy = malloc(bytes + 1);
    assert(copy != NULL);
    memcpy(copy, text, bytes);
    copy[bytes] = '\n';
    assert(al_linescan_run(scan, copy, bytes + 1, &rows) == bytes + 1 && rows.count == 1);
    free(copy);
    al_linescan_free(scan);
    return kind[0];
}

static void fits(const char *pattern, const char *text, uint64_t size) {
    assert(scan_one(pattern, text) == 0);
    assert(value(0, AL_COLUMN_SIZE) == size);
}

static void differs(const char *pattern, const char *text) { assert(scan_one(pattern, text) == AL_LINE_UNKNOWN); }

static void test_numbers(void) {
    fits("{size:u}", "18446744073709551615", UINT64_MAX);
    differs("{size:u}", "18446744073709551616");
    differs("{size:u}", "-1");
    differs("{size:u}", "0x10");
    fits("{size:x}", "0xFfffffffffffffff", UINT64_MAX);
    differs("{size:x}", "0x10000000000000000");
    fits("{size:x}", "a0", 0xa0);
    differs("{size:x}", "0x");
    fits("{size:n}", "10", 10);
    fits("{size:n}", "0x10", 16);
    fits("{size:p}", "0x7f", 0x7f);
    fits("{size:p}", "(nil)", 0);
    fits("{size:p}", "nil", 0);
    fits("{size:p}", "NULL", 0);
    fits("{size:p}", "0", 0);
    differs("{size:p}", "7f");
    fits("{size:i}", "0", 1);
    differs("{size:i}", "18446744073709551615");
    fits("{_:u} {size:u}", "7 8", 8);
}

static void test_shapes(void) {
    fits("a {size:u}", "  a \t 5 \r", 5);
    differs("a {size:u}", "a5");
    differs("a {size:u}", "a 5 6");
    fits("{~}] + {size:x}", "@ x:[0x1] + 0x20", 0x20);
    differs("{~}] + {size:x}", "@ x:0x1 + 0x20");
    fits("#{*}", "# anything 5", 0);
    fits("#{*}", "#", 0);
    fits("m {size:u}{(} {time:u}{)}", "m 5", 5);
    assert(value(0, AL_COLUMN_TIME) == UINT64_MAX && value(0, AL_COLUMN_COUNT) == 1);
    fits("m {size:u}{(} {time:u}{)}", "m 5 9", 5);
    assert(value(0, AL_COLUMN_TIME) == 9);
    differs("m {size:u}{(} {time:u}{)}", "m 5 x");
    /* A group that fails halfway leaves nothing behind. */
    fits("m{(} {time:u}-{)} {size:u}", "m 5", 5);
    assert(value(0, AL_COLUMN_TIME) == UINT64_MAX);
    fits("{(}<{size:u}> {)}{(}{size:u}- {)}x", "<7> x", 7);
    fits("{(}<{size:u}> {)}{(}{size:u}- {)}x", "7- x", 7);
    fits("{size:u} {(}{size:u}-{)}{_:u}", "7 8", 7);
    assert(scan_one("a", "") == AL_LINE_BLANK && scan_one("a", " \t\r") == AL_LINE_BLANK);
}

static void test_malformed_patterns(void) {
    const char *const malformed[] = {"",         "{",    "{size}", "{size:}",       "{size:z}",
                                     "{what:u}", "{(}a", "a{)}",   "{(}{(}a{)}{)}", "{~}",      "{~}{size:u}"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        al_linescan *scan = al_linescan_new();
        assert(scan != NULL && al_linescan_add(scan, malformed[i]) == -1);
        al_linescan_free(scan);
    }
}

/* Patterns after one that failed go on where both still agree, with nothing of it in their columns. */
static void test_shared_beginnings(void) {
    static const char *const patterns[] = {"{thread:u}: m {name:p} {size:u}{(} {time:u}{)}", "{thread:u}: m {name:p} -",
                                           "{thread:u}: f {name:p}", "{thread:u} f", "x{(}y{)}: {size:u}",
                                           "x{(}y{)}; {size:u}"};
    static const char text[] = "1: m 0x10 5\n2: m 0x20 -\n3: f 0x30\n4 f\n4: g\n\nxy; 7\nx: 8\nrest";
    static const uint8_t expected[] = {0, 1, 2, 3, AL_LINE_UNKNOWN, AL_LINE_BLANK, 5, 4};
    al_linescan *scan = al_linescan_new();
    assert(scan != NULL);
    for (int i = 0; i < 6; i++) assert(al_linescan_add(scan, patterns[i]) == i);
    assert(al_linescan_run(scan, text, sizeof text - 1, &rows) == sizeof text - 1 - strlen("rest"));
    assert(rows.count == sizeof expected && memcmp(kind, expected, sizeof expected) == 0);
    for (size_t r = 0; r < 4; r++) assert(value(r, AL_COLUMN_THREAD) == r + 1);
    assert(value(1, AL_COLUMN_NAME) == 0x20 && value(1, AL_COLUMN_SIZE) == 0);
    assert(value(2, AL_COLUMN_NAME) == 0x30 && value(3, AL_COLUMN_NAME) == 0);
    assert(value(6, AL_COLUMN_SIZE) == 7 && value(7, AL_COLUMN_SIZE) == 8);
    assert(where[1] == 12);
    al_linescan_free(scan);
}

static void test_long_lines(void) {
    char *line = malloc(AL_LINE_MAX + 2);
    assert(line != NULL);
    memset(line, '#', AL_LINE_MAX + 2);
    line[AL_LINE_MAX] = '\0';
    fits("#{*}", line, 0);
    line[AL_LINE_MAX] = '#';
    line[AL_LINE_MAX + 1] = '\0';
    differs("#{*}", line);
    free(line);
}

/* Bytes drawn from what patterns are made of: nothing is read outside of the text, every line gets a row. */
static void test_random_bytes(void) {
    static const char alphabet[] = "0123456789abcdefx:()<>= \n\n\tmallocfree@[]-+\0\xff";
    static const char *const patterns[] = {"{thread:u}: malloc({size:n}{~}) = {name:p}",
                                           "{(}[{thread:u}] {)}{(}{~}a{)}{size:x}",
                                           "@ {~}] + {name:p}", "{name:i} {*}"};
    al_linescan *scan = al_linescan_new();
    assert(scan != NULL);
    for (int i = 0; i < 4; i++) assert(al_linescan_add(scan, patterns[i]) == i);
    al_rng rng = {7};
    for (int round = 0; round < 20000; round++) {
        size_t bytes = al_rng_next(&rng) % 60, lines = 0;
        char *text = malloc(bytes + 1);
        assert(text != NULL);
        for (size_t i = 0; i < bytes; i++) {
            text[i] = alphabet[al_rng_next(&rng) % (sizeof alphabet - 1)];
            lines += text[i] == '\n';
        }
        text = realloc(text, bytes ? bytes : 1);
        assert(al_linescan_run(scan, text, bytes, &rows) <= bytes);
        assert(rows.count == (lines < ROWS ? lines : ROWS));
        free(text);
    }
    al_linescan_free(scan);
}

int main(void) {
    test_numbers();
    test_shapes();
    test_malformed_patterns();
    test_shared_beginnings();
    test_long_lines();
    test_random_bytes();
    return 0;
}
