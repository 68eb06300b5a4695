#include "allocators/heap.h"
#include "trace/addrmap.h"
#include "trace/compile.h"
#include "trace/ops.h"
