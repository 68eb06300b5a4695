/* All that Python sees of the core. This file is included by the extension's C source and read by cffi as its cdef, so the
 * two cannot drift; it holds declarations only, no directives. Structs that Python fills or reads are repeated here by name
 * with `...` or by field, as cffi checks them against the C definitions in cffi_prelude.c's includes. */

/* --- trace: address map --- */

typedef struct al_addrmap {
    size_t capacity, count;
    ...;
} al_addrmap;
bool al_addrmap_init(al_addrmap *map);
void al_addrmap_destroy(al_addrmap *map);

/* --- trace: rows, faults, compiler --- */

typedef struct al_events {
    size_t rows;
    const uint8_t *op;
    const uint32_t *thread;
    const int64_t *object;
    const uint64_t *size, *count, *align;
    const int64_t *time_ns;
    const uint8_t *failed;
} al_events;

typedef enum al_fault {
    AL_FAULT_NONE,
    AL_FAULT_DOUBLE_FREE,
    AL_FAULT_UNKNOWN_FREE,
    AL_FAULT_REALLOC_DEAD,
    AL_FAULT_REALLOC_UNKNOWN,
    AL_FAULT_BORN_TWICE,
    AL_FAULT_IMPOSSIBLE_SIZE,
    AL_FAULT_UNNAMED,
    AL_FAULT_FAILED_BIRTH,
    AL_FAULT_BAD_ALIGNMENT,
    AL_FAULT_NEGATIVE_OBJECT,
    AL_FAULT_NEGATIVE_TIME,
    AL_FAULT_THREAD_TWICE,
    AL_FAULT_THREAD_GONE,
    AL_FAULTS,
    AL_FAULT_NO_MEMORY
} al_fault;

typedef struct al_live {
    uint32_t used;
    uint64_t sum, count;
    ...;
} al_live;

typedef struct al_compiler {
    al_live live;
    struct al_op *entries;
    size_t count;
    uint64_t operations, peak_live_bytes, peak_live_op, largest;
    ...;
} al_compiler;
bool al_compiler_init(al_compiler *compiler);
void al_compiler_destroy(al_compiler *compiler);
al_fault al_compiler_add(al_compiler *compiler, const al_events *events, size_t *row);
struct al_op *al_compiler_finish(al_compiler *compiler);
void al_entries_free(struct al_op *entries);
