/* malloc's first call comes from the loader, which asks a resolver before libc itself is ready. */
#include <stdlib.h>
#include <string.h>

static unsigned char *made;

static int answer(void) { return 42; }

static int (*resolve(void))(void) {
    made = malloc(800);
    if (made != NULL) memset(made, 7, 800);
    return answer;
}

int answered(void) __attribute__((ifunc("resolve")));

int main(void) {
    if (answered() != 42) return 1;
    if (made == NULL) return 2;
    made = realloc(made, 100000);
    for (int i = 0; i < 800; i++)
        if (made[i] != 7) return 3;
    free(made);
    return 0;
}
