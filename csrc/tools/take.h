/* Memory for test runners. */
#ifndef VT_TOOLS_TAKE_H
#define VT_TOOLS_TAKE_H

#include <stdlib.h>

#include "base/memory.h"

/* A zeroed block, to be freed with vt_free; without memory a runner ends. */
static inline void *take(size_t bytes) {
    void *block;
    if (vt_alloc(&block, bytes, NULL) != VT_OK) abort();
    return block;
}

#endif
