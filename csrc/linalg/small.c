/* Products of small numbers in plain C: uint8 times int8, exactly, and bfloat16 with sums in float.
 * The oracle of the faster ones, and what runs where there are none. */
#include <string.h>

#include "base/memory.h"
#include "linalg/engine.h"

/* The index of element (row, column) of a matrix stored by rows or, transposed, by columns. */
static inline int64_t index_of(int64_t row, int64_t column, int64_t leading, bool transposed) {
    return transposed ? column * leading + row : row * leading + column;
}

/* ---------------------------------------------------------------- int8 */

static vt_status run_int8(const vt_matmul *matmul, void *c, const void *a_, const void *b_,
                          const void *bias, void *scratch, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const uint8_t *a = a_;
    const int8_t *b = b_;
    const float *scale = s->operands == VT_OPERANDS_SCALED ? bias : NULL;
    (void)scratch, (void)error;
    for (int64_t i = 0; i < s->m; i++) {
        for (int64_t j = 0; j < s->n; j++) {
            int32_t sum = 0;
            for (int64_t p = 0; p < s->k; p++) {
                sum += (int32_t)a[index_of(i, p, s->lda, s->a_transposed)] *
                       (int32_t)b[index_of(p, j, s->ldb, s->b_transposed)];
            }
            if (scale == NULL) {
                ((int32_t *)c)[i * s->ldc + j] = sum;
            } else {
                ((float *)c)[i * s->ldc + j] = scale[j] * (float)sum + scale[s->n + j];
            }
        }
    }
    return VT_OK;
}

static bool takes_int8(const vt_matmul_shape *shape) {
    return shape->operands == VT_OPERANDS_INT8 || shape->operands == VT_OPERANDS_SCALED;
}

static vt_status open_int8(vt_matmul *matmul, bool *opened, vt_error *error) {
    (void)matmul, (void)error;
    *opened = true;
    return VT_OK;
}

const vt_engine vt_engine_int8 = {
    .plain = true, .takes = takes_int8, .open = open_int8, .run = run_int8};

/* ---------------------------------------------------------------- bfloat16 */

/* Round to nearest, ties to even; a NaN stays one. */
static inline uint16_t narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* packed (k, n), dense */
static vt_status pack_bf16(const vt_matmul *matmul, void *packed, const void *b, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    uint16_t *out = packed;
    (void)error;
    for (int64_t p = 0; p < s->k; p++) {
        for (int64_t j = 0; j < s->n; j++) {
            out[p * s->n + j] = narrow(((const float *)b)[index_of(p, j, s->ldb, s->b_transposed)]);
        }
    }
    return VT_OK;
}

static vt_status unpack_bf16(const vt_matmul *matmul, void *b, const void *packed,
                             vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const uint16_t *from = packed;
    (void)error;
    for (int64_t p = 0; p < s->k; p++) {
        for (int64_t j = 0; j < s->n; j++) {
            ((float *)b)[index_of(p, j, s->ldb, s->b_transposed)] = vt_widen(from[p * s->n + j]);
        }
    }
    return VT_OK;
}

static vt_status run_bf16(const vt_matmul *matmul, void *c_, const void *a_, const void *b_,
                          const void *bias, void *scratch, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const uint16_t *a = a_, *b = b_;
    float *c = c_;
    (void)scratch, (void)error;
    for (int64_t i = 0; i < s->m; i++) {
        for (int64_t j = 0; j < s->n; j++) {
            float sum = 0;
            for (int64_t p = 0; p < s->k; p++) {
                const int64_t at =
                    s->pack_b ? p * s->n + j : index_of(p, j, s->ldb, s->b_transposed);
                sum += vt_widen(a[index_of(i, p, s->lda, s->a_transposed)]) * vt_widen(b[at]);
            }
            if (s->bias) sum += ((const float *)bias)[j];
            c[i * s->ldc + j] = s->accumulate ? c[i * s->ldc + j] + sum : sum;
        }
    }
    return VT_OK;
}

static bool takes_bf16(const vt_matmul_shape *shape) { return shape->operands == VT_OPERANDS_BF16; }

static vt_status open_bf16(vt_matmul *matmul, bool *opened, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    (void)error;
    if (s->pack_b) matmul->packed_bytes = vt_align((size_t)(s->k * s->n) * sizeof(uint16_t));
    *opened = true;
    return VT_OK;
}

const vt_engine vt_engine_bf16 = {.plain = true,
                                  .takes = takes_bf16,
                                  .open = open_bf16,
                                  .run = run_bf16,
                                  .pack = pack_bf16,
                                  .unpack = unpack_bf16};
