/* The page allocator of tcmalloc-hpaa: it thinks in hugepages (2 MiB, 256 pages), and wants them to be either full or
 * given back whole, so that the kernel can use large pages for what is in use.
 *
 *   take    n pages
 *           n <= 128           the filler: a hugepage that has room; else a new one for it
 *           128 < n < 256      the filler, if a hugepage has room; else a region; else a hugepage of its own
 *           n > 256, no whole  a region, if there is one or it is worth one; else hugepages of its own
 *           hugepages
 *           all others         hugepages of its own
 *           Where the last hugepage of its own is not filled, the rest (slack) is donated: the filler may use it.
 *
 *   hugepages are taken from the hugepage cache (backed, the last used), else from those given back (unbacked), else
 *           from the system; and come back to the cache, which gives back what is more than its limit
 *
 *   system  a reservation of 1 GiB at a time, committed from its top downwards:
 *
 *           start               at                                       end
 *           | reserved          | committed: hugepages, each with a record |
 *
 * Filler. A hugepage has a map of its pages. In it the shortest run that suffices is taken, the lowest of these. It is
 * filed by its longest free run and by how many blocks are on it (in eighths, by powers of two): taken is the one with
 * the shortest longest run that suffices, of these the one with the most blocks, of these the last filed. Before that
 * comes what it has been through:
 *
 *     regular     whole: the kernel may back it by a large page
 *     donated     only the end of a large block lies on it, and no other
 *     partly      some free pages were given back (subrelease), and others were freed since
 *     released    all free pages are given back
 *
 * Region. 1 GiB for blocks of which each hugepage of its own would waste much: best fit by pages, across hugepages.
 * There is one only where a lot of slack was donated and is unused.
 *
 * A record for each hugepage is made before it is committed, so nothing later wants for memory:
 *
 *     committed pages = in use + free and backed + unbacked
 *     a hugepage is unbacked or cached (part of a free range), whole (part of a block), filled or in a region
 *
 * A free range is as long as it can be: its neighbours are of another state. */
#ifndef AL_ALLOCATORS_TCMALLOC_HPAA_PAGES_H
#define AL_ALLOCATORS_TCMALLOC_HPAA_PAGES_H

#include "allocators/tcmalloc/span.h"
#include "base/bitmap.h"
#include "base/rng.h"
#include "parts/facts.h"

struct hp_heap;

enum {
    HP_HUGE_BITS = 21,
    HP_HUGE = 1 << HP_HUGE_BITS,
    HP_HUGE_PAGES = HP_HUGE / TC_PAGE,                   /* 256 */
    HP_SMALL_PAGES = HP_HUGE_PAGES / 2,                  /* the filler makes room for so many */
    HP_GIB = 1 << 30,
    HP_GIB_HUGE = HP_GIB / HP_HUGE,                      /* 512 */
    HP_REGION_PAGES = HP_GIB / TC_PAGE,
    HP_GIBS = 1 << 17,                                   /* of 47 bits of address */
    HP_PAGES_MOST = HP_GIBS - 1                          /* GiB that one block may have */
};

/* --- a hugepage --- */

typedef enum hp_state {
    HP_NOTHING,   /* not committed, or nobody's for the moment */
    HP_UNBACKED,  /* free, given back to the system or never used */
    HP_CACHED,    /* free, backed */
    HP_WHOLE,     /* all of it is in use, by a block of its own */
    HP_FILLED,    /* the filler has it */
    HP_IN_REGION,
    HP_STATES
} hp_state;

typedef enum hp_shelf_kind { HP_REGULAR, HP_DONATED, HP_PARTLY, HP_RELEASED, HP_SHELVES } hp_shelf_kind;

typedef struct hp_hugepage {
    tc_node node;             /* its address, always; the first of a free range: the range, its length in hugepages */
    struct hp_hugepage *first; /* the last of a free range: the first */
    uint8_t state;            /* hp_state */
    /* filled: */
    uint8_t shelf;            /* hp_shelf_kind */
    uint8_t donated;          /* 1: nobody but the donor is on it. No bool, for damaged ones are looked at, too */
    uint16_t list;            /* of its shelf */
    uint16_t blocks;
    uint16_t used_pages, released_pages, longest; /* longest: free run */
    uint16_t donation;        /* pages at its start that are the end of a large block; the others are slack. 0: none */
    uint16_t abandoned;       /* what the donation was, after the large block has gone */
    al_link link;             /* in the list */
    struct hp_hugepage *next; /* during a release: the next candidate */
    uint64_t used[HP_HUGE_PAGES / 64], released[HP_HUGE_PAGES / 64]; /* used & released = 0 */
    uint16_t region;          /* in one: its number */
} hp_hugepage;

typedef struct hp_gib {       /* all hugepages of 1 GiB of addresses */
    hp_hugepage of[HP_GIB_HUGE];
} hp_gib;

/* --- what was, over time: series.c --- */

typedef struct hp_epoch {
    uint64_t number;          /* plus 1; 0: none */
    size_t first, least, most; /* the value at its start, and the extremes in it */
} hp_epoch;

typedef struct hp_series {
    size_t value;             /* now */
    bool momentary;           /* it is so when it is reported, and before and after that 0 */
    uint64_t step;            /* an epoch, in nanoseconds */
    unsigned count;           /* epochs remembered */
    hp_epoch *epochs;
} hp_series;

typedef struct hp_summary {
    size_t least, most;
    size_t swing;             /* the largest difference within an epoch */
    size_t steady;            /* the largest of what there was at least during an epoch */
} hp_summary;

void al_hp_series_report(hp_series *series, uint64_t now, size_t value);
/* The epochs that the last so many nanoseconds lie in, this one included. */
hp_summary al_hp_series_over(const hp_series *series, uint64_t now, uint64_t nanoseconds);

/* --- the parts of the page allocator --- */

enum { HP_AREAS_MOST = 4096 };

typedef struct hp_area {      /* a reservation: [at, end) is committed; start <= at <= end */
    uintptr_t start, at, end;
} hp_area;

typedef enum hp_use { HP_FOR_PAGES, HP_FOR_METADATA, HP_USES } hp_use;

typedef struct hp_system {
    hp_area areas[HP_USES][HP_AREAS_MOST];
    unsigned counts[HP_USES];
    size_t reservations;      /* mappings made */
    size_t committed;         /* hugepages for pages */
    const hp_area *metadata;  /* where it is taken from, downwards from ... */
    uintptr_t metadata_at;
    al_rng rng;               /* of addresses */
} hp_system;

typedef struct hp_ranges {    /* free hugepages of one state */
    tc_node *root;            /* by (length, address) */
    size_t count, hugepages;
    hp_state state;
} hp_ranges;

enum { HP_CACHE_EPOCHS = 16 };
#define HP_CACHE_WINDOW UINT64_C(1000000000)

typedef struct hp_cache {
    hp_ranges free;
    size_t limit;             /* hugepages; they are more only where the system would not take them */
    size_t usage;             /* hugepages that are out */
    size_t limit_least;
    uint64_t limit_changed;   /* when it was last looked at to be lowered */
    hp_series usages, off_peaks, sizes;
    hp_epoch epochs[3][HP_CACHE_EPOCHS];
    uint64_t hits, misses, fills, overflows;
    uint64_t overflow_hugepages, released_hugepages;
} hp_cache;

enum { HP_CHUNKS = 8, HP_LISTS = HP_HUGE_PAGES * HP_CHUNKS, HP_DEMAND_EPOCHS = 600 };
#define HP_SECOND UINT64_C(1000000000)

typedef struct hp_shelf {
    al_link lists[HP_LISTS];  /* by longest free run, then chunk; only those that have members are set up */
    uint64_t used[HP_LISTS / 64];
    size_t count;             /* hugepages */
} hp_shelf;

typedef struct hp_filler {
    hp_shelf shelves[HP_SHELVES];
    size_t hugepages, used_pages, released_pages;
    size_t slack_pages, abandoned_pages;
    size_t donations;         /* hugepages that have one */
    uint64_t subreleased_pages, subreleased_hugepages; /* so far; hugepages that were whole */
    uint64_t skipped_pages;   /* not given back for what may soon be wanted */
    hp_series demand;         /* used pages */
    hp_epoch epochs[HP_DEMAND_EPOCHS];
} hp_filler;

enum { HP_REGIONS_MOST = 1024 };

typedef struct hp_region {
    uintptr_t address;
    size_t used_pages, longest, blocks, backed_hugepages, free_backed_pages;
    uint64_t used[HP_REGION_PAGES / 64];
    uint64_t backed[HP_GIB_HUGE / 64];
    uint16_t used_in[HP_GIB_HUGE]; /* pages of each hugepage */
} hp_region;

typedef struct hp_regions {
    hp_region *of[HP_REGIONS_MOST]; /* in the order in which they were made; behind them one not made, or NULL */
    size_t count, used_pages, free_backed_pages;
    uint64_t released_hugepages;
} hp_regions;

typedef struct hp_pages {
    size_t metadata_bytes;    /* mapped for metadata, used or not */
    size_t in_use_pages;      /* of spans that are out */
    size_t whole_hugepages;
    uint64_t unbackings, unbacked_bytes; /* calls that gave memory back, and how much */
    hp_system system;
    hp_ranges unbacked;
    hp_cache cache;
    hp_filler filler;
    hp_regions regions;
    hp_gib *gibs[HP_GIBS];
} hp_pages;

/* The record of the hugepage that holds the address; pre: one that is or was made ready. */
static inline hp_hugepage *al_hp_hugepage(const hp_pages *pages, uintptr_t address) {
    return &pages->gibs[address >> 30]->of[address >> HP_HUGE_BITS & (HP_GIB_HUGE - 1)];
}
/* The same for any address; NULL: nothing is committed there. */
static inline hp_hugepage *al_hp_hugepage_or_none(const hp_pages *pages, uintptr_t address) {
    if (address >> 30 >= HP_GIBS || pages->gibs[address >> 30] == NULL) return NULL;
    hp_hugepage *hugepage = al_hp_hugepage(pages, address);
    return hugepage->state == HP_NOTHING ? NULL : hugepage;
}
/* The one that lies so many hugepages above. */
static inline hp_hugepage *al_hp_nth(const hp_pages *pages, const hp_hugepage *hugepage, size_t n) {
    return al_hp_hugepage(pages, hugepage->node.address + (n << HP_HUGE_BITS));
}

/* heap->lock is held for all that follows, but where it says otherwise. */

/* Sets base.metadata, base.pages_take and base.pages_give, and base.spans for records of hp_span; at creation: nobody
 * else is there, no lock is held. Nothing is asked of the system yet. */
void al_hp_pages_init(struct hp_heap *heap);

/* In use, entered; NULL: no memory. */
tc_span *al_hp_pages_take(tc_base *base, size_t pages);
/* The same at a multiple of `alignment`, a power of two > TC_PAGE. */
tc_span *al_hp_pages_take_aligned(tc_base *base, size_t pages, size_t alignment);
/* In use, without a class. */
void al_hp_pages_give(tc_base *base, tc_span *span);

/* --- system.c --- */

/* Zeroed, for good; NULL: no memory. */
void *al_hp_metadata(tc_base *base, size_t bytes);
/* So many hugepages more, ready to be entered; 0: no memory. */
uintptr_t al_hp_commit(struct hp_heap *heap, size_t hugepages);
/* Gives the pages back to the system. False: it would not. */
bool al_hp_unback(struct hp_heap *heap, uintptr_t address, size_t bytes);

/* --- hugealloc.c: free ranges --- */

/* The hugepages get its state, and are joined with what is free beside them. */
void al_hp_ranges_add(hp_pages *pages, hp_ranges *ranges, hp_hugepage *first, size_t count);
/* The shortest range that is long enough, the lowest of these; NULL: none is. */
hp_hugepage *al_hp_ranges_fit(const hp_ranges *ranges, size_t count);
/* Takes the low end of a range; its hugepages are nobody's then. */
void al_hp_ranges_cut(hp_pages *pages, hp_ranges *ranges, hp_hugepage *first, size_t count);
/* Unbacked ones, from the system if need be; NULL: no memory. */
hp_hugepage *al_hp_hugepages_new(struct hp_heap *heap, size_t count);
void al_hp_mark(hp_pages *pages, hp_hugepage *first, size_t count, hp_state state);

/* --- hugecache.c --- */

/* NULL: no memory. */
hp_hugepage *al_hp_cache_take(struct hp_heap *heap, size_t count);
void al_hp_cache_give(struct hp_heap *heap, hp_hugepage *first, size_t count);
/* The same for one that has been given back to the system already. */
void al_hp_cache_give_unbacked(struct hp_heap *heap, hp_hugepage *hugepage);
/* Gives so many back to the system, if there are; how many were. */
size_t al_hp_cache_release(struct hp_heap *heap, size_t hugepages);

/* --- filler.c --- */

/* Where there is room on one of its hugepages; 0: nowhere. */
uintptr_t al_hp_filler_take(struct hp_heap *heap, size_t pages);
/* A hugepage for it, whose first pages are in use; `donation`: by the end of a large block. */
void al_hp_filler_add(struct hp_heap *heap, hp_hugepage *hugepage, size_t used_pages, bool donation);
/* A block is freed. True: it was the last; the filler has done with the hugepage, and it is for the caller to file. */
bool al_hp_filler_give(struct hp_heap *heap, hp_hugepage *hugepage, size_t page, size_t pages);
/* Where a hugepage belongs. */
hp_shelf_kind al_hp_filler_shelf(const hp_hugepage *hugepage);
unsigned al_hp_filler_list(const hp_hugepage *hugepage);
/* Takes a hugepage out of its list and puts it where it belongs now. */
void al_hp_filler_refile(hp_filler *filler, hp_hugepage *hugepage);
/* All free pages of it that are backed; how many were given back. */
size_t al_hp_filler_unback(struct hp_heap *heap, hp_hugepage *hugepage);

/* --- regions.c --- */

/* From a region, which is made if there is slack enough; 0: there is none. */
uintptr_t al_hp_regions_take(struct hp_heap *heap, size_t pages);
void al_hp_regions_give(struct hp_heap *heap, uintptr_t address, size_t pages);
/* Gives free hugepages back until so many pages are; how many were. */
size_t al_hp_regions_release(struct hp_heap *heap, size_t pages);

/* --- release.c --- */

/* ReleaseMemoryToSystem: how many bytes were given back; the last hugepage may make them more than were asked for. */
size_t al_hp_pages_release(struct hp_heap *heap, size_t bytes);

/* --- pagefigures.c, pagecheck.c, pageviews.c: looking inside; all locks are held --- */

/* Bytes by name, for stats, control and the report. */
typedef struct hp_page_figures {
    size_t backed_free, unbacked; /* free pages: resident as far as known; given back */
    size_t filler_free, filler_unbacked, cache_free, regions_free, regions_unbacked, allocator_unbacked;
    size_t hugepages, hugepages_whole; /* counts: committed and not unbacked, regions aside; without a released page */
    size_t covered;               /* bytes in use that lie on whole ones (hugepage coverage) */
    size_t reservations;
    size_t donated_pages, slack_pages, abandoned_pages; /* donated: at the ends of large blocks */
    size_t longest_free;          /* of the filler's runs: what else is free there is in pieces */
    uint64_t subreleased_pages, released_bytes;
} hp_page_figures;
hp_page_figures al_hp_pages_figures(struct hp_heap *heap);

/* Moves an address to that of the committed hugepage it lies in, or else of the next above. False: there is none. */
bool al_hp_next(const hp_pages *pages, uintptr_t *address);
/* Whether it is the record of a committed hugepage. */
bool al_hp_hugepage_known(const struct hp_heap *heap, const hp_hugepage *hugepage);
/* The hugepage whose link in a list that is; NULL: none's. */
const hp_hugepage *al_hp_hugepage_linked(const struct hp_heap *heap, const al_link *link);
/* The region that the hugepage says it lies in; NULL: there is none such. */
hp_region *al_hp_region_of(const hp_pages *pages, const hp_hugepage *hugepage);
/* Whether metadata lies there, and where this piece of it ends. Damaged or not, it must not crash. */
bool al_hp_metadata_at(const struct hp_heap *heap, uintptr_t address, uintptr_t *end);
/* Whether a free run of pages lies there, and where it ends: at the end of its hugepage, or of its range or region, at
 * the latest. The same for damage. */
bool al_hp_free_at(const struct hp_heap *heap, uintptr_t address, uintptr_t *end);
/* All of filler, regions, hugepage cache and free hugepages against each other. */
bool al_hp_pages_validate(struct hp_heap *heap, al_flaw *flaw);
/* Every free run of pages where it is kept. */
bool al_hp_pages_bins(struct hp_heap *heap, al_bin_fn *visit, void *context);
/* What it knows of the hugepage that holds the address. */
void al_hp_pages_explain(struct hp_heap *heap, uintptr_t address, al_facts *facts);
/* The views "hugepages", "regions" and "hugecache". */
void al_hp_pages_view(struct hp_heap *heap, const char *view, al_rows *rows);

#endif
