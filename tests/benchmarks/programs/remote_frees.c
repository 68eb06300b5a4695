/* One thread allocates, three others write to every block; who frees it differs:
 *
 *     remote_frees local|remote|own BYTES BLOCKS GROUPS AHEAD [FIGURE...]
 *
 *     local    the others hand each group of blocks back, and who made it frees it
 *     remote   the others free it
 *     own      as remote, but each of the others has allocated a block of its own at first
 *
 * Blocks, handing over, and what is live at a time are the same in all; so is the order of frees. A group is made when
 * the one AHEAD before it is back: with 1, nobody allocates or frees beside another, and all figures are exact. In the
 * end nanoseconds per block are said, of the processor's time and of the clock's, and then by how much the figures grew
 * that alloclab_control was asked for. */
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OTHERS = 3, IN_FLIGHT = 2, BLOCKS_MOST = 1000, FIGURES_MOST = 32 };

__attribute__((weak)) int alloclab_control(const char *name, uint64_t *value, bool set);

typedef struct group {
    sem_t made, done;
    void *blocks[BLOCKS_MOST];
} group;

static struct {
    group groups[IN_FLIGHT];
    pthread_t thread;
} others[OTHERS];

static bool remote, own;
static size_t bytes, blocks, count, ahead;
static sem_t begun, ended, leave;

static void free_all(group *g) {
    for (size_t i = 0; i < blocks; i++) free(g->blocks[i]);
}

/* Group i goes to other i % OTHERS, into its place i / OTHERS % IN_FLIGHT. */
static group *place(size_t i) { return &others[i % OTHERS].groups[i / OTHERS % IN_FLIGHT]; }

static void *look(void *number) {
    if (own) free(malloc(bytes));
    sem_post(&begun);
    for (size_t i = (size_t)number; i < count; i += OTHERS) {
        group *g = place(i);
        sem_wait(&g->made);
        for (size_t j = 0; j < blocks; j++) *(char *)g->blocks[j] = 1;
        if (remote) free_all(g);
        sem_post(&g->done);
    }
    sem_post(&ended);
    sem_wait(&leave);
    return NULL;
}

static void make(group *g) {
    for (size_t i = 0; i < blocks; i++) {
        g->blocks[i] = malloc(bytes);
        if (g->blocks[i] == NULL) exit(1);
        *(char *)g->blocks[i] = 0;
    }
}

static void work(void) {
    for (size_t i = 0; i < count + ahead; i++) {
        if (i >= ahead) {
            group *back = place(i - ahead);
            sem_wait(&back->done);
            if (!remote) free_all(back);
        }
        if (i >= count) continue;
        make(place(i));
        sem_post(&place(i)->made);
    }
    for (size_t i = 0; i < OTHERS; i++) sem_wait(&ended);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void read_figures(char *const *names, size_t figures, uint64_t *values) {
    for (size_t i = 0; i < figures; i++)
        if (alloclab_control == NULL || alloclab_control(names[i], &values[i], false) != 0) exit(3);
}

int main(int argc, char **argv) {
    const size_t figures = argc > 6 ? (size_t)argc - 6 : 0;
    uint64_t before[FIGURES_MOST], after[FIGURES_MOST];
    if (argc < 6 || figures > FIGURES_MOST) return 2;
    own = strcmp(argv[1], "own") == 0;
    remote = own || strcmp(argv[1], "remote") == 0;
    bytes = strtoull(argv[2], NULL, 10);
    blocks = strtoull(argv[3], NULL, 10);
    count = strtoull(argv[4], NULL, 10);
    ahead = strtoull(argv[5], NULL, 10);
    if (blocks > BLOCKS_MOST || ahead < 1 || ahead > OTHERS * IN_FLIGHT) return 2;
    for (size_t i = 0; i < OTHERS * IN_FLIGHT; i++) {
        sem_init(&place(i)->made, 0, 0);
        sem_init(&place(i)->done, 0, 0);
    }
    read_figures(argv + 6, figures, before);
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID), clock = now(CLOCK_MONOTONIC);
    for (size_t i = 0; i < OTHERS; i++) {
        pthread_create(&others[i].thread, NULL, look, (void *)i);
        sem_wait(&begun);
    }
    work();
    const double all = (double)(count * blocks);
    const double cpu_spent = now(CLOCK_PROCESS_CPUTIME_ID) - cpu, clock_spent = now(CLOCK_MONOTONIC) - clock;
    read_figures(argv + 6, figures, after);
    for (size_t i = 0; i < OTHERS; i++) sem_post(&leave);
    for (size_t i = 0; i < OTHERS; i++) pthread_join(others[i].thread, NULL);
    printf("%.2f %.2f", cpu_spent / all, clock_spent / all);
    for (size_t i = 0; i < figures; i++) printf(" %ju", (uintmax_t)(after[i] - before[i]));
    printf("\n");
    return 0;
}
