/* A plan: the order in which a program is run, and the place of everything it holds in memory.
 *
 * A plan is a list of *phases* with a barrier between them. A phase is a set of *lanes* that do not
 * depend on one another; a lane is a list of *steps* that share one way of cutting an image into
 * tiles, so that one task carries one tile through all steps of the lane while it is in the cache:
 *
 *   lane of strips   norm, linear, activation, ... on the same rows of one image
 *   lane of parts    attention, one head of one image
 *   lane of panels   the gradients of one operation's parameters, all images in order; or, as one
 *                    tile for all, weights into the layout of the matrix products
 *
 * Backward is more of the same: the steps of the operations in reverse order. Where it reads a
 * value whose operation is cheap, that operation is run once more instead of keeping the value.
 *
 * What a step writes is a new *buffer*, used by later steps and never written again; so the life of
 * a buffer is known, and buffers that do not live at the same time share memory. Sizes are per
 * image: one plan serves every batch. */
#ifndef VT_PLAN_PLAN_H
#define VT_PLAN_PLAN_H

#include "params/packs.h"
#include "program/program.h"
#include "plan/tiling.h"

enum { VT_NOTHING = -1 }; /* instead of the index of a buffer */

typedef enum vt_pass { VT_FORWARD, VT_BACKWARD, VT_ACCUMULATE, VT_PACK } vt_pass;

typedef struct vt_step {
    vt_pass pass;
    int node;
    int in[VT_MAX_INPUTS], out; /* buffers */
    int dout, din[VT_MAX_INPUTS], base[VT_MAX_INPUTS];
    int partial;
    int packed[VT_MAX_PACKS]; /* read by VT_FORWARD and VT_BACKWARD; the one written by VT_PACK */
} vt_step;

typedef enum vt_lane_kind { VT_LANE_STRIPS, VT_LANE_PARTS, VT_LANE_PANELS } vt_lane_kind;

typedef struct vt_lane {
    vt_lane_kind kind;
    int phase;
    int first_step, step_count;
    vt_cut strips; /* of the values, for strips */
    int64_t tiles; /* per image, or per run for panels */
} vt_lane;

typedef struct vt_phase {
    int first_lane, lane_count;
} vt_phase;

typedef enum vt_place {
    VT_ARENA, /* one slot per image */
    VT_LOCAL, /* one strip per thread: nobody but one lane of one phase sees it */
    VT_FIXED  /* one per run; packed weights of inference are one per table */
} vt_place;

typedef struct vt_buffer {
    vt_place place;
    int64_t rows, cols; /* of one image */
    bool narrow;        /* its elements are bfloat16 */
    size_t bytes;       /* of one image, one strip or the whole; a multiple of 64 */
    size_t offset;      /* in bytes; in the arena, times the capacity */
    bool passing;       /* local, and all its uses are in one stretch by columns: a thread's own */
    int root;           /* itself, or the buffer whose memory it takes over in place */
    vt_pack *pack;      /* of the table, in place of an offset: packed weights of inference */
    int first_phase, last_phase;
} vt_buffer;

struct vt_plan {
    vt_program *lowered;
    vt_dtype dtype;
    bool training;
    const vt_kernels *kernels;
    vt_tiling tiling;
    vt_products *products; /* of the nodes */

    int step_count, lane_count, phase_count, buffer_count;
    vt_step *steps;
    vt_lane *lanes;
    vt_phase *phases;
    vt_buffer *buffers;
    int first_backward; /* phases before it are forward, from it on backward */

    int *inputs, *outputs; /* buffers of the program's inputs and outputs */
    int *output_gradients; /* VT_NOTHING where no gradient flows from */
    int *input_gradients;
    bool *trained; /* parameters that required a gradient when the plan was made */
    bool *covered; /* parameters whose gradient this plan writes */

    size_t image_bytes, fixed_bytes, local_bytes;
    size_t scratch_bytes;                 /* of the hungriest step */
    size_t operand_bytes;                 /* likewise: what a step prepares of a strip */
    size_t wide_bytes;                    /* a strip of a narrow buffer in the plan's dtype */
    double forward_flops, backward_flops; /* of one image */

    /* Inference keeps its packed weights with the table; training, whose weights change, packs just
     * before use into the run. */
    vt_params *params;
    bool *reads;             /* parameters whose own bytes it reads, and not a packed copy */
    int told;                /* of how many of them the table knows */
    uint64_t packed_version; /* that all its packs have, 0: none; for who has params->packing */
};

/* Bytes of an element of a buffer. */
static inline size_t vt_buffer_element(const vt_plan *plan, int buffer) {
    return plan->buffers[buffer].narrow ? sizeof(uint16_t) : vt_dtype_size(plan->dtype);
}

/* What a strip has for itself while it is in work: its local buffers, and a product's operand. */
static inline size_t vt_plan_strip_bytes(const vt_plan *plan) {
    return plan->local_bytes + plan->operand_bytes;
}

/* What a thread has for itself: that of a strip, scratch, and room for two widened strips. */
static inline size_t vt_plan_thread_bytes(const vt_plan *plan) {
    return vt_plan_strip_bytes(plan) + plan->scratch_bytes + 2 * plan->wide_bytes;
}

/* True if the step reads rows of other tiles: inputs in forward, dout in backward. */
static inline bool vt_step_gathers(const vt_plan *plan, const vt_step *step) {
    return plan->lowered->nodes[step->node].op->gathers;
}

#endif
