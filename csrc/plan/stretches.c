#include "plan/stretches.h"

static const vt_op *op_of(const vt_plan *plan, int step) {
    return plan->lowered->nodes[plan->steps[step].node].op;
}

static bool is_forward(const vt_plan *plan, int step) {
    return plan->steps[step].pass == VT_FORWARD && op_of(plan, step)->by_columns;
}

/* A product, by columns, of an operand that is ready: its tasks would all round it again. */
static bool begins(const vt_plan *plan, int step) {
    const vt_products *products = &plan->products[plan->steps[step].node];
    if (!is_forward(plan, step) || products->pack_bytes[VT_PACK_FORWARD] == 0) return false;
    if (vt_tiles_columns(&products->tiles[products->pack_slot[VT_PACK_FORWARD]]) == 0) return false;
    return !products->bf16 || plan->buffers[plan->steps[step].in[0]].narrow;
}

/* Every element alike, and no input that would have to be widened first. */
static bool continues(const vt_plan *plan, int step, int64_t cols) {
    const vt_step *s = &plan->steps[step];
    if (!is_forward(plan, step) || plan->products[s->node].pack_bytes[VT_PACK_FORWARD] != 0)
        return false;
    for (int i = 0; i < op_of(plan, step)->inputs; i++) {
        const vt_buffer *in = &plan->buffers[s->in[i]];
        if (in->cols != cols || in->narrow) return false;
    }
    return plan->buffers[s->out].cols == cols;
}

int vt_plan_columns_end(const vt_plan *plan, const vt_lane *lane, int step) {
    const int last = lane->first_step + lane->step_count;
    int end = step + 1;
    if (!begins(plan, step)) return end;
    const int64_t cols = plan->buffers[plan->steps[step].out].cols;
    while (end < last && continues(plan, end, cols)) end++;
    return end;
}

vt_stretch vt_plan_stretch(const vt_plan *plan, const vt_lane *lane, int first, bool prepared) {
    const int last = lane->first_step + lane->step_count;
    if (begins(plan, first) && (prepared || op_of(plan, first)->prepare == NULL)) {
        return (vt_stretch){first, vt_plan_columns_end(plan, lane, first), true, VT_NOTHING};
    }
    int end = first;
    while (end < last && !begins(plan, end)) end++;
    const bool prepares = end < last && op_of(plan, end)->prepare != NULL;
    return (vt_stretch){first, end, false, prepares ? end : VT_NOTHING};
}
