"""What is no matter of a few calls, as C: for each fault of a whole process what follows the head of a program."""

_ALARM = """
static void late(int unused) {
    (void)unused;
    fault();
}
"""

_HANDLER = (
    _ALARM
    + """
static void *held;
static void before(void) { held = malloc(100); }
static void after(void) { free(held); }
static void begin(void) { pthread_atfork(before, after, after); }

/* Before any library's constructor: these handlers run while malloc's own, registered later, hold its locks. */
__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = begin;

static void *live(void *unused) {
    for (;;) free(malloc(100));
    return unused;
}

int main(void) {
    pthread_t thread;
    signal(SIGALRM, late);
    alarm(10);
    pthread_create(&thread, NULL, live, NULL);
    for (int i = 0; i < 5; i++) {
        if (fork() == 0) _exit(0);
        wait(NULL);
    }
    _exit(0);
}
"""
)

_FORK = """
static void *live(void *until) {
    void *blocks[64] = {NULL};
    for (unsigned i = 0; until == NULL || i < 20000; i++) {
        free(blocks[i % 64]);
        blocks[i % 64] = malloc(i * 37 % 2000);
    }
    for (int i = 0; i < 64; i++) free(blocks[i]);
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    int status;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, live, NULL);
    for (int i = 0; i < 50; i++) {
        if (fork() == 0) {
            alarm(10);
            live(&status);
            _exit(0);
        }
        if (wait(&status) < 0 || status != 0) fault();
    }
    _exit(0);
}
"""

_STARVED = """
static void **blocks; /* a list of them */

/* Until there are no more. Returns how many there are, none if it does not fail with ENOMEM. */
static size_t take_all(size_t bytes) {
    size_t count = 0;
    for (void **block; errno = 0, (block = malloc(bytes)) != NULL; count++) {
        *block = blocks;
        blocks = block;
    }
    return errno == ENOMEM ? count : 0;
}

static void give_back(void) {
    for (void **next; blocks != NULL; blocks = next) {
        next = *blocks;
        free(blocks);
    }
}

int main(void) {
    static const size_t sizes[] = {SIZES};
    struct rlimit room = {64 << 20, 64 << 20};
    setrlimit(RLIMIT_AS, &room);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t count = take_all(sizes[i]);
        give_back();
        const size_t again = take_all(sizes[i]);
        give_back();
        if (count == 0 || again < count - count / 10000) fault();
    }
    return 0;
}
"""

PROGRAMS = {"handler": _HANDLER, "fork": _FORK, "starved": _STARVED}
