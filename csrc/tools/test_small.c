/* Tests of small numbers. Products (linalg/matmul.h): int8 exactly against integers, bfloat16
 * against sums in double of the rounded operands; VITC_ISA chooses the implementation. Kernels that
 * make rows small and real again, at every level, against formulas in double. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "linalg/matmul.h"
#include "tools/check.h"
#include "tools/numbers.h"
#include "tools/take.h"

static int64_t whole(int64_t low, int64_t high) {
    return low + (int64_t)(uniform() * (double)(high - low + 1));
}

/* A packed weight comes back: to the bit, if it was not rounded. */
static void check_unpack(const vt_matmul *matmul, const vt_matmul_shape *s, const void *b,
                         const void *packed) {
    const bool rounds = s->operands == VT_OPERANDS_BF16;
    const size_t count = (size_t)(s->n * s->k), bytes = count * (rounds ? sizeof(float) : 1);
    vt_error error = {VT_OK, ""};
    void *back = take(bytes);
    const vt_status status = vt_matmul_unpack(matmul, back, packed, &error);
    vt_check(status == VT_OK, "could not unpack: %s", error.message);
    size_t wrong = rounds ? 0 : (size_t)(memcmp(back, b, bytes) != 0);
    for (size_t i = 0; rounds && i < count; i++) {
        const float given = ((const float *)b)[i], found = ((const float *)back)[i];
        wrong += fabsf(found - given) > fabsf(given) / 256;
    }
    vt_check(wrong == 0, "%s: %zu of %zu do not come back", vt_matmul_implementation(matmul), wrong,
             count);
    vt_free(back);
}

/* c = a b of one shape; b is given as (n, k), as a weight is. */
static void run_product(const vt_matmul_shape *shape, void *c, const void *a, const void *b,
                        const void *bias) {
    vt_matmul *matmul;
    vt_error error = {VT_OK, ""};
    vt_status status = vt_matmul_open(&matmul, shape, &error);
    vt_check(status == VT_OK, "could not open: %s", error.message);
    void *scratch = take(vt_matmul_scratch_bytes(matmul));
    void *packed = take(vt_matmul_packed_bytes(matmul));
    if (vt_matmul_packed_bytes(matmul) != 0) {
        vt_check(vt_matmul_pack(matmul, packed, b, &error) == VT_OK, "could not pack");
        check_unpack(matmul, shape, b, packed);
        b = packed;
    }
    status = vt_matmul_run(matmul, c, a, b, bias, scratch, &error);
    vt_check(status == VT_OK, "could not run: %s", error.message);
    vt_free(scratch);
    vt_free(packed);
    vt_matmul_close(matmul);
}

static vt_matmul_shape shape_of(vt_operands operands, int64_t m, int64_t n, int64_t k, bool pack) {
    return (vt_matmul_shape){.dtype = VT_F32,
                             .operands = operands,
                             .m = m,
                             .n = n,
                             .k = k,
                             .lda = k,
                             .ldb = k,
                             .ldc = n,
                             .b_transposed = true,
                             .pack_b = pack};
}

/* ---------------------------------------------------------------- int8 */

enum { RANDOM = 0, LARGEST = 1, SMALLEST = -1 };

static void check_int8(int64_t m, int64_t n, int64_t k, bool pack, int kind) {
    uint8_t *a = take((size_t)(m * k));
    int8_t *b = take((size_t)(n * k));
    int32_t *c = take((size_t)(m * n) * sizeof *c);
    for (int64_t i = 0; i < m * k; i++) a[i] = (uint8_t)(kind == RANDOM ? whole(0, 255) : 255);
    for (int64_t i = 0; i < n * k; i++)
        b[i] = (int8_t)(kind == RANDOM ? whole(-127, 127) : 127 * kind);
    float *numbers = take((size_t)(2 * n) * sizeof *numbers);
    float *y = take((size_t)(m * n) * sizeof *y);
    for (int64_t j = 0; j < n; j++) {
        numbers[j] = (float)exp2((double)whole(-12, 12)), numbers[n + j] = (float)whole(-9, 9);
    }
    vt_matmul_shape shape = shape_of(VT_OPERANDS_INT8, m, n, k, pack);
    run_product(&shape, c, a, b, NULL);
    shape.operands = VT_OPERANDS_SCALED, shape.bias = true;
    run_product(&shape, y, a, b, numbers);
    int64_t wrong = 0, far = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int64_t p = 0; p < k; p++) sum += a[i * k + p] * b[j * k + p];
            wrong += c[i * n + j] != sum;
            /* A scale is a power of two, so only the sum, beyond 2^24, and the result round. */
            const double scaled = (double)numbers[j] * (double)(float)sum;
            const double expected = scaled + (double)numbers[n + j];
            far += fabs((double)y[i * n + j] - expected) > 1e-7 * (fabs(scaled) + 9);
        }
    }
    vt_check(wrong == 0, "int8 %lld x %lld x %lld, kind %d: %lld wrong", (long long)m, (long long)n,
             (long long)k, kind, (long long)wrong);
    vt_check(far == 0, "scaled int8 %lld x %lld x %lld, kind %d: %lld wrong", (long long)m,
             (long long)n, (long long)k, kind, (long long)far);
    vt_free(a);
    vt_free(b);
    vt_free(c);
    vt_free(numbers);
    vt_free(y);
}

static void test_int8(void) {
    static const int64_t ms[] = {1, 3, 50, 64}, ns[] = {1, 16, 33, 192}, ks[] = {1, 2, 7, 768};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            for (int l = 0; l < 4; l++)
                check_int8(ms[i], ns[j], ks[l], (i + j + l) % 4 != 0, RANDOM);
        }
    }
    check_int8(5, 40, 3072, true, LARGEST);
    check_int8(5, 40, 3072, true, SMALLEST);
    check_int8(2, 3, 3071, false, LARGEST);
    check_int8(50, 768, 768, true, RANDOM);
}

/* ---------------------------------------------------------------- bfloat16 */

/* Nearest, ties to even, by arithmetic on the number instead of on its bits. */
static double rounded(double x) {
    int exponent;
    const double mantissa = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(mantissa, 8)), exponent - 8);
}

static uint16_t bits_of(double x) { /* of a number that bfloat16 has */
    const float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void check_bf16(int64_t m, int64_t n, int64_t k, bool pack, bool bias) {
    uint16_t *a = take((size_t)(m * k) * sizeof *a), *plain_b = take((size_t)(n * k) * sizeof *a);
    float *b = take((size_t)(n * k) * sizeof *b), *c = take((size_t)(m * n) * sizeof *c);
    float *shift = take((size_t)n * sizeof *shift);
    double *x = take((size_t)(m * k) * sizeof *x), *y = take((size_t)(n * k) * sizeof *y);
    for (int64_t i = 0; i < m * k; i++) a[i] = bits_of(x[i] = rounded(draw('n')));
    for (int64_t i = 0; i < n * k; i++) {
        b[i] = (float)draw('n'); /* packing rounds it */
        plain_b[i] = bits_of(y[i] = rounded((double)b[i]));
    }
    for (int64_t j = 0; j < n; j++) shift[j] = (float)draw('n');
    vt_matmul_shape shape = shape_of(VT_OPERANDS_BF16, m, n, k, pack);
    shape.bias = bias;
    run_product(&shape, c, a, pack ? (const void *)b : plain_b, shift);
    double worst = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = bias ? (double)shift[j] : 0, size = fabs(sum);
            for (int64_t p = 0; p < k; p++) {
                sum += x[i * k + p] * y[j * k + p];
                size += fabs(x[i * k + p] * y[j * k + p]);
            }
            worst = fmax(worst, fabs((double)c[i * n + j] - sum) / fmax(size, 1e-30));
        }
    }
    /* Sums in float: their error is a few units of 6e-8 of the sum of sizes. */
    vt_check(worst <= 1e-6, "bf16 %lld x %lld x %lld: error %.3g", (long long)m, (long long)n,
             (long long)k, worst);
    void *const all[] = {a, plain_b, b, c, shift, x, y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vt_free(all[i]);
}

static void test_bf16(void) {
    static const int64_t ms[] = {1, 3, 50}, ns[] = {1, 16, 197}, ks[] = {1, 7, 64, 768};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            for (int l = 0; l < 4; l++) check_bf16(ms[i], ns[j], ks[l], (i + j + l) % 2, l % 2);
        }
    }
}

/* ---------------------------------------------------------------- kernels */

enum { ROWS = 5, COLS = 83 };

/* Rows of several sizes and signs; the third is zero. */
static void fill_rows(float *x) {
    static const double size[ROWS] = {1, 1e-4, 0, 300, 2};
    for (int i = 0; i < ROWS * COLS; i++) {
        const double value = size[i / COLS] * draw('n');
        x[i] = (float)(i / COLS == 3 ? fabs(value) : i / COLS == 4 ? -fabs(value) : value);
    }
}

/* The formula of kernels.h, in double; q may be one off where x / scale lies between two numbers.
 */
static void check_quantize(const vt_kernels *k, const char *level) {
    float x[ROWS * COLS], scales[ROWS];
    uint8_t q[ROWS * COLS];
    int32_t zero[ROWS];
    fill_rows(x);
    k->quantize_rows(q, scales, zero, x, ROWS, COLS);
    for (int r = 0; r < ROWS; r++) {
        double lo = 0, hi = 0;
        for (int c = 0; c < COLS; c++) {
            lo = fmin(lo, (double)x[r * COLS + c]);
            hi = fmax(hi, (double)x[r * COLS + c]);
        }
        const double step = hi > lo ? (hi - lo) / 255 : 1;
        vt_check(fabs((double)scales[r] / step - 1) < 1e-6, "%s: scale of row %d", level, r);
        vt_check(abs(zero[r] - (int)nearbyint(-lo / step)) <= 1, "%s: zero of row %d", level, r);
        for (int c = 0; c < COLS; c++) {
            const double back = (double)scales[r] * (q[r * COLS + c] - zero[r]);
            vt_check(fabs(back - (double)x[r * COLS + c]) <= 0.5001 * step, "%s: %d of row %d",
                     level, c, r);
        }
    }
}

static void check_spoiled(const vt_kernels *k, const char *level) {
    static const float strange[] = {NAN, INFINITY, -INFINITY};
    float x[ROWS * COLS], scales[ROWS];
    uint8_t q[ROWS * COLS];
    int32_t zero[ROWS];
    for (int i = 0; i < 3; i++) {
        fill_rows(x);
        x[COLS + 7 * i + 40] = strange[i];
        k->quantize_rows(q, scales, zero, x, ROWS, COLS);
        vt_check(isnan(scales[1]) && !isnan(scales[0]), "%s: %g is told", level,
                 (double)strange[i]);
    }
}

/* What the formula of kernels.h gives in float, the extremes at both ends too, and which rows are
 * told. The inverse is a power of two but once, so that no quotient lies between two numbers. */
static void check_fixed(const vt_kernels *k, const char *level) {
    static const double steps[] = {0.25, 1, 0x1p40, 0.3};
    static const int32_t zeros[] = {0, 7, 128, 255};
    static const float strange[] = {3e38f, -3e38f, 1e-44f, NAN, INFINITY, -INFINITY};
    float x[ROWS * COLS], scales[ROWS];
    uint8_t q[ROWS * COLS];
    for (int i = 0; i < 4; i++) {
        for (int n = 0; n < ROWS * COLS; n++) x[n] = (float)(draw('n') * steps[i] * 60);
        for (int r = 0; r < ROWS && r < 6; r++) x[r * COLS + (r * 13 + i) % COLS] = strange[r];
        k->quantize_fixed(q, scales, x, steps[i], zeros[i], ROWS, COLS);
        for (int r = 0; r < ROWS; r++) {
            const bool good = r < 3 || r > 5;
            vt_check(good ? (double)scales[r] == (double)(float)steps[i] : isnan(scales[r]),
                     "%s: row %d is told", level, r);
            for (int c = 0; c < COLS && good; c++) {
                const float whole_steps = rintf(x[r * COLS + c] * (1 / (float)steps[i]));
                const float moved = fminf(fmaxf(whole_steps + (float)zeros[i], 0), 255);
                vt_check((float)q[r * COLS + c] == moved, "%s: %g becomes %d", level,
                         (double)x[r * COLS + c], q[r * COLS + c]);
            }
        }
    }
}

static void check_dequantize(const vt_kernels *k, const char *level) {
    int32_t sum[ROWS * COLS], zero[ROWS], w_sum[COLS];
    float scales[ROWS], w_scale[COLS], b[COLS], y[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) sum[i] = (int32_t)whole(-4000000, 4000000);
    for (int r = 0; r < ROWS; r++) scales[r] = (float)draw('p'), zero[r] = (int32_t)whole(0, 255);
    for (int c = 0; c < COLS; c++) {
        w_scale[c] = (float)draw('p'), b[c] = (float)draw('n');
        w_sum[c] = (int32_t)whole(-20000, 20000);
    }
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        k->dequantize_rows(y, sum, scales, zero, w_scale, w_sum, with_bias ? b : NULL, ROWS, COLS);
        for (int i = 0; i < ROWS * COLS; i++) {
            const int r = i / COLS, c = i % COLS;
            const double exact = (double)scales[r] * (double)w_scale[c] *
                                 ((double)sum[i] - (double)zero[r] * (double)w_sum[c]);
            const double expected = exact + (with_bias ? (double)b[c] : 0);
            vt_check(fabs((double)y[i] - expected) <= 4e-7 * (fabs(exact) + 3), "%s: element %d",
                     level, i);
        }
    }
    float apart[ROWS * COLS];
    memcpy(apart, y, sizeof y);
    k->dequantize_rows(sum, sum, scales, zero, w_scale, w_sum, b, ROWS, COLS);
    vt_check(memcmp(apart, sum, sizeof y) == 0, "%s: in place", level);
}

static void check_rounding(const vt_kernels *k, const char *level) {
    enum { LD = COLS + 3 };
    float x[ROWS * LD];
    uint16_t y[ROWS * COLS];
    for (int i = 0; i < ROWS * LD; i++) x[i] = (float)(draw('n') * ldexp(1, (int)whole(-60, 60)));
    x[0] = 1.00390625f;   /* half way between 1 and the next: to even, down */
    x[1] = 1.01171875f;   /* half way again: up */
    x[2] = 3.4028235e38f; /* rounds to infinity */
    x[3] = -0.0f;
    x[4] = NAN;
    k->to_bf16(y, x, ROWS, COLS, LD);
    for (int i = 5; i < ROWS * COLS; i++) {
        const double expected = rounded((double)x[i / COLS * LD + i % COLS]);
        vt_check(y[i] == bits_of(expected), "%s: bfloat16 of %g", level, expected);
    }
    vt_check(y[0] == 0x3F80 && y[1] == 0x3F82 && y[2] == 0x7F80 && y[3] == 0x8000, "%s: ties",
             level);
    vt_check((y[4] & 0x7FFF) > 0x7F80, "%s: a NaN stays one", level);
    float wide[ROWS * COLS];
    k->from_bf16(wide, y, ROWS * COLS);
    for (int i = 0; i < ROWS * COLS; i++) {
        uint32_t bits;
        memcpy(&bits, &wide[i], sizeof bits);
        vt_check(bits == (uint32_t)y[i] << 16, "%s: back from bfloat16, element %d", level, i);
    }
}

static void test_kernels(void) {
    for (int isa = 0; isa < VT_ISA_COUNT; isa++) {
        const vt_kernels *k = vt_kernels_level(VT_F32, isa);
        if (k == NULL) continue;
        const char *level = vt_isa_name((vt_isa)isa);
        check_quantize(k, level);
        check_spoiled(k, level);
        check_fixed(k, level);
        check_dequantize(k, level);
        check_rounding(k, level);
    }
}

/* ---------------------------------------------------------------- refusals */

static void test_refusals(void) {
    vt_matmul *matmul;
    vt_error error;
    vt_matmul_shape s = shape_of(VT_OPERANDS_INT8, 2, 3, 4, true);
    s.bias = true;
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "int8 with a bias");
    s = shape_of(VT_OPERANDS_INT8, 2, 3, 4, true);
    s.accumulate = true;
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "int8 added to c");
    s = shape_of(VT_OPERANDS_SCALED, 2, 3, 4, true);
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "scaled int8 without scales");
    s.bias = s.accumulate = true;
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "scaled int8 added to c");
    s = shape_of(VT_OPERANDS_BF16, 2, 3, 4, true);
    s.dtype = VT_F64;
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "bfloat16 of float64");
    s = shape_of(VT_OPERANDS_COUNT, 2, 3, 4, true);
    vt_check(vt_matmul_open(&matmul, &s, &error) == VT_VALUE, "unknown operands");
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 2;
    }
    test_int8();
    test_bf16();
    test_kernels();
    test_refusals();
    return vt_check_summary();
}
