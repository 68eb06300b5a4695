#include "trace/addrmap.h"
