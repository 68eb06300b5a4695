/* The drop-in's background thread, on busy.c: run with LD_PRELOAD and the name of one of the scenes below. It ends with
 * status 0; main's own exits say which line went wrong. */
#undef NDEBUG
#include "shim/dropin.h"

#include <assert.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma weak alloclab_control
#pragma weak alloclab_heap

enum { LATE = 20 };
static const uint64_t MILLISECOND = 1000000, HOUR = 3600000 * MILLISECOND;

static uint64_t figure(const char *name) {
    uint64_t value = 0;
    assert(alloclab_control(name, &value, false) == 0);
    return value;
}

static void set(const char *name, uint64_t value) { assert(alloclab_control(name, &value, true) == 0); }

static int tasks(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* Waits, without a call of malloc's. */
static void see_work_until(uint64_t done) {
    while (figure("done") < done) usleep(500);
}

static void see_work(uint64_t times) { see_work_until(figure("done") + times); }

static void churn(int rounds) {
    for (int i = 0; i < rounds; i++) {
        char *block = malloc(1 + (size_t)i % 3000);
        *block = 1;
        free(block);
    }
}

/* --- scenes --- */

/* ALLOCLAB_OPTIONS has switched it on. */
static void on_from_the_start(void) {
    assert(tasks() == 2);
    see_work(3);
    set("period", 0);
    uint64_t done = figure("done");
    usleep(20000);
    assert(figure("done") == done && tasks() == 2);
    set("period", MILLISECOND);
    see_work(3);
    assert(tasks() == 2);
}

static void on_by_control(void) {
    uint64_t value;
    assert(tasks() == 1 && figure("done") == 0);
    assert(alloclab_control("none", &value, true) != 0 && tasks() == 1);
    set("period", MILLISECOND);
    assert(tasks() == 2);
    see_work(3);
}

static void woken(void) {
    set("period", HOUR);
    see_work_until(2); /* asked whether there is work; then by the thread */
    usleep(20000);
    assert(figure("done") == 2);
    set("period", HOUR); /* whatever is set wakes it */
    see_work_until(3);
    al_heap_wake(alloclab_heap());
    see_work_until(4);
}

static volatile sig_atomic_t heard_by;

static void hear(int number) {
    (void)number;
    heard_by = gettid();
}

/* What main will not hear waits for it: the thread takes none of the process's signals. */
static void signals_wait_for_the_program(void) {
    sigset_t one;
    signal(SIGUSR1, hear);
    set("period", MILLISECOND);
    assert(tasks() == 2);
    raise(SIGUSR1); /* main's own mask is as it was */
    assert(heard_by == getpid());
    heard_by = 0;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    assert(pthread_sigmask(SIG_BLOCK, &one, NULL) == 0);
    kill(getpid(), SIGUSR1);
    see_work(3);
    assert(heard_by == 0);
    assert(pthread_sigmask(SIG_UNBLOCK, &one, NULL) == 0);
    assert(heard_by == getpid());
}

static void *fork_and_churn(void *unused) {
    for (int i = 0; i < 25; i++) {
        pid_t child = fork();
        assert(child >= 0);
        if (child == 0) {
            churn(100);
            assert(tasks() == 2);
            see_work(2);
            pthread_exit(NULL); /* its only thread */
        }
        int status;
        assert(waitpid(child, &status, 0) == child && status == 0);
        churn(100);
    }
    return unused;
}

static void forks(void) {
    pthread_t threads[3];
    set("period", 1000);
    for (int i = 0; i < 3; i++) assert(pthread_create(&threads[i], NULL, fork_and_churn, NULL) == 0);
    for (int i = 0; i < 3; i++) assert(pthread_join(threads[i], NULL) == 0);
}

static void off_in_the_child(void) {
    assert(tasks() == 1);
    if (fork() == 0) {
        churn(10);
        _exit(tasks() - 1);
    }
    int status;
    assert(wait(&status) > 0 && status == 0);
}

/* By then main is gone, and whoever came before; the thread, too, until it is needed again. */
static void *come_late(void *number) {
    usleep(20000 + 5000 * (unsigned)(uintptr_t)number);
    churn(10);
    see_work(2);
    return NULL;
}

/* main leaves; so must the process, once the last of its threads has. */
static void main_leaves(void) {
    set("period", HOUR);
    pthread_exit(NULL);
}

static void main_leaves_others(void) {
    pthread_t thread;
    set("period", MILLISECOND);
    for (uintptr_t i = 0; i < LATE; i++) assert(pthread_create(&thread, NULL, come_late, (void *)i) == 0);
    pthread_exit(NULL);
}

static void exec(void) {
    set("period", 1000);
    execl("/proc/self/exe", "dropin_busy", "on_from_the_start", NULL);
    assert(false);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*play)(void);
    } scenes[] = {
        {"on_from_the_start", on_from_the_start},
        {"on_by_control", on_by_control},
        {"woken", woken},
        {"signals", signals_wait_for_the_program},
        {"forks", forks},
        {"off_in_the_child", off_in_the_child},
        {"main_leaves", main_leaves},
        {"main_leaves_others", main_leaves_others},
        {"exec", exec},
    };
    assert(argc == 2 && alloclab_control != NULL);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        if (strcmp(scenes[i].name, argv[1]) != 0) continue;
        scenes[i].play();
        return 0;
    }
    return 2;
}
