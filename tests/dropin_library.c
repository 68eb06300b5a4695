/* A library that allocates as it comes and as it goes, in threads, and in storage of their own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

unsigned char *made_early;
static __thread char storage[70000]; /* the loader allocates it for each thread that uses it */

unsigned char *made_by_library(size_t bytes) { return malloc(bytes); }

static void *work(void *unused) {
    (void)unused;
    memset(storage, 1, sizeof storage);
    for (size_t i = 0; i < 200; i++) free(memset(malloc(i * i), 2, i * i));
    return malloc(100);
}

void work_in_library(void) {
    pthread_t threads[2];
    void *left = work(NULL);
    free(left);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) abort();
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &left);
        free(left);
    }
}

static void at_fork(void) { free(malloc(1000)); }

__attribute__((constructor)) static void come(void) {
    made_early = memset(malloc(700), 700 % 251, 700);
    pthread_atfork(at_fork, at_fork, at_fork);
    work_in_library();
}

__attribute__((destructor)) static void go(void) {
    work_in_library();
    free(made_early);
}
