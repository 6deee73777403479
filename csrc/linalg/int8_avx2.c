/* uint8 times int8 for processors without VNNI, exactly: both are widened to 16 bits, where
 * products of pairs sum up in 32 (vpmaddwd). The 8-bit instruction (vpmaddubsw) saturates at 16
 * bits: 255 x 127 twice is 64770. Half the speed of VNNI, and no wrong digit.
 *
 * b is packed in slices of COLUMNS columns: (k / 2, COLUMNS, 2) of int16, so that a load of 8
 * columns meets a pair of a. Built with -mavx2. */
#include "linalg/engine.h"

#if defined(__AVX2__)

#include <immintrin.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"

enum { ROWS = 4, COLUMNS = 16, LANES = 8, VECTORS = COLUMNS / LANES, SIZE = 4 };

static int64_t pairs(const vt_matmul_shape *s) { return (s->k + 1) / 2; }
static int64_t slices(const vt_matmul_shape *s) { return (s->n + COLUMNS - 1) / COLUMNS; }
static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

static vt_status pack_b(const vt_matmul *matmul, void *packed, const void *b_, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const int64_t down = s->b_transposed ? 1 : s->ldb, right = s->b_transposed ? s->ldb : 1;
    const int8_t *b = b_;
    int16_t *out = packed;
    (void)error;
    for (int64_t j = 0; j < slices(s) * COLUMNS; j++) {
        int16_t *column = out + j / COLUMNS * pairs(s) * COLUMNS * 2 + j % COLUMNS * 2;
        for (int64_t p = 0; p < 2 * pairs(s); p++) {
            const bool inside = j < s->n && p < s->k;
            column[p / 2 * COLUMNS * 2 + p % 2] = inside ? b[p * down + j * right] : 0;
        }
    }
    return VT_OK;
}

static vt_status unpack_b(const vt_matmul *matmul, void *b_, const void *packed, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const int64_t down = s->b_transposed ? 1 : s->ldb, right = s->b_transposed ? s->ldb : 1;
    const int16_t *from = packed;
    int8_t *b = b_;
    (void)error;
    for (int64_t j = 0; j < s->n; j++) {
        const int16_t *column = from + j / COLUMNS * pairs(s) * COLUMNS * 2 + j % COLUMNS * 2;
        for (int64_t p = 0; p < s->k; p++) {
            b[p * down + j * right] = (int8_t)column[p / 2 * COLUMNS * 2 + p % 2];
        }
    }
    return VT_OK;
}

/* wide (m, 2 pairs) = a, with a zero behind an odd k */
static void widen_a(int16_t *wide, const uint8_t *a, const vt_matmul_shape *s) {
    const int64_t down = s->a_transposed ? 1 : s->lda, right = s->a_transposed ? s->lda : 1;
    for (int64_t i = 0; i < s->m; i++) {
        int16_t *row = wide + i * 2 * pairs(s);
        for (int64_t p = 0; p < s->k; p++) row[p] = a[i * down + p * right];
        if (s->k % 2 != 0) row[s->k] = 0;
    }
}

/* sum (ROWS, COLUMNS) of one slice */
static void multiply_tile(int32_t sum[ROWS][COLUMNS], const int16_t *const row[ROWS],
                          const int16_t *slice, int64_t count) {
    __m256i total[ROWS][VECTORS] = {0};
    for (int64_t p = 0; p < count; p++) {
        const __m256i *b = (const __m256i *)(const void *)(slice + p * COLUMNS * 2);
        for (int i = 0; i < ROWS; i++) {
            int32_t pair;
            memcpy(&pair, row[i] + 2 * p, sizeof pair);
            const __m256i a = _mm256_set1_epi32(pair);
            for (int v = 0; v < VECTORS; v++) {
                total[i][v] = _mm256_add_epi32(total[i][v], _mm256_madd_epi16(a, b[v]));
            }
        }
    }
    memcpy(sum, total, sizeof total);
}

/* Columns from j on of one row of c, which is of int32 or, scaled, of float. */
static void write_row(void *c, const int32_t sum[COLUMNS], const vt_matmul_shape *s,
                      const void *bias, int64_t j) {
    const int64_t count = smaller(COLUMNS, s->n - j);
    if (s->operands == VT_OPERANDS_INT8) {
        memcpy(c, sum, (size_t)count * SIZE);
        return;
    }
    const float *scale = (const float *)bias + j, *number = scale + s->n;
    for (int64_t n = 0; n < count; n++) ((float *)c)[n] = scale[n] * (float)sum[n] + number[n];
}

static vt_status run(const vt_matmul *matmul, void *c, const void *a, const void *b,
                     const void *bias, void *scratch, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const int64_t width = 2 * pairs(s);
    int16_t *wide = scratch;
    (void)error;
    widen_a(wide, a, s);
    for (int64_t j = 0; j < s->n; j += COLUMNS) {
        const int16_t *slice = (const int16_t *)b + j * width;
        for (int64_t i = 0; i < s->m; i += ROWS) {
            const int16_t *row[ROWS];
            for (int r = 0; r < ROWS; r++) row[r] = wide + smaller(i + r, s->m - 1) * width;
            int32_t sum[ROWS][COLUMNS];
            multiply_tile(sum, row, slice, pairs(s));
            for (int64_t r = 0; r < smaller(ROWS, s->m - i); r++) {
                write_row((char *)c + ((i + r) * s->ldc + j) * SIZE, sum[r], s, bias, j);
            }
        }
    }
    return VT_OK;
}

/* Only weights are worth the layout. */
static bool takes(const vt_matmul_shape *shape) {
    const bool int8 = shape->operands == VT_OPERANDS_INT8 || shape->operands == VT_OPERANDS_SCALED;
    return int8 && shape->pack_b && vt_isa_selected() != VT_ISA_REF && vt_isa_best() >= VT_ISA_AVX2;
}

static vt_status open(vt_matmul *matmul, bool *opened, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    (void)error;
    matmul->implementation = "int8:avx2";
    matmul->scratch_bytes = vt_align((size_t)(s->m * 2 * pairs(s)) * sizeof(int16_t));
    matmul->packed_bytes = vt_align((size_t)(slices(s) * pairs(s)) * COLUMNS * 2 * sizeof(int16_t));
    *opened = true;
    return VT_OK;
}

const vt_engine vt_engine_int8_avx2 = {
    .takes = takes, .open = open, .run = run, .pack = pack_b, .unpack = unpack_b};

#else

static bool takes(const vt_matmul_shape *shape) {
    (void)shape;
    return false;
}

const vt_engine vt_engine_int8_avx2 = {.takes = takes};

#endif
