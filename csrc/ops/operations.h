/* The records of all operations, declared. */
#ifndef VT_OPS_OPERATIONS_H
#define VT_OPS_OPERATIONS_H

#include "ops/op.h"

#define VT_OPERATION(name) extern const vt_op vt_op_##name;
#include "ops/operations.inc"
#undef VT_OPERATION

#endif
