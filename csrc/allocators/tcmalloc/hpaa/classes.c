/* The size classes, which are a table made by hand and by search, not a formula: another release has another. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

const char al_hp_classes_version[] = "relaxed below 64, 2^13-byte pages, 16-byte new";

/* Class 8 is for what may be aligned to 8 only, operator new of theirs; malloc uses it for nothing. */
static const struct {
    uint32_t bytes;
    uint16_t pages, batch;
} table[HP_CLASSES] = {
    {0, 0, 0},       {8, 1, 32},      {16, 1, 32},     {32, 1, 32},     {48, 1, 32},     {64, 1, 32},
    {80, 1, 32},     {96, 1, 32},     {112, 1, 32},    {128, 1, 32},    {160, 1, 32},    {176, 1, 32},
    {208, 1, 32},    {256, 1, 32},    {304, 1, 32},    {368, 1, 32},    {448, 1, 32},    {512, 1, 32},
    {576, 1, 32},    {704, 1, 32},    {896, 1, 32},    {1024, 1, 32},   {1152, 2, 32},   {1408, 2, 32},
    {1792, 2, 32},   {2048, 1, 32},   {2304, 2, 28},   {2688, 2, 24},   {3456, 3, 18},   {4096, 1, 16},
    {4736, 3, 13},   {6144, 3, 10},   {8192, 1, 8},    {9472, 5, 6},    {12288, 3, 5},   {16384, 2, 4},
    {20480, 5, 3},   {28672, 7, 2},   {32768, 4, 2},   {40960, 5, 2},   {49152, 6, 2},   {65536, 8, 2},
    {73728, 9, 2},   {81920, 10, 2},  {98304, 12, 2},  {131072, 16, 2}, {155648, 19, 2}, {204800, 25, 2},
    {262144, 32, 2},
};

/* Theirs lets some classes have 52, which ones is not known: no class has here. */
enum {
    DEEP_CLASSES = 10,            /* the first ones: small objects, of which many may be cached */
    DEEP = 2000,
    SHALLOW = 246
};

static unsigned transfer_most(const tc_class *class) {
    const size_t batch_bytes = (size_t)class->batch * class->bytes;
    return class->batch * (unsigned)al_min(al_max(HP_TRANSFER_MOST / batch_bytes, 1), HP_BATCHES_MOST);
}

static void init_shared(hp_class *shared, const tc_class *class) {
    al_tc_spans_init(&shared->spans);
    shared->inverse = (uint32_t)(((UINT64_C(1) << 32) + class->bytes - 1) / class->bytes);
    shared->most = transfer_most(class);
    shared->capacity = (unsigned)al_min(shared->most, (size_t)HP_BATCHES_FIRST * class->batch);
}

void al_hp_classes_init(hp_heap *heap) {
    tc_classes *classes = &heap->base.classes;
    classes->count = HP_CLASSES;
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        tc_class *class = &classes->of[i];
        *class = (tc_class){.bytes = table[i].bytes, .pages = table[i].pages, .batch = table[i].batch};
        class->objects = (uint16_t)(((size_t)class->pages << TC_PAGE_BITS) / class->bytes);
        heap->depths[i] = i <= DEEP_CLASSES ? DEEP : SHALLOW;
        init_shared(&heap->classes[i], class);
    }
    al_tc_classes_index(classes);
    for (size_t bytes = 0; bytes <= 8; bytes += 8) classes->places[al_tc_place(bytes)]++;
}
