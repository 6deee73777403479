/* differential: the difference of two attention maps, applied to the values (Ye et al. 2024; timm
 * DiffAttention). (N, 2 C) -> (N, C), heads of d columns:
 *
 *   y[head] = x[head, 0] - lambda x[head, 1],
 *   lambda = exp(q1 . k1) - exp(q2 . k2) + init
 *
 * x is what attention with two maps per head gives: softmax 0 and softmax 1 times v, side by side.
 * The vectors q1, k1, q2, k2 are parameters of one length. */
#include <math.h>
#include <string.h>

#include "ops/operations.h"

enum { Q1, K1, Q2, K2, VECTORS };
enum { HEADS, INIT };

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t cols = vt_shape_cols(&s->input[0]), heads = s->node->attributes[HEADS].i;
    if (heads < 1 || cols % 2 != 0 || cols / 2 % heads != 0) {
        return vt_fail(error, VT_VALUE, "%lld columns cannot be split into %lld heads of two maps",
                       (long long)cols, (long long)heads);
    }
    const double init = s->node->attributes[INIT].f;
    if (!(init >= 0 && init <= 1)) {
        return vt_fail(error, VT_VALUE, "init is %g, expected a number from 0 to 1", init);
    }
    const vt_shape length = {1, {vt_shape_elements(&s->param[Q1])}};
    for (int p = 0; p < VECTORS; p++) VT_TRY(vt_expect_param(s, p, length, error));
    s->node->shape = (vt_shape){2, {s->input[0].dim[0], cols / 2}};
    return VT_OK;
}

/* A unit of backward leaves its sum for dlambda. */
static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)s, (void)arithmetic, (void)error;
    products->partial = 1;
    products->panels = 1;
    return VT_OK;
}

/* exp(q . k) of one pair of vectors */
static double exponential(const vt_tile *t, int q, int k) {
    return exp(t->kernels->dot(t->param[q], t->param[k], t->signature->param[q].dim[0]));
}

static double lambda(const vt_tile *t) {
    return exponential(t, Q1, K1) - exponential(t, Q2, K2) + t->signature->node->attributes[INIT].f;
}

/* The columns of a head in a row of y; x has twice as many. */
static int64_t head_size(const vt_tile *t) {
    return vt_shape_cols(&t->signature->node->shape) / t->signature->node->attributes[HEADS].i;
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t d = head_size(t), heads = t->signature->node->attributes[HEADS].i;
    const double factor = -lambda(t);
    for (int64_t i = 0; i < t->rows * heads; i++) {
        const void *x = vt_const_at(t->in[0], t->element, 2 * i * d);
        t->kernels->scale_add(vt_at(t->out, t->element, i * d), x, vt_const_at(x, t->element, d),
                              factor, d);
    }
    return VT_OK;
}

/* dx[head, map] = base + factor * dy[head] */
static void head_backward(const vt_tile *t, int64_t at, const void *dy, double factor, int64_t d) {
    if (t->din[0] == NULL) return;
    const void *base = t->base[0] == NULL ? NULL : vt_const_at(t->base[0], t->element, at);
    t->kernels->scale_add(vt_at(t->din[0], t->element, at), base, dy, factor, d);
}

static void store(void *to, size_t element, double value) {
    if (element == sizeof(float)) {
        *(float *)to = (float)value;
    } else {
        *(double *)to = value;
    }
}

static double load(const void *from, size_t element) {
    return element == sizeof(float) ? (double)*(const float *)from : *(const double *)from;
}

/* dx0 = dy, dx1 = -lambda dy, dlambda = -sum dy x1 */
static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t d = head_size(t), heads = t->signature->node->attributes[HEADS].i;
    const double factor = -lambda(t);
    double sum = 0;
    for (int64_t i = 0; i < t->rows * heads; i++) {
        const void *dy = vt_const_at(t->dout, t->element, i * d);
        const int64_t second = (2 * i + 1) * d;
        sum += t->kernels->dot(dy, vt_const_at(t->in[0], t->element, second), d);
        head_backward(t, 2 * i * d, dy, 1.0, d);
        head_backward(t, second, dy, factor, d);
    }
    if (t->partial != NULL) store(t->partial, t->element, -sum);
    return VT_OK;
}

/* The sum over the units of one image. */
static double image_sum(const vt_tile *t, int64_t image) {
    const char *partial = (const char *)t->partial + (size_t)image * t->partial_stride;
    double sum = 0;
    for (int64_t i = 0; i < t->units; i++) {
        sum += load(vt_const_at(partial, t->element, i), t->element);
    }
    return sum;
}

/* dq1 (+)= dlambda exp(q1 . k1) k1, and so on; the second pair with a minus. Each image is added
 * for itself: a sum over images, multiplied afterwards, would be rounded otherwise than the same
 * images in several calls. */
static vt_status accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const double slope[] = {exponential(t, Q1, K1), -exponential(t, Q2, K2)};
    static const int other[VECTORS] = {K1, Q1, K2, Q2};
    for (int64_t image = 0; image < t->images; image++) {
        const double sum = image_sum(t, image);
        for (int p = 0; p < VECTORS; p++) {
            if (t->dparam[p] == NULL) continue;
            const void *base = image > 0 || t->accumulate[p] ? t->dparam[p] : NULL;
            t->kernels->scale_add(t->dparam[p], base, t->param[other[p]], sum * slope[p / Q2],
                                  t->signature->param[p].dim[0]);
        }
    }
    return VT_OK;
}

const vt_op vt_op_differential = {
    .name = "differential",
    .inputs = 1,
    .params = {{"lambda_q1", false},
               {"lambda_k1", false},
               {"lambda_q2", false},
               {"lambda_k2", false}},
    .attributes = {{"heads", VT_ATTR_INT, false}, {"init", VT_ATTR_FLOAT, false}},
    .infer = infer,
    .open = open,
    .forward = forward,
    .backward = backward,
    .accumulate = accumulate,
    .cheap = true,
    .backward_reads_input = true,
};
