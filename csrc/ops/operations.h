/* The records of all operations. */
#ifndef VT_OPS_OPERATIONS_H
#define VT_OPS_OPERATIONS_H

#include "ops/op.h"

extern const vt_op vt_op_patchify;
extern const vt_op vt_op_linear;
extern const vt_op vt_op_linear_int8;
extern const vt_op vt_op_norm;
extern const vt_op vt_op_rms_norm;
extern const vt_op vt_op_attention;
extern const vt_op vt_op_masked_attention;
extern const vt_op vt_op_cross_attention;
extern const vt_op vt_op_attention_probs;
extern const vt_op vt_op_differential;
extern const vt_op vt_op_tokens;
extern const vt_op vt_op_parameter;
extern const vt_op vt_op_resample;
extern const vt_op vt_op_select;
extern const vt_op vt_op_pool;
extern const vt_op vt_op_pool_max;
extern const vt_op vt_op_columns;
extern const vt_op vt_op_concat;
extern const vt_op vt_op_activation;
extern const vt_op vt_op_multiply;
extern const vt_op vt_op_add;
extern const vt_op vt_op_affine;
extern const vt_op vt_op_scale;
extern const vt_op vt_op_dropout;
extern const vt_op vt_op_drop_path;
extern const vt_op vt_op_patch_drop;

#endif
