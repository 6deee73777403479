/* norm: layer normalisation over the columns (Ba et al. 2016; torch.nn.LayerNorm); rms_norm: by the
 * root of the mean square alone (Zhang & Sennrich 2019; torch.nn.RMSNorm).
 *
 * A row is normalised in pieces of as many columns as the weight has: the whole row, or one head
 * after another. The statistics are computed again in backward: cheaper than keeping them. */
#include "ops/operations.h"

enum { WEIGHT, BIAS };
enum { EPS };

static int64_t piece(const vt_signature *s) { return s->param[WEIGHT].dim[0]; }

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t cols = vt_shape_cols(&s->input[0]);
    const bool fits = s->param[WEIGHT].ndim == 1 && cols % s->param[WEIGHT].dim[0] == 0;
    const vt_shape whole = {1, {cols}};
    if (!fits) VT_TRY(vt_expect_param(s, WEIGHT, whole, error));
    VT_TRY(vt_expect_param(s, BIAS, s->param[WEIGHT], error));
    const double eps = s->node->attributes[EPS].f;
    if (!(eps > 0 && eps < 1)) {
        return vt_fail(error, VT_VALUE, "eps is %g, expected a number between 0 and 1", eps);
    }
    return vt_infer_same(s, error);
}

/* A unit of backward leaves its sums for dw and db, each of one piece. */
static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)arithmetic, (void)error;
    products->partial = 2 * piece(s);
    products->panels = 1;
    return VT_OK;
}

static double eps(const vt_tile *t) { return t->signature->node->attributes[EPS].f; }

/* How many pieces the strip has. */
static int64_t pieces(const vt_tile *t) {
    return t->rows * vt_shape_cols(&t->signature->input[0]) / piece(t->signature);
}

/* dw and db (+)= the units' sums */
static vt_status accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = piece(t->signature);
    for (int p = WEIGHT; p <= BIAS; p++) vt_sum_partials(t, p, p * cols, cols);
    return VT_OK;
}

/* ---------------------------------------------------------------- norm */

static vt_status norm_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->norm_forward(t->out, t->in[0], t->param[WEIGHT], t->param[BIAS], eps(t), pieces(t),
                             piece(t->signature));
    return VT_OK;
}

static vt_status norm_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = piece(t->signature);
    void *db = t->partial == NULL ? NULL : vt_at(t->partial, t->element, cols);
    t->kernels->norm_backward(t->din[0], t->partial, db, t->base[0], t->dout, t->in[0],
                              t->param[WEIGHT], eps(t), pieces(t), cols);
    return VT_OK;
}

const vt_op vt_op_norm = {
    .name = "norm",
    .inputs = 1,
    .params = {{"weight", false}, {"bias", false}},
    .attributes = {{"eps", VT_ATTR_FLOAT, false}},
    .infer = infer,
    .open = open,
    .forward = norm_forward,
    .backward = norm_backward,
    .accumulate = accumulate,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
};

/* ---------------------------------------------------------------- rms_norm */

static vt_status rms_norm_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->rms_norm_forward(t->out, t->in[0], t->param[WEIGHT], eps(t), pieces(t),
                                 piece(t->signature));
    return VT_OK;
}

static vt_status rms_norm_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->rms_norm_backward(t->din[0], t->partial, t->base[0], t->dout, t->in[0],
                                  t->param[WEIGHT], eps(t), pieces(t), piece(t->signature));
    return VT_OK;
}

const vt_op vt_op_rms_norm = {
    .name = "rms_norm",
    .inputs = 1,
    .params = {{"weight", false}},
    .attributes = {{"eps", VT_ATTR_FLOAT, false}},
    .infer = infer,
    .open = open,
    .forward = rms_norm_forward,
    .backward = rms_norm_backward,
    .accumulate = accumulate,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
};
