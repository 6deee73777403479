#include "run/run.h"

#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"

/* ---------------------------------------------------------------- memory */

/* The three blocks of a run, in the order arena, fixed, threads. */
static void block_bytes(const vt_plan *plan, int64_t capacity, int threads, size_t bytes[3]) {
    bytes[0] = plan->image_bytes * (size_t)capacity;
    bytes[1] = plan->training ? plan->fixed_bytes : 0; /* of inference, they are in the table */
    bytes[2] = vt_plan_thread_bytes(plan) * (size_t)threads;
}

size_t vt_run_bytes(const vt_plan *plan, int64_t capacity, int threads) {
    size_t bytes[3];
    block_bytes(plan, capacity, threads, bytes);
    return sizeof(vt_run) + bytes[0] + bytes[1] + bytes[2];
}

vt_status vt_run_check(const vt_plan *plan, int64_t capacity, int threads, vt_error *error) {
    if (capacity < 1 || threads < 1 || threads > VT_MAX_THREADS) {
        return vt_fail(error, VT_VALUE,
                       "a run needs at least one image and 1 to %d threads, got %lld and %d",
                       VT_MAX_THREADS, (long long)capacity, threads);
    }
    /* Half of what a size holds, which leaves room to add the other blocks. */
    if (plan->image_bytes > 0 && (size_t)capacity > SIZE_MAX / 2 / plan->image_bytes) {
        return vt_fail(error, VT_MEMORY, "%lld images do not fit into memory", (long long)capacity);
    }
    return VT_OK;
}

vt_status vt_run_open(vt_run **out, vt_plan *plan, vt_params *params, int64_t capacity, int threads,
                      vt_error *error) {
    *out = NULL;
    VT_TRY(vt_run_check(plan, capacity, threads, error));
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_run), error));
    vt_run *run = block;
    run->plan = plan;
    run->params = params;
    run->capacity = capacity;
    run->threads = threads;
    size_t bytes[3];
    block_bytes(plan, capacity, threads, bytes);
    char **const blocks[3] = {&run->arena, &run->fixed, &run->threads_memory};
    for (int i = 0; i < 3; i++) {
        const vt_status status = vt_alloc((void **)blocks[i], bytes[i], error);
        if (status == VT_OK) continue;
        vt_run_close(run); /* frees what is there; the rest is still NULL */
        return status;
    }
    *out = run;
    return VT_OK;
}

void vt_run_close(vt_run *run) {
    if (run == NULL) return;
    vt_free(run->arena);
    vt_free(run->fixed);
    vt_free(run->threads_memory);
    vt_free(run);
}

int64_t vt_run_capacity(const vt_run *run) { return run->capacity; }
int vt_run_threads(const vt_run *run) { return run->threads; }
int64_t vt_run_images(const vt_run *run) { return run->images; }

/* Bytes from one image of a buffer to the next. */
static size_t image_stride(const vt_plan *plan, int buffer) { return plan->buffers[buffer].bytes; }

/* Image 0 of a buffer of the arena. */
static char *arena_at(const vt_run *run, int buffer) {
    return run->arena + run->plan->buffers[buffer].offset * (size_t)run->capacity;
}

/* ---------------------------------------------------------------- one step on one tile */

/* A lane at work. */
typedef struct work {
    const vt_run *run;
    vt_tile common; /* what all tiles share */
    int64_t image, row, rows, part;
    int64_t first_row; /* of the strip; `row` is a later one if a step takes the strip in pieces */
    char *local;       /* of the thread; the scratch follows */
    bool strips;
} work;

/* The first element of a buffer that this tile may touch: its strip, or the whole image. */
static void *tile_pointer(const work *w, int buffer, bool whole) {
    if (buffer == VT_NOTHING) return NULL;
    const vt_plan *plan = w->run->plan;
    const vt_buffer *b = &plan->buffers[buffer];
    const size_t element = vt_buffer_element(plan, buffer);
    /* A local strip begins with the first row of the tile, whichever unit is at work. */
    if (b->place == VT_LOCAL) {
        return vt_at(w->local + b->offset, element, (w->row - w->first_row) * b->cols);
    }
    char *image = arena_at(w->run, buffer) + (size_t)w->image * b->bytes;
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
static void point_to_values(vt_tile *t, const work *w, const vt_step *step) {
    const bool gathers = vt_step_gathers(w->run->plan, step);
    const bool forward = step->pass == VT_FORWARD;
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        t->in[i] = tile_pointer(w, step->in[i], gathers && forward);
        t->din[i] = tile_pointer(w, step->din[i], false);
        t->base[i] = tile_pointer(w, step->base[i], false);
        if (step->in[i] != VT_NOTHING) t->in_stride[i] = image_stride(w->run->plan, step->in[i]);
    }
    t->out = tile_pointer(w, step->out, false);
    t->dout = tile_pointer(w, step->dout, gathers && !forward);
    if (step->dout != VT_NOTHING) t->dout_stride = image_stride(w->run->plan, step->dout);
    if (step->partial == VT_NOTHING) return;
    t->partial = tile_pointer(w, step->partial, true);
    t->partial_stride = image_stride(w->run->plan, step->partial);
}

static bool is_narrow(const vt_plan *plan, int buffer) {
    return buffer != VT_NOTHING && plan->buffers[buffer].narrow;
}

/* The room for a widened strip: the first for an output, the second for an input. */
static void *wide_strip(const work *w, int which) {
    const vt_plan *plan = w->run->plan;
    return w->local + plan->local_bytes + plan->scratch_bytes + (size_t)which * plan->wide_bytes;
}

/* Inputs in bfloat16, as they are or widened, and an output that will be. */
static void point_to_narrow(vt_tile *t, const work *w, const vt_step *step) {
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
    if (t->out_narrow && w->strips) t->out = wide_strip(w, 0);
}

/* forward, and its strip into bfloat16 where it is kept so. */
static vt_status run_forward(const vt_tile *t, const work *w, const vt_step *step,
                             vt_error *error) {
    const vt_plan *plan = w->run->plan;
    VT_TRY(plan->lowered->nodes[step->node].op->forward(t, error));
    if (!t->out_narrow || !w->strips) return VT_OK;
    const int64_t cols = plan->buffers[step->out].cols;
    t->kernels->to_bf16(tile_pointer(w, step->out, false), t->out, w->rows, cols, cols);
    return VT_OK;
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

static vt_status run_step(const work *w, const vt_step *step, vt_error *error) {
    const vt_plan *plan = w->run->plan;
    const vt_node *node = &plan->lowered->nodes[step->node];
    vt_tile t = w->common;
    t.signature = &plan->lowered->signatures[step->node];
    t.products = &plan->products[step->node];
    t.image = w->image;
    t.row = w->row;
    t.rows = w->rows;
    t.part = w->part;
    t.scratch = w->local + plan->local_bytes;
    point_to_params(&t, w->run, node, step->pass);
    point_to_values(&t, w, step);
    point_to_narrow(&t, w, step);
    for (int i = 0; i < VT_MAX_PACKS; i++) t.packed[i] = fixed_pointer(w->run, step->packed[i]);
    switch (step->pass) {
        case VT_FORWARD: return run_forward(&t, w, step, error);
        case VT_BACKWARD:
            /* The sums of this unit: run_units hands in one unit at a time. */
            if (t.partial != NULL) {
                const int64_t unit = w->row / t.products->strips.unit;
                t.partial = vt_at(t.partial, t.element, unit * t.products->partial);
            }
            return node->op->backward(&t, error);
        case VT_ACCUMULATE:
            /* It goes through all images, and through all their units where backward left sums. */
            t.units = vt_ceil_div(t.products->strips.rows, t.products->strips.unit);
            return node->op->accumulate(&t, error);
        case VT_PACK: return pack(&t, w->run, step, error);
    }
    return vt_fail(error, VT_INTERNAL, "step of an unknown kind %d", (int)step->pass);
}

/* A step of backward that leaves sums, unit by unit: their bits do not follow the strip. */
static vt_status run_units(const work *w, const vt_step *step, int64_t unit, vt_error *error) {
    work part = *w;
    for (part.row = w->row; part.row < w->row + w->rows; part.row += unit) {
        const int64_t left = w->row + w->rows - part.row;
        part.rows = left < unit ? left : unit;
        VT_TRY(run_step(&part, step, error));
    }
    return VT_OK;
}

static vt_status run_whole_or_units(const work *w, const vt_lane *lane, const vt_step *step,
                                    vt_error *error) {
    const bool sums = step->pass == VT_BACKWARD && step->partial != VT_NOTHING;
    return sums ? run_units(w, step, lane->strips.unit, error) : run_step(w, step, error);
}

/* ---------------------------------------------------------------- lanes and phases */

typedef struct phase_work {
    vt_run *run;
    const vt_phase *phase;
    atomic_flag failed; /* the first failure writes status and error */
    vt_status status;
    vt_error *error;
} phase_work;

/* Rows of the strips of a lane in this pass: a tile, unless all threads together are done sooner if
 * each task is a single unit, and by more than what a product on a low tile loses, about a
 * twentieth. */
static int64_t strip_rows(const vt_run *run, const vt_lane *lane) {
    const vt_cut *cut = &lane->strips;
    const int64_t units = vt_ceil_div(cut->rows, cut->unit);
    const int64_t rounds = vt_ceil_div(run->images * lane->tiles, run->threads);
    const int64_t unit_rounds = vt_ceil_div(run->images * units, run->threads);
    /* One round of tiles lasts as long as units / tiles rounds of units; 21 to 20 is that loss. */
    return 20 * rounds * units <= 21 * unit_rounds * lane->tiles ? cut->tile : cut->unit;
}

/* How many tiles of one image, or of the run for panels. */
static int64_t lane_tiles(const vt_run *run, const vt_lane *lane) {
    if (lane->kind != VT_LANE_STRIPS) return lane->tiles;
    return vt_ceil_div(lane->strips.rows, strip_rows(run, lane));
}

/* A panel goes through all images itself, so their number does not multiply it. */
static int64_t lane_tasks(const vt_run *run, const vt_lane *lane) {
    const int64_t tiles = lane_tiles(run, lane);
    return lane->kind == VT_LANE_PANELS ? tiles : tiles * run->images;
}

static work start_work(vt_run *run, const vt_lane *lane, int64_t task, int thread) {
    const vt_plan *plan = run->plan;
    work w = {.run = run, .strips = lane->kind == VT_LANE_STRIPS};
    w.local = run->threads_memory + (size_t)thread * vt_plan_thread_bytes(plan);
    w.common = (vt_tile){.kernels = plan->kernels,
                         .element = vt_dtype_size(plan->dtype),
                         .images = run->images,
                         .key = run->key,
                         .first_image = run->first_image};
    /* The tiles of one image are neighbours, then comes the next image. */
    const int64_t tiles = lane_tiles(run, lane);
    w.part = lane->kind == VT_LANE_PANELS ? task : task % tiles;
    w.image = lane->kind == VT_LANE_PANELS ? 0 : task / tiles;
    if (w.strips) {
        const int64_t height = strip_rows(run, lane);
        w.row = w.first_row = w.part * height;
        const int64_t left = lane->strips.rows - w.row;
        w.rows = left < height ? left : height; /* the last strip may be lower */
    }
    return w;
}

static void run_task(void *context, vt_worker worker) {
    phase_work *p = context;
    const vt_plan *plan = p->run->plan;
    const vt_lane *lane = &plan->lanes[p->phase->first_lane];
    /* Tasks are numbered through all lanes of the phase: find the lane, and the task in it. */
    int64_t task = worker.task;
    while (task >= lane_tasks(p->run, lane)) task -= lane_tasks(p->run, lane++);
    const work w = start_work(p->run, lane, task, worker.thread);
    /* One tile goes through all steps of the lane while it is in the cache. */
    vt_error error;
    for (int i = 0; i < lane->step_count; i++) {
        const vt_step *step = &plan->steps[lane->first_step + i];
        const vt_status status = run_whole_or_units(&w, lane, step, &error);
        if (status == VT_OK) continue;
        if (!atomic_flag_test_and_set(&p->failed)) {
            p->status = status;
            if (p->error != NULL) *p->error = error;
        }
        return;
    }
}

/* Phases [first, end). The end of each parallel loop is the barrier behind its phase; a phase that
 * fails is the last. */
static vt_status run_phases(vt_run *run, int first, int end, vt_error *error) {
    /* oneDNN does not survive a failing malloc, so its working memory is asked for before. */
    VT_TRY(vt_memory_room((size_t)run->threads * VT_WORK_SPACE, error));
    vt_status status = VT_OK;
    vt_calm_begin(); /* around all loops: it takes as long as opening one */
    for (int i = first; i < end && status == VT_OK; i++) {
        const vt_phase *phase = &run->plan->phases[i];
        int64_t tasks = 0;
        for (int l = 0; l < phase->lane_count; l++) {
            tasks += lane_tasks(run, &run->plan->lanes[phase->first_lane + l]);
        }
        phase_work shared = {run, phase, ATOMIC_FLAG_INIT, VT_OK, error};
        vt_parallel_for(tasks, run->threads, run_task, &shared);
        status = shared.status;
    }
    vt_calm_end();
    return status;
}

/* ---------------------------------------------------------------- forward and backward */

static size_t value_bytes(const vt_run *run, int value) {
    const vt_shape *shape = vt_program_shape(run->plan->lowered, value);
    return (size_t)vt_shape_elements(shape) * vt_dtype_size(run->plan->dtype);
}

/* Images of the arena are `stride` bytes apart, those of the caller are dense. */
static void copy_in(const vt_run *run, int buffer, const void *from, size_t bytes) {
    const size_t stride = image_stride(run->plan, buffer);
    for (int64_t b = 0; b < run->images; b++) {
        memcpy(arena_at(run, buffer) + (size_t)b * stride, (const char *)from + (size_t)b * bytes,
               bytes);
    }
}

static void copy_out(const vt_run *run, void *to, int buffer, size_t bytes) {
    const size_t stride = image_stride(run->plan, buffer);
    for (int64_t b = 0; b < run->images; b++) {
        memcpy((char *)to + (size_t)b * bytes, arena_at(run, buffer) + (size_t)b * stride, bytes);
    }
}

/* Phase 0 packs weights: once per version of the parameters in inference, each time in training. */
static vt_status run_packing(vt_run *run, vt_error *error) {
    vt_plan *plan = run->plan;
    if (plan->training) return run_phases(run, 0, 1, error);
    vt_lock_alone(&run->params->packing);
    vt_status status = VT_OK;
    if (plan->packed_version != run->version) {
        status = run_phases(run, 0, 1, error);
        if (status == VT_OK) plan->packed_version = run->version;
    }
    vt_unlock(&run->params->packing);
    return status;
}

vt_status vt_run_forward(vt_run *run, int64_t images, const void *const *inputs, vt_rng_key key,
                         uint64_t first_image, vt_error *error) {
    if (images < 1 || images > run->capacity) {
        return vt_fail(error, VT_VALUE, "%lld images do not fit a run made for 1 to %lld",
                       (long long)images, (long long)run->capacity);
    }
    run->images = images;
    run->key = key;
    run->first_image = first_image;
    for (int i = 0; i < run->plan->lowered->input_count; i++) {
        copy_in(run, run->plan->inputs[i], inputs[i], value_bytes(run, i));
    }
    /* From here to the end of the pass nobody writes weights; backward asks whether they are still
     * of this version. */
    vt_lock_shared(&run->params->values);
    run->version = run->params->version;
    vt_status status = run_packing(run, error);
    if (status == VT_OK) status = run_phases(run, 1, run->plan->first_backward, error);
    vt_unlock(&run->params->values);
    run->recorded = status == VT_OK && run->plan->training;
    return status;
}

void vt_run_output(const vt_run *run, int index, void *output) {
    const vt_plan *plan = run->plan;
    copy_out(run, output, plan->outputs[index], value_bytes(run, plan->lowered->outputs[index]));
}

/* The gradient of output i, image b; NULL if none is asked for. */
static void *output_gradient(const vt_run *run, int i, int64_t b) {
    const int buffer = run->plan->output_gradients[i];
    if (buffer == VT_NOTHING) return NULL;
    return arena_at(run, buffer) + (size_t)b * image_stride(run->plan, buffer);
}

/* The same value may be several outputs: all start as 0, then they add up in order. */
static void start_gradients(const vt_run *run, const void *const *gradients) {
    const vt_plan *plan = run->plan;
    const int outputs = plan->lowered->output_count;
    for (int i = 0; i < outputs; i++) {
        const size_t bytes = value_bytes(run, plan->lowered->outputs[i]);
        for (int64_t b = 0; b < run->images; b++) {
            void *to = output_gradient(run, i, b);
            if (to != NULL) memset(to, 0, bytes);
        }
    }
    for (int i = 0; i < outputs; i++) {
        const size_t bytes = value_bytes(run, plan->lowered->outputs[i]);
        for (int64_t b = 0; b < run->images; b++) {
            void *to = output_gradient(run, i, b);
            if (to == NULL || gradients[i] == NULL) continue;
            plan->kernels->scale_add(to, to, (const char *)gradients[i] + (size_t)b * bytes, 1.0,
                                     (int64_t)(bytes / vt_dtype_size(plan->dtype)));
        }
    }
}

static vt_status backward(vt_run *run, const void *const *gradients, vt_error *error) {
    vt_params *params = run->params;
    if (run->version != params->version) {
        return vt_fail(error, VT_MISUSE,
                       "the parameters were changed between the forward pass and its backward(): "
                       "call backward() before optimizer.step() or load_state_dict()");
    }
    VT_TRY(vt_params_make_gradient(params, error));
    start_gradients(run, gradients);
    VT_TRY(run_phases(run, run->plan->first_backward, run->plan->phase_count, error));
    /* From now on these bytes mean something, and the next backward adds to them. */
    for (int i = 0; i < params->count; i++) {
        if (run->plan->covered[i]) params->entries[i].has_gradient = true;
    }
    return VT_OK;
}

vt_status vt_run_backward(vt_run *run, const void *const *output_gradients, vt_error *error) {
    if (!run->recorded) {
        return vt_fail(error, VT_VALUE,
                       run->plan->training ? "backward may be called once after each forward"
                                           : "this forward pass did not record gradients");
    }
    run->recorded = false; /* whatever becomes of it: its buffers are overwritten */
    vt_lock_shared(&run->params->values);
    vt_lock_alone(&run->params->gradients);
    const vt_status status = backward(run, output_gradients, error);
    vt_unlock(&run->params->gradients);
    vt_unlock(&run->params->values);
    return status;
}

bool vt_run_input_gradient(const vt_run *run, int index, void *gradient) {
    const int buffer = run->plan->input_gradients[index];
    if (buffer == VT_NOTHING) return false;
    copy_out(run, gradient, buffer, value_bytes(run, index));
    return true;
}
