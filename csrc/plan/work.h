/* What a step has to do, whoever does it and however fast. */
#ifndef VT_PLAN_WORK_H
#define VT_PLAN_WORK_H

#include "plan/plan.h"

/* The last fields of the report, from `precision` on. */
void vt_step_work(const vt_plan *plan, const vt_step *step, vt_step_report *report);

#endif
