/* Offsets for blocks of memory with known lives: blocks that do not live at the same time may share
 * bytes. */
#ifndef VT_PLAN_OFFSETS_H
#define VT_PLAN_OFFSETS_H

#include <stddef.h>

#include "base/status.h"

typedef struct vt_block {
    int id;         /* of the caller; distinct, and the order among blocks of one size */
    int start, end; /* its life, both included */
    size_t bytes, offset;
} vt_block;

/* Fills the offsets of all blocks, which are reordered, and the bytes they need together. Greedy by
 * size (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference"): the
 * largest first, each at the lowest offset where it meets no block that lives at the same time. */
vt_status vt_offsets_find(vt_block *blocks, int count, size_t *total, vt_error *error);

#endif
