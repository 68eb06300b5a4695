/* What theirs reads from the environment, by its rules, so that a drop-in obeys the settings made for it:
 *
 *     TCMALLOC_NAME=VALUE
 *
 * A number is what C reads at its front, blanks and a sign before it: "abc" and "" are 0, "7k" is 7. It becomes the
 * nearest of those that the setting may have, or is cut to 32 bits, or taken as it is. A truth is told by the first
 * character: t, T, y, Y, 1, or none at all - "" is true.
 *
 * Runs inside the first malloc: it does not allocate. */
#include "allocators/heap.h"
#include "allocators/tcmalloc/tcmalloc.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *variable_of(tc_tunable tunable) { return getenv(al_tc_tunables[tunable].real_name); }

static void set(al_settings *settings, tc_tunable tunable, uint64_t value) {
    settings->values[tunable] = value;
    settings->given |= UINT32_C(1) << tunable;
}

static uint64_t nearest(const al_tunable *tunable, uint64_t value) {
    return al_max(tunable->least, al_min(value, tunable->most));
}

static bool is_true(const char *text) { return strchr("tTyY1", *text) != NULL; } /* finds its end, too */

static void read_truth(al_settings *settings, tc_tunable tunable) {
    const char *text = variable_of(tunable);
    if (text != NULL) set(settings, tunable, is_true(text));
}

/* Negative ones are the largest. */
static void read_budget(al_settings *settings) {
    const char *text = variable_of(TC_MAX_TOTAL_THREAD_CACHE_BYTES);
    if (text == NULL) return;
    const uint64_t value = (uint64_t)strtoll(text, NULL, 10);
    set(settings, TC_MAX_TOTAL_THREAD_CACHE_BYTES, nearest(&al_tc_tunables[TC_MAX_TOTAL_THREAD_CACHE_BYTES], value));
}

/* As it stands there, but for the end of what is absurdly long. */
static void read_rate(al_settings *settings) {
    enum { DIGITS_MOST = 500 };
    const char *text = variable_of(TC_RELEASE_RATE);
    if (text == NULL) return;
    if (*text == '\0') text = "0";
    al_tunables_set_text(settings, TC_RELEASE_RATE, text, strnlen(text, DIGITS_MOST));
}

static void read_limit(al_settings *settings) {
    const char *text = variable_of(TC_HEAP_LIMIT_MB);
    if (text != NULL) set(settings, TC_HEAP_LIMIT_MB, (uint64_t)(int32_t)strtol(text, NULL, 10));
}

/* With 0 theirs divides by it, with less it hangs. */
static void read_batch(al_settings *settings) {
    const char *text = variable_of(TC_TRANSFER_NUM_OBJ);
    if (text == NULL) return;
    const int32_t value = (int32_t)strtol(text, NULL, 10);
    set(settings, TC_TRANSFER_NUM_OBJ, nearest(&al_tc_tunables[TC_TRANSFER_NUM_OBJ], value > 0 ? (uint64_t)value : 0));
}

/* Whatever it is set to, there is a report. */
static void read_stats(al_settings *settings) {
    const char *text = variable_of(TC_STATS_AT_EXIT);
    if (text != NULL) set(settings, TC_STATS_AT_EXIT, strtol(text, NULL, 10) > 1 ? 2 : 1);
}

/* Memory from elsewhere is not built here. */
static void tell_of_others(void) {
    static const char *const others[] = {"TCMALLOC_DEVMEM_START", "TCMALLOC_MEMFS_MALLOC_PATH"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const char *text = getenv(others[i]);
        if (text == NULL || *text == '\0' || strcmp(text, "0") == 0) continue;
        const struct iovec parts[] = {{(void *)"tcmalloc: Not built in alloclab: ", 33},
                                      {(void *)others[i], strlen(others[i])},
                                      {(void *)"=", 1},
                                      {(void *)text, strlen(text)},
                                      {(void *)"\n", 1}};
        if (writev(STDERR_FILENO, parts, sizeof parts / sizeof *parts) < 0) return;
    }
}

void al_tc_environment(al_settings *settings) {
    read_budget(settings);
    read_rate(settings);
    read_limit(settings);
    read_batch(settings);
    read_stats(settings);
    read_truth(settings, TC_AGGRESSIVE_DECOMMIT);
    read_truth(settings, TC_SKIP_SBRK);
    read_truth(settings, TC_SKIP_MMAP);
    read_truth(settings, TC_DISABLE_MEMORY_RELEASE);
    tell_of_others();
}
