/* A run: the memory of one live forward pass, and the loop that executes a plan. */
#ifndef VT_RUN_RUN_H
#define VT_RUN_RUN_H

#include "plan/plan.h"
#include "run/profile.h"

struct vt_run {
    vt_plan *plan;
    vt_params *params;
    int64_t capacity; /* images */
    int threads;
    char *arena;          /* capacity x plan->image_bytes */
    char *fixed;          /* training: packed weights; empty in inference */
    char *threads_memory; /* threads x (local + scratch) */

    int64_t images;   /* of the forward pass that it holds */
    uint64_t version; /* of the params then */
    bool recorded;    /* that pass waits for its backward */
    vt_rng_key key;
    uint64_t first_image;

    vt_profile *profile; /* NULL: nothing is counted */
};

#endif
