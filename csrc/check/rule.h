/* The rules of malloc, each a function that tries it on whatever malloc this process has, and says what it saw.
 *
 * What a rule says goes out at once, for the next call may be the last: to standard output, or to a file of its own
 * where the library may write to that, too:
 *
 *     fail WHY            of a must rule          deviates WHY        of one that the standards leave open
 *     recorded WHAT       not judged              not-applicable WHY
 *     by FAULT N STEP     the last of these can be seen again by these calls: al_fault
 *     again I N           line I (from 0) was seen N more times
 *     while STEP          the call under way, when a signal ended the process
 *     pass                nothing else was said
 *     complete            the last line
 *
 * Nothing here asks malloc for memory but the rules themselves. */
#ifndef AL_CHECK_RULE_H
#define AL_CHECK_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AL_SAYS(words, values) __attribute__((format(printf, words, values)))

/* Where it does not hold, the rule is broken; one line for each format. Returns holds. */
bool al_holds(bool holds, const char *format, ...) AL_SAYS(2, 3);
bool al_expects(bool holds, const char *format, ...) AL_SAYS(2, 3); /* likewise, but it deviates */
void al_recorded(const char *format, ...) AL_SAYS(1, 2);
void al_not_applicable(const char *format, ...) AL_SAYS(1, 2);
/* What is being tried, for the report of a crash or a hang. Where it is calls as C has them, with numbers, SIZE_MAX,
 * PTRDIFF_MAX and calls as arguments, a program can be written of it: free(malloc(24)), malloc(SIZE_MAX - 7) */
void al_step(const char *format, ...) AL_SAYS(1, 2);
/* What that program is to look for after the step's last call, if the next that is to hold does not; kinds of faults
 * and what their number is: alloclab/check/steps.py. */
void al_fault(const char *kind, size_t number);

void al_answer_on(int file); /* an open one, which programs started from here do not have */
void al_begin(bool must, unsigned seconds); /* from here on signals are reported, SIGALRM after so many seconds too */
void al_end(void);
void al_alone(void); /* in a forked child: it says nothing, and ends by itself */
int al_wait(pid_t child);

/* --- what rules use --- */

extern const size_t al_sizes[]; /* small ones, edges of pages and of mmap thresholds, powers of two and beside them */
extern const int al_sizes_count;
extern volatile size_t al_huge; /* SIZE_MAX, unknown to the compiler */

bool al_filled(const void *block, size_t bytes, unsigned char value);
bool al_aligned(const void *block, size_t alignment);
/* How many bytes may be written: what was asked for, where malloc_usable_size is another library's. */
size_t al_usable(void *block, size_t asked);
size_t al_resident(void); /* bytes */
size_t al_grown(size_t resident); /* how much more is resident now */
size_t al_mapped(void);   /* bytes of address space */
const char *al_owner(const char *symbol); /* the file of the library that answers it, NULL if none does */
bool al_is_own(const char *symbol); /* it is answered by the library that answers malloc */
/* Likewise; where it is not, says whose it is: what of the rule needs it does not apply. */
bool al_applies(const char *symbol);
/* No block is ever used twice, as with an allocator that only counts up: no rule of the standards forbids it. */
bool al_never_reuses(void);
bool al_no_memory(const char *call, const void *block); /* it failed with ENOMEM; sets errno to 0 */

void al_c01(void), al_c02(void), al_c03(void), al_c04(void), al_c05(void), al_c06(void), al_c07(void), al_c08(void);
void al_c09(void), al_c10(void), al_c11(void), al_c12(void), al_c13(void), al_c14(void), al_c15(void), al_c16(void);
void al_c17(void), al_c18(void), al_c19(void), al_c20(void), al_c21(void), al_c22(void), al_c23(void), al_c24(void);
void al_c25(void), al_c26(void), al_c27(void), al_c28(void), al_c29(void), al_c30(void), al_c31(void), al_c32(void);
void al_c33(void), al_c34(void);

/* Their process, started again for another beginning: the exit status. */
int al_c19_again(void), al_c30_again(void);

#endif
