/* affine, and qv_bias. affine: a factor and a shift per column, y = x * weight + bias: the layer
 * scale of a branch (Touvron et al. 2021; timm LayerScale), or a bias apart from its matrix
 * product. */
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
static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)arithmetic, (void)error;
    products->partial = 2 * vt_shape_cols(&s->input[0]);
    products->panels = 1;
    return VT_OK;
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const void *weight = t->param[WEIGHT], *bias = t->param[BIAS];
    if (weight != NULL) weight = vt_const_at(weight, t->element, t->col);
    if (bias != NULL) bias = vt_const_at(bias, t->element, t->col);
    t->kernels->affine_forward(t->out, t->in[0], weight, bias, t->rows, t->cols);
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
    .by_columns = true,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
};

/* ---------------------------------------------------------------- qv_bias */

/* (N, 3 C), columns q | k | v: a shift of q and one of v. One of k would move no softmax (Bao et
 * al. 2022; timm EvaAttention). */
enum { Q_BIAS, V_BIAS };

static vt_status qv_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t cols = vt_shape_cols(&s->input[0]);
    if (cols % 3 != 0) {
        return vt_fail(error, VT_VALUE, "%lld columns are not q, k and v", (long long)cols);
    }
    VT_TRY(vt_expect_param(s, Q_BIAS, (vt_shape){1, {cols / 3}}, error));
    VT_TRY(vt_expect_param(s, V_BIAS, (vt_shape){1, {cols / 3}}, error));
    return vt_infer_same(s, error);
}

static int64_t qv_width(const vt_signature *s) { return vt_shape_cols(&s->node->shape) / 3; }

/* A unit of backward leaves its sums for dq_bias and dv_bias. */
static vt_status qv_open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                         vt_error *error) {
    (void)arithmetic, (void)error;
    products->partial = 2 * qv_width(s);
    products->panels = 1;
    return VT_OK;
}

static vt_status qv_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t width = qv_width(t->signature);
    for (int64_t i = 0; i < t->rows; i++) {
        for (int64_t part = 0; part < 3; part++) {
            const void *bias = part == 0 ? t->param[Q_BIAS] : part == 2 ? t->param[V_BIAS] : NULL;
            const int64_t at = (3 * i + part) * width;
            t->kernels->scale_add(vt_at(t->out, t->element, at), bias,
                                  vt_const_at(t->in[0], t->element, at), 1.0, width);
        }
    }
    return VT_OK;
}

static vt_status qv_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t width = qv_width(t->signature), cols = 3 * width;
    if (t->partial != NULL) {
        t->kernels->column_sum(t->partial, t->dout, t->rows, width, cols);
        t->kernels->column_sum(vt_at(t->partial, t->element, width),
                               vt_const_at(t->dout, t->element, 2 * width), t->rows, width, cols);
    }
    if (t->din[0] == NULL) return VT_OK;
    t->kernels->scale_add(t->din[0], t->base[0], t->dout, 1.0, t->rows * cols);
    return VT_OK;
}

static vt_status qv_accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t width = qv_width(t->signature);
    vt_sum_partials(t, Q_BIAS, 0, width);
    vt_sum_partials(t, V_BIAS, width, width);
    return VT_OK;
}

const vt_op vt_op_qv_bias = {
    .name = "qv_bias",
    .inputs = 1,
    .params = {{"q_bias", false}, {"v_bias", false}},
    .infer = qv_infer,
    .open = qv_open,
    .forward = qv_forward,
    .backward = qv_backward,
    .accumulate = qv_accumulate,
    .in_place = true,
};
