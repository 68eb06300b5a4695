/* What theirs does in ProcessBackgroundActions, where an application has a thread for it: every second, and every few
 * seconds each of these. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

enum {
    RESIZE_CLASSES = 2,           /* seconds: room moves between the classes of a CPU */
    RESIZE_TRANSFER = 2,          /* and between transfer caches */
    SHUFFLE = 5,                  /* and between CPUs */
    PLUNDER = 5,                  /* what transfer caches did not need goes to the spans */
    DRAIN = 30                    /* idle CPUs' caches are emptied */
};

enum {
    SHUFFLED_CPUS = 5,            /* at most so many get more room, */
    SHUFFLED_PART = 20,           /* each up to a twentieth of a budget, */
    SHUFFLED_LEAST = 10           /* and who gives keeps a tenth of one */
};

/* --- classes of a CPU: from those without a miss to the one with the most --- */

static uint64_t new_misses(const hp_habit *habit) { return habit->misses - habit->misses_seen; }

static void resize_classes(hp_heap *heap, hp_cpu *cpu) {
    unsigned most = 0;
    al_lock_take(&cpu->lock);
    for (unsigned i = 1; i < HP_CLASSES; i++)
        if (new_misses(&cpu->habits[i]) > (most == 0 ? 0 : new_misses(&cpu->habits[most]))) most = i;
    if (most != 0) {
        for (unsigned i = 1; i < HP_CLASSES; i++) cpu->habits[i].missed = new_misses(&cpu->habits[i]) > 0;
        al_hp_cpu_grow(heap, cpu, most, al_hp_shape(heap, most)->batch);
    }
    for (unsigned i = 1; i < HP_CLASSES; i++) cpu->habits[i].misses_seen = cpu->habits[i].misses;
    al_lock_drop(&cpu->lock);
}

/* --- transfer caches: likewise --- */

static uint64_t transfer_misses(hp_class *shared) {
    al_lock_take(&shared->lock);
    const uint64_t misses = shared->take_misses + shared->give_misses, fresh = misses - shared->misses_seen;
    shared->misses_seen = misses;
    al_lock_drop(&shared->lock);
    return fresh;
}

/* A batch of the class with the most misses, for a batch of each class without any while there are some to take. */
static void resize_transfer(hp_heap *heap) {
    uint64_t misses[HP_CLASSES];
    unsigned most = 1;
    for (unsigned i = 1; i < HP_CLASSES; i++) {
        misses[i] = transfer_misses(&heap->classes[i]);
        if (misses[i] > misses[most]) most = i;
    }
    if (misses[most] == 0 || !al_hp_class_resize(heap, most, 1)) return;
    const size_t wanted = (size_t)al_hp_shape(heap, most)->batch * al_hp_shape(heap, most)->bytes;
    size_t given = 0;
    for (unsigned i = 1; i < HP_CLASSES && given < wanted; i++)
        if (misses[i] == 0 && al_hp_class_resize(heap, i, -1))
            given += (size_t)al_hp_shape(heap, i)->batch * al_hp_shape(heap, i)->bytes;
}

/* --- between CPUs: from the one with the fewest misses to those with the most --- */

static uint64_t misses_of(const hp_cpu *cpu) { return cpu->underflows + cpu->overflows; }

static uint64_t fresh_misses(hp_cpu *cpu) {
    al_lock_take(&cpu->lock);
    const uint64_t fresh = misses_of(cpu) - cpu->misses_seen;
    al_lock_drop(&cpu->lock);
    return fresh;
}

/* So many bytes of its budget at most, and not what would leave it too little; how many. */
static size_t give_up(hp_heap *heap, hp_cpu *cpu, size_t bytes) {
    const size_t keep = heap->params.cpu_budget / SHUFFLED_LEAST;
    al_lock_take(&cpu->lock);
    bytes = cpu->budget > keep ? al_min(bytes, cpu->budget - keep) : 0;
    if (cpu->capacity > cpu->budget - bytes) al_hp_cpu_steal(heap, cpu, 0, cpu->capacity - (cpu->budget - bytes));
    bytes = al_min(bytes, cpu->budget - cpu->capacity);
    cpu->budget -= bytes;
    al_lock_drop(&cpu->lock);
    return bytes;
}

static void get_more(hp_cpu *cpu, size_t bytes) {
    al_lock_take(&cpu->lock);
    cpu->budget += bytes;
    al_lock_drop(&cpu->lock);
}

/* The CPU with the most new misses of those not yet served, and the one with the fewest. */
static void extremes(hp_heap *heap, const bool *served, hp_cpu **most, hp_cpu **least) {
    uint64_t high = 0, low = UINT64_MAX;
    *most = *least = NULL;
    for (unsigned i = 0; i < heap->params.cpus; i++) {
        const uint64_t misses = fresh_misses(&heap->cpus[i]);
        if (misses > high && !served[i]) {
            high = misses;
            *most = &heap->cpus[i];
        }
        if (misses < low) {
            low = misses;
            *least = &heap->cpus[i];
        }
    }
    if (high <= low) *most = NULL;
}

static void shuffle(hp_heap *heap) {
    bool served[HP_CPUS_MOST] = {false};
    hp_cpu *most, *least;
    for (unsigned i = 0; i < SHUFFLED_CPUS; i++) {
        extremes(heap, served, &most, &least);
        if (most == NULL) break;
        served[most->number] = true;
        get_more(most, give_up(heap, least, heap->params.cpu_budget / SHUFFLED_PART));
    }
    for (unsigned i = 0; i < heap->params.cpus; i++) heap->cpus[i].misses_seen += fresh_misses(&heap->cpus[i]);
}

/* --- idle CPUs: no miss, and nothing else, since the last look --- */

static void drain_idle(hp_heap *heap, hp_cpu *cpu) {
    al_lock_take(&cpu->lock);
    const size_t bytes = al_hp_cpu_bytes(heap, cpu);
    if (bytes > 0 && bytes == cpu->idle_bytes && misses_of(cpu) == cpu->idle_misses) al_hp_cpu_drain(heap, cpu);
    cpu->idle_bytes = al_hp_cpu_bytes(heap, cpu);
    cpu->idle_misses = misses_of(cpu);
    al_lock_drop(&cpu->lock);
}

/* --- all of it --- */

static void release(hp_heap *heap) {
    const size_t bytes = __atomic_load_n(&heap->params.release_rate, __ATOMIC_RELAXED); /* in a second */
    if (bytes == 0) return;
    al_lock_take(&heap->base.heap.lock);
    al_hp_pages_release(heap, bytes);
    al_lock_drop(&heap->base.heap.lock);
}

static void a_second(hp_heap *heap) {
    const uint64_t seconds = ++heap->background.seconds;
    for (hp_cpu *cpu = heap->cpus; cpu < heap->cpus + heap->params.cpus; cpu++) {
        if (seconds % RESIZE_CLASSES == 0) resize_classes(heap, cpu);
        if (seconds % DRAIN == 0) drain_idle(heap, cpu);
    }
    if (seconds % SHUFFLE == 0) shuffle(heap);
    for (unsigned i = 1; i < HP_CLASSES && seconds % PLUNDER == 0; i++) al_hp_class_plunder(heap, i);
    if (seconds % RESIZE_TRANSFER == 0) resize_transfer(heap);
    release(heap);
}

static uint64_t clock_of(hp_heap *heap) {
    al_lock_take(&heap->base.heap.lock);
    const uint64_t now = al_regions_now(heap->base.heap.regions);
    al_lock_drop(&heap->base.heap.lock);
    return now;
}

/* Whoever calls late does the work of one second. After how long the next is due. */
static uint64_t catch_up(hp_heap *heap) {
    hp_background *background = &heap->background;
    const uint64_t now = clock_of(heap);
    if (background->next != 0 && now >= background->next) {
        a_second(heap);
        background->next += (now - background->next) / HP_SECOND * HP_SECOND + HP_SECOND;
    } else if (background->next == 0) {
        background->next = now + HP_SECOND;
    }
    return background->next - now;
}

uint64_t al_hp_background(al_heap *base) {
    hp_heap *heap = al_hp_of(base);
    if (!__atomic_load_n(&heap->params.background, __ATOMIC_RELAXED)) return UINT64_MAX;
    al_lock_take(&heap->background.lock);
    const uint64_t wait = catch_up(heap);
    al_lock_drop(&heap->background.lock);
    return wait;
}
