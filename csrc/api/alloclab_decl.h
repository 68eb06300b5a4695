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
