/* norm: layer normalisation over the columns (Ba et al. 2016; torch.nn.LayerNorm).
 * The statistics are computed again in backward: cheaper than keeping them. */
#include <string.h>

#include "ops/operations.h"

enum { WEIGHT, BIAS };
enum { EPS };

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const vt_shape channels = {1, {vt_shape_cols(&s->input[0])}};
    VT_TRY(vt_expect_param(s, WEIGHT, channels, error));
    VT_TRY(vt_expect_param(s, BIAS, channels, error));
    const double eps = s->node->attributes[EPS].f;
    if (!(eps > 0 && eps < 1)) {
        return vt_fail(error, VT_VALUE, "eps is %g, expected a number between 0 and 1", eps);
    }
    return vt_infer_same(s, error);
}

/* A backward strip leaves its sums for dw and db, each of one row. */
static vt_status open(vt_kit *kit, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)arithmetic, (void)error;
    kit->partial = 2 * vt_shape_cols(&s->input[0]);
    kit->panels = 1;
    return VT_OK;
}

static double eps(const vt_tile *t) { return t->signature->node->attributes[EPS].f; }

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    t->kernels->norm_forward(t->out, t->in[0], t->param[WEIGHT], t->param[BIAS], eps(t), t->rows,
                             cols);
    return VT_OK;
}

static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    void *db = t->partial == NULL ? NULL : vt_at(t->partial, t->element, cols);
    t->kernels->norm_backward(t->din[0], t->partial, db, t->base[0], t->dout, t->in[0],
                              t->param[WEIGHT], eps(t), t->rows, cols);
    return VT_OK;
}

/* dw and db (+)= the strips' sums, images and strips in order */
static vt_status accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    for (int p = WEIGHT; p <= BIAS; p++) {
        if (t->dparam[p] == NULL) continue;
        if (!t->accumulate[p]) memset(t->dparam[p], 0, (size_t)cols * t->element);
        for (int64_t i = 0; i < t->images * t->strips; i++) {
            const char *image =
                (const char *)t->partial + (size_t)(i / t->strips) * t->partial_stride;
            const int64_t offset = i % t->strips * t->kit->partial + p * cols;
            t->kernels->scale_add(t->dparam[p], t->dparam[p],
                                  vt_const_at(image, t->element, offset), 1.0, cols);
        }
    }
    return VT_OK;
}

const vt_op vt_op_norm = {
    .name = "norm",
    .inputs = 1,
    .params = {{"weight", false}, {"bias", false}},
    .attributes = {{"eps", VT_ATTR_FLOAT, false}},
    .infer = infer,
    .open = open,
    .forward = forward,
    .backward = backward,
    .accumulate = accumulate,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
};
