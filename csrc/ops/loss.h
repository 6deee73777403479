/* Losses: not part of a program, but one call that gives the value and the gradient of the logits.
 */
#ifndef VT_OPS_LOSS_H
#define VT_OPS_LOSS_H

#include "ops/op.h"

/* Cross entropy of B rows of K logits (torch.nn.functional.cross_entropy, not yet divided). */
typedef struct vt_cross_entropy {
    vt_dtype dtype;
    int64_t rows, classes;
    const void *logits;         /* (B, K) */
    const int64_t *labels;      /* (B,), or NULL: then */
    const void *probabilities;  /* (B, K) */
    const void *class_weights;  /* (K,), or NULL: 1 */
    const void *sample_weights; /* (B,), or NULL: 1 */
    double label_smoothing;
    int64_t ignore_index; /* rows with this label count for nothing */
} vt_cross_entropy;

/* value = sum over the rows of sample weight x loss; weight = what a mean divides by: the sum of
 * sample weight x class weight of the label, or of the sample weights where the target is a
 * distribution. dlogits (B, K) = d value / d logits. VT_VALUE for a label outside [0, K). */
vt_status vt_cross_entropy_run(const vt_cross_entropy *loss, double *value, double *weight,
                               void *dlogits, vt_error *error);

#endif
