/* What kernels/ shows to callers of the core: the numbers of optimizers, and who fills which slot.
 */
#ifndef VT_KERNELS_API_H
#define VT_KERNELS_API_H

#include <stdbool.h>

#include "base/dtype.h"

/* The arguments of one Adam step; beta1_power = beta1^t and beta2_power = beta2^t for step t >= 1.
 */
typedef struct vt_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    double beta1_power, beta2_power;
    double l2; /* weight decay as a part of the gradient (Adam), not beside it (AdamW) */
} vt_adamw;

typedef struct vt_radam {
    double lr, beta1, beta2, eps, weight_decay;
    double l2;         /* as in vt_adamw */
    double correction; /* 1 - beta1^t */
    double rectifier;  /* of the step, times sqrt(1 - beta2^t); 0 while the variance is unknown */
} vt_radam;

typedef struct vt_sgd {
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
    bool first; /* of the steps of these elements: the momentum starts as the gradient */
} vt_sgd;

typedef struct vt_lion {
    double lr, beta1, beta2, weight_decay;
} vt_lion;

/* The arguments of one LAMB step. */
typedef struct vt_lamb {
    double lr, beta1, beta2, eps, weight_decay;
    double correction1, correction2; /* 1 - beta^t, or 1 */
    double gradient_share;           /* of g in m: 1 - beta1, or 1 */
    double clip;                     /* g is divided by it */
} vt_lamb;

enum { VT_MAX_SPLITS = 16 }; /* views of a Jensen-Shannon divergence */

/* Slot number `index` of the table in use: its name, NULL behind the last; and the level of the
 * kernel that fills it ("ref", "avx2", "avx512"). */
const char *vt_kernel_slot_name(int index);
const char *vt_kernel_slot_level(vt_dtype dtype, int index);

#endif
