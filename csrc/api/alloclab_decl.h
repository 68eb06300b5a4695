/* All that Python sees of the core. This file is included by the extension's C source and read by cffi as its cdef, so
 * the two cannot drift; it holds declarations only, no directives. Structs that Python fills or reads are repeated
 * here by name with `...` or by field, as cffi checks them against the C definitions in cffi_prelude.c's includes. */

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
    uint64_t *bytes;
    uint32_t used;
    uint64_t sum, count;
    int64_t next;
    ...;
} al_live;

typedef struct al_compiler {
    al_live live;
    struct al_op *entries;
    size_t count;
    uint64_t operations, peak_live_bytes, peak_live_op, largest;
    ...;
} al_compiler;
bool al_compiler_init(al_compiler *compiler, bool threads);
void al_compiler_destroy(al_compiler *compiler);
al_fault al_compiler_add(al_compiler *compiler, const al_events *events, size_t *row);
struct al_op *al_compiler_finish(al_compiler *compiler);
void al_entries_free(struct al_op *entries);

/* --- trace: strands --- */

typedef struct al_ops_head {
    uint64_t magic, entries, operations, slots, peak_live_bytes, peak_live_op, end_live_bytes, end_live_blocks, largest;
} al_ops_head;

typedef struct al_strands_head {
    uint64_t magic;
    al_ops_head whole;
    uint64_t strands, acts, events, alive;
} al_strands_head;

typedef struct al_strand_range {
    uint64_t first, count;
} al_strand_range;

typedef struct al_act {
    uint32_t strand, exits;
} al_act;

typedef struct al_strands_image {
    al_strands_head head;
    al_strand_range *ranges;
    al_act *acts;
    struct al_op *entries;
    uint64_t entry_count;
} al_strands_image;
bool al_unweave(const al_ops_head *head, const struct al_op *entries, al_strands_image *image);
void al_strands_image_free(al_strands_image *image);

/* --- trace: validator --- */

typedef struct al_finding {
    uint64_t row;
    uint32_t fault;
} al_finding;

typedef struct al_checker {
    uint64_t counts[AL_FAULTS];
    size_t found;
    ...;
} al_checker;
bool al_checker_init(al_checker *checker);
void al_checker_destroy(al_checker *checker);
bool al_checker_add(al_checker *checker, const al_events *events, al_finding *problems, size_t capacity);

/* --- trace: histories and statistics --- */

typedef struct al_block al_block;

typedef struct al_history {
    al_live live;
    al_block *blocks;
    uint64_t operations;
    ...;
} al_history;
bool al_history_init(al_history *history);
void al_history_destroy(al_history *history);
al_fault al_history_add_rows(al_history *history, const al_events *events, size_t *row);

typedef enum al_stats_sizes { AL_HIST_BUCKETS, AL_GROWTH_CLASSES, AL_TOP_CHAINS, AL_SMALL_SIZES, ... } al_stats_sizes;

typedef struct al_size_count {
    uint64_t bytes, births;
} al_size_count;

typedef struct al_thread_stats {
    uint32_t thread;
    uint64_t calls, births, born_bytes, deaths, remote_deaths;
} al_thread_stats;

typedef struct al_chain {
    int64_t object;
    uint64_t reallocs, born_bytes, last_bytes;
} al_chain;

typedef struct al_stats {
    al_history history;
    uint64_t rows;
    uint64_t calls[...], failed[...], asked[...];
    uint64_t free_null, realloc_zero, grows, shrinks, same;
    uint64_t growth[...];
    uint64_t life_ops[...], life_ns[...], chains[...];
    al_chain longest[...];
    uint64_t peak_bytes, peak_blocks, peak_op, peak_row, most_blocks;
    int64_t peak_ns, first_ns, last_ns;
    uint64_t steps_back, largest_step_back;
    al_thread_stats *threads;
    size_t thread_count;
    uint64_t *small_sizes;
    al_size_count *large_sizes;
    size_t large_count;
    ...;
} al_stats;
bool al_stats_init(al_stats *stats);
void al_stats_destroy(al_stats *stats);
al_fault al_stats_add(al_stats *stats, const al_events *events, size_t *row);
void al_stats_finish(al_stats *stats);

/* --- trace: synthetic traces --- */

typedef struct al_rng {
    uint64_t state;
} al_rng;

typedef struct al_synth {
    uint64_t live_target, phase_events;
    double reallocs, callocs, aligned, young;
    uint32_t threads;
    al_rng rng;
    ...;
} al_synth;

typedef struct al_synth_rows {
    size_t rows;
    const uint64_t *sizes;
    uint8_t *op;
    uint32_t *thread;
    int64_t *object;
    uint64_t *size, *count, *align;
} al_synth_rows;
bool al_synth_add(al_synth *synth, const al_synth_rows *rows);
void al_synth_destroy(al_synth *synth);

/* --- region manager --- */

typedef enum al_prot { AL_PROT_NONE = 0, AL_PROT_READ_WRITE = 1 } al_prot;

typedef enum al_advice { AL_ADVISE_DONTNEED, AL_ADVISE_FREE, AL_ADVISE_HUGEPAGE, AL_ADVISE_NOHUGEPAGE,
                         AL_ADVISE_WIPEONFORK } al_advice;

typedef enum al_placement {
    AL_PLACE_ANYWHERE,
    AL_PLACE_HINT,
    AL_PLACE_NOREPLACE,
    AL_PLACE_FIXED
} al_placement;

typedef enum al_space { AL_SPACE_WINDOW, AL_SPACE_PROCESS } al_space;

typedef enum al_call {
    AL_CALL_BRK,
    AL_CALL_MMAP,
    AL_CALL_MUNMAP,
    AL_CALL_MREMAP,
    AL_CALL_MADVISE,
    AL_CALL_MPROTECT,
    AL_CALL_KINDS
} al_call;

typedef struct al_regions al_regions;

typedef enum al_thp_align { AL_THP_ALIGN_NONE, AL_THP_ALIGN_MULTIPLES, AL_THP_ALIGN_LARGE } al_thp_align;

typedef struct al_regions_config {
    al_space space;
    size_t window_bytes;
    size_t break_offset;
    size_t break_room;
    size_t limit_bytes;
    uint64_t fail_call;
    int overcommit;
    unsigned cpus;
    al_thp_align thp_align;
    bool real_clock;
    bool log;
    ...;
} al_regions_config;

typedef struct al_counters {
    uint64_t calls[...];
    uint64_t failed[...];
    uint64_t bytes[...];
    size_t mapped, peak_mapped;
    size_t reserved, peak_reserved;
    size_t vmas, peak_vmas;
} al_counters;

typedef struct al_event {
    uint64_t op;
    uint64_t address;
    uint64_t bytes;
    uint64_t result;
    uint64_t extra;
    uint32_t call;
    uint32_t error;
} al_event;

typedef struct al_vma {
    uintptr_t start, end;
    al_prot prot;
    bool heap;
    ...;
} al_vma;

al_regions *al_regions_create(const al_regions_config *config, int *error);
void al_regions_destroy(al_regions *regions);
int al_regions_brk(al_regions *regions, intptr_t delta, void **old_break);
int al_regions_mmap(al_regions *regions, void *hint, size_t bytes, al_prot prot, al_placement placement, void **out);
int al_regions_munmap(al_regions *regions, void *addr, size_t bytes);
int al_regions_mremap(al_regions *regions, void *addr, size_t old_bytes, size_t new_bytes, bool may_move, void **out);
int al_regions_mprotect(al_regions *regions, void *addr, size_t bytes, al_prot prot);
int al_regions_madvise(al_regions *regions, void *addr, size_t bytes, al_advice advice);
size_t al_regions_page_size(const al_regions *regions);
const al_counters *al_regions_counters(const al_regions *regions);
void *al_regions_base(const al_regions *regions);
int al_regions_overcommit(const al_regions *regions);
unsigned al_regions_cpus(const al_regions *regions);
uint64_t al_regions_now(const al_regions *regions);
void al_regions_advance(al_regions *regions, uint64_t nanoseconds);
int al_regions_foreign_brk(al_regions *regions, intptr_t delta);
void al_regions_set_op(al_regions *regions, uint64_t op);
uint64_t al_regions_set_fail_call(al_regions *regions, uint64_t nth);
void al_regions_set_limit(al_regions *regions, size_t bytes);
typedef struct al_os al_os;
al_thp_align al_regions_probe_thp_align(const al_os *os);
size_t al_regions_vmas(const al_regions *regions, al_vma *out, size_t room);
const al_event *al_regions_events(const al_regions *regions, size_t *count, uint64_t *dropped);
int al_regions_resident(const al_regions *regions, size_t *bytes);
enum {
    AL_PAGE_MAPPED = 1,
    AL_PAGE_COMMITTED = 2,
    AL_PAGE_RESIDENT = 4,
    AL_PAGE_ZERO = 8
};
int al_regions_pages(const al_regions *regions, const void *addr, size_t pages, unsigned char *flags);
void *al_regions_own(al_regions *regions, size_t bytes);

/* --- heaps and allocators --- */

typedef enum al_tunable_type {
    AL_TUNABLE_BYTES,
    AL_TUNABLE_COUNT,
    AL_TUNABLE_BOOL,
    AL_TUNABLE_CHOICE,
    AL_TUNABLE_INTEGER,
    AL_TUNABLE_TEXT
} al_tunable_type;

typedef struct al_tunable {
    const char *name;
    al_tunable_type type;
    uint64_t value;
    uint64_t least, most;
    const char *choices;
    const char *help;
    const char *real_name;
    ...;
} al_tunable;

typedef struct al_settings {
    uint64_t values[...];
    uint32_t given;
    char texts[...];
    ...;
} al_settings;

typedef struct al_allocator {
    const char *name;
    const char *summary;
    const al_tunable *tunables;
    size_t tunable_count;
    size_t scattered_from;
    const char *const *views;
    ...;
} al_allocator;

typedef struct al_ledger {
    size_t usable;
    size_t metadata;
    size_t cached;
    size_t free;
} al_ledger;

typedef struct al_thread al_thread;

typedef struct al_heap {
    al_regions *regions;
    ...;
} al_heap;

typedef enum al_state { AL_STATE_LIVE, AL_STATE_FREE, AL_STATE_CACHED, AL_STATE_METADATA } al_state;

typedef struct al_chunk {
    uintptr_t address;
    size_t bytes;
    uintptr_t block;
    size_t usable;
    al_state state;
    uint32_t owner;
} al_chunk;

typedef struct al_binned {
    const char *kind;
    uint32_t owner;
    uint32_t index;
    size_t least, most;
    uintptr_t address;
    size_t bytes;
} al_binned;

typedef enum al_fact_kind { AL_FACT_COUNT, AL_FACT_BYTES, AL_FACT_ADDRESS, AL_FACT_FLAG, AL_FACT_TEXT } al_fact_kind;

typedef struct al_fact {
    const char *name;
    al_fact_kind kind;
    uint64_t value;
    const char *text;
} al_fact;

struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

typedef struct al_flaw {
    uintptr_t address;
    const char *what;
} al_flaw;

typedef struct al_stat {
    const char *name;
    uint64_t value;
} al_stat;

extern const al_allocator *const al_allocators[];
const al_allocator *al_allocator_find(const char *name);
void al_tunables_default(const al_allocator *allocator, al_settings *settings);
int al_tunables_parse(const al_allocator *allocator, const char *text, al_settings *settings, char *message,
                      size_t message_bytes);

al_heap *al_heap_create(const al_allocator *allocator, const al_settings *settings, const al_regions_config *config,
                        int *error);
void al_heap_destroy(al_heap *heap);
al_thread *al_thread_create(al_heap *heap);
void al_thread_exit(al_thread *thread);
void *al_heap_malloc(al_thread *thread, size_t bytes);
void *al_heap_calloc(al_thread *thread, size_t count, size_t bytes);
void *al_heap_memalign(al_thread *thread, size_t alignment, size_t bytes);
void *al_heap_realloc(al_thread *thread, void *block, size_t bytes);
void al_heap_free(al_thread *thread, void *block);
size_t al_heap_usable_size(al_heap *heap, const void *block);
bool al_heap_trim(al_heap *heap, size_t pad);
size_t al_heap_chunks(al_heap *heap, al_chunk *out, size_t room);
bool al_heap_validate(al_heap *heap, al_flaw *flaw);
al_ledger al_heap_ledger(al_heap *heap);
size_t al_heap_stats(al_heap *heap, al_stat *out, size_t room);
size_t al_heap_binned(al_heap *heap, al_binned *out, size_t room);
size_t al_heap_viewed(al_heap *heap, const char *view, al_fact *out, size_t room);
int al_heap_control(al_heap *heap, al_thread *caller, const char *name, uint64_t *value, bool set);
void al_heap_advance(al_heap *heap, uint64_t nanoseconds);
size_t al_heap_explain(al_heap *heap, uintptr_t address, al_fact *out, size_t room);
int al_heap_mallopt(al_heap *heap, int parameter, int value);
struct mallinfo2 al_heap_mallinfo(al_heap *heap);
size_t al_heap_report_text(al_heap *heap, bool xml, char *out, size_t room);

/* --- record: what a capture says of its process image --- */

typedef struct al_capture_header {
    uint64_t magic;
    uint32_t pid, parent, image, forked;
    uint64_t start_ns, end_ns, lost, stop_ns;
    uint32_t stopped, command_bytes;
    char program[1024];
    char allocator[1024];
    char libc[32];
    char command[8192];
    char smaps[2048];
    ...;
} al_capture_header;
enum { AL_STOPPED_TIME = ..., AL_STOPPED_EVENTS = ... };
bool al_capture_read_header(int fd, al_capture_header *header);

/* --- trace: captures of the recorder --- */

typedef struct al_rows {
    size_t capacity;
    uint8_t *op;
    uint32_t *thread;
    int64_t *object;
    uint64_t *size, *count, *align;
    int64_t *time_ns;
    uint8_t *failed;
    uint64_t *address;
} al_rows;

typedef struct al_capture_counts {
    uint64_t events, frees_unknown, reallocs_unknown, frees_lost, calls_lost;
    uint64_t live_bytes, peak_live_bytes;
    uint64_t stamps, span_ns, cut;
} al_capture_counts;

typedef struct al_capture al_capture;
al_capture *al_capture_open(const char *path, uint64_t max_events, bool consume, const char **error);
void al_capture_close(al_capture *capture);
int64_t al_capture_next(al_capture *capture, al_rows *rows, const char **error);
al_capture_counts al_capture_counted(const al_capture *capture);
const char *al_capture_thread_name(const al_capture *capture, uint32_t thread);


/* --- trace: foreign formats --- */

typedef struct al_import_rows {
    size_t capacity, count;
    uint8_t *kind;
    uint64_t *where, *columns;
} al_import_rows;

enum { AL_LINE_MAX = 65536, AL_LINE_BLANK = 254, AL_LINE_UNKNOWN = 255 };
enum { AL_ROW_RENAME = 7 };
typedef struct al_linescan al_linescan;
al_linescan *al_linescan_new(void);
void al_linescan_free(al_linescan *scan);
int al_linescan_add(al_linescan *scan, const char *pattern);
size_t al_linescan_run(const al_linescan *scan, const char *text, size_t bytes, al_import_rows *rows);

typedef struct al_identity {
    int64_t objects, thread_count;
    uint64_t live_blocks, live_bytes, peak_bytes;
    ...;
} al_identity;
bool al_identity_init(al_identity *identity, bool unknown_realloc_is_malloc);
void al_identity_destroy(al_identity *identity);
int64_t al_identity_run(al_identity *identity, size_t n, uint8_t *op, const uint64_t *thread_id, const uint64_t *name,
                        const uint64_t *old_name, const uint64_t *size, const uint64_t *count, bool *failed,
                        int64_t *object, uint32_t *thread, uint8_t *problem);

int al_tracefile_scan(const uint8_t *data, size_t bytes, uint64_t base, al_import_rows *rows, size_t *consumed);

typedef struct al_workload {
    uint64_t fault_at;
    ...;
} al_workload;
int al_workload_open(al_workload *workload, const uint8_t *data, uint64_t bytes, uint64_t page);
void al_workload_destroy(al_workload *workload);
int al_workload_run(al_workload *workload, al_import_rows *rows);

/* --- replay: contents of blocks --- */

void al_contents_fill(char *block, uint64_t key, size_t from, size_t to);
size_t al_contents_wrong(const char *block, uint64_t key, size_t to);
size_t al_contents_not_zero(const char *block, size_t bytes);

/* --- replay: in process --- */

typedef enum al_pass { AL_PASS_VERIFY, AL_PASS_MEMORY, AL_PASS_CALLS, AL_PASS_TIME } al_pass;

typedef struct al_job {
    const struct al_ops_head *head;
    const struct al_op *entries;
    size_t entry_room;
    al_pass pass;
    bool touch;
    uint32_t samples, warm_passes;
} al_job;
size_t al_job_text_bytes(const al_job *job);
size_t al_replay_in_process(const al_job *job, const char *allocator, const char *options, char *out);
