/* malloc-bench's trace files: one protobuf message, decoded from its wire format block by block.
 *
 *     Tracefile  { repeated TraceLine lines = 1; optional uint64 max_simultaneous_allocs = 2; }
 *     TraceLine  { oneof { malloc = 1  { result_id = 1, input_size = 2, input_alignment = 3 }
 *                          free = 2    { input_id = 1, input_size_hint = 2, input_alignment_hint = 3 }
 *                          realloc = 3 { result_id = 1, input_id = 2, input_size = 3 }
 *                          calloc = 4  { result_id = 1, input_nmemb = 2, input_size = 3 } } }
 *
 * All numbers are optional uint64. An id becomes a name by adding one; a missing id is NULL. */
#ifndef AL_TRACE_TRACEFILE_H
#define AL_TRACE_TRACEFILE_H

#include <stdbool.h>

#include "trace/rows.h"

enum al_tracefile_fault {
    AL_TRACEFILE_FINE,
    AL_TRACEFILE_VARINT,    /* more than 64 bits */
    AL_TRACEFILE_WIRE_TYPE, /* a field of another type than the schema's, or of none that exists */
    AL_TRACEFILE_LENGTH,    /* a message longer than the one around it, or a line past all reason */
    AL_TRACEFILE_EMPTY,     /* a line without an operation */
    AL_TRACEFILE_ID,        /* an id of 2^64 - 1 */
};

/* Decodes whole fields of the Tracefile from data until rows are full, data ends or something is wrong. *consumed:
 * bytes of these fields; what follows them is cut off, or wrong. `base` is data's offset in the file. */
enum al_tracefile_fault al_tracefile_scan(const uint8_t *data, size_t bytes, uint64_t base, al_import_rows *rows,
                                          size_t *consumed);

#endif
