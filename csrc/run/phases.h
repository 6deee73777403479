/* The loop over the phases of a plan. Internal to run/. */
#ifndef VT_RUN_PHASES_H
#define VT_RUN_PHASES_H

#include <stdatomic.h>

#include "run/run.h"

/* Phases [first, end), each with a barrier behind it. One that fails is the last. */
vt_status vt_run_phases(vt_run *run, int first, int end, vt_error *error);

/* The first failure of a parallel loop. */
typedef struct vt_failure {
    atomic_flag failed;
    vt_status status;
    vt_error *error;
} vt_failure;

static inline void vt_note_failure(vt_failure *failure, vt_status status, const vt_error *error) {
    if (status == VT_OK || atomic_flag_test_and_set(&failure->failed)) return;
    failure->status = status;
    if (failure->error != NULL) *failure->error = *error;
}

/* Whether all threads together run this phase by columns, and to do so. */
bool vt_columns_pay(const vt_run *run, const vt_phase *phase);
vt_status vt_run_columns(vt_run *run, const vt_phase *phase, vt_error *error);

#endif
