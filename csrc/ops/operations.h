/* The records of all operations, declared. */
#ifndef VT_OPS_OPERATIONS_H
#define VT_OPS_OPERATIONS_H

#include "ops/op.h"

#define VT_OPERATION(name) extern const vt_op vt_op_##name;
#include "ops/operations.inc"
#undef VT_OPERATION

/* A node that gives `count` rows of a value, from row `start` on; its shape is still to be
 * inferred.
 */
vt_node vt_select_rows(int value, int64_t start, int64_t count);

#endif
