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
    double gamma;         /* focal: each class times (1 - its probability)^gamma; 0 for none */
    int64_t ignore_index; /* rows with this label count for nothing */
} vt_cross_entropy;

/* value = sum over the rows of sample weight x loss; weight = what a mean divides by: the sum of
 * sample weight x class weight of the label, or of the sample weights where the target is a
 * distribution. dlogits (B, K) = d value / d logits. VT_VALUE for a label outside [0, K). */
vt_status vt_cross_entropy_run(const vt_cross_entropy *loss, double *value, double *weight,
                               void *dlogits, vt_error *error);

/* Losses that sum over the columns of a row, against a target of the same shape. */
typedef enum vt_loss_kind {
    VT_BINARY_CROSS_ENTROPY, /* reads class_weights, positive_weights */
    VT_BINARY_FOCAL,         /* reads alpha, gamma */
    VT_DIVERGENCE,           /* reads log_target */
    VT_SQUARED_ERROR,
    VT_LOSS_COUNT
} vt_loss_kind;

typedef struct vt_row_loss {
    vt_loss_kind kind;
    vt_dtype dtype;
    int64_t rows, cols;
    const void *input, *target;   /* (B, K) */
    const void *class_weights;    /* (K,), or NULL: 1 */
    const void *positive_weights; /* (K,), or NULL: 1 */
    const void *sample_weights;   /* (B,), or NULL: 1 */
    double factor;                /* of every row */
    double alpha, gamma;
    bool log_target;
} vt_row_loss;

/* The kind of a name, or VT_LOSS_COUNT. */
vt_loss_kind vt_loss_find(const char *name);

/* value = sum over the rows of sample weight x factor x loss; weight = the sum of the sample
 * weights; dinput (B, K) = d value / d input. */
void vt_row_loss_run(const vt_row_loss *loss, double *value, double *weight, void *dinput);

/* Jensen-Shannon divergence of `splits` views of B samples of K logits, (splits, B, K); returns the
 * sum over the samples. */
double vt_jensen_shannon_run(vt_dtype dtype, const void *logits, int64_t splits, int64_t rows,
                             int64_t classes, void *dlogits);

#endif
