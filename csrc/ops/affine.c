/* affine: a factor and a shift per column, y = x * weight + bias: the layer scale of a branch
 * (Touvron et al. 2021; timm LayerScale), or a bias apart from its matrix product. */
#include "ops/operations.h"

enum { WEIGHT, BIAS };

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const vt_shape channels = {1, {vt_shape_cols(&s->input[0])}};
    VT_TRY(vt_expect_param(s, WEIGHT, channels, error));
    VT_TRY(vt_expect_param(s, BIAS, channels, error));
    return vt_infer_same(s, error);
}

/* A unit of backward leaves its sums for dw and db, each of one row. */
static vt_status open(vt_kit *kit, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)arithmetic, (void)error;
    kit->partial = 2 * vt_shape_cols(&s->input[0]);
    kit->panels = 1;
    return VT_OK;
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    t->kernels->affine_forward(t->out, t->in[0], t->param[WEIGHT], t->param[BIAS], t->rows, cols);
    return VT_OK;
}

/* dx = base + dy * w, and the unit's sums of dy * x and dy */
static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    void *db = t->partial == NULL ? NULL : vt_at(t->partial, t->element, cols);
    t->kernels->affine_backward(t->din[0], t->partial, db, t->base[0], t->dout, t->in[0],
                                t->param[WEIGHT], t->rows, cols);
    return VT_OK;
}

static vt_status accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    for (int p = WEIGHT; p <= BIAS; p++) vt_sum_partials(t, p, p * cols, cols);
    return VT_OK;
}

const vt_op vt_op_affine = {
    .name = "affine",
    .inputs = 1,
    .params = {{"weight", true}, {"bias", true}},
    .infer = infer,
    .open = open,
    .forward = forward,
    .backward = backward,
    .accumulate = accumulate,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
};
