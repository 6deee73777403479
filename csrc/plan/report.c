/* What a plan says of itself to callers. */
#include <stdio.h>
#include <string.h>

#include "plan/plan.h"
#include "plan/work.h"

bool vt_plan_training(const vt_plan *plan) { return plan->training; }
vt_dtype vt_plan_dtype(const vt_plan *plan) { return plan->dtype; }
int vt_plan_params(const vt_plan *plan) { return plan->lowered->param_count; }
bool vt_plan_trains(const vt_plan *plan, int index) { return plan->trained[index]; }

int vt_plan_inputs(const vt_plan *plan) { return plan->lowered->input_count; }
int vt_plan_outputs(const vt_plan *plan) { return plan->lowered->output_count; }

const vt_shape *vt_plan_input_shape(const vt_plan *plan, int index) {
    return vt_program_shape(plan->lowered, index);
}

const vt_shape *vt_plan_output_shape(const vt_plan *plan, int index) {
    return vt_program_shape(plan->lowered, plan->lowered->outputs[index]);
}

bool vt_plan_has_input_gradient(const vt_plan *plan, int index) {
    return plan->input_gradients[index] != VT_NOTHING;
}

vt_costs vt_plan_costs(const vt_plan *plan) {
    return (vt_costs){.image_bytes = plan->image_bytes,
                      .fixed_bytes = plan->fixed_bytes,
                      .thread_bytes = vt_plan_thread_bytes(plan),
                      .forward_flops = plan->forward_flops,
                      .backward_flops = plan->backward_flops};
}

/* ---------------------------------------------------------------- steps */

/* What multiplies in a step, each once: "brg:avx512_core, plain". */
static void name_engines(const vt_products *products, vt_pass pass, vt_step_report *report) {
    static const unsigned functions[] = {[VT_FORWARD] = VT_IN_FORWARD,
                                         [VT_BACKWARD] = VT_IN_BACKWARD,
                                         [VT_ACCUMULATE] = VT_IN_ACCUMULATE,
                                         [VT_PACK] = 0};
    const char *names[VT_MAX_PRODUCTS];
    int count = 0;
    size_t used = 0;
    for (int i = 0; i < VT_MAX_PRODUCTS && used < sizeof report->engine; i++) {
        if ((products->runs_in[i] & functions[pass]) == 0) continue;
        const char *name = vt_tiles_implementation(&products->tiles[i]);
        int known = 0;
        while (known < count && strcmp(names[known], name) != 0) known++;
        if (known < count) continue;
        used += (size_t)snprintf(report->engine + used, sizeof report->engine - used, "%s%s",
                                 count > 0 ? ", " : "", name);
        names[count++] = name;
    }
}

/* The buffer that a step writes: its output, or the gradient of its first input. */
static void name_memory(const vt_plan *plan, const vt_step *step, vt_step_report *report) {
    static const char *const places[] = {
        [VT_ARENA] = "arena", [VT_LOCAL] = "local", [VT_FIXED] = "fixed"};
    const int buffer = step->out != VT_NOTHING ? step->out : step->din[0];
    if (buffer == VT_NOTHING) return;
    report->memory = plan->buffers[buffer].root;
    report->place = places[plan->buffers[buffer].place];
}

/* Lanes are in the order of their steps. */
static const vt_lane *lane_of(const vt_plan *plan, int step) {
    int first = 0, end = plan->lane_count;
    while (end - first > 1) {
        const int middle = first + (end - first) / 2;
        *(plan->lanes[middle].first_step <= step ? &first : &end) = middle;
    }
    return &plan->lanes[first];
}

int vt_plan_phases(const vt_plan *plan) { return plan->phase_count; }
int vt_plan_steps(const vt_plan *plan) { return plan->step_count; }

void vt_plan_step(const vt_plan *plan, int index, vt_step_report *report) {
    static const char *const lanes[] = {
        [VT_LANE_STRIPS] = "strips", [VT_LANE_PARTS] = "parts", [VT_LANE_PANELS] = "panels"};
    static const char *const passes[] = {[VT_FORWARD] = "forward",
                                         [VT_BACKWARD] = "backward",
                                         [VT_ACCUMULATE] = "accumulate",
                                         [VT_PACK] = "pack"};
    const vt_lane *lane = lane_of(plan, index);
    const vt_step *step = &plan->steps[index];
    *report = (vt_step_report){.phase = lane->phase,
                               .lane = lanes[lane->kind],
                               .tile_rows = lane->strips.tile,
                               .pass = passes[step->pass],
                               .node = step->node,
                               .op = plan->lowered->nodes[step->node].op->name,
                               .memory = VT_NOTHING};
    name_memory(plan, step, report);
    name_engines(&plan->products[step->node], step->pass, report);
    vt_step_work(plan, step, report);
}
