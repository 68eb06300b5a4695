/* Lines of text against a list of patterns, many a second. A foreign trace format is a few patterns; every line of a
 * block gives one row: the number of the first pattern that fits the whole line, and the numbers it named.
 *
 * A pattern is literal text with these holes:
 *
 *     {COLUMN:k}   a number, kept in COLUMN (thread name old size count align time, or _ for none), written as k says:
 *                  u decimal   x hexadecimal, 0x or not   n decimal, or hexadecimal after 0x
 *                  p pointer: 0x..., 0, nil, (nil) or NULL   i decimal id, kept plus one so that 0 stays NULL
 *     a blank      one or more blanks
 *     {~}TEXT      anything up to and including the first TEXT (which ends before a blank or hole)
 *     {*}          the rest of the line
 *     {(} ... {)}  may be missing; not nested
 *
 * Blanks and carriage returns around a line do not count. Numbers past 2^64 - 1 do not fit. Nothing backtracks but a
 * missing group. Patterns are tried in order; what one has in common with the one before it is matched once. */
#ifndef AL_TRACE_LINESCAN_H
#define AL_TRACE_LINESCAN_H

#include "trace/rows.h"

enum { AL_LINE_MAX = 65536 }; /* a longer line fits no pattern */
enum { AL_LINE_BLANK = 254, AL_LINE_UNKNOWN = 255 }; /* instead of a pattern's number: nothing there; fits none */

typedef struct al_linescan al_linescan;

al_linescan *al_linescan_new(void); /* NULL: no memory */
void al_linescan_free(al_linescan *scan);

/* The new pattern's number, from 0 on; -1: the pattern is malformed or one too many. */
int al_linescan_add(al_linescan *scan, const char *pattern);

/* Scans whole lines of text until rows are full; their number goes to rows->count. Row r's kind is the number of its
 * pattern, and where its offset in text. Returns the bytes of these lines; text after the last newline is left. */
size_t al_linescan_run(const al_linescan *scan, const char *text, size_t bytes, al_import_rows *rows);

#endif
