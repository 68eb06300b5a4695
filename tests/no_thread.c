/* Refuses to start the REFUSED-th thread of the process: gcc -shared -fPIC -DREFUSED=N, preloaded. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

typedef int creator(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *context);

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *context) {
    static _Atomic int calls;
    if (++calls == REFUSED) return EAGAIN;
    return ((creator *)dlsym(RTLD_NEXT, "pthread_create"))(thread, how, run, context);
}
