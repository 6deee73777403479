/* A lane of strips may also be run by all threads together, stretch by stretch with a barrier
 * behind each. A stretch *by columns* begins with a product whose columns may be computed for
 * themselves, and goes on with what treats every element alike: a task does all of it for some
 * columns. Any other stretch is *by rows*. So a single image keeps many threads busy, and each of
 * them reads only its columns of a weight. */
#ifndef VT_PLAN_STRETCHES_H
#define VT_PLAN_STRETCHES_H

#include "plan/plan.h"

typedef struct vt_stretch {
    int first, end; /* steps of the plan, [first, end) */
    bool by_columns;
    int prepares; /* by rows: the step behind the end whose operand is prepared, or VT_NOTHING */
} vt_stretch;

/* The stretch of a lane that begins with the step `first`; prepared: its operand is. A stretch by
 * rows may be no more than the preparation of the next. */
vt_stretch vt_plan_stretch(const vt_plan *plan, const vt_lane *lane, int first, bool prepared);

/* The end of the stretch by columns that begins with this step; step + 1 if it begins none. */
int vt_plan_columns_end(const vt_plan *plan, const vt_lane *lane, int step);

#endif
