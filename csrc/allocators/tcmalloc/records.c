#include "allocators/tcmalloc/span.h"

static bool add_unit(tc_base *base, tc_records *records) {
    void *unit = base->metadata(base, TC_UNIT);
    if (unit == NULL) return false;
    records->at = (uintptr_t)unit;
    records->end = records->at + TC_UNIT;
    return true;
}

bool al_tc_records_init(tc_base *base, tc_records *records, size_t bytes) {
    *records = (tc_records){.bytes = bytes};
    return add_unit(base, records);
}

bool al_tc_records_ready(tc_base *base, tc_records *records) {
    return records->spare != NULL || records->end - records->at >= records->bytes || add_unit(base, records);
}

void *al_tc_record_take(tc_base *base, tc_records *records) {
    if (!al_tc_records_ready(base, records)) return NULL;
    void *record = records->spare;
    if (record != NULL) {
        records->spare = *(void **)record;
    } else {
        record = (void *)records->at;
        records->at += records->bytes;
    }
    records->taken++;
    return record;
}

void al_tc_record_give(tc_records *records, void *record) {
    *(void **)record = records->spare;
    records->spare = record;
    records->taken--;
}
