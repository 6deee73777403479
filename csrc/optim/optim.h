/* What the optimizers share: passes over the flat buffers of the parameters. What a rule does to
 * one element is written in kernels/kernels.h. */
#ifndef VT_OPTIM_OPTIM_H
#define VT_OPTIM_OPTIM_H

#include "params/params.h"

/* Around the passes of a step: it has values, buffers and gradients alone. The end raises the
 * version of the params. */
static inline void vt_update_begin(const vt_update *update) {
    vt_lock_alone(&update->params->values);
    vt_lock_alone(&update->params->gradients);
}

static inline void vt_update_end(const vt_update *update) {
    update->params->version++;
    vt_unlock(&update->params->gradients);
    vt_unlock(&update->params->values);
}

#endif
