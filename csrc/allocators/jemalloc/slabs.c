/* Small blocks: regions of slabs, the lowest free one of the current slab first; then the oldest and lowest slab that
 * has a free one becomes current, and at last a new one. */
#include "allocators/jemalloc/jemalloc.h"
#include "allocators/jemalloc/text.h"

/* Of blocks of so many bytes: pages that regions fill, unless the setting wants others; then as near to what it wants
 * as one region and the most regions allow. Of a number it takes 32 bits. */
static uint32_t slab_pages(je_text sizes, uint32_t bytes) {
    const uint32_t least = (bytes + JE_PAGE - 1) / JE_PAGE, most = bytes * JE_SLAB_REGIONS_MOST / JE_PAGE;
    uint32_t pages = 1;
    while (pages * JE_PAGE % bytes != 0) pages++;
    for (je_range r; sizes.bytes > 0 && al_je_take_range(&sizes, &r);)
        if (r.from <= bytes && bytes <= r.to) pages = (uint32_t)al_min(al_max((uint32_t)r.number, least), most);
    return pages;
}

void al_je_layouts(je_heap *heap) {
    const char *sizes = al_setting_text(&heap->heap.settings, JE_SLAB_SIZES);
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) {
        je_slab_layout *layout = &heap->layouts[class];
        layout->bytes = (uint32_t)al_je_class_bytes(class);
        layout->slab_bytes = JE_PAGE * slab_pages((je_text){sizes, strlen(sizes)}, layout->bytes);
        layout->regions = layout->slab_bytes / layout->bytes;
        layout->inverse = (uint32_t)(((UINT64_C(1) << 32) + layout->bytes - 1) / layout->bytes);
    }
}

/* The class of so many bytes, or one that is not small. */
static unsigned serves(uint64_t bytes) { return al_je_class_of(al_min(bytes, JE_LARGE_LEAST)); }

static unsigned shards(je_text text, unsigned class) {
    unsigned number = 1;
    for (je_range r; text.bytes > 0 && al_je_take_range(&text, &r);)
        if (serves(r.from) <= class && class <= serves(r.to)) number = (unsigned)r.number;
    return number;
}

/* A range is one of classes: from that which serves its least size to that of its greatest. */
void al_je_shards_configure(je_heap *heap) {
    const char *text = al_setting_text(&heap->heap.settings, JE_BIN_SHARDS);
    for (unsigned class = 0; class < JE_SMALL_CLASSES; class++) {
        const unsigned number = shards((je_text){text, strlen(text)}, class);
        heap->shards_from[class + 1] = (uint16_t)(heap->shards_from[class] + number);
    }
}

static je_extent *new_slab(je_arena *arena, unsigned class, unsigned shard) {
    je_bin *bin = &arena->bins[class];
    const je_slab_layout *layout = &arena->heap->layouts[class];
    je_extent *slab = al_je_pages_take(arena, layout->slab_bytes, JE_PAGE, class);
    if (slab == NULL) return NULL;
    slab->shard = (uint8_t)shard;
    slab->free_regions = (uint16_t)layout->regions;
    memset(slab->free, 0, sizeof slab->free);
    for (unsigned i = 0; i < layout->regions / 64; i++) slab->free[i] = UINT64_MAX;
    if (layout->regions % 64 != 0) slab->free[layout->regions / 64] = (UINT64_C(1) << layout->regions % 64) - 1;
    bin->nslabs++;
    bin->slabs++;
    return slab;
}

static void enqueue(je_bin *bin, je_extent *slab) {
    al_je_queue_insert(&al_je_shard_of(slab->arena->heap, slab)->partial, slab);
    bin->partials++;
}

static void dequeue(je_bin *bin, je_extent *slab) {
    al_je_queue_remove(&al_je_shard_of(slab->arena->heap, slab)->partial, slab);
    bin->partials--;
}

static je_extent *next_slab(je_arena *arena, unsigned class, unsigned shard) {
    je_bin *bin = &arena->bins[class];
    je_extent *slab = al_je_queue_first(&al_je_shard(arena->heap, arena, class, shard)->partial);
    if (slab == NULL) return new_slab(arena, class, shard);
    dequeue(bin, slab);
    bin->reslabs++;
    return slab;
}

/* The lowest free regions of a slab, `count` of them. pre: it has as many. */
static void take_lowest(const je_slab_layout *layout, je_extent *slab, void **out, unsigned count) {
    slab->free_regions = (uint16_t)(slab->free_regions - count);
    for (unsigned word = 0; count > 0; word++) {
        char *start = (char *)slab->address + (size_t)word * 64 * layout->bytes;
        uint64_t free = slab->free[word];
        for (; free != 0 && count > 0; count--, free &= free - 1)
            *out++ = start + (size_t)__builtin_ctzll(free) * layout->bytes;
        slab->free[word] = free;
    }
}

unsigned al_je_slabs_take(je_arena *arena, unsigned class, unsigned shard, void **out, unsigned count) {
    je_bin *bin = &arena->bins[class];
    je_extent **current = &al_je_shard(arena->heap, arena, class, shard)->current;
    unsigned taken = 0;
    while (taken < count) {
        je_extent *slab = *current;
        if (slab == NULL || slab->free_regions == 0) {
            slab = next_slab(arena, class, shard);
            if (slab == NULL) break;
            *current = slab;
        }
        unsigned step = (unsigned)al_min(count - taken, slab->free_regions);
        take_lowest(&arena->heap->layouts[class], slab, out + taken, step);
        taken += step;
    }
    bin->nmalloc += taken;
    bin->regions += taken;
    return taken;
}

/* A slab that was full has a free region: of it and its shard's current one the older, or lower, is current. */
static void rejoin(je_bin *bin, je_shard *shard, je_extent *slab) {
    je_extent *current = shard->current;
    if (current == NULL || al_je_before(current, slab)) {
        enqueue(bin, slab);
        return;
    }
    if (current->free_regions > 0) enqueue(bin, current);
    shard->current = slab;
    bin->reslabs++;
}

je_extent *al_je_slabs_give(je_arena *arena, je_extent *slab, void *block) {
    unsigned class = slab->class;
    const je_slab_layout *layout = &arena->heap->layouts[class];
    je_bin *bin = &arena->bins[class];
    je_shard *shard = al_je_shard_of(arena->heap, slab);
    al_bitmap_set(slab->free, al_je_region_of(layout, slab, block));
    slab->free_regions++;
    bin->ndalloc++;
    bin->regions--;
    if (slab->free_regions == layout->regions) {
        if (slab == shard->current)
            shard->current = NULL;
        else if (layout->regions > 1)
            dequeue(bin, slab);
        bin->slabs--;
        return slab;
    }
    if (slab->free_regions == 1 && slab != shard->current) rejoin(bin, shard, slab);
    return NULL;
}
