/* What a shape may be, whether two are the same, and how one reads. */
#include <stdio.h>

#include "linalg/engine.h"

const char *vt_matmul_text(char text[VT_SHAPE_TEXT], const vt_matmul_shape *s) {
    static const char *const small[VT_OPERANDS_COUNT] = {NULL, "bfloat16", "int8", "scaled int8"};
    const char *name =
        s->operands == VT_OPERANDS_REAL ? vt_dtype_name(s->dtype) : small[s->operands];
    snprintf(text, VT_SHAPE_TEXT, "%s a (%lld, %lld) times b (%lld, %lld)%s%s%s%s", name,
             (long long)s->m, (long long)s->k, (long long)s->k, (long long)s->n,
             s->a_transposed ? ", a stored transposed" : "",
             s->b_transposed ? ", b stored transposed" : "", s->bias ? ", with bias" : "",
             s->accumulate ? ", added to c" : "");
    return text;
}

static vt_status check_leading(const char *name, int64_t leading, int64_t row, vt_error *error) {
    if (leading >= row) return VT_OK;
    return vt_fail(error, VT_VALUE,
                   "leading dimension of %s is %lld, expected at least its row length %lld", name,
                   (long long)leading, (long long)row);
}

vt_status vt_matmul_check(const vt_matmul_shape *s, vt_error *error) {
    if (s->dtype < 0 || s->dtype >= VT_REAL_COUNT) {
        return vt_fail(error, VT_VALUE, "dtype %d of a matrix product is unknown", (int)s->dtype);
    }
    if (s->m < 1 || s->n < 1 || s->k < 1) {
        return vt_fail(error, VT_VALUE,
                       "sizes of a matrix product are m=%lld n=%lld k=%lld, expected at least 1",
                       (long long)s->m, (long long)s->n, (long long)s->k);
    }
    const bool real = s->operands == VT_OPERANDS_REAL;
    if (s->operands < 0 || s->operands >= VT_OPERANDS_COUNT || (!real && s->dtype != VT_F32)) {
        return vt_fail(error, VT_VALUE, "operands %d of a %s matrix product are unknown",
                       (int)s->operands, vt_dtype_name(s->dtype));
    }
    if (s->operands == VT_OPERANDS_INT8 && (s->bias || s->accumulate)) {
        return vt_fail(error, VT_VALUE, "an int8 matrix product has neither bias nor accumulation");
    }
    if (s->operands == VT_OPERANDS_SCALED && (!s->bias || s->accumulate)) {
        return vt_fail(error, VT_VALUE, "a scaled product has a bias and no accumulation");
    }
    VT_TRY(check_leading("a", s->lda, s->a_transposed ? s->m : s->k, error));
    VT_TRY(check_leading("b", s->ldb, s->b_transposed ? s->k : s->n, error));
    return check_leading("c", s->ldc, s->n, error);
}

bool vt_matmul_same(const vt_matmul_shape *x, const vt_matmul_shape *y) {
    return x->dtype == y->dtype && x->operands == y->operands && x->m == y->m && x->n == y->n &&
           x->k == y->k && x->lda == y->lda && x->ldb == y->ldb && x->ldc == y->ldc &&
           x->a_transposed == y->a_transposed && x->b_transposed == y->b_transposed &&
           x->bias == y->bias && x->accumulate == y->accumulate && x->pack_b == y->pack_b;
}
