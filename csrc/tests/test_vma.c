/* The VMA list against an array of pages, through many random changes of a small address space. */
#undef NDEBUG
#include "base/rng.h"
#include "region/vma.h"

#include <assert.h>
#include <stddef.h>

enum { PAGES = 400, STEPS = 60000, PAGE = 4096, FIRST = 1000 };

/* What a page is: 0 = not held, else 1 + prot + 2 * heap. */
static unsigned char model[PAGES];

static uintptr_t address(size_t page) { return (uintptr_t)(FIRST + page) * PAGE; }

static size_t run_end(size_t page) {
    size_t stop = page;
    while (stop < PAGES && model[stop] == model[page]) stop++;
    return stop;
}

static void change(al_vma_list *list, al_rng *rng) {
    size_t from = al_rng_next(rng) % PAGES, to = from + 1 + al_rng_next(rng) % (1 + (PAGES - from) / 8);
    if (to > PAGES) to = PAGES;
    al_prot prot = (al_prot)(al_rng_next(rng) & 1);
    bool heap = al_rng_next(rng) % 8 == 0;
    assert(al_vma_prepare(list) == 0);
    switch (al_rng_next(rng) % 4) {
    case 0:
        al_vma_clear(list, address(from), address(to));
        for (size_t i = from; i < to; i++) model[i] = 0;
        break;
    case 1:
        al_vma_protect(list, address(from), address(to), prot);
        for (size_t i = from; i < to; i++) {
            if (model[i] != 0) model[i] = (unsigned char)(1 + prot + 2 * (model[i] > 2));
        }
        break;
    default:
        al_vma_set(list, address(from), address(to), prot, heap);
        for (size_t i = from; i < to; i++) model[i] = (unsigned char)(1 + prot + 2 * heap);
    }
}

/* The list is exactly the runs of equal pages, in order. */
static void check_runs(const al_vma_list *list) {
    al_vma vma;
    uintptr_t at = 0;
    al_vma_sums sums = {0};
    for (size_t page = 0, stop; page < PAGES; page = stop) {
        stop = run_end(page);
        if (model[page] == 0) continue;
        assert(al_vma_after(list, at, &vma));
        assert(vma.start == address(page) && vma.end == address(stop));
        assert(vma.prot == (al_prot)((model[page] - 1) & 1) && vma.heap == (model[page] > 2));
        at = vma.end;
        sums.count++;
        sums.reserved += vma.end - vma.start;
        if (vma.prot == AL_PROT_READ_WRITE) sums.mapped += vma.end - vma.start;
    }
    assert(!al_vma_after(list, at, &vma) && al_vma_end(list) == at);
    al_vma_sums all = al_vma_all(list);
    assert(all.count == sums.count && all.reserved == sums.reserved && all.mapped == sums.mapped);
}

static void check_within(const al_vma_list *list, al_rng *rng) {
    size_t from = al_rng_next(rng) % PAGES, to = from + al_rng_next(rng) % (PAGES - from), reserved = 0, mapped = 0;
    for (size_t i = from; i < to; i++) {
        reserved += model[i] != 0;
        mapped += model[i] != 0 && (model[i] - 1) % 2 == AL_PROT_READ_WRITE;
    }
    al_vma_sums sums = al_vma_within(list, address(from), address(to));
    assert(sums.reserved == reserved * PAGE && sums.mapped == mapped * PAGE);
}

static void check_gap(const al_vma_list *list, al_rng *rng) {
    size_t wanted = 1 + al_rng_next(rng) % 12, run = 0;
    uintptr_t expected = 0;
    for (size_t page = PAGES; page-- > 0;) {
        run = model[page] == 0 ? run + 1 : 0;
        if (run < wanted) continue;
        expected = address(page + wanted);
        break;
    }
    assert(al_vma_highest_gap(list, address(0), address(PAGES), wanted * PAGE) == expected);
}

/* Twenty thousand VMAs with a gap between each two, the holes of which are then filled from the top. */
static void test_many(al_own *own) {
    enum { MANY = 20000 };
    al_vma_list list;
    al_vma_init(&list, own);
    for (size_t i = 0; i < MANY; i++) {
        assert(al_vma_prepare(&list) == 0);
        al_vma_set(&list, address(2 * i), address(2 * i + 1), AL_PROT_READ_WRITE, false);
    }
    assert(al_vma_all(&list).count == MANY);
    for (size_t i = MANY; i-- > 0;) {
        assert(al_vma_highest_gap(&list, address(0), address(2 * MANY), PAGE) == address(2 * i + 2));
        assert(al_vma_prepare(&list) == 0);
        al_vma_set(&list, address(2 * i + 1), address(2 * i + 2), AL_PROT_READ_WRITE, false);
    }
    assert(al_vma_all(&list).count == 1 && al_vma_highest_gap(&list, address(0), address(2 * MANY), PAGE) == 0);
}

int main(void) {
    al_own own;
    al_vma_list list;
    al_own_init(&own, &al_os_linux);
    al_vma_init(&list, &own);
    al_rng rng = {7};
    for (int step = 0; step < STEPS; step++) {
        change(&list, &rng);
        check_runs(&list);
        check_within(&list, &rng);
        check_gap(&list, &rng);
    }
    test_many(&own);
    al_own_release(&own);
    return 0;
}
