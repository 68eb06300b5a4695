#include "allocators/tcmalloc/classes.h"

/* What a size is a multiple of. */
static size_t alignment_of(size_t bytes) {
    if (bytes < 16) return 8;
    if (bytes < 128) return 16;
    return al_min((size_t)1 << al_log2_floor(bytes) >> 3, TC_PAGE);
}

static unsigned batch_of(size_t bytes, unsigned most) {
    return (unsigned)al_min(al_max(65536 / bytes, 2), most);
}

static size_t pages_of(size_t bytes, unsigned batch) {
    size_t pages = 0;
    do {
        pages++;
        while ((pages << TC_PAGE_BITS) % bytes > (pages << TC_PAGE_BITS) / 8) pages++;
    } while ((pages << TC_PAGE_BITS) / bytes < batch / 4);
    return pages;
}

void al_tc_classes_generate(tc_classes *classes, unsigned batch_most) {
    classes->count = 1;
    for (size_t bytes = 8; bytes <= TC_SMALL_MOST; bytes += alignment_of(bytes)) {
        tc_class *last = &classes->of[classes->count - 1];
        const size_t pages = pages_of(bytes, batch_of(bytes, batch_most)), objects = (pages << TC_PAGE_BITS) / bytes;
        const bool merged = classes->count > 1 && pages == last->pages && objects == last->objects;
        if (!merged) {
            last++;
            classes->count++;
        }
        *last = (tc_class){.bytes = (uint32_t)bytes, .pages = (uint16_t)pages, .objects = (uint16_t)objects};
    }
    for (unsigned i = 1; i < classes->count; i++) classes->of[i].batch = batch_of(classes->of[i].bytes, batch_most);
    al_tc_classes_index(classes);
}

void al_tc_classes_index(tc_classes *classes) {
    size_t place = 0;
    for (unsigned class = 1; class < classes->count; class++)
        for (; place <= al_tc_place(classes->of[class].bytes); place++) classes->places[place] = (uint8_t)class;
}
