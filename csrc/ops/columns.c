/* columns: some columns of a value; concat: two values side by side. What one product gives to
 * several readers is taken apart and put together with them. */
#include <string.h>

#include "ops/operations.h"

/* to[:, 0:cols) = from[:, 0:cols), rows of `to_width` and `from_width` elements */
static void copy_columns(void *to, int64_t to_width, const void *from, int64_t from_width,
                         int64_t cols, int64_t rows, size_t element) {
    for (int64_t r = 0; r < rows; r++) {
        memcpy(vt_at(to, element, r * to_width), vt_const_at(from, element, r * from_width),
               (size_t)cols * element);
    }
}

/* ---------------------------------------------------------------- columns */

/* (N, D) -> (N, count): columns [start, start + count). */
enum { START, COUNT };

static vt_status columns_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t start = s->node->attributes[START].i, count = s->node->attributes[COUNT].i;
    const int64_t cols = vt_shape_cols(&s->input[0]);
    if (start < 0 || count < 1 || start > cols - count) {
        return vt_fail(error, VT_VALUE, "%lld columns from column %lld on are not in %lld",
                       (long long)count, (long long)start, (long long)cols);
    }
    s->node->shape = (vt_shape){2, {s->input[0].dim[0], count}};
    return VT_OK;
}

static vt_status columns_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_node *node = t->signature->node;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]), count = node->attributes[COUNT].i;
    copy_columns(t->out, count, vt_const_at(t->in[0], t->element, node->attributes[START].i), cols,
                 count, t->rows, t->element);
    return VT_OK;
}

/* din = base, plus dout in the columns that were taken */
static vt_status columns_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_node *node = t->signature->node;
    const int64_t cols = vt_shape_cols(&t->signature->input[0]);
    const int64_t start = node->attributes[START].i, count = node->attributes[COUNT].i;
    const size_t bytes = (size_t)(t->rows * cols) * t->element;
    if (t->base[0] == NULL) {
        memset(t->din[0], 0, bytes);
    } else if (t->base[0] != t->din[0]) {
        memcpy(t->din[0], t->base[0], bytes);
    }
    for (int64_t r = 0; r < t->rows; r++) {
        void *dx = vt_at(t->din[0], t->element, r * cols + start);
        t->kernels->scale_add(dx, dx, vt_const_at(t->dout, t->element, r * count), 1.0, count);
    }
    return VT_OK;
}

const vt_op vt_op_columns = {
    .name = "columns",
    .inputs = 1,
    .attributes = {{"start", VT_ATTR_INT, false}, {"count", VT_ATTR_INT, false}},
    .infer = columns_infer,
    .forward = columns_forward,
    .backward = columns_backward,
    .cheap = true,
};

/* ---------------------------------------------------------------- concat */

/* (N, D), (N, E) -> (N, D + E). */
static vt_status concat_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    VT_TRY(vt_expect_matrix(s, 1, error));
    const vt_shape *a = &s->input[0], *b = &s->input[1];
    if (a->dim[0] != b->dim[0]) {
        return vt_fail(error, VT_VALUE, "cannot concatenate inputs with %lld and %lld rows",
                       (long long)a->dim[0], (long long)b->dim[0]);
    }
    s->node->shape = (vt_shape){2, {a->dim[0], a->dim[1] + b->dim[1]}};
    return VT_OK;
}

static vt_status concat_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t width = vt_shape_cols(&t->signature->node->shape);
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t cols = vt_shape_cols(&t->signature->input[i]);
        copy_columns(vt_at(t->out, t->element, first), width, t->in[i], cols, cols, t->rows,
                     t->element);
        first += cols;
    }
    return VT_OK;
}

static vt_status concat_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t width = vt_shape_cols(&t->signature->node->shape);
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t cols = vt_shape_cols(&t->signature->input[i]);
        for (int64_t r = 0; t->din[i] != NULL && r < t->rows; r++) {
            const void *base =
                t->base[i] == NULL ? NULL : vt_const_at(t->base[i], t->element, r * cols);
            t->kernels->scale_add(vt_at(t->din[i], t->element, r * cols), base,
                                  vt_const_at(t->dout, t->element, r * width + first), 1.0, cols);
        }
        first += cols;
    }
    return VT_OK;
}

const vt_op vt_op_concat = {
    .name = "concat",
    .inputs = 2,
    .infer = concat_infer,
    .forward = concat_forward,
    .backward = concat_backward,
    .cheap = true,
};
