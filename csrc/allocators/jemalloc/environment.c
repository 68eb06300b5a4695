/* What jemalloc reads from its surroundings, by its rules, so that a drop-in obeys the settings made for it and says of
 * wrong ones what it says:
 *
 *     malloc_conf           a variable of the program
 *     /etc/malloc.conf      a symbolic link: where it points to is the text
 *     MALLOC_CONF           in the environment
 *
 * Each is a list NAME:VALUE,NAME:VALUE. Of what is said of a name the last counts,
 * but lists of ranges go on. A value is what C writes as a whole
 * number, true or false, or a word. Some numbers out of range are refused, others become the nearest within. Options
 * go by their names, but dss, metadata_thp and percpu_arena by any beginning of theirs.
 *
 * All is read twice, for confirm_conf must be known from the start: so what is wrong with a list itself is said twice.
 *
 * Runs inside the first malloc: it does not allocate. */
#include "allocators/heap.h"
#include "allocators/jemalloc/jemalloc.h"
#include "allocators/jemalloc/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LISTED = JE_CACHE_OBLIVIOUS, TCACHE_LG_MOST = 23, RATIO_BITS = 16, NAME_MOST = 4096 };

typedef je_text span;

static span span_of(const char *text) { return (span){text, strlen(text)}; }

static bool equals(span s, const char *text) { return strlen(text) == s.bytes && memcmp(s.at, text, s.bytes) == 0; }

static bool begins(const char *text, span s) { return strncmp(text, s.at, s.bytes) == 0; }

/* --- what is said --- */

static void say(const char *what, span name, span value) {
    const struct iovec parts[] = {
        {(void *)"<jemalloc>: ", 12}, {(void *)what, strlen(what)},        {(void *)name.at, name.bytes},
        {(void *)":", name.at != NULL}, {(void *)value.at, value.bytes}, {(void *)"\n", 1},
    };
    if (writev(STDERR_FILENO, parts, sizeof parts / sizeof *parts) < 0) return;
}

static void say_plainly(const char *what) { say(what, (span){NULL, 0}, (span){NULL, 0}); }

/* --- values --- */

typedef enum verdict { GOOD, UNKNOWN, WRONG, WRONG_SHARDS, WRONG_SLABS, OUT_OF_RANGE, NOT_BUILT } verdict;

static const char *const verdicts[] = {
    [UNKNOWN] = "Invalid conf pair: ",
    [WRONG] = "Invalid conf value: ",
    [WRONG_SHARDS] = "Invalid settings for bin_shards: ",
    [WRONG_SLABS] = "Invalid settings for slab_sizes: ",
    [OUT_OF_RANGE] = "Out-of-range conf value: ",
    [NOT_BUILT] = "Not built in alloclab: ",
};

static bool read_number(span text, uint64_t *value) { return al_je_take_number(&text, value) && text.bytes == 0; }

/* 1.5, 2 or .25, in units of 2^-16, off the front of *text. */
static bool take_ratio(span *text, uint64_t *value) {
    const uint64_t unit = UINT64_C(1) << RATIO_BITS;
    uint64_t whole = 0, part = 0, scale = unit * 100000;
    bool bare = text->bytes > 0 && *text->at == '.';
    if (!bare && (!al_je_take_digits(text, 10, &whole) || whole > UINT16_MAX)) return false;
    if (al_je_take_char(text, '.')) {
        if (text->bytes == 0 || al_je_digit(*text->at) >= 10) return false;
        for (; text->bytes > 0 && al_je_digit(*text->at) < 10; al_je_take_char(text, *text->at))
            part += al_je_digit(*text->at) * (scale /= 10);
    }
    *value = whole * unit + part / 100000;
    return true;
}

static bool read_share(span text, uint64_t *value) {
    return take_ratio(&text, value) && text.bytes == 0 && *value <= UINT64_C(1) << RATIO_BITS;
}

static bool read_multiple(span text, uint64_t *value) {
    return equals(text, "-1") || (take_ratio(&text, value) && text.bytes == 0);
}

static bool read_bool(span text, uint64_t *value) {
    *value = equals(text, "true");
    return *value || equals(text, "false");
}

/* loose: a beginning of the word will do. */
static bool read_choice(const char *choices, span text, bool loose, uint64_t *value) {
    const char *end;
    *value = 0;
    for (const char *at = choices;; at = end + 1, ++*value) {
        end = strchrnul(at, '|');
        size_t bytes = (size_t)(end - at);
        if (text.bytes <= bytes && (loose || text.bytes == bytes) && memcmp(at, text.at, text.bytes) == 0) return true;
        if (*end == '\0') return false;
    }
}

/* --- options --- */

/* Those that are no tunables here are read and, where well written, change nothing. `matters`: any value but `value`
 * would have jemalloc do what is not built here. A choice of nothing takes any text. */
typedef struct option {
    const char *name;
    al_tunable_type type;
    const char *choices;
    uint64_t value, least, most;
    bool loose;   /* a beginning of the value will do; but for thp, and one of the name */
    bool clipped; /* out of range it becomes the nearest within */
    bool matters;
    bool (*reads)(span text, uint64_t *value); /* not by its type */
    verdict refused;                           /* where that fails */
} option;

#define FLAG(text) {.name = text, .type = AL_TUNABLE_BOOL}
#define NUMBER(text) {.name = text, .type = AL_TUNABLE_COUNT, .most = UINT64_MAX}
#define ANY(text) {.name = text, .type = AL_TUNABLE_CHOICE}

static const option others[] = {
    FLAG("abort"), FLAG("abort_conf"), FLAG("confirm_conf"), FLAG("experimental_infallible_new"),
    FLAG("prof_accum"), FLAG("prof_active"), FLAG("prof_final"), FLAG("prof_gdump"), FLAG("prof_leak"),
    FLAG("prof_leak_error"), FLAG("prof_log"), FLAG("prof_stats"), FLAG("prof_sys_thread_name"),
    FLAG("prof_thread_active_init"), FLAG("prof_unbias"), FLAG("trust_madvise"),
    NUMBER("hpa_hugification_threshold"), NUMBER("hpa_hugify_delay_ms"), NUMBER("hpa_min_purge_interval_ms"),
    NUMBER("hpa_sec_batch_fill_extra"), NUMBER("hpa_sec_bytes_after_flush"), NUMBER("hpa_sec_max_alloc"),
    NUMBER("hpa_sec_max_bytes"), NUMBER("hpa_sec_nshards"), NUMBER("hpa_slab_max_alloc"), NUMBER("lg_prof_sample"),
    NUMBER("lg_tcache_max"), NUMBER("max_background_threads"),
    ANY("narenas_ratio"), ANY("prof_prefix"), ANY("stats_interval_opts"), ANY("stats_print_opts"),
    {.name = "hpa_dirty_mult", .reads = read_multiple, .refused = WRONG},
    {.name = "hpa_hugification_threshold_ratio", .reads = read_share, .refused = WRONG},
    {.name = "lg_prof_interval", .type = AL_TUNABLE_INTEGER, .least = (uint64_t)-1, .most = 63},
    {.name = "mutex_max_spin", .type = AL_TUNABLE_INTEGER, .least = (uint64_t)-1, .most = INT64_MAX},
    {.name = "prof_recent_alloc_max", .type = AL_TUNABLE_INTEGER, .least = (uint64_t)-1, .most = INT64_MAX},
    {.name = "stats_interval", .type = AL_TUNABLE_INTEGER, .value = (uint64_t)-1, .least = (uint64_t)-1,
     .most = INT64_MAX, .matters = true},
    {.name = "prof_time_resolution", .type = AL_TUNABLE_CHOICE, .choices = "default|high"},
    {.name = "metadata_thp", .type = AL_TUNABLE_CHOICE, .choices = "disabled|auto|always", .loose = true,
     .matters = true},
    {.name = "percpu_arena", .type = AL_TUNABLE_CHOICE, .value = 2, .choices = "percpu|phycpu|disabled", .loose = true,
     .matters = true},
    {.name = "hpa", .type = AL_TUNABLE_BOOL, .matters = true},
    {.name = "prof", .type = AL_TUNABLE_BOOL, .matters = true},
    {.name = "san_guard_small", .type = AL_TUNABLE_COUNT, .most = UINT64_MAX, .matters = true},
    {.name = "san_guard_large", .type = AL_TUNABLE_COUNT, .most = UINT64_MAX, .matters = true},
};

enum { OTHERS = sizeof others / sizeof *others };

/* As jemalloc reads our tunable. */
static option tunable_option(size_t i) {
    const al_tunable *t = &al_je_tunables[i];
    option o = {t->name, t->type, t->choices, t->value, t->least, t->most, false, false, false, NULL, GOOD};
    switch ((je_tunable)i) {
    case JE_NARENAS:
        o.least = 1;
        o.most = UINT64_MAX;
        break;
    case JE_DSS:
    case JE_THP: o.loose = true; break;
    case JE_TCACHE_MAX:
    case JE_TCACHE_NSLOTS_SMALL_MIN:
    case JE_TCACHE_NSLOTS_SMALL_MAX:
    case JE_TCACHE_NSLOTS_LARGE:
    case JE_TCACHE_GC_INCR_BYTES:
    case JE_LG_TCACHE_FLUSH_SMALL_DIV:
    case JE_LG_TCACHE_FLUSH_LARGE_DIV: o.clipped = true; break;
    default: break;
    }
    return o;
}

/* In [0, LISTED): our tunable; behind it, one of the others; the end: no such name. */
static size_t find(span name) {
    static const char *const by_beginning[] = {"metadata_thp", "dss", "percpu_arena"};
    for (size_t i = 0; i < 3; i++)
        if (begins(by_beginning[i], name)) name = span_of(by_beginning[i]);
    size_t i = 0;
    while (i < LISTED && !equals(name, al_je_tunables[i].name)) i++;
    while (i >= LISTED && i < LISTED + OTHERS && !equals(name, others[i - LISTED].name)) i++;
    return i;
}

static verdict in_range(const option *o, uint64_t *value) {
    bool is_signed = o->type == AL_TUNABLE_INTEGER;
    bool low = is_signed ? (int64_t)*value < (int64_t)o->least : *value < o->least;
    bool high = is_signed ? (int64_t)*value > (int64_t)o->most : *value > o->most;
    if (!low && !high) return GOOD;
    if (!o->clipped) return OUT_OF_RANGE;
    *value = low ? o->least : o->most;
    return GOOD;
}

static verdict read_value(const option *o, span text, uint64_t *value) {
    *value = 0;
    if (o->reads != NULL) return o->reads(text, value) ? GOOD : o->refused;
    if (o->type == AL_TUNABLE_BOOL) return read_bool(text, value) ? GOOD : WRONG;
    if (o->type != AL_TUNABLE_CHOICE) return read_number(text, value) ? in_range(o, value) : WRONG;
    return o->choices == NULL || read_choice(o->choices, text, o->loose, value) ? GOOD : WRONG;
}

/* --- the lists --- */

typedef struct reading {
    al_settings *settings;
    bool first;   /* of the two times */
    bool confirm; /* all that is read is told */
    bool abort, wrong;
    bool has_ratio;
    uint64_t ratio;
} reading;

static void set(reading *r, je_tunable tunable, uint64_t value) {
    r->settings->values[tunable] = value;
    r->settings->given |= UINT32_C(1) << tunable;
}

/* Ranges behind those that there are; false: no room. */
static bool add_ranges(al_settings *settings, je_tunable tunable, span text) {
    char joined[AL_TEXTS_BYTES];
    const char *before = al_setting_text(settings, tunable);
    size_t bytes = strlen(before);
    if (text.bytes > 0 && text.at[text.bytes - 1] == '|') text.bytes--;
    if (text.bytes == 0) return true;
    if (bytes + 1 + text.bytes > sizeof joined) return false;
    memcpy(joined, before, bytes);
    if (bytes > 0) joined[bytes++] = '|';
    memcpy(joined + bytes, text.at, text.bytes);
    return al_tunables_set_text(settings, tunable, joined, bytes + text.bytes);
}

/* Here all that is said counts, one after the other, also what stands before something wrong. */
static verdict obey_ranges(reading *r, je_tunable tunable, span text) {
    const bool slabs = tunable == JE_SLAB_SIZES;
    span rest = text, sound = {text.at, 0};
    je_range range;
    bool read;
    if (slabs && equals(text, "default")) return al_tunables_set_text(r->settings, tunable, "", 0) ? GOOD : NOT_BUILT;
    do {
        read = al_je_take_range(&rest, &range) && (slabs || al_je_are_shards(range.number));
        if (read) sound.bytes = (size_t)(rest.at - text.at);
    } while (read && rest.bytes > 0);
    const bool fits = add_ranges(r->settings, tunable, sound);
    return !read ? (slabs ? WRONG_SLABS : WRONG_SHARDS) : fits ? GOOD : NOT_BUILT;
}

static verdict obey_tunable(reading *r, je_tunable tunable, span text) {
    if (tunable == JE_SLAB_SIZES || tunable == JE_BIN_SHARDS) return obey_ranges(r, tunable, text);
    const option o = tunable_option(tunable);
    uint64_t value = 0;
    bool any = tunable == JE_NARENAS && equals(text, "default");
    verdict v = any ? GOOD : read_value(&o, text, &value);
    if (v == GOOD) set(r, tunable, tunable == JE_NARENAS ? (uint32_t)value : value);
    return v;
}

static verdict obey_other(reading *r, const option *o, span text) {
    uint64_t value;
    const span name = span_of(o->name);
    verdict v = read_value(o, text, &value);
    if (equals(name, "narenas_ratio")) { /* of "1.5x" it says that it is wrong, and takes 1.5 */
        if (!take_ratio(&text, &r->ratio)) return WRONG;
        r->has_ratio = true;
        return text.bytes == 0 ? GOOD : WRONG;
    }
    if (v != GOOD) return v;
    if (equals(name, "abort_conf")) r->abort = value;
    if (equals(name, "confirm_conf")) r->confirm = value;
    if (equals(name, "lg_tcache_max")) set(r, JE_TCACHE_MAX, UINT64_C(1) << al_min(value, TCACHE_LG_MOST));
    return o->matters && value != o->value ? NOT_BUILT : GOOD;
}

static void obey(reading *r, span name, span text) {
    size_t found = find(name);
    if (r->first && !equals(name, "confirm_conf")) return;
    verdict v = found < LISTED            ? obey_tunable(r, (je_tunable)found, text)
                : found < LISTED + OTHERS ? obey_other(r, &others[found - LISTED], text)
                                          : UNKNOWN;
    if (r->first) return;
    if (r->confirm && (v == GOOD || v == NOT_BUILT)) say("-- Set conf value: ", name, text);
    if (v != GOOD) say(verdicts[v], name, text);
    r->wrong |= v != GOOD && v != NOT_BUILT;
}

static void malformed(reading *r, const char *what) {
    say_plainly(what);
    r->wrong = true;
}

static bool in_name(char c) {
    return al_je_digit(c) < 10 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static void read_list(reading *r, const char *text) {
    while (*text != '\0') {
        span name = {text, 0};
        while (in_name(name.at[name.bytes])) name.bytes++;
        text += name.bytes;
        if (*text == '\0') return malformed(r, "Conf string ends with key");
        if (*text != ':') return malformed(r, "Malformed conf string");
        span value = {text + 1, 0};
        value.bytes = (size_t)(strchrnul(value.at, ',') - value.at);
        text = value.at + value.bytes;
        if (text[0] == ',' && *++text == '\0') malformed(r, "Conf string ends with comma");
        obey(r, name, value);
    }
}

extern const char *malloc_conf __attribute__((weak));

static void read_all(reading *r) {
    char link[NAME_MOST + 1];
    ssize_t bytes = readlink("/etc/malloc.conf", link, NAME_MOST);
    link[bytes > 0 ? bytes : 0] = '\0';
    const struct {
        const char *name, *text;
    } sources[] = {
        {"malloc_conf #1 (string specified via --with-malloc-conf)", ""},
        {"malloc_conf #2 (string pointed to by the global variable malloc_conf)",
         &malloc_conf != NULL ? malloc_conf : NULL},
        {"malloc_conf #3 (\"name\" of the file referenced by the symbolic link named /etc/malloc.conf)", link},
        {"malloc_conf #4 (value of the environment variable MALLOC_CONF)", secure_getenv("MALLOC_CONF")},
        {"malloc_conf #5 (string pointed to by the global variable malloc_conf_2_conf_harder)", ""},
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const char *text = sources[i].text != NULL ? sources[i].text : "";
        if (r->confirm && !r->first) {
            struct iovec parts[] = {
                {(void *)"<jemalloc>: ", 12}, {(void *)sources[i].name, strlen(sources[i].name)}, {(void *)": \"", 3},
                {(void *)text, strlen(text)}, {(void *)"\"\n", 2}};
            if (writev(STDERR_FILENO, parts, 5) < 0) return;
        }
        read_list(r, text);
    }
}

void al_je_environment(al_settings *settings) {
    reading r = {.settings = settings, .first = true};
    read_all(&r);
    r.first = false;
    read_all(&r);
    if (r.wrong && r.abort) {
        say_plainly("Abort (abort_conf:true) on invalid conf value (see above).");
        abort();
    }
    const unsigned cpus = al_os_linux.cpus();
    if (r.has_ratio && cpus > 1 && settings->values[JE_NARENAS] == 0) {
        uint64_t arenas = (r.ratio * cpus + (1 << (RATIO_BITS - 1))) >> RATIO_BITS;
        set(&r, JE_NARENAS, al_max(arenas, 1));
    }
    if (settings->values[JE_NARENAS] > JE_NARENAS_MOST) say_plainly("Reducing narenas to limit (4094)");
}
