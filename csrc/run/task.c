#include "run/task.h"

/* ---------------------------------------------------------------- pointers */

size_t vt_run_stride(const vt_run *run, int buffer) { return run->plan->buffers[buffer].bytes; }

char *vt_run_arena(const vt_run *run, int buffer) {
    return run->arena + run->plan->buffers[buffer].offset * (size_t)run->capacity;
}

/* Of thread `thread`. That of a strip is its beginning. */
static char *memory_of(const vt_run *run, int64_t thread) {
    return run->threads_memory + (size_t)thread * vt_plan_thread_bytes(run->plan);
}

vt_task vt_task_start(const vt_run *run, int64_t strip, int thread) {
    return (vt_task){.run = run,
                     .thread = thread,
                     .strip = memory_of(run, strip),
                     .own = memory_of(run, thread) + vt_plan_strip_bytes(run->plan),
                     .common = {.kernels = run->plan->kernels,
                                .element = vt_dtype_size(run->plan->dtype),
                                .images = run->images,
                                .key = run->key,
                                .first_image = run->first_image}};
}

/* The first element of a buffer that this tile may touch: its strip, or the whole image. */
static void *tile_pointer(const vt_task *w, int buffer, bool whole) {
    if (buffer == VT_NOTHING) return NULL;
    const vt_plan *plan = w->run->plan;
    const vt_buffer *b = &plan->buffers[buffer];
    const size_t element = vt_buffer_element(plan, buffer);
    /* A local strip begins with the first row of the tile, whichever unit is at work. */
    if (b->place == VT_LOCAL) {
        const int64_t rows = (w->row - w->first_row) * b->cols;
        /* The columns of all tasks of a thread lie in the same place, which stays in its cache. */
        if (b->passing && w->cols > 0) {
            char *own = w->own - vt_plan_strip_bytes(plan) + b->offset;
            return (char *)vt_at(own, element, rows) - (size_t)w->col * element;
        }
        return vt_at(w->strip + b->offset, element, rows);
    }
    char *image = vt_run_arena(w->run, buffer) + (size_t)w->image * b->bytes;
    return whole || !w->strips ? image : vt_at(image, element, w->row * b->cols);
}

static char *fixed_pointer(const vt_run *run, int buffer) {
    if (buffer == VT_NOTHING) return NULL;
    const vt_buffer *b = &run->plan->buffers[buffer];
    return b->pack != NULL ? b->pack->data : run->fixed + b->offset;
}

/* Gradients only where they are written: elsewhere another run may be writing them just now. */
static void point_to_params(vt_tile *t, const vt_run *run, const vt_node *node, vt_pass pass) {
    const vt_params *params = run->params;
    for (int i = 0; i < VT_MAX_PARAMS; i++) {
        t->param[i] = t->dparam[i] = NULL;
        if (node->op->params[i].name == NULL) break;
        const int param = node->params[i];
        if (param < 0) continue;
        t->param[i] = vt_params_at(params, params->data, param);
        if (pass != VT_ACCUMULATE || !run->plan->covered[param]) continue;
        t->dparam[i] = vt_params_at(params, params->gradient, param);
        /* Added to, if an earlier backward has left a gradient there. */
        t->accumulate[i] = params->entries[param].has_gradient;
    }
}

/* What a gathering step reads begins with row 0 of the image, all else with the tile's strip. */
static void point_to_values(vt_tile *t, const vt_task *w, const vt_step *step) {
    const bool gathers = vt_step_gathers(w->run->plan, step);
    const bool forward = step->pass == VT_FORWARD;
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        t->in[i] = tile_pointer(w, step->in[i], gathers && forward);
        t->din[i] = tile_pointer(w, step->din[i], false);
        t->base[i] = tile_pointer(w, step->base[i], false);
        if (step->in[i] != VT_NOTHING) t->in_stride[i] = vt_run_stride(w->run, step->in[i]);
    }
    t->out = tile_pointer(w, step->out, false);
    t->dout = tile_pointer(w, step->dout, gathers && !forward);
    if (step->dout != VT_NOTHING) t->dout_stride = vt_run_stride(w->run, step->dout);
    if (step->partial == VT_NOTHING) return;
    t->partial = tile_pointer(w, step->partial, true);
    t->partial_stride = vt_run_stride(w->run, step->partial);
}

static bool is_narrow(const vt_plan *plan, int buffer) {
    return buffer != VT_NOTHING && plan->buffers[buffer].narrow;
}

/* The room for a widened strip: the first for an output, the second for an input. */
static void *wide_strip(const vt_task *w, int which) {
    const vt_plan *plan = w->run->plan;
    return w->own + plan->scratch_bytes + (size_t)which * plan->wide_bytes;
}

/* Inputs in bfloat16, as they are or widened, and an output that will be. */
static void point_to_narrow(vt_tile *t, const vt_task *w, const vt_step *step) {
    const vt_plan *plan = w->run->plan;
    const bool reads = plan->lowered->nodes[step->node].op->reads_bf16;
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        t->in_narrow[i] = is_narrow(plan, step->in[i]);
        if (!t->in_narrow[i] || reads) continue;
        /* The operation knows only the plan's dtype, so it gets a widened copy. */
        void *wide = wide_strip(w, 1);
        const int64_t cols = plan->buffers[step->in[i]].cols;
        t->kernels->from_bf16(wide, t->in[i], w->rows * cols);
        t->in[i] = wide;
    }
    t->out_narrow = is_narrow(plan, step->out);
    if (t->out_narrow && w->strips) {
        t->out = (char *)wide_strip(w, 0) - (size_t)w->col * t->element;
    }
}

static vt_status write_pack(const vt_tile *t, char *packed, int which, vt_error *error) {
    const vt_op *op = t->signature->node->op;
    if (op->pack != NULL) return op->pack(t, packed, error);
    const vt_tiles *product = &t->products->tiles[t->products->pack_slot[which]];
    return vt_tiles_pack(product, packed, t->param[0], error);
}

/* In training into the run; in inference into the table, unless another plan has done it. */
static vt_status pack(const vt_tile *t, const vt_run *run, const vt_step *step, vt_error *error) {
    const int which =
        step->packed[VT_PACK_FORWARD] != VT_NOTHING ? VT_PACK_FORWARD : VT_PACK_BACKWARD;
    const int buffer = step->packed[which];
    vt_pack *shared = run->plan->buffers[buffer].pack;
    char *packed = fixed_pointer(run, buffer);
    if (shared == NULL) return write_pack(t, packed, which, error);
    if (shared->version == run->version) return VT_OK;
    VT_TRY(vt_entry_wake(run->params, shared->key.params[0], error));
    shared->version = 0; /* half-written if packing fails: then it belongs to no version */
    VT_TRY(write_pack(t, packed, which, error));
    shared->version = run->version;
    vt_pack_rest(run->params, shared);
    return VT_OK;
}

/* ---------------------------------------------------------------- one step */

static vt_tile tile_of(const vt_task *w, const vt_step *step) {
    const vt_plan *plan = w->run->plan;
    const vt_node *node = &plan->lowered->nodes[step->node];
    vt_tile t = w->common;
    t.signature = &plan->lowered->signatures[step->node];
    t.products = &plan->products[step->node];
    t.image = w->image;
    t.row = w->row;
    t.rows = w->rows;
    t.done = w->row - w->first_row;
    t.part = w->part;
    t.cols = vt_shape_cols(&node->shape);
    t.operand = w->strip + plan->local_bytes;
    t.scratch = w->own;
    point_to_params(&t, w->run, node, step->pass);
    point_to_values(&t, w, step);
    point_to_narrow(&t, w, step);
    for (int i = 0; i < VT_MAX_PACKS; i++) t.packed[i] = fixed_pointer(w->run, step->packed[i]);
    return t;
}

/* Some columns of one row: its elements lie side by side. */
static void point_to_piece(vt_tile *t, const vt_tile *whole, int64_t row) {
    const int64_t first = row * whole->cols + t->col;
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        if (whole->in[i] != NULL) t->in[i] = vt_const_at(whole->in[i], t->element, first);
    }
    t->out = vt_at(whole->out, t->element, first);
    t->row = whole->row + row;
    t->rows = 1;
}

/* The tile as a whole; of a range of columns, a product at once and all else row by row. */
static vt_status call_forward(const vt_task *w, const vt_step *step, const vt_tile *whole,
                              vt_error *error) {
    const vt_op *op = w->run->plan->lowered->nodes[step->node].op;
    vt_tile t = *whole;
    if (w->cols == 0) return op->forward(&t, error);
    t.col = w->col;
    t.cols = w->cols;
    t.then = w->then;
    if (step->packed[VT_PACK_FORWARD] != VT_NOTHING) return op->forward(&t, error);
    for (int64_t row = 0; row < whole->rows; row++) {
        point_to_piece(&t, whole, row);
        VT_TRY(op->forward(&t, error));
    }
    return VT_OK;
}

/* The tile, or its columns, into bfloat16 where it is kept so. */
static void round_output(const vt_task *w, const vt_step *step, const vt_tile *t) {
    const int64_t cols = t->cols;
    uint16_t *narrow = tile_pointer(w, step->out, false);
    if (w->cols == 0) {
        t->kernels->to_bf16(narrow, t->out, t->rows, cols, cols);
        return;
    }
    for (int64_t row = 0; row < t->rows; row++) {
        const int64_t first = row * cols + w->col;
        t->kernels->to_bf16(narrow + first, vt_const_at(t->out, t->element, first), 1, w->cols,
                            w->cols);
    }
}

vt_status vt_task_forward(const vt_task *w, const vt_step *step, vt_error *error) {
    const vt_tile t = tile_of(w, step);
    VT_TRY(call_forward(w, step, &t, error));
    if (t.out_narrow && w->strips) round_output(w, step, &t);
    return VT_OK;
}

vt_status vt_task_prepare(const vt_task *w, const vt_step *step, vt_error *error) {
    const vt_op *op = w->run->plan->lowered->nodes[step->node].op;
    if (op->prepare == NULL) return VT_OK;
    const vt_tile t = tile_of(w, step);
    return op->prepare(&t, error);
}

static vt_status backward_step(const vt_task *w, const vt_step *step, vt_error *error) {
    const vt_op *op = w->run->plan->lowered->nodes[step->node].op;
    vt_tile t = tile_of(w, step);
    if (t.partial != NULL) { /* the sums of this unit: step_by_units hands in one at a time */
        const int64_t unit = w->row / t.products->strips.unit;
        t.partial = vt_at(t.partial, t.element, unit * t.products->partial);
    }
    return op->backward(&t, error);
}

/* It goes through all images, and through all their units where backward left sums. */
static vt_status accumulate_step(const vt_task *w, const vt_step *step, vt_error *error) {
    vt_tile t = tile_of(w, step);
    t.units = vt_ceil_div(t.products->strips.rows, t.products->strips.unit);
    return w->run->plan->lowered->nodes[step->node].op->accumulate(&t, error);
}

static vt_status one_step(const vt_task *w, const vt_step *step, vt_error *error) {
    switch (step->pass) {
        case VT_FORWARD:
            VT_TRY(vt_task_prepare(w, step, error));
            return vt_task_forward(w, step, error);
        case VT_BACKWARD: return backward_step(w, step, error);
        case VT_ACCUMULATE: return accumulate_step(w, step, error);
        case VT_PACK: {
            const vt_tile t = tile_of(w, step);
            return pack(&t, w->run, step, error);
        }
    }
    return vt_fail(error, VT_INTERNAL, "step of an unknown kind %d", (int)step->pass);
}

/* A step of backward that leaves sums, unit by unit: their bits do not follow the strip. */
static vt_status step_by_units(const vt_task *w, const vt_step *step, vt_error *error) {
    const int64_t unit = w->unit;
    vt_task part = *w;
    for (part.row = w->row; part.row < w->row + w->rows; part.row += unit) {
        const int64_t left = w->row + w->rows - part.row;
        part.rows = left < unit ? left : unit;
        VT_TRY(one_step(&part, step, error));
    }
    return VT_OK;
}

vt_status vt_task_step(const vt_task *w, const vt_step *step, vt_error *error) {
    const bool sums = step->pass == VT_BACKWARD && step->partial != VT_NOTHING;
    return sums ? step_by_units(w, step, error) : one_step(w, step, error);
}
