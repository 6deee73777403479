#include "optim/adamw.h"

typedef struct adamw {
    vt_params *params;
    void *exp_avg, *exp_avg_sq;
    const bool *chosen;
    vt_adamw step;
} adamw;

static void *chunk_at(const adamw *a, void *buffer, int row, int64_t first) {
    return vt_at(vt_params_at(a->params, buffer, row), vt_dtype_size(a->params->dtype), first);
}

static void update_chunk(void *context, int row, int64_t first, int64_t count) {
    const adamw *a = context;
    if (!a->chosen[row]) return;
    vt_kernels_get(a->params->dtype)
        ->adamw(chunk_at(a, a->params->data, row, first), chunk_at(a, a->exp_avg, row, first),
                chunk_at(a, a->exp_avg_sq, row, first),
                chunk_at(a, a->params->gradient, row, first), count, &a->step);
}

void vt_adamw_run(vt_params *params, void *exp_avg, void *exp_avg_sq, const bool *chosen,
                  vt_adamw step, int threads) {
    adamw a = {params, exp_avg, exp_avg_sq, chosen, step};
    vt_params_for_chunks(params, threads, update_chunk, &a);
    params->version++;
}
