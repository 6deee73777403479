/* Optimizers: passes over the flat buffers of the parameters. What a rule does to one element is
 * written in kernels/kernels.h. */
#ifndef VT_OPTIM_OPTIM_H
#define VT_OPTIM_OPTIM_H

#include "params/params.h"

/* Which rows a step changes, and what the optimizer keeps for them. */
typedef struct vt_update {
    vt_params *params;
    void *state[2];     /* buffers of the params' layout: first and second moment, or NULL */
    const bool *chosen; /* one flag per row; rows without a gradient are passed over */
    int threads;
} vt_update;

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

/* One step each. */
void vt_adamw_run(const vt_update *update, const vt_adamw *step);
void vt_radam_run(const vt_update *update, const vt_radam *step);
void vt_sgd_run(const vt_update *update, const vt_sgd *step);
void vt_lion_run(const vt_update *update, const vt_lion *step);

/* LAMB: the step of each row is scaled by its trust, |p| / |u|, where `adapts`; `trust_clip`: by at
 * most 1. A norm of 0 counts as a trust of 1. */
void vt_lamb_run(const vt_update *update, const vt_lamb *step, bool adapts, bool trust_clip);

/* Cut each element of the chosen gradients to [-limit, limit]. */
void vt_clip_value(vt_params *params, const bool *chosen, double limit, int threads);

/* Adaptive clipping (Brock et al. 2021; timm adaptive_clip_grad): a unit is a row of a parameter's
 * matrix, or a whole vector; its gradient's norm is clipped to factor * max(norm of the unit, eps).
 */
void vt_clip_adaptive(vt_params *params, const bool *chosen, double factor, double eps,
                      int threads);

/* average += (params - average) * share, for all rows of two tables of the same layout. Raises the
 * version of the average. The average of a table and itself is that table. */
void vt_average(vt_params *average, vt_params *params, double share, int threads);

#endif
