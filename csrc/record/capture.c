#include "record/capture.h"

#include <string.h>
#include <unistd.h>

bool al_capture_read_header(int fd, al_capture_header *header) {
    return pread(fd, header, sizeof *header, 0) == (ssize_t)sizeof *header && header->magic == AL_CAPTURE_MAGIC &&
           header->unit_bytes == AL_CAPTURE_UNIT && header->header_bytes == AL_CAPTURE_HEADER &&
           header->command_bytes <= sizeof header->command && memchr(header->smaps, 0, sizeof header->smaps) != NULL;
}
