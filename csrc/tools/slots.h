/* Every arithmetic kernel as data: how it is called, with which arrays, and what they are filled
 * with. For runners that do the same with all of them. */
#ifndef VT_TOOLS_SLOTS_H
#define VT_TOOLS_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { OUTPUTS = 3, INPUTS = 5 };

/* One call of a kernel. Arrays are (rows, ld) or (cols). */
typedef struct call {
    void *out[OUTPUTS], *in[INPUTS];
    int64_t rows, cols, ld;
    double result; /* what the kernel returned */
} call;

/* An array: shape 'm' (rows, cols) or 'v' (cols), and what draw() fills it with; outputs with '-'
 * are only written. */
typedef struct spec {
    const char *name;
    void (*run)(const vt_kernels *, call *);
    const char *out[OUTPUTS], *in[INPUTS];
    double tolerance; /* relative L2 of an output in float */
    int alias;        /* the input that out[0] may be, or -1 */
    bool base;        /* in[0] is what is added to */
    bool elementwise;
    bool strided; /* takes rows ld apart */
    bool one_row;
    bool mixes_rows;
    bool selects; /* an element of an input need not count */
} spec;

static const double eps = 1e-6, scale = 0.3;
static const vt_adamw adamw_step = {.lr = 1e-3,
                                    .beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .eps = 1e-8,
                                    .weight_decay = 0.05,
                                    .beta1_power = 0.729,
                                    .beta2_power = 0.997002999};
static const vt_radam radam_step = {1e-3, 0.9, 0.999, 1e-8, 0.05, 0.1, 0.46, 0.02};
static const vt_sgd sgd_step = {0.1, 0.9, 0.1, 0.05, true, false};
static const vt_lion lion_step = {0.01, 0.9, 0.99, 0.05};
static const vt_lamb lamb_step = {0.01, 0.9, 0.999, 1e-6, 0.05, 0.271, 0.002997001, 0.1, 1.7};
static const vt_dropout mask = {{7, 3, 1}, 5, 11, 2, 0.8};

static void run_norm_forward(const vt_kernels *k, call *c) {
    k->norm_forward(c->out[0], c->in[0], c->in[1], c->in[2], eps, c->rows, c->cols);
}
static void run_norm_backward(const vt_kernels *k, call *c) {
    k->norm_backward(c->out[0], c->out[1], c->out[2], c->in[0], c->in[1], c->in[2], c->in[3], eps,
                     c->rows, c->cols);
}
static void run_softmax_forward(const vt_kernels *k, call *c) {
    k->softmax_forward(c->out[0], scale, c->rows, c->cols, c->ld);
}
static void run_softmax_backward(const vt_kernels *k, call *c) {
    k->softmax_backward(c->out[0], c->in[0], scale, c->rows, c->cols, c->ld);
}
static void run_log_softmax_forward(const vt_kernels *k, call *c) {
    k->log_softmax_forward(c->out[0], c->in[0], c->rows, c->cols);
}
static void run_log_softmax_backward(const vt_kernels *k, call *c) {
    k->log_softmax_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows, c->cols);
}
static void run_gelu_forward(const vt_kernels *k, call *c) {
    k->gelu_forward(c->out[0], c->in[0], c->rows * c->cols);
}
static void run_gelu_backward(const vt_kernels *k, call *c) {
    k->gelu_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows * c->cols);
}
static void run_scale_add(const vt_kernels *k, call *c) {
    k->scale_add(c->out[0], c->in[0], c->in[1], scale, c->rows * c->cols);
}
static void run_column_sum(const vt_kernels *k, call *c) {
    k->column_sum(c->out[0], c->in[0], c->rows, c->cols, c->ld);
}
static void run_column_max(const vt_kernels *k, call *c) {
    k->column_max(c->out[0], c->in[0], c->rows, c->cols);
}
static void run_column_max_backward(const vt_kernels *k, call *c) {
    k->column_max_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows, c->cols);
}
static void run_dropout(const vt_kernels *k, call *c) {
    k->dropout(c->out[0], c->in[0], c->in[1], &mask, c->rows * c->cols);
}
static void run_cross_entropy(const vt_kernels *k, call *c) {
    c->result = k->cross_entropy(c->out[0], c->in[0], c->in[1], c->cols);
}
static void run_focal_cross_entropy(const vt_kernels *k, call *c) {
    c->result = k->focal_cross_entropy(c->out[0], c->in[0], c->in[1], 2.5, c->cols);
}
static void run_binary_cross_entropy(const vt_kernels *k, call *c) {
    c->result =
        k->binary_cross_entropy(c->out[0], c->in[0], c->in[1], c->in[2], c->in[3], 0.7, c->cols);
}
static void run_binary_focal(const vt_kernels *k, call *c) {
    c->result = k->binary_focal(c->out[0], c->in[0], c->in[1], 0.25, 2.5, 0.7, c->cols);
}
static void run_divergence(const vt_kernels *k, call *c) {
    c->result = k->divergence(c->out[0], c->in[0], c->in[1], false, 0.7, c->cols);
}
static void run_squared_error(const vt_kernels *k, call *c) {
    c->result = k->squared_error(c->out[0], c->in[0], c->in[1], 0.7, c->cols);
}
/* The row is two views; or, if it is short, some of one class each, where all is 0. The square of a
 * column that is left over is added to the result. */
static void run_jensen_shannon(const vt_kernels *k, call *c) {
    const int64_t views = c->cols >= 7 ? 2 : c->cols, classes = c->cols / views;
    const char *rest = (const char *)c->in[0] + (size_t)(views * classes) * vt_dtype_size(k->dtype);
    c->result = k->jensen_shannon(c->out[0], c->in[0], views, classes, classes) +
                k->sum_of_squares(rest, c->cols - views * classes);
}
static void run_adamw(const vt_kernels *k, call *c) {
    k->adamw(c->out[0], c->out[1], c->out[2], c->in[0], c->rows * c->cols, &adamw_step);
}
static void run_sum_of_squares(const vt_kernels *k, call *c) {
    c->result = k->sum_of_squares(c->in[0], c->rows * c->cols);
}
static void run_count_nonfinite(const vt_kernels *k, call *c) {
    c->result = (double)k->count_nonfinite(c->in[0], c->rows * c->cols);
}
/* Of tanh GELU, in which all terms occur. */
static const double swish_a = 1.5957691216057308, swish_b = 0.071354816272600248;
static void run_swish_forward(const vt_kernels *k, call *c) {
    k->swish_forward(c->out[0], c->in[0], swish_a, swish_b, c->rows * c->cols);
}
static void run_swish_backward(const vt_kernels *k, call *c) {
    k->swish_backward(c->out[0], c->in[0], c->in[1], c->in[2], swish_a, swish_b, c->rows * c->cols);
}
static void run_rms_norm_forward(const vt_kernels *k, call *c) {
    k->rms_norm_forward(c->out[0], c->in[0], c->in[1], eps, c->rows, c->cols);
}
static void run_rms_norm_backward(const vt_kernels *k, call *c) {
    k->rms_norm_backward(c->out[0], c->out[1], c->in[0], c->in[1], c->in[2], c->in[3], eps, c->rows,
                         c->cols);
}
static void run_radam(const vt_kernels *k, call *c) {
    k->radam(c->out[0], c->out[1], c->out[2], c->in[0], c->rows * c->cols, &radam_step);
}
static void run_sgd(const vt_kernels *k, call *c) {
    k->sgd(c->out[0], c->out[1], c->in[0], c->rows * c->cols, &sgd_step);
}
static void run_lion(const vt_kernels *k, call *c) {
    k->lion(c->out[0], c->out[1], c->in[0], c->rows * c->cols, &lion_step);
}
static void run_lamb_moments(const vt_kernels *k, call *c) {
    c->result =
        k->lamb_moments(c->out[0], c->out[1], c->in[0], c->in[1], c->rows * c->cols, &lamb_step);
}
static void run_lamb_apply(const vt_kernels *k, call *c) {
    k->lamb_apply(c->out[0], c->in[0], c->in[1], c->rows * c->cols, &lamb_step, 0.7);
}
static void run_lerp(const vt_kernels *k, call *c) {
    k->lerp(c->out[0], c->in[0], 0.3, c->rows * c->cols);
}
static void run_clamp(const vt_kernels *k, call *c) {
    k->clamp(c->out[0], c->in[0], 0.8, c->rows * c->cols);
}
static void run_affine_forward(const vt_kernels *k, call *c) {
    k->affine_forward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows, c->cols);
}
static void run_affine_backward(const vt_kernels *k, call *c) {
    k->affine_backward(c->out[0], c->out[1], c->out[2], c->in[0], c->in[1], c->in[2], c->in[3],
                       c->rows, c->cols);
}
static void run_multiply_add(const vt_kernels *k, call *c) {
    k->multiply_add(c->out[0], c->in[0], c->in[1], c->in[2], c->rows * c->cols);
}
static void run_dot(const vt_kernels *k, call *c) {
    c->result = k->dot(c->in[0], c->in[1], c->rows * c->cols);
}
/* Pieces of an even number of elements. Of an odd one the rest is multiplied, so that every element
 * counts. */
static void run_turned(const vt_kernels *k, call *c, bool halves) {
    const int64_t size = c->cols - c->cols % 2, element = (int64_t)vt_dtype_size(k->dtype);
    const char *base = c->in[0], *x = c->in[1], *table = c->in[2];
    for (int64_t at = c->rows * size * element; at < c->rows * c->cols * element; at += element) {
        k->multiply_add((char *)c->out[0] + at, base == NULL ? NULL : base + at, x + at,
                        table + size * element, 1);
    }
    k->rotate(c->out[0], base, x, table, halves, -1.0, c->rows, size);
}
static void run_rotate(const vt_kernels *k, call *c) { run_turned(k, c, c->rows != 2); }
static void run_rotate_slope(const vt_kernels *k, call *c) {
    const int64_t size = c->cols - c->cols % 2;
    const size_t rest = (size_t)size * vt_dtype_size(k->dtype);
    const char *base = c->in[0], *dy = c->in[1], *x = c->in[2];
    k->multiply_add((char *)c->out[0] + rest, base == NULL ? NULL : base + rest, dy + rest,
                    x + rest, c->cols - size);
    k->rotate_slope(c->out[0], base, dy, x, true, c->rows, size);
    k->rotate_slope(c->out[0], c->out[0], dy, x, false, c->rows, size);
}
static void run_combine(const vt_kernels *k, call *c) {
    k->combine(c->out[0], c->ld, c->in[0], c->ld, scale, -0.7, c->rows, c->cols);
}
static void run_relu_forward(const vt_kernels *k, call *c) {
    k->relu_forward(c->out[0], c->in[0], c->rows * c->cols);
}
static void run_relu_backward(const vt_kernels *k, call *c) {
    k->relu_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows * c->cols);
}

static const spec specs[] = {
    {"norm_forward", run_norm_forward, {"m-"}, {"mn", "vn", "vn"}, 3e-7, .alias = 0},
    {"norm_backward",
     run_norm_backward,
     {"m-", "v-", "v-"},
     {"mn", "mn", "mn", "vn"},
     3e-7,
     .alias = 1,
     .base = true},
    {"softmax_forward", run_softmax_forward, {"mn"}, {NULL}, 3e-7, .alias = -1, .strided = true},
    {"softmax_backward", run_softmax_backward, {"mn"}, {"mp"}, 6e-7, .alias = -1, .strided = true},
    {"log_softmax_forward", run_log_softmax_forward, {"m-"}, {"mn"}, 3e-7, .alias = 0},
    {"log_softmax_backward",
     run_log_softmax_backward,
     {"m-"},
     {"mn", "mn", "ml"},
     3e-7,
     .alias = 1,
     .base = true},
    {"gelu_forward", run_gelu_forward, {"m-"}, {"mn"}, 2e-7, .alias = 0, .elementwise = true},
    {"gelu_backward",
     run_gelu_backward,
     {"m-"},
     {"mn", "mn", "mn"},
     2e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"scale_add",
     run_scale_add,
     {"m-"},
     {"mn", "mn"},
     1e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"column_sum", run_column_sum, {"v-"}, {"mn"}, 4e-7, .alias = -1, .strided = true},
    {"column_max", run_column_max, {"v-"}, {"mn"}, 0, .alias = -1},
    {"column_max_backward",
     run_column_max_backward,
     {"m-"},
     {"mn", "vn", "mn"},
     1e-7,
     .alias = -1,
     .base = true,
     .mixes_rows = true},
    {"dropout", run_dropout, {"m-"}, {"mn", "mn"}, 1e-7, .alias = 1, .base = true},
    {"cross_entropy", run_cross_entropy, {"m-"}, {"mn", "mp"}, 2e-7, .alias = 1, .one_row = true},
    {"focal_cross_entropy",
     run_focal_cross_entropy,
     {"m-"},
     {"mn", "mp"},
     2e-6,
     .alias = 1,
     .one_row = true},
    {"binary_cross_entropy",
     run_binary_cross_entropy,
     {"m-"},
     {"mn", "mp", "vp", "vp"},
     2e-6,
     .alias = 1,
     .one_row = true},
    {"binary_focal", run_binary_focal, {"m-"}, {"mn", "mp"}, 2e-6, .alias = 1, .one_row = true},
    {"divergence", run_divergence, {"m-"}, {"mn", "mp"}, 2e-6, .alias = 1, .one_row = true},
    {"squared_error", run_squared_error, {"m-"}, {"mn", "mn"}, 2e-6, .alias = 1, .one_row = true},
    {"jensen_shannon", run_jensen_shannon, {"m-"}, {"mn"}, 2e-6, .alias = -1, .one_row = true},
    {"adamw", run_adamw, {"mn", "mn", "mp"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"radam", run_radam, {"mn", "mn", "mp"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"sgd", run_sgd, {"mn", "mn"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"lion", run_lion, {"mn", "mn"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"lamb_moments", run_lamb_moments, {"mn", "mp"}, {"mn", "mn"}, 1e-6, .alias = -1},
    {"lamb_apply", run_lamb_apply, {"mn"}, {"mn", "mp"}, 2e-7, .alias = -1, .elementwise = true},
    {"lerp", run_lerp, {"mn"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"clamp", run_clamp, {"m-"}, {"mn"}, 1e-7, .alias = 0, .elementwise = true},
    {"sum_of_squares", run_sum_of_squares, {NULL}, {"mn"}, 1e-13, .alias = -1},
    {"count_nonfinite", run_count_nonfinite, {NULL}, {"mn"}, 0, .alias = -1},
    {"swish_forward", run_swish_forward, {"m-"}, {"mn"}, 3e-7, .alias = 0, .elementwise = true},
    {"swish_backward",
     run_swish_backward,
     {"m-"},
     {"mn", "mn", "mn"},
     4e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"rms_norm_forward", run_rms_norm_forward, {"m-"}, {"mn", "vn"}, 3e-7, .alias = 0},
    {"rms_norm_backward",
     run_rms_norm_backward,
     {"m-", "v-"},
     {"mn", "mn", "mn", "vn"},
     1e-6,
     .alias = 1,
     .base = true},
    {"affine_forward", run_affine_forward, {"m-"}, {"mn", "vn", "vn"}, 2e-7, .alias = 0},
    {"affine_backward",
     run_affine_backward,
     {"m-", "v-", "v-"},
     {"mn", "mn", "mn", "vn"},
     1e-6,
     .alias = 1,
     .base = true},
    {"multiply_add",
     run_multiply_add,
     {"m-"},
     {"mn", "mn", "mn"},
     1e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"dot", run_dot, {NULL}, {"mn", "mn"}, 1e-7, .alias = -1},
    {"rotate",
     run_rotate,
     {"m-"},
     {"mn", "mn", "vn"},
     2e-7,
     .alias = 1,
     .base = true,
     .mixes_rows = true},
    {"rotate_slope",
     run_rotate_slope,
     {"v-"},
     {"vn", "mn", "mn"},
     4e-7,
     .alias = -1,
     .base = true,
     .mixes_rows = true},
    {"combine", run_combine, {"mn"}, {"mn"}, 2e-7, .alias = -1, .strided = true},
    {"relu_forward", run_relu_forward, {"m-"}, {"mn"}, 1e-7, .alias = 0, .elementwise = true},
    {"relu_backward",
     run_relu_backward,
     {"m-"},
     {"mn", "mn", "mn"},
     1e-7,
     .alias = 1,
     .base = true,
     .elementwise = true,
     .selects = true},
};
/* The last slots turn rows into small numbers and back: test_small.c. */
enum { SPECS = sizeof specs / sizeof *specs, SMALL = 5 };
_Static_assert(SPECS + SMALL == VT_KERNEL_SLOT_COUNT, "one spec for each slot");

#endif
