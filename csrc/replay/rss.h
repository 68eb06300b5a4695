/* What of this process is resident, from files of /proc that are kept open: one read, about a microsecond. */
#ifndef AL_REPLAY_RSS_H
#define AL_REPLAY_RSS_H

#include <stddef.h>

typedef struct al_rss {
    int statm, status;
    size_t page;
    size_t baseline; /* anonymous bytes at the time of al_rss_begin that are not the allocator's */
} al_rss;

int al_rss_open(al_rss *rss); /* 0 or an errno value */

/* Reads a byte in every page of the program and its libraries, so that none of them is faulted in during a pass: what
 * becomes resident then is the allocator's. */
void al_rss_warm_files(void);

/* Resets the kernel's high-water mark and takes the baseline; `own` is what of it is the allocator's already. Returns
 * 0, or an errno value if the mark could not be reset: then only samples tell the peak. */
int al_rss_begin(al_rss *rss, size_t own);

/* Anonymous resident bytes above the baseline, now; and the high-water mark of the same: the kernel's mark, which is
 * of all resident pages, without those of files. */
size_t al_rss_now(void *rss);
size_t al_rss_peak(const al_rss *rss);

#endif
