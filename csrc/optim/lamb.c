/* LAMB (You et al. 2020) as timm writes it: two passes, because the length of the step of an entry
 * depends on the whole entry. */
#include <math.h>

#include "optim/optim.h"

typedef struct lamb {
    const vt_update *update;
    const vt_lamb *step;
    bool adapts, trust_clip;
} lamb;

/* The moments, and per chunk the sums of squares of the direction and of the parameters. */
static void moments_chunk(void *context, vt_chunk chunk) {
    const lamb *l = context;
    const vt_update *u = l->update;
    const vt_kernels *kernels = vt_kernels_get(u->params->dtype);
    const void *p = vt_chunk_at(u->params, u->params->data, chunk);
    u->params->sums[0][chunk.index] = kernels->lamb_moments(
        vt_chunk_at(u->params, u->state[0], chunk), vt_chunk_at(u->params, u->state[1], chunk), p,
        vt_chunk_at(u->params, u->params->gradient, chunk), chunk.count, l->step);
    u->params->sums[1][chunk.index] = kernels->sum_of_squares(p, chunk.count);
}

/* |p| / |u| of the entry that the chunk belongs to. */
static double trust_of(const lamb *l, vt_chunk chunk) {
    if (!l->adapts) return 1.0;
    const vt_params *params = l->update->params;
    const int64_t start = chunk.index - chunk.first / VT_CHUNK;
    const int64_t count = vt_ceil_div(params->entries[chunk.entry].elements, VT_CHUNK);
    double direction = 0, parameter = 0;
    for (int64_t i = start; i < start + count; i++) {
        direction += params->sums[0][i];
        parameter += params->sums[1][i];
    }
    const double trust = direction > 0 && parameter > 0 ? sqrt(parameter) / sqrt(direction) : 1.0;
    return l->trust_clip && trust > 1.0 ? 1.0 : trust;
}

static void apply_chunk(void *context, vt_chunk chunk) {
    const lamb *l = context;
    const vt_update *u = l->update;
    vt_kernels_get(u->params->dtype)
        ->lamb_apply(vt_chunk_at(u->params, u->params->data, chunk),
                     vt_chunk_at(u->params, u->state[0], chunk),
                     vt_chunk_at(u->params, u->state[1], chunk), chunk.count, l->step,
                     trust_of(l, chunk));
}

void vt_lamb_run(const vt_update *u, const vt_lamb *step, bool adapts, bool trust_clip) {
    lamb l = {u, step, adapts, trust_clip};
    vt_update_begin(u);
    vt_params_for_chunks(u->params, u->chosen, u->threads, moments_chunk, &l);
    vt_params_for_chunks(u->params, u->chosen, u->threads, apply_chunk, &l);
    vt_update_end(u);
}
