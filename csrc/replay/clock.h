/* What liballoclab-clock.so exports. A weak reference to it tells alloclab-replay that the recorded time is to pass. */
#ifndef AL_REPLAY_CLOCK_H
#define AL_REPLAY_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

__attribute__((visibility("default"))) void alloclab_pass(uint64_t nanoseconds);

#endif
