#include <math.h>

#include "base/parallel.h"
#include "optim/optim.h"

typedef struct clip {
    vt_params *params;
    const bool *chosen;
    double limit, eps;
} clip;

static void cut_chunk(void *context, vt_chunk chunk) {
    const clip *c = context;
    void *g = vt_chunk_at(c->params, c->params->gradient, chunk);
    vt_kernels_get(c->params->dtype)->clamp(g, g, c->limit, chunk.count);
}

void vt_clip_value(vt_params *params, const bool *chosen, double limit, int threads) {
    clip c = {params, chosen, limit, 0};
    vt_lock_alone(&params->gradients);
    vt_params_for_chunks(params, chosen, threads, cut_chunk, &c);
    vt_unlock(&params->gradients);
}

/* ---------------------------------------------------------------- adaptive */

static void cut_unit(const clip *c, const void *p, void *g, int64_t count) {
    const vt_kernels *k = vt_kernels_get(c->params->dtype);
    const double size = sqrt(k->sum_of_squares(p, count));
    const double most = (size > c->eps ? size : c->eps) * c->limit;
    const double norm = sqrt(k->sum_of_squares(g, count));
    if (norm < most) return;
    k->scale_add(g, NULL, g, most / (norm > 1e-6 ? norm : 1e-6), count);
}

static void cut_entry(void *context, vt_worker worker) {
    const clip *c = context;
    const int index = (int)worker.task;
    const vt_entry *entry = &c->params->entries[index];
    if (!entry->has_gradient || (c->chosen != NULL && !c->chosen[index])) return;
    const int64_t units = entry->shape.ndim > 1 ? entry->shape.dim[0] : 1,
                  count = entry->elements / units;
    const size_t element = vt_dtype_size(c->params->dtype);
    for (int64_t i = 0; i < units; i++) {
        cut_unit(c, vt_at(vt_params_at(c->params, c->params->data, index), element, i * count),
                 vt_at(vt_params_at(c->params, c->params->gradient, index), element, i * count),
                 count);
    }
}

void vt_clip_adaptive(vt_params *params, const bool *chosen, double factor, double eps,
                      int threads) {
    clip c = {params, chosen, factor, eps};
    vt_lock_shared(&params->values);
    vt_lock_alone(&params->gradients);
    vt_parallel_for(params->count, threads, cut_entry, &c);
    vt_unlock(&params->gradients);
    vt_unlock(&params->values);
}
