/* The optimizers that treat each element alone, in one pass; and averages of parameters. */
#include "base/parallel.h"
#include "optim/optim.h"
#include "params/packs.h"

typedef struct work {
    const vt_update *update;
    const void *step;
} work;

/* What a chunk of the parameters, the two moments and the gradient points to. */
typedef struct arrays {
    const vt_kernels *kernels;
    void *p, *state[2];
    const void *g;
} arrays;

static arrays arrays_of(const vt_update *u, vt_chunk chunk) {
    arrays a = {.kernels = vt_kernels_get(u->params->dtype)};
    a.p = vt_chunk_at(u->params, u->params->data, chunk);
    a.g = vt_chunk_at(u->params, u->params->gradient, chunk);
    for (int i = 0; i < 2; i++) {
        if (u->state[i] != NULL) a.state[i] = vt_chunk_at(u->params, u->state[i], chunk);
    }
    return a;
}

static void run(const vt_update *u, vt_chunk_body body, const void *step) {
    work w = {u, step};
    vt_update_begin(u);
    vt_params_for_chunks(u->params, u->chosen, u->threads, body, &w);
    vt_update_end(u);
}

static void adamw_chunk(void *context, vt_chunk chunk) {
    const work *w = context;
    const arrays a = arrays_of(w->update, chunk);
    a.kernels->adamw(a.p, a.state[0], a.state[1], a.g, chunk.count, w->step);
}

void vt_adamw_run(const vt_update *u, const vt_adamw *step) { run(u, adamw_chunk, step); }

static void radam_chunk(void *context, vt_chunk chunk) {
    const work *w = context;
    const arrays a = arrays_of(w->update, chunk);
    a.kernels->radam(a.p, a.state[0], a.state[1], a.g, chunk.count, w->step);
}

void vt_radam_run(const vt_update *u, const vt_radam *step) { run(u, radam_chunk, step); }

static void sgd_chunk(void *context, vt_chunk chunk) {
    const work *w = context;
    const arrays a = arrays_of(w->update, chunk);
    a.kernels->sgd(a.p, a.state[0], a.g, chunk.count, w->step);
}

void vt_sgd_run(const vt_update *u, const vt_sgd *step) { run(u, sgd_chunk, step); }

static void lion_chunk(void *context, vt_chunk chunk) {
    const work *w = context;
    const arrays a = arrays_of(w->update, chunk);
    a.kernels->lion(a.p, a.state[0], a.g, chunk.count, w->step);
}

void vt_lion_run(const vt_update *u, const vt_lion *step) { run(u, lion_chunk, step); }

/* ---------------------------------------------------------------- average */

typedef struct averaging {
    vt_params *average;
    const vt_params *params;
    double share;
} averaging;

static void average_entry(void *context, vt_worker worker) {
    const averaging *a = context;
    const int index = (int)worker.task;
    if (a->params->entries[index].dtype != a->params->dtype) return;
    vt_kernels_get(a->params->dtype)
        ->lerp(vt_params_at(a->average, a->average->data, index),
               vt_params_at(a->params, a->params->data, index), a->share,
               a->params->entries[index].elements);
}

/* In the order of their addresses: two averages that swap their arguments do not deadlock. */
static void lock_both(vt_params *average, vt_params *params) {
    const bool first = (uintptr_t)average < (uintptr_t)params;
    if (first) vt_lock_alone(&average->values);
    vt_lock_shared(&params->values);
    if (!first) vt_lock_alone(&average->values);
}

vt_status vt_average(vt_params *average, vt_params *params, double share, int threads,
                     vt_error *error) {
    if (average == params) return VT_OK;
    VT_TRY(vt_params_stay(average, error));
    VT_TRY(vt_params_stay(params, error));
    averaging a = {average, params, share};
    lock_both(average, params);
    vt_parallel_for(params->count, threads, average_entry, &a);
    average->version++;
    vt_unlock(&params->values);
    vt_unlock(&average->values);
    return VT_OK;
}
