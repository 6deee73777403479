/* Optimizers: passes over the flat buffers of the parameters. */
#ifndef VT_OPTIM_ADAMW_H
#define VT_OPTIM_ADAMW_H

#include "program/params.h"

/* One AdamW step on those rows that are `chosen` and have a gradient; exp_avg and exp_avg_sq are
 * buffers of the params' layout. Raises the version. */
void vt_adamw_run(vt_params *params, void *exp_avg, void *exp_avg_sq, const bool *chosen,
                  vt_adamw step, int threads);

#endif
