/* Scenes: by which names the family is called, threads that end, processes that fork, libraries that come and go. */
#include "dropin_scenes.h"

#include <dlfcn.h>
#include <limits.h>
#include <spawn.h>
#include <sys/syscall.h>

/* --- C31: names --- */

/* Whoever looks for it finds the library that was preloaded. */
static void *look_up(const char *name) {
    void *const found[] = {dlsym(RTLD_DEFAULT, name), dlsym(RTLD_NEXT, name)};
    for (int i = 0; i < 2; i++) {
        Dl_info info;
        int ours = found[i] != NULL && dladdr(found[i], &info) != 0 && strstr(info.dli_fname, "liballoclab-") != NULL;
        if (!ours) fprintf(stderr, "%s\n", name);
        assert(ours);
    }
    return found[0];
}

static void names(void) {
    static const char *const family[] = {
        "malloc", "calloc", "realloc", "reallocarray", "free", "cfree", "memalign", "aligned_alloc", "posix_memalign",
        "valloc", "pvalloc", "malloc_usable_size", "malloc_trim", "mallinfo", "mallinfo2", "mallopt", "malloc_stats",
        "malloc_info", "free_sized", "free_aligned_sized"};
    for (size_t i = 0; i < sizeof family / sizeof *family; i++) look_up(family[i]);

}

/* glibc's other names for the same, by which programs get round a malloc of their own. */
static void names_of_libc(void) {
    void *(*get)(size_t) = look_up("__libc_malloc");
    void *(*get_zeroed)(size_t, size_t) = look_up("__libc_calloc");
    void *(*get_aligned)(size_t, size_t) = look_up("__libc_memalign");
    void *(*get_page)(size_t) = look_up("__libc_valloc"), *(*get_pages)(size_t) = look_up("__libc_pvalloc");
    void *(*resize)(void *, size_t) = look_up("__libc_realloc");
    void (*put)(void *) = look_up("__libc_free");
    struct mallinfo (*info)(void) = look_up("__libc_mallinfo");
    int (*option)(int, int) = look_up("__libc_mallopt");
    for (int i = 0; i < 100; i++) {
        void *const blocks[] = {get(100), get_zeroed(10, 10), get_aligned(4096, 100), get_page(100), get_pages(100)};
        for (int b = 0; b < 5; b++) free(filled(resize(blocks[b], 5000), 5000));
        put(malloc(100));
        put(NULL);
    }
    assert(info().arena != 0 && option(M_TOP_PAD, 4096) == mallopt(M_TOP_PAD, 4096));
}

/* C++ allocates by the same. */
static void operators(void) {
    void *library = dlopen("libstdc++.so.6", RTLD_NOW);
    assert(library != NULL);
    void *(*make)(size_t) = dlsym(library, "_Znwm"), *(*make_array)(size_t) = dlsym(library, "_Znam");
    void *(*make_aligned)(size_t, size_t) = dlsym(library, "_ZnwmSt11align_val_t");
    void (*destroy)(void *) = dlsym(library, "_ZdlPv"), (*destroy_sized)(void *, size_t) = dlsym(library, "_ZdlPvm");
    for (size_t bytes = 1; bytes < MIB; bytes *= 3) {
        check_and_free(filled(make(bytes), bytes), bytes);
        destroy(filled(make_aligned(bytes, 4096), bytes));
        destroy_sized(filled(malloc(bytes), bytes), bytes);
        destroy(filled(realloc(make_array(bytes), bytes + 1), bytes + 1));
    }
}

/* The library comes too late for a program that has a malloc already, and says so. */
static void opened_late(void) {
    void *block = filled(malloc(1000), 1000);
    assert(dlopen(getenv("LIBRARY"), RTLD_NOW) == NULL && strstr(dlerror(), "cannot be dlopen") != NULL);
    check_and_free(block, 1000);
    churn(1);
}

/* --- C26: the end of threads --- */

static pthread_key_t keys[2];
static _Thread_local unsigned char *held;

/* Comes again as often as it may. */
static void once_more(void *rounds) {
    churn((unsigned)(uintptr_t)rounds);
    check_and_free(held, 300);
    if ((uintptr_t)rounds == PTHREAD_DESTRUCTOR_ITERATIONS) return;
    held = filled(malloc(300), 300);
    pthread_setspecific(keys[0], (void *)((uintptr_t)rounds + 1));
}

/* Within the last round. */
static void fork_at_the_end(void *rounds) {
    if ((uintptr_t)rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(keys[1], (void *)((uintptr_t)rounds + 1));
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        churn(3);
        end(start(churn_once, 3));
        _exit(0);
    }
    ends_well(child);
}

extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library);
extern void *__dso_handle;

static void destroy_local(void *block) {
    check_and_free(block, 500);
    __cxa_thread_atexit_impl(free, malloc(600), &__dso_handle);
    churn(4);
}

static void *live_and_die(void *forks) {
    held = filled(malloc(300), 300);
    __cxa_thread_atexit_impl(destroy_local, filled(malloc(500), 500), &__dso_handle);
    pthread_setspecific(keys[0], (void *)1);
    if (forks != NULL) pthread_setspecific(keys[1], (void *)1);
    strerror(1000000); /* libc frees the text after all destructors */
    return NULL;
}

static void live_and_die_often(void) {
    for (uintptr_t i = 0; i < 5; i++) end(start(live_and_die, i == 0));
}

static void ends_of_threads(void) {
    assert(pthread_key_create(&keys[0], once_more) == 0 && pthread_key_create(&keys[1], fork_at_the_end) == 0);
    leaves_nothing(live_and_die_often);
}

static void *cancel_myself(void *unused) {
    (void)unused;
    unsigned char *blocks[100];
    pthread_cancel(pthread_self());
    for (int i = 0; i < 100; i++) blocks[i] = filled(malloc(100000), 100000);
    for (int i = 0; i < 100; i++) check_and_free(blocks[i], 100000);
    malloc_trim(0);
    churn(5);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return malloc(10);
}

/* No call of the family is a cancellation point. */
static void cancelled(void) {
    for (int i = 0; i < 4; i++) {
        void *left = end(start(cancel_myself, 0));
        assert(left != PTHREAD_CANCELED);
        free(left);
    }
    churn(6);
}

static void *churn_on_little(void *unused) {
    (void)unused;
    churn(7);
    malloc_trim(0);
    return malloc(10);
}

static void small_thread_stacks(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    assert(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        assert(pthread_create(&thread, &attributes, churn_on_little, NULL) == 0);
        free(end(thread));
    }
}

static void *leave(void *how) {
    churn(8);
    if (how == NULL) exit(0);
    if (how == (void *)1) quick_exit(0);
    _exit(0);
}

static void churn_at_exit(void) { churn(9); }

static void *fork_until_stop(void *unused) {
    while (!stop) {
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE);
            churn(9);
            _exit(0);
        }
        ends_well(child);
    }
    return unused;
}

/* The process ends while threads allocate and one forks, by whoever says so. */
static void exits(void) {
    for (uintptr_t i = 0; i < 32; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE);
            atexit(churn_at_exit);
            at_quick_exit(churn_at_exit);
            for (uintptr_t t = 0; t < 3; t++) start(t == 0 ? fork_until_stop : churn_until_stop, t);
            usleep(2000);
            pthread_t thread = start(leave, i % 3);
            if (i % 2 == 0) pthread_exit(NULL);
            end(thread);
        }
        ends_well(child);
    }
}

/* --- C19: fork and its kin --- */

static void *from_handlers[3];

static void prepare(void) {
    for (int i = 0; i < 3; i++) from_handlers[i] = filled(malloc(1000), 1000);
    churn(10);
}

static void after(void) {
    for (int i = 0; i < 3; i++) check_and_free(from_handlers[i], 1000);
    churn(11);
}

static void in_child(int generations) {
    churn((unsigned)generations);
    end(start(churn_once, 12));
    if (generations == 0) return;
    pid_t child = fork();
    if (child == 0) {
        in_child(generations - 1);
        _exit(0);
    }
    ends_well(child);
}

static void read_from_command(void) {
    char line[10] = "";
    FILE *out = popen("echo said", "r");
    assert(out != NULL && fgets(line, sizeof line, out) != NULL && strcmp(line, "said\n") == 0);
    assert(pclose(out) == 0);
}

static void run_shell(int way) {
    static char *const words[] = {"sh", "-c", "exit 0", NULL};
    pid_t child = 0;
    if (way == 0) {
        assert(posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ) == 0);
    } else {
        child = way == 1 ? vfork() : fork();
        if (child == 0) {
            execv("/bin/sh", words);
            _exit(127);
        }
    }
    ends_well(child);
}

static void *spawn_all_ways(void *number) {
    for (unsigned i = 0; i < 10; i++) {
        churn(i);
        switch ((i + (uintptr_t)number) % 5) {
        case 3: assert(system("exit 3") == 3 << 8); break;
        case 4: read_from_command(); break;
        default: run_shell((int)(i + (uintptr_t)number) % 5);
        }
    }
    return NULL;
}

static void *fork_generations(void *number) {
    for (unsigned i = 0; i < 6; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE);
            in_child((int)(uintptr_t)number % 3);
            _exit(0);
        }
        ends_well(child);
        churn(i);
    }
    return NULL;
}

/* So many threads do it while two others allocate. */
static void together(void *(*work)(void *), int workers) {
    pthread_t busy[2], others[4];
    for (uintptr_t i = 0; i < 2; i++) busy[i] = start(churn_until_stop, i);
    for (int i = 0; i < workers; i++) others[i] = start(work, (uintptr_t)i + 1);
    for (int i = 0; i < workers; i++) end(others[i]);
    stop = true;
    for (int i = 0; i < 2; i++) end(busy[i]);
}

static void forks(void) { together(fork_generations, 4); }

static void spawns(void) { together(spawn_all_ways, 4); }

/* The handlers' blocks are the process's: one fork after the other. */
static void forks_with_handlers(void) {
    assert(pthread_atfork(prepare, after, after) == 0);
    together(fork_generations, 1);
}

/* Those that call no handlers. */
static void raw_forks(void) {
    for (int i = 0; i < 6; i++) {
        pid_t child = i % 2 ? (pid_t)syscall(SYS_fork) : _Fork();
        if (child == 0) {
            churn(13);
            _exit(0);
        }
        ends_well(child);
    }
}

static ssize_t write_and_allocate(void *unused, const char *text, size_t bytes) {
    (void)unused;
    free(memcpy(malloc(bytes), text, bytes));
    for (int i = 0; i < 5; i++) free(malloc(2000));
    return (ssize_t)bytes;
}

/* It has its buffer: a child must not find it half made. */
static FILE *file_that_allocates(void) {
    FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_and_allocate});
    fputs("something", file);
    return file;
}

static void *flush_all(void *file) {
    while (!stop) {
        fputs("something", file);
        fflush(NULL);
    }
    fclose(file);
    return NULL;
}

/* libc holds its list of files over a fork, and whoever flushes them all may allocate meanwhile. */
static void forks_beside_files(void) {
    uintptr_t files[] = {(uintptr_t)file_that_allocates(), (uintptr_t)file_that_allocates()};
    pthread_t threads[] = {start(flush_all, files[0]), start(flush_all, files[1])};
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE);
            FILE *file = fopen("/proc/self/stat", "r");
            fclose(file);
            fflush(NULL);
            _exit(0);
        }
        ends_well(child);
    }
    stop = true;
    for (int i = 0; i < 2; i++) end(threads[i]);
}

/* --- libraries that come and go: OTHER is dropin_library.c --- */

static void *open_and_close(void *number) {
    for (int i = 0; i < 15; i++) {
        void *library = dlopen(getenv("OTHER"), i % 2 ? RTLD_NOW : RTLD_LAZY);
        assert(library != NULL);
        unsigned char *(*made)(size_t) = (unsigned char *(*)(size_t))dlsym(library, "made_by_library");
        void (*work)(void) = (void (*)(void))dlsym(library, "work_in_library");
        unsigned char *block = filled(made(400), 400);
        work();
        assert(dlclose(library) == 0);
        check_and_free(block, 400);
        churn((unsigned)(uintptr_t)number);
    }
    return NULL;
}

static void open_and_close_once(void) { open_and_close(NULL); }

static void libraries(void) {
    leaves_nothing(open_and_close_once);
    together(open_and_close, 4);
}

/* Preloaded beside the library: what its constructor made is there. */
static void beside(void) {
    unsigned char *(*made)(size_t) = (unsigned char *(*)(size_t))dlsym(RTLD_DEFAULT, "made_by_library");
    unsigned char **early = dlsym(RTLD_DEFAULT, "made_early");
    assert(made != NULL && early != NULL && *early != NULL);
    check(*early, 700);
    *early = filled(realloc(*early, 900), 900);
    free(filled(made(100), 100));
    together(fork_generations, 1);
}

int main(int count, char **words) {
    static const scene scenes[] = {
        {"names", names},
        {"names_of_libc", names_of_libc},
        {"operators", operators},
        {"opened_late", opened_late},
        {"ends_of_threads", ends_of_threads},
        {"cancelled", cancelled},
        {"small_thread_stacks", small_thread_stacks},
        {"exits", exits},
        {"forks", forks},
        {"forks_with_handlers", forks_with_handlers},
        {"raw_forks", raw_forks},
        {"forks_beside_files", forks_beside_files},
        {"spawns", spawns},
        {"libraries", libraries},
        {"beside", beside},
        {NULL, NULL},
    };
    return play(scenes, count, words);
}
