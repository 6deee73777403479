/* pool: the mean of all rows; pool_max: the greatest of each column; parameter: rows that are the
 * same for every image, such as the query that an attention pool learns. */
#include <string.h>

#include "ops/operations.h"

/* ---------------------------------------------------------------- pool */

/* (N, D) -> (1, D). */
static vt_status pool_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    s->node->shape = (vt_shape){2, {1, s->input[0].dim[1]}};
    return VT_OK;
}

/* y = sum over rows, in order, divided by their number */
static vt_status pool_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t rows = t->signature->input[0].dim[0], cols = t->signature->input[0].dim[1];
    t->kernels->column_sum(t->out, t->in[0], rows, cols, cols);
    t->kernels->scale_add(t->out, NULL, t->out, 1.0 / (double)rows, cols);
    return VT_OK;
}

static vt_status pool_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t rows = t->signature->input[0].dim[0], cols = t->signature->input[0].dim[1];
    for (int64_t i = 0; i < t->rows; i++) {
        const void *base =
            t->base[0] == NULL ? NULL : vt_const_at(t->base[0], t->element, i * cols);
        t->kernels->scale_add(vt_at(t->din[0], t->element, i * cols), base, t->dout,
                              1.0 / (double)rows, cols);
    }
    return VT_OK;
}

const vt_op vt_op_pool = {
    .name = "pool",
    .inputs = 1,
    .infer = pool_infer,
    .forward = pool_forward,
    .backward = pool_backward,
    .gathers = true,
};

/* ---------------------------------------------------------------- pool_max */

/* The greatest element is known only after all rows, so an image is one part. */
static vt_status pool_max_open(vt_products *products, const vt_signature *s,
                               vt_arithmetic arithmetic, vt_error *error) {
    (void)s, (void)arithmetic, (void)error;
    products->parts = 1;
    return VT_OK;
}

static vt_status pool_max_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t *x = t->signature->input[0].dim;
    t->kernels->column_max(t->out, t->in[0], x[0], x[1]);
    return VT_OK;
}

static vt_status pool_max_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t *x = t->signature->input[0].dim;
    t->kernels->column_max_backward(t->din[0], t->base[0], t->dout, t->in[0], x[0], x[1]);
    return VT_OK;
}

const vt_op vt_op_pool_max = {
    .name = "pool_max",
    .inputs = 1,
    .infer = pool_infer,
    .open = pool_max_open,
    .forward = pool_max_forward,
    .backward = pool_max_backward,
    .space = VT_PARTS,
    .backward_reads_input = true,
};

/* ---------------------------------------------------------------- parameter */

/* -> (M, D), the weight (..., D) as a value. */
enum { WEIGHT };

static vt_status parameter_infer(vt_signature *s, vt_error *error) {
    const vt_shape *weight = &s->param[WEIGHT];
    if (weight->ndim < 2) {
        char text[VT_MAX_NAME];
        return vt_fail(error, VT_VALUE, "weight has shape %s, expected (..., rows, cols)",
                       vt_shape_text(text, weight));
    }
    s->node->shape = (vt_shape){2, {vt_shape_rows(weight), vt_shape_cols(weight)}};
    return VT_OK;
}

static vt_status parameter_open(vt_products *products, const vt_signature *s,
                                vt_arithmetic arithmetic, vt_error *error) {
    (void)s, (void)arithmetic, (void)error;
    products->panels = 1;
    return VT_OK;
}

static vt_status parameter_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = vt_shape_cols(&t->signature->node->shape);
    memcpy(t->out, vt_const_at(t->param[WEIGHT], t->element, t->row * cols),
           (size_t)(t->rows * cols) * t->element);
    return VT_OK;
}

/* There is no input to give a gradient to. */
static vt_status parameter_backward(const vt_tile *t, vt_error *error) {
    (void)t, (void)error;
    return VT_OK;
}

/* dw (+)= sum over images of dy */
static vt_status parameter_accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t elements = vt_shape_elements(&t->signature->node->shape);
    for (int64_t b = 0; b < t->images; b++) {
        const void *dy = (const char *)t->dout + (size_t)b * t->dout_stride;
        void *dw = t->dparam[WEIGHT];
        const void *base = b == 0 && !t->accumulate[WEIGHT] ? NULL : dw;
        t->kernels->scale_add(dw, base, dy, 1.0, elements);
    }
    return VT_OK;
}

/* It gathers, for its rows are not those of an input. */
const vt_op vt_op_parameter = {
    .name = "parameter",
    .inputs = 0,
    .params = {{"weight", false}},
    .infer = parameter_infer,
    .open = parameter_open,
    .forward = parameter_forward,
    .backward = parameter_backward,
    .accumulate = parameter_accumulate,
    .gathers = true,
    .cheap = true,
};
