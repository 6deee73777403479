#include "plan/work.h"

/* ---------------------------------------------------------------- products */

static bool has_gradient(const vt_step *step) {
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        if (step->din[i] != VT_NOTHING) return true;
    }
    return false;
}

/* How many times the products of forward: one each for the input and the weight; attention has five
 * where forward has two. */
static double share(const vt_op *op, const vt_step *step) {
    switch (step->pass) {
        case VT_FORWARD: return 1;
        case VT_BACKWARD:
            if (op->space == VT_PARTS) return 2.5;
            return has_gradient(step) ? 1 : 0;
        case VT_ACCUMULATE: return op->space == VT_PARTS ? 0 : 1;
        case VT_PACK: return 0;
    }
    return 0;
}

static vt_precision precision_of(const vt_plan *plan, const vt_step *step) {
    if (plan->lowered->nodes[step->node].op->params[0].int8) return VT_PRECISION_INT8;
    if (plan->products[step->node].bf16) return VT_PRECISION_BF16;
    return plan->dtype == VT_F64 ? VT_PRECISION_F64 : VT_PRECISION_F32;
}

static void count_products(const vt_plan *plan, const vt_step *step, vt_step_report *report) {
    const vt_op *op = plan->lowered->nodes[step->node].op;
    if (op->flops == NULL) return;
    report->flops = share(op, step) * op->flops(&plan->lowered->signatures[step->node]);
    if (report->flops > 0) report->precision = vt_precision_name(precision_of(plan, step));
}

/* ---------------------------------------------------------------- bytes */

/* A set of buffers, each of which counts once. */
typedef struct sum {
    const vt_plan *plan;
    int buffers[2 * VT_MAX_INPUTS + 2], count;
    size_t bytes;
} sum;

static void add_value(sum *s, int buffer) {
    if (buffer == VT_NOTHING || s->plan->buffers[buffer].place != VT_ARENA) return;
    for (int i = 0; i < s->count; i++) {
        if (s->buffers[i] == buffer) return;
    }
    s->buffers[s->count++] = buffer;
    const vt_buffer *b = &s->plan->buffers[buffer];
    s->bytes += (size_t)(b->rows * b->cols) * vt_buffer_element(s->plan, buffer);
}

static void count_values(const vt_plan *plan, const vt_step *step, vt_step_report *report) {
    sum read = {.plan = plan}, written = {.plan = plan};
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        add_value(&read, step->in[i]);
        add_value(&read, step->base[i]);
        add_value(&written, step->din[i]);
    }
    add_value(&read, step->dout);
    add_value(&written, step->out);
    add_value(step->pass == VT_ACCUMULATE ? &read : &written, step->partial);
    report->image_read = read.bytes;
    report->image_written = written.bytes;
}

static size_t packed_bytes(const vt_plan *plan, const vt_step *step) {
    size_t bytes = 0;
    for (int i = 0; i < VT_MAX_PACKS; i++) {
        if (step->packed[i] != VT_NOTHING) bytes += plan->buffers[step->packed[i]].bytes;
    }
    return bytes;
}

/* Parameter i of the node, as it stands in the table; 0 if there is none. */
static size_t param_bytes(const vt_plan *plan, const vt_step *step, int i) {
    const vt_node *node = &plan->lowered->nodes[step->node];
    if (node->params[i] < 0) return 0;
    const vt_shape *shape = &plan->lowered->signatures[step->node].param[i];
    const size_t element = node->op->params[i].int8 ? 1 : vt_dtype_size(plan->dtype);
    return (size_t)vt_shape_elements(shape) * element;
}

/* Forward and backward read the first parameter packed, if it is; packing reads that one only.
 * Gradients are counted as written, not as added to. */
static void count_params(const vt_plan *plan, const vt_step *step, vt_step_report *report) {
    const vt_node *node = &plan->lowered->nodes[step->node];
    const size_t packed = packed_bytes(plan, step);
    for (int i = 0; node->op->params[i].name != NULL; i++) {
        const size_t bytes = param_bytes(plan, step, i);
        if (step->pass == VT_ACCUMULATE) {
            if (bytes > 0 && plan->covered[node->params[i]]) report->fixed_written += bytes;
        } else if (step->pass == VT_PACK ? i == 0 : i > 0 || packed == 0) {
            report->fixed_read += bytes;
        }
    }
    *(step->pass == VT_PACK ? &report->fixed_written : &report->fixed_read) += packed;
}

void vt_step_work(const vt_plan *plan, const vt_step *step, vt_step_report *report) {
    count_products(plan, step, report);
    count_values(plan, step, report);
    count_params(plan, step, report);
}
