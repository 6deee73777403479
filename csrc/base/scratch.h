/* Memory of a thread that outlives a call: image operations need some for each image, and fresh
 * pages would cost them more than their arithmetic. */
#ifndef VT_BASE_SCRATCH_H
#define VT_BASE_SCRATCH_H

#include <stddef.h>

#include "base/status.h"

/* At least `bytes` bytes, 64-byte aligned, with whatever was in them. They belong to the calling
 * thread, until it asks again or ends. */
vt_status vt_scratch(void **block, size_t bytes, vt_error *error);

#endif
