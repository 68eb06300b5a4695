/* Preloaded: as the process ends, it writes down what the kernel says of it, in the file that STATUS_AT_END names. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((destructor)) static void write_status(void) {
    char text[8192];
    int from = open("/proc/self/status", O_RDONLY), to = open(getenv("STATUS_AT_END"), O_WRONLY | O_CREAT, 0600);
    ssize_t bytes = read(from, text, sizeof text);
    if (bytes <= 0 || write(to, text, (size_t)bytes) != bytes) _exit(1);
}
