#include "ops/op.h"

#include <string.h>

static double get(const void *array, vt_dtype dtype, int64_t index, double otherwise) {
    if (array == NULL) return otherwise;
    return dtype == VT_F64 ? ((const double *)array)[index] : (double)((const float *)array)[index];
}

static void set(void *array, vt_dtype dtype, int64_t index, double value) {
    if (dtype == VT_F64) {
        ((double *)array)[index] = value;
    } else {
        ((float *)array)[index] = (float)value;
    }
}

static vt_status check_label(const vt_cross_entropy *l, int64_t row, vt_error *error) {
    const int64_t label = l->labels[row];
    if (label == l->ignore_index || (label >= 0 && label < l->classes)) return VT_OK;
    return vt_fail(error, VT_VALUE, "label %lld of sample %lld is out of range: expected 0 to %lld",
                   (long long)label, (long long)row, (long long)(l->classes - 1));
}

/* q[c]: what -log softmax(x)[c] is multiplied with, so that loss = -sum_c q[c] log softmax(x)[c].
 * Smoothing mixes the target with the uniform distribution (Szegedy et al. 2016); class weights
 * apply to each class's share, as in torch. Returns the row's part of the mean's divisor. */
static double coefficients(const vt_cross_entropy *l, int64_t row, void *q) {
    const double sample = get(l->sample_weights, l->dtype, row, 1.0);
    const int64_t label = l->labels == NULL ? -1 : l->labels[row];
    const bool ignored = l->labels != NULL && label == l->ignore_index;
    for (int64_t c = 0; c < l->classes; c++) {
        const double share = l->labels != NULL
                                 ? (c == label ? 1.0 : 0.0)
                                 : get(l->probabilities, l->dtype, row * l->classes + c, 0.0);
        const double smooth =
            share * (1.0 - l->label_smoothing) + l->label_smoothing / (double)l->classes;
        const double factor = sample * get(l->class_weights, l->dtype, c, 1.0);
        set(q, l->dtype, c, ignored ? 0.0 : factor * smooth);
    }
    if (ignored) return 0.0;
    return l->labels == NULL ? sample : sample * get(l->class_weights, l->dtype, label, 1.0);
}

vt_status vt_cross_entropy_run(const vt_cross_entropy *l, double *value, double *weight,
                               void *dlogits, vt_error *error) {
    const vt_kernels *kernels = vt_kernels_get(l->dtype);
    const size_t element = vt_dtype_size(l->dtype);
    for (int64_t row = 0; l->labels != NULL && row < l->rows; row++) {
        VT_TRY(check_label(l, row, error));
    }
    *value = *weight = 0;
    for (int64_t row = 0; row < l->rows; row++) {
        void *dx = vt_at(dlogits, element, row * l->classes); /* holds the coefficients first */
        *weight += coefficients(l, row, dx);
        const void *x = vt_const_at(l->logits, element, row * l->classes);
        *value += l->gamma == 0 ? kernels->cross_entropy(dx, x, dx, l->classes)
                                : kernels->focal_cross_entropy(dx, x, dx, l->gamma, l->classes);
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- sums over a row */

static const char *const loss_names[VT_LOSS_COUNT] = {
    [VT_BINARY_CROSS_ENTROPY] = "binary_cross_entropy",
    [VT_BINARY_FOCAL] = "binary_focal",
    [VT_DIVERGENCE] = "divergence",
    [VT_SQUARED_ERROR] = "squared_error",
};

vt_loss_kind vt_loss_find(const char *name) {
    int kind = 0;
    while (kind < VT_LOSS_COUNT && strcmp(loss_names[kind], name) != 0) kind++;
    return (vt_loss_kind)kind;
}

static double run_row(const vt_row_loss *l, void *dx, const void *x, const void *target,
                      double factor) {
    const vt_kernels *k = vt_kernels_get(l->dtype);
    switch (l->kind) {
        case VT_BINARY_CROSS_ENTROPY:
            return k->binary_cross_entropy(dx, x, target, l->class_weights, l->positive_weights,
                                           factor, l->cols);
        case VT_BINARY_FOCAL:
            return k->binary_focal(dx, x, target, l->alpha, l->gamma, factor, l->cols);
        case VT_DIVERGENCE: return k->divergence(dx, x, target, l->log_target, factor, l->cols);
        default: return k->squared_error(dx, x, target, factor, l->cols);
    }
}

void vt_row_loss_run(const vt_row_loss *l, double *value, double *weight, void *dinput) {
    const size_t element = vt_dtype_size(l->dtype);
    *value = *weight = 0;
    for (int64_t row = 0; row < l->rows; row++) {
        const double sample = get(l->sample_weights, l->dtype, row, 1.0);
        const int64_t at = row * l->cols;
        *weight += sample;
        *value += run_row(l, vt_at(dinput, element, at), vt_const_at(l->input, element, at),
                          vt_const_at(l->target, element, at), sample * l->factor);
    }
}

/* ---------------------------------------------------------------- over views */

double vt_jensen_shannon_run(vt_dtype dtype, const void *logits, int64_t splits, int64_t rows,
                             int64_t classes, void *dlogits) {
    const size_t element = vt_dtype_size(dtype);
    double value = 0;
    for (int64_t row = 0; row < rows; row++) {
        value += vt_kernels_get(dtype)->jensen_shannon(vt_at(dlogits, element, row * classes),
                                                       vt_const_at(logits, element, row * classes),
                                                       splits, rows * classes, classes);
    }
    return value;
}
