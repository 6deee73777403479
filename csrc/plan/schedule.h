/* Planning in two parts, both called by vt_plan_open only: what is done in which order, and where
 * it is kept. */
#ifndef VT_PLAN_SCHEDULE_H
#define VT_PLAN_SCHEDULE_H

#include "plan/plan.h"

/* Fill steps, lanes, phases and buffers (without places) of a plan with its products, and with what
 * it trains. */
vt_status vt_plan_schedule(vt_plan *plan, vt_plan_options options, vt_error *error);

/* Give every buffer its place, and sum up the bytes. */
vt_status vt_plan_store(vt_plan *plan, vt_error *error);

#endif
