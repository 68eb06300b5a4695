/* The operations that the loop walks are the compiler's to define: trace/ stands before replay/. */
#ifndef AL_REPLAY_OPS_H
#define AL_REPLAY_OPS_H

#include "trace/ops.h"

#endif
