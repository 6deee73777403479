#include <stdio.h>
#include <string.h>

#include "ops/op.h"
#include "ops/operations.h"

#define VT_OPERATION(name) &vt_op_##name,
const vt_op *const vt_op_table[] = {
#include "ops/operations.inc"
    NULL,
};
#undef VT_OPERATION

const vt_op *vt_op_find(const char *name) {
    for (const vt_op *const *op = vt_op_table; *op != NULL; op++) {
        if (strcmp((*op)->name, name) == 0) return *op;
    }
    return NULL;
}

const vt_op *vt_op_at(int index) {
    enum { COUNT = sizeof vt_op_table / sizeof *vt_op_table };
    return index < COUNT ? vt_op_table[index] : NULL;
}

const char *vt_op_name(const vt_op *op) { return op->name; }
int vt_op_inputs(const vt_op *op) { return op->inputs; }
bool vt_op_differentiable(const vt_op *op) { return op->backward != NULL; }
const vt_param_spec *vt_op_params(const vt_op *op) { return op->params; }
const vt_attribute_spec *vt_op_attributes(const vt_op *op) { return op->attributes; }

const char *vt_shape_text(char text[VT_MAX_NAME], const vt_shape *shape) {
    int used = snprintf(text, VT_MAX_NAME, "(");
    for (int i = 0; i < shape->ndim && used < VT_MAX_NAME; i++) {
        used += snprintf(text + used, (size_t)(VT_MAX_NAME - used), i == 0 ? "%lld" : ", %lld",
                         (long long)shape->dim[i]);
    }
    if (used < VT_MAX_NAME) {
        snprintf(text + used, (size_t)(VT_MAX_NAME - used), shape->ndim == 1 ? ",)" : ")");
    }
    return text;
}

static bool same_shape(const vt_shape *a, const vt_shape *b) {
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++) {
        if (a->dim[i] != b->dim[i]) return false;
    }
    return true;
}

vt_status vt_infer_same(vt_signature *signature, vt_error *error) {
    const vt_shape *first = &signature->input[0];
    for (int i = 1; i < signature->node->op->inputs; i++) {
        char a[VT_MAX_NAME], b[VT_MAX_NAME];
        if (same_shape(first, &signature->input[i])) continue;
        return vt_fail(error, VT_VALUE, "inputs of shape %s and %s differ", vt_shape_text(a, first),
                       vt_shape_text(b, &signature->input[i]));
    }
    signature->node->shape = *first;
    return VT_OK;
}

vt_status vt_expect_matrix(const vt_signature *signature, int index, vt_error *error) {
    if (signature->input[index].ndim == 2) return VT_OK;
    char text[VT_MAX_NAME];
    return vt_fail(error, VT_VALUE, "expected an input of shape (rows, cols), got %s",
                   vt_shape_text(text, &signature->input[index]));
}

vt_status vt_expect_param(const vt_signature *signature, int index, vt_shape shape,
                          vt_error *error) {
    const vt_shape *given = &signature->param[index];
    if (given->ndim == 0 || same_shape(given, &shape)) return VT_OK;
    char a[VT_MAX_NAME], b[VT_MAX_NAME];
    return vt_fail(error, VT_VALUE, "parameter %s has shape %s, expected %s",
                   signature->node->op->params[index].name, vt_shape_text(a, given),
                   vt_shape_text(b, &shape));
}

vt_status vt_expect_weight(const vt_signature *signature, vt_error *error) {
    VT_TRY(vt_expect_matrix(signature, 0, error));
    const vt_shape *weight = &signature->param[0];
    const int64_t columns = vt_shape_cols(&signature->input[0]);
    if (weight->ndim >= 2 && vt_shape_elements(weight) / weight->dim[0] == columns) return VT_OK;
    char text[VT_MAX_NAME];
    return vt_fail(error, VT_VALUE, "weight of shape %s does not fit an input of %lld columns",
                   vt_shape_text(text, weight), (long long)columns);
}

void vt_sum_partials(const vt_tile *t, int param, int64_t offset, int64_t count) {
    void *sum = t->dparam[param];
    if (sum == NULL) return;
    if (!t->accumulate[param]) memset(sum, 0, (size_t)count * t->element);
    for (int64_t i = 0; i < t->images * t->units; i++) {
        const char *image = (const char *)t->partial + (size_t)(i / t->units) * t->partial_stride;
        const int64_t at = i % t->units * t->products->partial + offset;
        t->kernels->scale_add(sum, sum, vt_const_at(image, t->element, at), 1.0, count);
    }
}

void vt_pass_row(const vt_tile *t, int64_t i, int64_t row, int64_t cols) {
    void *dx = vt_at(t->din[0], t->element, i * cols);
    const void *base = t->base[0] == NULL ? NULL : vt_const_at(t->base[0], t->element, i * cols);
    if (row >= 0) {
        t->kernels->scale_add(dx, base, vt_const_at(t->dout, t->element, row * cols), 1.0, cols);
    } else if (base == NULL) {
        memset(dx, 0, (size_t)cols * t->element);
    } else if (base != dx) {
        memcpy(dx, base, (size_t)cols * t->element);
    }
}

vt_status vt_products_open(vt_products *products, int slot, unsigned runs_in, vt_matmul_shape shape,
                           vt_cut cut, vt_error *error) {
    products->runs_in[slot] = runs_in;
    VT_TRY(vt_tiles_open(&products->tiles[slot], shape, cut, error));
    const size_t scratch = vt_tiles_scratch_bytes(&products->tiles[slot]);
    if (scratch > products->scratch_bytes) products->scratch_bytes = scratch;
    return VT_OK;
}

void vt_products_close(vt_products *products) {
    for (int i = 0; i < VT_MAX_PRODUCTS; i++) vt_tiles_close(&products->tiles[i]);
}
