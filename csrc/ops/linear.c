/* linear: y (N, M) = x (N, K) W^T + b, W (M, K) as in a checkpoint. W may have more dimensions, as
 * the convolution (M, C, p, p) of a patch embedding has; K is their product. */
#include <string.h>

#include "base/memory.h"
#include "ops/operations.h"

enum { WEIGHT, BIAS };
enum { FORWARD, BACKWARD, GRAD }; /* products */

static int64_t out_features(const vt_signature *s) { return s->param[WEIGHT].dim[0]; }
static int64_t in_features(const vt_signature *s) { return vt_shape_cols(&s->input[0]); }

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_weight(s, error));
    const vt_shape *weight = &s->param[WEIGHT];
    VT_TRY(vt_expect_param(s, BIAS, (vt_shape){1, {weight->dim[0]}}, error));
    s->node->shape = (vt_shape){2, {s->input[0].dim[0], weight->dim[0]}};
    return VT_OK;
}

static double flops(const vt_signature *s) {
    return 2.0 * (double)s->input[0].dim[0] * (double)in_features(s) * (double)out_features(s);
}

/* accumulate computes dW in panels: one stays in the second-level cache while the images pass. */
static vt_shape blocks(const vt_signature *s) {
    return (vt_shape){2, {out_features(s), in_features(s)}};
}

/* A product of strips with the weight, which is packed if that helps. */
static vt_status open_weight_product(vt_products *products, int slot, int pack,
                                     vt_matmul_shape shape, vt_error *error) {
    const unsigned runs_in = slot == FORWARD ? VT_IN_FORWARD : VT_IN_BACKWARD;
    shape.pack_b = true;
    VT_TRY(vt_products_open(products, slot, runs_in, shape, products->strips, error));
    products->pack_bytes[pack] = vt_tiles_packed_bytes(&products->tiles[slot]);
    products->pack_slot[pack] = slot;
    return VT_OK;
}

/* The products' scratch comes first; behind it is room for what a tile computes or rounds on its
 * way: forward x; backward dy, and a strip of dx that is to be added; accumulate a panel of dy, x,
 * and a sum of the bias. */
static size_t own_bytes(const vt_products *products, const vt_signature *s,
                        vt_arithmetic arithmetic) {
    const int64_t rows = s->input[0].dim[0], m = out_features(s), k = in_features(s);
    const int64_t strip = products->strips.tile, panel = products->blocks.tile;
    const size_t element = vt_dtype_size(arithmetic.dtype);
    const size_t narrow = arithmetic.bf16 ? sizeof(uint16_t) : 0;
    const size_t forward = vt_align((size_t)(strip * k) * narrow);
    if (!arithmetic.backward) return forward;
    const size_t backward =
        vt_align((size_t)(strip * k) * element) + vt_align((size_t)(strip * m) * narrow);
    const size_t accumulate = vt_align((size_t)panel * element) +
                              vt_align((size_t)(rows * panel) * narrow) +
                              vt_align((size_t)(rows * k) * narrow);
    const size_t most = backward > accumulate ? backward : accumulate;
    return forward > most ? forward : most;
}

/* dx = dy W on strips, dW = dy^T x on panels of dy's columns. What is rounded is dense, what is not
 * is read in place. */
static vt_status open_backward(vt_products *products, const vt_signature *s, vt_matmul_shape shape,
                               vt_error *error) {
    const int64_t rows = s->input[0].dim[0], m = out_features(s), k = in_features(s);
    vt_matmul_shape input = shape, weight = shape;
    input.n = k, input.k = m;
    input.lda = m, input.ldb = input.ldc = k;
    VT_TRY(open_weight_product(products, BACKWARD, VT_PACK_BACKWARD, input, error));
    products->panels = vt_cut_count(products->blocks);
    weight.n = k, weight.k = rows;
    weight.lda = products->bf16 ? products->blocks.tile : m, weight.ldb = weight.ldc = k;
    weight.a_transposed = weight.accumulate = true;
    return vt_products_open(products, GRAD, VT_IN_ACCUMULATE, weight, products->blocks, error);
}

static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    const int64_t m = out_features(s), k = in_features(s);
    products->bf16 = arithmetic.bf16;
    const vt_matmul_shape shape = {
        .dtype = arithmetic.dtype,
        .operands = products->bf16 ? VT_OPERANDS_BF16 : VT_OPERANDS_REAL,
    };
    vt_matmul_shape output = shape;
    output.n = m, output.k = k;
    output.lda = output.ldb = k, output.ldc = m;
    output.b_transposed = true;
    output.bias = s->param[BIAS].ndim != 0;
    VT_TRY(open_weight_product(products, FORWARD, VT_PACK_FORWARD, output, error));
    if (arithmetic.backward) VT_TRY(open_backward(products, s, shape, error));
    products->scratch_bytes += own_bytes(products, s, arithmetic);
    return VT_OK;
}

/* Room at the end of the scratch, below what was taken before. */
static void *take(const vt_tile *t, size_t *taken, size_t bytes) {
    *taken += vt_align(bytes);
    return (char *)t->scratch + t->products->scratch_bytes - *taken;
}

/* x (rows, cols), rows `ld` elements apart, as the products take it: rounded and dense, or as it
 * is; narrow: it is rounded already. */
static const void *operand(const vt_tile *t, size_t *taken, const void *x, bool narrow,
                           int64_t rows, int64_t cols, int64_t ld) {
    if (!t->products->bf16 || narrow) return x;
    void *rounded = take(t, taken, (size_t)(rows * cols) * sizeof(uint16_t));
    t->kernels->to_bf16(rounded, x, rows, cols, ld);
    return rounded;
}

static vt_status strip_product(const vt_tile *t, int slot, int pack, void *c, const void *a,
                               const void *bias, vt_error *error) {
    const void *b = t->products->pack_bytes[pack] != 0 ? t->packed[pack] : t->param[WEIGHT];
    if (slot == FORWARD && t->cols < out_features(t->signature)) {
        return vt_tiles_run_columns(&t->products->tiles[slot], t->rows, t->col, t->cols, t->then, c,
                                    a, b, bias, t->scratch, error);
    }
    return vt_tiles_run(&t->products->tiles[slot], t->rows, c, a, b, bias, t->scratch, error);
}

/* y = x W^T + b */
static vt_status forward(const vt_tile *t, vt_error *error) {
    size_t taken = 0;
    const int64_t k = in_features(t->signature);
    const void *x = operand(t, &taken, t->in[0], t->in_narrow[0], t->rows, k, k);
    return strip_product(t, FORWARD, VT_PACK_FORWARD, t->out, x, t->param[BIAS], error);
}

/* dx = base + dy W */
static vt_status backward(const vt_tile *t, vt_error *error) {
    size_t taken = 0;
    const int64_t m = out_features(t->signature), n = t->rows * in_features(t->signature);
    const void *dy = operand(t, &taken, t->dout, false, t->rows, m, m);
    void *dx = t->base[0] == NULL ? t->din[0] : take(t, &taken, (size_t)n * t->element);
    VT_TRY(strip_product(t, BACKWARD, VT_PACK_BACKWARD, dx, dy, NULL, error));
    if (t->base[0] != NULL) t->kernels->scale_add(t->din[0], t->base[0], dx, 1.0, n);
    return VT_OK;
}

/* db[panel] (+)= sum over images and rows of dy */
static void accumulate_bias(const vt_tile *t, int64_t first, int64_t count) {
    const int64_t rows = t->signature->input[0].dim[0], m = out_features(t->signature);
    void *db = vt_at(t->dparam[BIAS], t->element, first);
    size_t taken = 0;
    void *sum = take(t, &taken, (size_t)count * t->element);
    if (!t->accumulate[BIAS]) memset(db, 0, (size_t)count * t->element);
    for (int64_t b = 0; b < t->images; b++) {
        const void *dy = (const char *)t->dout + (size_t)b * t->dout_stride;
        t->kernels->column_sum(sum, vt_const_at(dy, t->element, first), rows, count, m);
        t->kernels->scale_add(db, db, sum, 1.0, count);
    }
}

/* dW[panel] (+)= sum over images of dy[:, panel]^T x */
static vt_status accumulate_weight(const vt_tile *t, int64_t first, int64_t count,
                                   vt_error *error) {
    const int64_t rows = t->signature->input[0].dim[0];
    const int64_t m = out_features(t->signature), k = in_features(t->signature);
    void *dw = vt_at(t->dparam[WEIGHT], t->element, first * k);
    if (!t->accumulate[WEIGHT]) memset(dw, 0, (size_t)(count * k) * t->element);
    for (int64_t b = 0; b < t->images; b++) {
        size_t taken = 0;
        const void *dy = (const char *)t->dout + (size_t)b * t->dout_stride;
        const void *x = (const char *)t->in[0] + (size_t)b * t->in_stride[0];
        dy = operand(t, &taken, vt_const_at(dy, t->element, first), false, rows, count, m);
        x = operand(t, &taken, x, t->in_narrow[0], rows, k, k);
        VT_TRY(vt_tiles_run(&t->products->tiles[GRAD], count, dw, dy, x, NULL, t->scratch, error));
    }
    return VT_OK;
}

static vt_status accumulate(const vt_tile *t, vt_error *error) {
    const int64_t panel = t->products->blocks.tile, first = t->part * panel;
    const int64_t left = out_features(t->signature) - first;
    const int64_t count = left < panel ? left : panel;
    if (t->dparam[BIAS] != NULL) accumulate_bias(t, first, count);
    return t->dparam[WEIGHT] == NULL ? VT_OK : accumulate_weight(t, first, count, error);
}

const vt_op vt_op_linear = {
    .name = "linear",
    .inputs = 1,
    .params = {{"weight", false}, {"bias", true}},
    .infer = infer,
    .blocks = blocks,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .accumulate = accumulate,
    .by_columns = true,
    .params_read_input = true,
    .takes_bf16 = true,
    .reads_bf16 = true,
};
