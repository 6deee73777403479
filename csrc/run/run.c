#include "run/run.h"

#include <string.h>

#include "base/memory.h"
#include "run/phases.h"
#include "run/task.h"

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
    vt_free(run->profile);
    vt_free(run);
}

int64_t vt_run_capacity(const vt_run *run) { return run->capacity; }
int vt_run_threads(const vt_run *run) { return run->threads; }
int64_t vt_run_images(const vt_run *run) { return run->images; }

/* ---------------------------------------------------------------- forward and backward */

static size_t value_bytes(const vt_run *run, int value) {
    const vt_shape *shape = vt_program_shape(run->plan->lowered, value);
    return (size_t)vt_shape_elements(shape) * vt_dtype_size(run->plan->dtype);
}

/* Images of the arena are `stride` bytes apart, those of the caller are dense. */
static void copy_in(const vt_run *run, int buffer, const void *from, size_t bytes) {
    const size_t stride = vt_run_stride(run, buffer);
    for (int64_t b = 0; b < run->images; b++) {
        memcpy(vt_run_arena(run, buffer) + (size_t)b * stride,
               (const char *)from + (size_t)b * bytes, bytes);
    }
}

static void copy_out(const vt_run *run, void *to, int buffer, size_t bytes) {
    const size_t stride = vt_run_stride(run, buffer);
    for (int64_t b = 0; b < run->images; b++) {
        memcpy((char *)to + (size_t)b * bytes, vt_run_arena(run, buffer) + (size_t)b * stride,
               bytes);
    }
}

/* Phase 0 packs weights: once per version of the parameters in inference, each time in training. */
static vt_status run_packing(vt_run *run, vt_error *error) {
    vt_plan *plan = run->plan;
    if (plan->training) return vt_run_phases(run, 0, 1, error);
    vt_lock_alone(&run->params->packing);
    vt_status status = VT_OK;
    if (plan->packed_version != run->version) {
        status = vt_run_phases(run, 0, 1, error);
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
    if (status == VT_OK) status = vt_run_phases(run, 1, run->plan->first_backward, error);
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
    return vt_run_arena(run, buffer) + (size_t)b * vt_run_stride(run, buffer);
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
    VT_TRY(vt_run_phases(run, run->plan->first_backward, run->plan->phase_count, error));
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
