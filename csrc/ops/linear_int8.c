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

/* ---------------------------------------------------------------- products and scratch */

/* The operand: a strip of x as uint8, its scales, its zero points. */
typedef struct quantised {
    uint8_t *q;
    float *scale; /* NaN for a row that is not finite */
    int32_t *zero;
} quantised;

static size_t layout(quantised *x, char *start, const vt_products *products,
                     const vt_signature *s) {
    const int64_t strip = products->strips.tile;
    const size_t values = vt_align((size_t)(strip * in_features(s)));
    const size_t each = vt_align((size_t)strip * sizeof(int32_t));
    *x = (quantised){(uint8_t *)(void *)start, (float *)(void *)(start + values),
                     (int32_t *)(void *)(start + values + each)};
    return values + 2 * each;
}

/* What is packed in front of the weight: a number per output channel, or two. */
static size_t numbers_bytes(const vt_signature *s, int64_t each) {
    return vt_align((size_t)(each * out_features(s)) * sizeof(int32_t));
}

static size_t front(const vt_signature *s) { return numbers_bytes(s, 1); }
static size_t front_static(const vt_signature *s) { return numbers_bytes(s, 2); }

static vt_status open_product(vt_products *products, const vt_signature *s,
                              vt_arithmetic arithmetic, vt_operands operands, vt_error *error) {
    if (arithmetic.dtype != VT_F32) {
        return vt_fail(error, VT_VALUE, "quantised layers compute in float32, not in %s",
                       vt_dtype_name(arithmetic.dtype));
    }
    const bool scaled = operands == VT_OPERANDS_SCALED;
    const vt_matmul_shape shape = {.dtype = VT_F32,
                                   .operands = operands,
                                   .n = out_features(s),
                                   .k = in_features(s),
                                   .lda = in_features(s),
                                   .ldb = in_features(s),
                                   .ldc = out_features(s),
                                   .b_transposed = true,
                                   .bias = scaled,
                                   .pack_b = true};
    VT_TRY(vt_products_open(products, FORWARD, VT_IN_FORWARD, shape, products->strips, error));
    quantised unused;
    char nowhere[1];
    products->operand_bytes = layout(&unused, nowhere, products, s);
    products->pack_bytes[VT_PACK_FORWARD] =
        vt_tiles_packed_bytes(&products->tiles[FORWARD]) + numbers_bytes(s, scaled ? 2 : 1);
    return VT_OK;
}

/* W as the product likes it, behind `before` bytes of the packed layout. */
static vt_status pack_weight(const vt_tile *t, void *packed, size_t before, vt_error *error) {
    const vt_tiles *product = &t->products->tiles[FORWARD];
    if (vt_tiles_packed_bytes(product) == 0) return VT_OK;
    return vt_tiles_pack(product, (char *)packed + before, t->param[WEIGHT], error);
}

static const void *packed_weight(const vt_tile *t, size_t before) {
    return vt_tiles_packed_bytes(&t->products->tiles[FORWARD]) == 0
               ? t->param[WEIGHT]
               : (const char *)t->packed[VT_PACK_FORWARD] + before;
}

/* What `prepare` writes, and forward reads, of the rows of this tile. */
static quantised operand_rows(const vt_tile *t) {
    quantised x;
    (void)layout(&x, t->operand, t->products, t->signature);
    return (quantised){x.q + t->done * in_features(t->signature), x.scale + t->done,
                       x.zero + t->done};
}

static vt_status multiply(const vt_tile *t, const uint8_t *q, size_t before, const void *numbers,
                          vt_error *error) {
    const vt_tiles *product = &t->products->tiles[FORWARD];
    const void *weight = packed_weight(t, before);
    if (t->cols == out_features(t->signature)) {
        return vt_tiles_run(product, t->rows, t->out, q, weight, numbers, t->scratch, error);
    }
    return vt_tiles_run_columns(product, t->rows, t->col, t->cols, t->then, t->out, q, weight,
                                numbers, t->scratch, error);
}

static int32_t weight_sum(const vt_tile *t, int64_t m) {
    const int64_t k = in_features(t->signature);
    const int8_t *weight = (const int8_t *)t->param[WEIGHT] + m * k;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; i++) sum += weight[i];
    return sum;
}

/* ---------------------------------------------------------------- dynamic */

static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    return open_product(products, s, arithmetic, VT_OPERANDS_INT8, error);
}

/* sums[m] = sum_k W[m,k], and then W */
static vt_status pack(const vt_tile *t, void *packed, vt_error *error) {
    int32_t *sums = packed;
    for (int64_t m = 0; m < out_features(t->signature); m++) sums[m] = weight_sum(t, m);
    return pack_weight(t, packed, front(t->signature), error);
}

static vt_status prepare(const vt_tile *t, vt_error *error) {
    (void)error;
    const quantised x = operand_rows(t);
    t->kernels->quantize_rows(x.q, x.scale, x.zero, t->in[0], t->rows, in_features(t->signature));
    return VT_OK;
}

/* Real numbers from columns of the integer products, in place; row by row, or all at once. */
static void dequantize(const vt_tile *t, const quantised *x) {
    const int32_t *sums = (const int32_t *)t->packed[VT_PACK_FORWARD] + t->col;
    const float *scale = (const float *)t->param[SCALE] + t->col;
    const float *bias = t->param[BIAS];
    if (bias != NULL) bias += t->col;
    const int64_t width = out_features(t->signature);
    const int64_t height = t->cols == width ? t->rows : 1;
    for (int64_t r = 0; r < t->rows; r += height) {
        void *y = vt_at(t->out, sizeof(float), r * width + t->col);
        t->kernels->dequantize_rows(y, y, x->scale + r, x->zero + r, scale, sums, bias, height,
                                    t->cols);
    }
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    const quantised x = operand_rows(t);
    VT_TRY(multiply(t, x.q, front(t->signature), NULL, error));
    dequantize(t, &x);
    return VT_OK;
}

/* ---------------------------------------------------------------- static */

static vt_status open_static(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                             vt_error *error) {
    return open_product(products, s, arithmetic, VT_OPERANDS_SCALED, error);
}

/* The zero point of a table, where it is a float that may be anything. */
static int32_t zero_point(const vt_tile *t) {
    const float zero = *(const float *)t->param[INPUT_ZERO];
    return (int32_t)(zero > 0 ? (zero < 255 ? zero + 0.5f : 255) : 0);
}

/* The formula with all constants in two numbers per channel, y = scale[m] * sum + number[m]: the M
 * scales, the M numbers, and then W. */
static vt_status pack_static(const vt_tile *t, void *packed, vt_error *error) {
    const int64_t channels = out_features(t->signature);
    const float *step = t->param[INPUT_SCALE], *weight_scale = t->param[SCALE];
    const float *bias = t->param[BIAS];
    float *scale = packed, *number = scale + channels;
    for (int64_t m = 0; m < channels; m++) {
        scale[m] = *step * weight_scale[m];
        const double least = (double)scale[m] * zero_point(t) * weight_sum(t, m);
        number[m] = (float)((bias == NULL ? 0 : (double)bias[m]) - least);
    }
    return pack_weight(t, packed, front_static(t->signature), error);
}

/* A row of x that is not finite makes a row of NaN. */
static void spoil_rows(const vt_tile *t, const quantised *x) {
    const int64_t width = out_features(t->signature);
    for (int64_t r = 0; r < t->rows; r++) {
        if (x->scale[r] == x->scale[r]) continue;
        float *y = (float *)t->out + r * width + t->col;
        for (int64_t c = 0; c < t->cols; c++) y[c] = x->scale[r];
    }
}

static vt_status prepare_static(const vt_tile *t, vt_error *error) {
    (void)error;
    const quantised x = operand_rows(t);
    t->kernels->quantize_fixed(x.q, x.scale, t->in[0],
                               (double)*(const float *)t->param[INPUT_SCALE], zero_point(t),
                               t->rows, in_features(t->signature));
    return VT_OK;
}

static vt_status forward_static(const vt_tile *t, vt_error *error) {
    const quantised x = operand_rows(t);
    VT_TRY(multiply(t, x.q, front_static(t->signature), t->packed[VT_PACK_FORWARD], error));
    spoil_rows(t, &x);
    return VT_OK;
}

const vt_op vt_op_linear_int8 = {
    .name = "linear_int8",
    .inputs = 1,
    .params = {{"weight", .int8 = true}, {"scale"}, {"bias", .optional = true}},
    .infer = infer,
    .open = open,
    .pack = pack,
    .pack_front = front,
    .flops = flops,
    .forward = forward,
    .prepare = prepare,
    .by_columns = true,
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
    .open = open_static,
    .pack = pack_static,
    .pack_front = front_static,
    .flops = flops,
    .forward = forward_static,
    .prepare = prepare_static,
    .by_columns = true,
};
