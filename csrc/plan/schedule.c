/* The order of steps: forward, then backward in reverse, cut into phases where tiles need the rows
 * of other tiles. */
#include "plan/schedule.h"

#include <string.h>

#include "base/memory.h"

typedef struct scheduler {
    vt_plan *plan;
    const vt_program *program;
    vt_plan_options options;

    int *lane_of; /* per step: its lane, in order of emission */
    int *written; /* per buffer: the phase that writes it */
    int *waiting; /* steps of parameter gradients that wait for the next phase */
    int waiting_count;
    int open_lane; /* of strips, still growing; or VT_NOTHING */

    bool *narrow; /* per value: kept in bfloat16 */
    bool *wants;  /* per value: its gradient is asked for */
    int *kept;    /* per value: the buffer that forward wrote */
    int *again;   /* per value: the buffer that holds it in backward */
    int *stack;   /* values whose `again` waits for that of the value above */

    int *key, *first; /* of sorting */
    int *gradient;    /* per value: the buffer with its gradient so far */
} scheduler;

/* ---------------------------------------------------------------- buffers, phases, lanes, steps */

static int add_buffer(scheduler *s, int64_t rows, int64_t cols) {
    vt_plan *p = s->plan;
    const int index = p->buffer_count++;
    p->buffers[index] = (vt_buffer){.rows = rows, .cols = cols, .root = index};
    s->written[index] = -1;
    return index;
}

static int add_value_buffer(scheduler *s, int value) {
    const vt_shape *shape = vt_program_shape(s->program, value);
    return add_buffer(s, vt_shape_rows(shape), vt_shape_cols(shape));
}

/* The buffer of a value itself, not of its gradient. */
static int add_own_buffer(scheduler *s, int value) {
    const int buffer = add_value_buffer(s, value);
    s->plan->buffers[buffer].narrow = s->narrow[value];
    return buffer;
}

static int add_lane(scheduler *s, vt_lane_kind kind, int phase, int64_t tiles) {
    const int index = s->plan->lane_count++;
    s->plan->lanes[index] = (vt_lane){.kind = kind, .phase = phase, .tiles = tiles};
    return index;
}

static int add_strips(scheduler *s, int phase, int64_t rows) {
    const vt_cut strips = vt_tiling_strips(&s->plan->tiling, rows);
    const int index = add_lane(s, VT_LANE_STRIPS, phase, vt_cut_count(strips));
    s->plan->lanes[index].strips = strips;
    return index;
}

static const vt_products *kit_of(const scheduler *s, int step) {
    return &s->plan->products[s->plan->steps[step].node];
}

/* A new phase; the waiting parameter gradients run beside its main lane. */
static int add_phase(scheduler *s) {
    const int phase = s->plan->phase_count++;
    for (int i = 0; i < s->waiting_count; i++) {
        const int step = s->waiting[i];
        s->lane_of[step] = add_lane(s, VT_LANE_PANELS, phase, kit_of(s, step)->panels);
    }
    s->waiting_count = 0;
    s->open_lane = VT_NOTHING; /* no step joins a lane across the barrier */
    return phase;
}

static vt_step empty_step(vt_pass pass, int node) {
    return (vt_step){.pass = pass,
                     .node = node,
                     .in = {VT_NOTHING, VT_NOTHING},
                     .out = VT_NOTHING,
                     .dout = VT_NOTHING,
                     .din = {VT_NOTHING, VT_NOTHING},
                     .base = {VT_NOTHING, VT_NOTHING},
                     .partial = VT_NOTHING,
                     .packed = {VT_NOTHING, VT_NOTHING}};
}

static int add_step(scheduler *s, vt_step step) {
    const int index = s->plan->step_count++;
    s->plan->steps[index] = step;
    s->lane_of[index] = VT_NOTHING;
    return index;
}

/* ---------------------------------------------------------------- where a step goes */

/* True if the newest phase writes a buffer: its other tiles may not be there yet. */
static bool written_now(const scheduler *s, int buffer) {
    return buffer != VT_NOTHING && s->written[buffer] == s->plan->phase_count - 1;
}

/* Strips can follow in the open lane unless they need rows that other tiles of it write. */
static bool joins_open_lane(const scheduler *s, const vt_step *step, int64_t rows) {
    if (s->open_lane == VT_NOTHING || s->plan->lanes[s->open_lane].strips.rows != rows)
        return false;
    /* Row by row, a tile reads only what it has just written itself. */
    if (!vt_step_gathers(s->plan, step)) return true;
    /* What it gathers from other tiles must be complete, so behind a barrier. */
    if (step->pass == VT_BACKWARD) return !written_now(s, step->dout);
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        if (written_now(s, step->in[i])) return false;
    }
    return true;
}

static void mark_written(scheduler *s, int buffer) {
    if (buffer != VT_NOTHING) s->written[buffer] = s->plan->phase_count - 1;
}

/* A step that cuts images into tiles; `rows` are those of what it writes. */
static void schedule_step(scheduler *s, vt_step step, int64_t rows) {
    const vt_op *op = s->program->nodes[step.node].op;
    const int index = add_step(s, step);
    if (op->space == VT_PARTS) {
        /* A part reads all rows, and what follows reads all parts: barriers on both sides. */
        const int phase = add_phase(s);
        s->lane_of[index] = add_lane(s, VT_LANE_PARTS, phase, kit_of(s, index)->parts);
    } else {
        if (!joins_open_lane(s, &step, rows)) {
            const int phase = add_phase(s);
            s->open_lane = add_strips(s, phase, rows);
        }
        s->lane_of[index] = s->open_lane;
    }
    mark_written(s, step.out);
    mark_written(s, step.partial);
    for (int i = 0; i < VT_MAX_INPUTS; i++) mark_written(s, step.din[i]);
}

/* ---------------------------------------------------------------- forward */

static void schedule_node(scheduler *s, int node, const int *inputs, int out) {
    vt_step step = empty_step(VT_FORWARD, node);
    for (int i = 0; i < s->program->nodes[node].op->inputs; i++) step.in[i] = inputs[i];
    step.out = out;
    schedule_step(s, step, s->plan->buffers[out].rows);
}

static bool may_write_narrow(const vt_op *op) { return op->space == VT_STRIPS || op->writes_bf16; }

/* With products of bfloat16, training keeps in bfloat16 what only products and activations read;
 * inference, which keeps nothing, what only products read: they would round it themselves. */
static bool takes_narrow(const scheduler *s, const vt_op *op) {
    return s->options.training ? op->takes_bf16 : op->reads_bf16;
}

static void find_narrow(scheduler *s) {
    const vt_program *program = s->program;
    const bool any = s->options.bf16;
    /* First all that could be written in bfloat16; then each objection strikes one out. */
    for (int n = 0; n < program->node_count; n++) {
        s->narrow[program->input_count + n] = any && may_write_narrow(program->nodes[n].op);
    }
    /* Outputs go to the caller in the plan's dtype. */
    for (int i = 0; i < program->output_count; i++) s->narrow[program->outputs[i]] = false;
    /* One reader that does not take bfloat16 is enough. */
    for (int n = 0; n < program->node_count; n++) {
        const vt_node *node = &program->nodes[n];
        for (int i = 0; i < node->op->inputs && !takes_narrow(s, node->op); i++) {
            s->narrow[node->inputs[i]] = false;
        }
    }
}

/* Every value has a buffer of its own here; which of them share memory, storage.c decides. */
static void schedule_forward(scheduler *s) {
    const vt_program *program = s->program;
    for (int v = 0; v < program->input_count; v++) {
        s->kept[v] = s->plan->inputs[v] = add_own_buffer(s, v);
    }
    for (int n = 0; n < program->node_count; n++) {
        const vt_node *node = &program->nodes[n];
        int inputs[VT_MAX_INPUTS];
        for (int i = 0; i < node->op->inputs; i++) inputs[i] = s->kept[node->inputs[i]];
        const int value = program->input_count + n;
        s->kept[value] = add_own_buffer(s, value);
        schedule_node(s, n, inputs, s->kept[value]);
        if (node->op->flops != NULL) {
            s->plan->forward_flops += node->op->flops(&program->signatures[n]);
        }
    }
    for (int i = 0; i < program->output_count; i++) {
        s->plan->outputs[i] = s->kept[program->outputs[i]];
    }
}

/* ---------------------------------------------------------------- backward */

static bool is_trained(const scheduler *s, int node) {
    const vt_node *n = &s->program->nodes[node];
    for (int i = 0; n->op->params[i].name != NULL; i++) {
        if (n->params[i] >= 0 && s->plan->trained[n->params[i]]) return true;
    }
    return false;
}

/* A gradient is wanted of what depends on a trained parameter, or on an input if those are asked
 * for. One pass is enough, since a list names a value before its readers. */
static vt_status find_wanted(scheduler *s, bool input_gradients, vt_error *error) {
    const vt_program *program = s->program;
    for (int v = 0; v < program->input_count; v++) s->wants[v] = input_gradients;
    for (int n = 0; n < program->node_count; n++) {
        const vt_node *node = &program->nodes[n];
        bool wants = is_trained(s, n);
        for (int i = 0; i < node->op->inputs; i++) wants = wants || s->wants[node->inputs[i]];
        if (wants && node->op->backward == NULL) {
            return vt_fail(error, VT_VALUE,
                           "operation %s has no gradient: freeze what comes before it, or run it "
                           "under no_grad()",
                           node->op->name);
        }
        s->wants[program->input_count + n] = wants;
    }
    return VT_OK;
}

/* True if backward recomputes the output of a node: what is cheap, or all between borders. */
static bool runs_again(const scheduler *s, const vt_node *node) {
    return node->op->cheap || (s->options.checkpointing && !node->border);
}

/* The node that makes a value, if backward runs it once more; or VT_NOTHING. */
static int node_again(const scheduler *s, int value) {
    const int n = value - s->program->input_count;
    return n >= 0 && runs_again(s, &s->program->nodes[n]) ? n : VT_NOTHING;
}

static void schedule_again(scheduler *s, int n) {
    const vt_node *node = &s->program->nodes[n];
    const int value = s->program->input_count + n;
    int inputs[VT_MAX_INPUTS];
    for (int i = 0; i < node->op->inputs; i++) inputs[i] = s->again[node->inputs[i]];
    s->again[value] = add_own_buffer(s, value);
    schedule_node(s, n, inputs, s->again[value]);
    if (node->op->flops != NULL) {
        s->plan->backward_flops += node->op->flops(&s->program->signatures[n]);
    }
}

/* Puts the first input of a node that backward does not hold yet on the stack. */
static bool push_missing(scheduler *s, int n, int *depth) {
    const vt_node *node = &s->program->nodes[n];
    for (int i = 0; i < node->op->inputs; i++) {
        if (s->again[node->inputs[i]] != VT_NOTHING) continue;
        s->stack[(*depth)++] = node->inputs[i];
        return true;
    }
    return false;
}

/* The buffer that holds a value in backward; what is not kept is scheduled once more, inputs first.
 * The stack is explicit because a list may be one long chain of cheap operations. */
static int value_again(scheduler *s, int wanted) {
    int depth = 0;
    if (s->again[wanted] == VT_NOTHING) s->stack[depth++] = wanted;
    while (depth > 0) {
        const int value = s->stack[depth - 1], n = node_again(s, value);
        if (n != VT_NOTHING && push_missing(s, n, &depth)) continue; /* inputs first */
        if (n == VT_NOTHING) {
            s->again[value] = s->kept[value];
        } else {
            schedule_again(s, n);
        }
        depth--;
    }
    return s->again[wanted];
}

/* The gradient of an input as far as it is known is the base of this contribution. */
static void contribute(scheduler *s, vt_step *step, int input, int value) {
    step->base[input] = s->gradient[value];
    step->din[input] = add_value_buffer(s, value);
    s->gradient[value] = step->din[input];
}

/* din = dout for an input without a gradient yet needs no step: the buffer gets a second name. */
static void pass_gradient(scheduler *s, int n, int dout) {
    const vt_node *node = &s->program->nodes[n];
    vt_step step = empty_step(VT_BACKWARD, n);
    step.dout = dout;
    bool needed = false;
    for (int i = 0; i < node->op->inputs; i++) {
        const int value = node->inputs[i];
        if (!s->wants[value]) continue;
        if (s->gradient[value] == VT_NOTHING) {
            s->gradient[value] = dout;
        } else {
            contribute(s, &step, i, value);
            needed = true;
        }
    }
    if (needed) schedule_step(s, step, s->plan->buffers[dout].rows);
}

static double backward_flops(const scheduler *s, int n, bool inputs, bool params) {
    const vt_op *op = s->program->nodes[n].op;
    if (op->flops == NULL) return 0;
    /* One product each for the input and the weight; attention has five where forward has two. */
    const double factor = op->space == VT_PARTS ? 2.5 : (inputs ? 1 : 0) + (params ? 1 : 0);
    return factor * op->flops(&s->program->signatures[n]);
}

/* Whether backward of a node needs its input i. */
static bool reads_in_backward(const scheduler *s, const vt_node *node, int i) {
    if (!node->op->backward_reads_input) return false;
    return !node->op->bilinear || s->wants[node->inputs[1 - i]];
}

static void schedule_gradients(scheduler *s, int n, int dout) {
    const vt_node *node = &s->program->nodes[n];
    const vt_products *products = &s->plan->products[n];
    const bool trained = is_trained(s, n);
    vt_step step = empty_step(VT_BACKWARD, n), sums = empty_step(VT_ACCUMULATE, n);
    step.dout = sums.dout = dout;
    bool inputs = false;
    for (int i = 0; i < node->op->inputs; i++) {
        const int value = node->inputs[i];
        /* Steps that run forward once more are scheduled here, before those that read them. */
        if (reads_in_backward(s, node, i)) step.in[i] = value_again(s, value);
        if (trained && node->op->params_read_input) sums.in[i] = value_again(s, value);
        if (s->wants[value]) {
            contribute(s, &step, i, value);
            inputs = true;
        }
    }
    /* Two stages for small parameters: the strips leave sums per unit, accumulate adds these up. */
    if (trained && products->partial > 0) {
        step.partial = sums.partial = add_buffer(
            s, 1, vt_ceil_div(products->strips.rows, products->strips.unit) * products->partial);
        sums.dout = VT_NOTHING; /* the units' sums say it all */
    }
    if (inputs || step.partial != VT_NOTHING) {
        schedule_step(s, step, vt_shape_rows(vt_program_shape(s->program, node->inputs[0])));
    }
    /* Panels go through whole images, so they wait for the barrier behind dout. */
    if (trained) s->waiting[s->waiting_count++] = add_step(s, sums);
    s->plan->backward_flops += backward_flops(s, n, inputs, trained);
}

/* A gradient arrives at the node, so the plan writes those of its trained parameters. */
static void cover_params(scheduler *s, int n) {
    const vt_node *node = &s->program->nodes[n];
    for (int i = 0; node->op->params[i].name != NULL; i++) {
        const int param = node->params[i];
        if (param >= 0) s->plan->covered[param] = s->plan->trained[param];
    }
}

/* Outputs that are the same value share a buffer, in which the executor adds them up. */
static void schedule_output_gradients(scheduler *s) {
    const vt_program *program = s->program;
    for (int i = 0; i < program->output_count; i++) {
        const int value = program->outputs[i];
        if (!s->wants[value]) continue;
        const bool first = s->gradient[value] == VT_NOTHING;
        s->plan->output_gradients[i] = first ? add_value_buffer(s, value) : s->gradient[value];
        s->gradient[value] = s->plan->output_gradients[i];
        mark_written(s, s->gradient[value]);
    }
}

static void schedule_backward(scheduler *s, bool input_gradients) {
    const vt_program *program = s->program;
    schedule_output_gradients(s);
    /* In reverse, every reader of a value has contributed before the value's own turn. */
    for (int n = program->node_count - 1; n >= 0; n--) {
        const int value = program->input_count + n, dout = s->gradient[value];
        if (dout == VT_NOTHING) continue; /* not wanted, or no output depends on it */
        cover_params(s, n);
        if (program->nodes[n].op->passes_gradient) {
            pass_gradient(s, n, dout);
        } else {
            schedule_gradients(s, n, dout);
        }
    }
    if (s->waiting_count > 0) add_phase(s); /* for the last parameter gradients */
    for (int v = 0; input_gradients && v < program->input_count; v++) {
        s->plan->input_gradients[v] = s->gradient[v];
    }
}

/* ---------------------------------------------------------------- packing */

/* Weights are packed in the phase before their use; for inference in the very first one, which is
 * skipped as long as they have not changed. */
static void schedule_packs(scheduler *s) {
    vt_plan *p = s->plan;
    const int steps = p->step_count; /* without the packs, which are appended */
    for (int i = 0; i < steps; i++) {
        vt_step *step = &p->steps[i];
        if (step->pass != VT_FORWARD && step->pass != VT_BACKWARD) continue;
        const int which = step->pass == VT_FORWARD ? VT_PACK_FORWARD : VT_PACK_BACKWARD;
        const size_t bytes = p->products[step->node].pack_bytes[which];
        if (bytes == 0) continue;
        vt_step pack = empty_step(VT_PACK, step->node);
        pack.packed[which] = step->packed[which] = add_buffer(s, 1, (int64_t)bytes);
        p->buffers[pack.packed[which]].place = VT_FIXED;
        const int phase = p->training ? p->lanes[s->lane_of[i]].phase - 1 : 0;
        const int index = add_step(s, pack);
        s->lane_of[index] = add_lane(s, VT_LANE_PANELS, phase, 1);
    }
}

/* ---------------------------------------------------------------- sorting */

/* Sorts records by s->key (0 to keys - 1), those of one key as they were, in linear time. Then
 * those of key k begin at s->first[k], and s->first[keys] is their number. */
static vt_status sort_by_key(scheduler *s, void **records, size_t size, int count, int keys,
                             vt_error *error) {
    void *sorted;
    VT_TRY(vt_alloc_array(&sorted, (size_t)count, size, error));
    int *first = s->first;
    /* A counting sort: how many of each key, then where each key begins. */
    memset(first, 0, (size_t)(keys + 1) * sizeof *first);
    for (int i = 0; i < count; i++) first[s->key[i] + 1]++;
    for (int k = 0; k < keys; k++) first[k + 1] += first[k];
    for (int i = 0; i < count; i++) {
        const size_t to = (size_t)first[s->key[i]]++;
        memcpy((char *)sorted + to * size, (char *)*records + (size_t)i * size, size);
    }
    /* Copying has moved each beginning to that of the next key: shift them back. */
    memmove(first + 1, first, (size_t)keys * sizeof *first);
    first[0] = 0;
    vt_free(*records);
    *records = sorted;
    return VT_OK;
}

/* The executor wants the lanes of a phase side by side, and likewise the steps of a lane. */
static vt_status sort_lanes(scheduler *s, vt_error *error) {
    vt_plan *p = s->plan;
    for (int l = 0; l < p->lane_count; l++) {
        s->key[l] = p->lanes[l].phase;
        p->lanes[l].first_step = l; /* until its steps are sorted: the number it had */
    }
    VT_TRY(
        sort_by_key(s, (void **)&p->lanes, sizeof *p->lanes, p->lane_count, p->phase_count, error));
    for (int phase = 0; phase < p->phase_count; phase++) {
        p->phases[phase].first_lane = s->first[phase];
        p->phases[phase].lane_count = s->first[phase + 1] - s->first[phase];
    }
    return VT_OK;
}

static vt_status sort_steps(scheduler *s, vt_error *error) {
    vt_plan *p = s->plan;
    int *lane_at = s->first; /* by the number it had; read before sorting overwrites it */
    for (int l = 0; l < p->lane_count; l++) lane_at[p->lanes[l].first_step] = l;
    for (int i = 0; i < p->step_count; i++) s->key[i] = lane_at[s->lane_of[i]];
    VT_TRY(
        sort_by_key(s, (void **)&p->steps, sizeof *p->steps, p->step_count, p->lane_count, error));
    for (int l = 0; l < p->lane_count; l++) {
        p->lanes[l].first_step = s->first[l];
        p->lanes[l].step_count = s->first[l + 1] - s->first[l];
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- all together */

static vt_status list(int **out, int count, vt_error *error) {
    VT_TRY(VT_NEW(out, count, error));
    for (int i = 0; i < count; i++) (*out)[i] = VT_NOTHING;
    return VT_OK;
}

static vt_status allocate(scheduler *s, vt_error *error) {
    vt_plan *p = s->plan;
    const vt_program *g = s->program;
    const int values = g->input_count + g->node_count;
    /* At most per node: forward, again, backward, accumulate and three packs. */
    const int steps = 7 * g->node_count + 1, lanes = steps, phases = 2 * steps + 4;
    /* At most per node: output, again, two input gradients, partial sums and three packs. */
    const int buffers = 8 * g->node_count + g->input_count + g->output_count + 1;
    VT_TRY(VT_NEW(&p->steps, steps, error));
    VT_TRY(VT_NEW(&p->lanes, lanes, error));
    VT_TRY(VT_NEW(&p->phases, phases, error));
    VT_TRY(VT_NEW(&p->buffers, buffers, error));
    VT_TRY(VT_NEW(&p->covered, g->param_count, error));
    VT_TRY(list(&p->inputs, g->input_count, error));
    VT_TRY(list(&p->input_gradients, g->input_count, error));
    VT_TRY(list(&p->outputs, g->output_count, error));
    VT_TRY(list(&p->output_gradients, g->output_count, error));
    VT_TRY(list(&s->lane_of, steps, error));
    VT_TRY(list(&s->waiting, g->node_count, error));
    VT_TRY(list(&s->written, buffers, error));
    VT_TRY(list(&s->kept, values, error));
    VT_TRY(list(&s->again, values, error));
    VT_TRY(list(&s->stack, values, error));
    VT_TRY(list(&s->key, steps, error));
    VT_TRY(list(&s->first, phases + 1, error));
    VT_TRY(list(&s->gradient, values, error));
    VT_TRY(VT_NEW(&s->narrow, values, error));
    return VT_NEW(&s->wants, values, error);
}

static vt_status schedule(scheduler *s, vt_error *error) {
    add_phase(s); /* before everything, for packing */
    find_narrow(s);
    schedule_forward(s);
    /* Between the passes the caller takes outputs and gives their gradients. */
    s->plan->first_backward = add_phase(s);
    if (s->plan->training) {
        VT_TRY(find_wanted(s, s->options.input_gradients, error));
        schedule_backward(s, s->options.input_gradients);
    }
    schedule_packs(s);
    VT_TRY(sort_lanes(s, error));
    return sort_steps(s, error);
}

vt_status vt_plan_schedule(vt_plan *plan, vt_plan_options options, vt_error *error) {
    scheduler s = {.plan = plan, .program = plan->lowered, .options = options};
    vt_status status = allocate(&s, error);
    if (status == VT_OK) status = schedule(&s, error);
    vt_free(s.lane_of);
    vt_free(s.waiting);
    vt_free(s.written);
    vt_free(s.kept);
    vt_free(s.again);
    vt_free(s.stack);
    vt_free(s.key);
    vt_free(s.first);
    vt_free(s.gradient);
    vt_free(s.narrow);
    vt_free(s.wants);
    return status;
}
