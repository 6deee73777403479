/* A run: the memory of one live forward pass, and the loop that executes a plan. */
#ifndef VT_RUN_RUN_H
#define VT_RUN_RUN_H

#include "plan/plan.h"

typedef struct vt_run {
    vt_plan *plan;
    vt_params *params;
    int64_t capacity; /* images */
    int threads;
    char *arena;          /* capacity x plan->image_bytes */
    char *fixed;          /* training: packed weights; NULL in inference */
    char *threads_memory; /* threads x (local + scratch) */

    int64_t images;   /* of the forward pass that it holds */
    uint64_t version; /* of the params then */
    bool recorded;    /* that pass waits for its backward */
    vt_rng_key key;
    uint64_t first_row;
} vt_run;

/* VT_VALUE for a capacity or a number of threads out of range, VT_MEMORY if the bytes cannot even
 * be counted. */
vt_status vt_run_check(const vt_plan *plan, int64_t capacity, int threads, vt_error *error);

/* Bytes that vt_run_open allocates, exactly, for sizes that vt_run_check accepts. */
size_t vt_run_bytes(const vt_plan *plan, int64_t capacity, int threads);

/* Plan and params are borrowed and must outlive the run. */
vt_status vt_run_open(vt_run **run, vt_plan *plan, vt_params *params, int64_t capacity, int threads,
                      vt_error *error);
void vt_run_close(vt_run *run); /* NULL is allowed */

/* Run forward on `images` <= capacity; inputs[i] holds images x elements of input i and is copied.
 */
vt_status vt_run_forward(vt_run *run, int64_t images, const void *const *inputs, vt_rng_key key,
                         uint64_t first_row, vt_error *error);

/* Copy output `index` out: images x elements. */
void vt_run_output(const vt_run *run, int index, void *output);

/* Run backward from the gradients of the outputs (NULL: zero), once per forward. Gradients of
 * parameters are added to those there are (vt_param_row.has_gradient). VT_MISUSE if the parameters
 * were written since the forward pass. */
vt_status vt_run_backward(vt_run *run, const void *const *output_gradients, vt_error *error);

/* Copy the gradient of input `index` out, images x elements; false if the plan has none. */
bool vt_run_input_gradient(const vt_run *run, int index, void *gradient);

#endif
