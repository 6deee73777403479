/* linear_int8: y (N, M) = x (N, K) W^T + b as `linear` has it, with 8-bit numbers: W (M, K) is int8
 * with one scale per output channel, symmetric; each row of x is quantised to uint8 with a scale
 * and a zero point of its own when it comes (dynamic quantisation: no calibration, and an image's
 * bits depend on nothing but it). The product is exact in 32-bit integers; then
 *
 *   y[r,m] = x_scale[r] * scale[m] * (sum_k q[r,k] W[m,k] - zero[r] * sum_k W[m,k]) + b[m]
 *
 * linear_int8_static: the same with one scale and zero point for all of x, which are parameters
 * (static quantisation: they were found by calibration). What is out of their range is cut off.
 */
#include "base/memory.h"
#include "ops/operations.h"

enum { WEIGHT, SCALE, BIAS, INPUT_SCALE, INPUT_ZERO };
enum { FORWARD }; /* the product */

static int64_t out_features(const vt_signature *s) { return s->param[WEIGHT].dim[0]; }
static int64_t in_features(const vt_signature *s) { return vt_shape_cols(&s->input[0]); }

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_weight(s, error));
    const vt_shape *weight = &s->param[WEIGHT];
    VT_TRY(vt_expect_param(s, SCALE, (vt_shape){1, {weight->dim[0]}}, error));
    VT_TRY(vt_expect_param(s, BIAS, (vt_shape){1, {weight->dim[0]}}, error));
    s->node->shape = (vt_shape){2, {s->input[0].dim[0], weight->dim[0]}};
    return VT_OK;
}

static vt_status infer_static(vt_signature *s, vt_error *error) {
    VT_TRY(infer(s, error));
    VT_TRY(vt_expect_param(s, INPUT_SCALE, (vt_shape){1, {1}}, error));
    return vt_expect_param(s, INPUT_ZERO, (vt_shape){1, {1}}, error);
}

static double flops(const vt_signature *s) {
    return 2.0 * (double)s->input[0].dim[0] * (double)in_features(s) * (double)out_features(s);
}

/* ---------------------------------------------------------------- scratch and packing */

/* In front of the product's scratch: a strip of x as uint8, its scales, its zero points. */
typedef struct quantised {
    uint8_t *q;
    void *scale;
    int32_t *zero;
} quantised;

static size_t layout(quantised *x, char *start, const vt_products *products,
                     const vt_signature *s) {
    const int64_t strip = products->strips.tile;
    const size_t values = vt_align((size_t)(strip * in_features(s)));
    const size_t each = vt_align((size_t)strip * sizeof(int32_t));
    *x = (quantised){(uint8_t *)(void *)start, start + values,
                     (int32_t *)(void *)(start + values + each)};
    return values + 2 * each;
}

static size_t sums_bytes(const vt_signature *s) {
    return vt_align((size_t)out_features(s) * sizeof(int32_t));
}

static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    if (arithmetic.dtype != VT_F32) {
        return vt_fail(error, VT_VALUE, "quantised layers compute in float32, not in %s",
                       vt_dtype_name(arithmetic.dtype));
    }
    const vt_matmul_shape shape = {.dtype = VT_F32,
                                   .operands = VT_OPERANDS_INT8,
                                   .n = out_features(s),
                                   .k = in_features(s),
                                   .lda = in_features(s),
                                   .ldb = in_features(s),
                                   .ldc = out_features(s),
                                   .b_transposed = true,
                                   .pack_b = true};
    VT_TRY(vt_products_open(products, FORWARD, VT_IN_FORWARD, shape, products->strips, error));
    quantised unused;
    char nowhere[1];
    products->scratch_bytes += layout(&unused, nowhere, products, s);
    products->pack_bytes[VT_PACK_FORWARD] =
        vt_tiles_packed_bytes(&products->tiles[FORWARD]) + sums_bytes(s);
    return VT_OK;
}

/* sums[m] = sum_k W[m,k], and then W as the product likes it */
static vt_status pack(const vt_tile *t, void *packed, vt_error *error) {
    const int64_t k = in_features(t->signature);
    const int8_t *weight = t->param[WEIGHT];
    int32_t *sums = packed;
    for (int64_t m = 0; m < out_features(t->signature); m++) {
        sums[m] = 0;
        for (int64_t i = 0; i < k; i++) sums[m] += weight[m * k + i];
    }
    const vt_tiles *product = &t->products->tiles[FORWARD];
    if (vt_tiles_packed_bytes(product) == 0) return VT_OK;
    return vt_tiles_pack(product, (char *)packed + sums_bytes(t->signature), weight, error);
}

/* ---------------------------------------------------------------- forward */

typedef void (*quantiser)(const vt_tile *t, quantised *x);

static void by_row(const vt_tile *t, quantised *x) {
    t->kernels->quantize_rows(x->q, x->scale, x->zero, t->in[0], t->rows,
                              in_features(t->signature));
}

/* A zero point as the table has it, a float that may be anything. */
static int32_t zero_point(float value) {
    return (int32_t)(value > 0 ? (value < 255 ? value + 0.5f : 255) : 0);
}

static void by_constants(const vt_tile *t, quantised *x) {
    const float *step = t->param[INPUT_SCALE], *zero = t->param[INPUT_ZERO];
    t->kernels->quantize_fixed(x->q, x->scale, t->in[0], (double)*step, zero_point(*zero), t->rows,
                               in_features(t->signature));
    for (int64_t r = 0; r < t->rows; r++) x->zero[r] = zero_point(*zero);
}

static vt_status multiply(const vt_tile *t, quantiser quantise, vt_error *error) {
    const vt_signature *s = t->signature;
    const vt_tiles *product = &t->products->tiles[FORWARD];
    const int32_t *sums = t->packed[VT_PACK_FORWARD];
    const void *weight = vt_tiles_packed_bytes(product) == 0
                             ? t->param[WEIGHT]
                             : (const char *)t->packed[VT_PACK_FORWARD] + sums_bytes(s);
    quantised x;
    const size_t own = layout(&x, t->scratch, t->products, s);
    quantise(t, &x);
    VT_TRY(
        vt_tiles_run(product, t->rows, t->out, x.q, weight, NULL, (char *)t->scratch + own, error));
    t->kernels->dequantize_rows(t->out, t->out, x.scale, x.zero, t->param[SCALE], sums,
                                t->param[BIAS], t->rows, out_features(s));
    return VT_OK;
}

static vt_status forward(const vt_tile *t, vt_error *error) { return multiply(t, by_row, error); }

static vt_status forward_static(const vt_tile *t, vt_error *error) {
    return multiply(t, by_constants, error);
}

const vt_op vt_op_linear_int8 = {
    .name = "linear_int8",
    .inputs = 1,
    .params = {{"weight", .int8 = true}, {"scale"}, {"bias", .optional = true}},
    .infer = infer,
    .open = open,
    .pack = pack,
    .flops = flops,
    .forward = forward,
};

const vt_op vt_op_linear_int8_static = {
    .name = "linear_int8_static",
    .inputs = 1,
    .params = {{"weight", .int8 = true},
               {"scale"},
               {"bias", .optional = true},
               {"input_scale"},
               {"input_zero_point"}},
    .infer = infer_static,
    .open = open,
    .pack = pack,
    .flops = flops,
    .forward = forward_static,
};
