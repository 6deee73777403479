/* Tests of the kernels over panels (linalg/panels.h): those for AMX on instructions in C, on any
 * processor, against sums of the plain operands, and against the processor's own where it has them,
 * to the bit; and of products by columns: for any range, the bits of the whole. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "linalg/matmul.h"
#include "tools/check.h"
#include "tools/numbers.h"
#include "tools/take.h"

#include "tools/amx_in_c.h"

#include "linalg/panels_amx.inc"

enum { BF16, INT8, KINDS };
static const int64_t element[KINDS] = {2, 1};

static int64_t whole(int64_t low, int64_t high) {
    return low + (int64_t)(uniform() * (double)(high - low + 1));
}

/* A number as an element of a (signed: of b), and what it is worth. */
static double put(char *at, int kind, bool is_signed) {
    if (kind == INT8) {
        const int64_t value = is_signed ? whole(-128, 127) : whole(0, 255);
        *at = (char)value;
        return (double)value;
    }
    const float x = (float)draw('n');
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t half = (uint16_t)(bits >> 16);
    memcpy(at, &half, sizeof half);
    bits &= 0xFFFF0000;
    float kept;
    memcpy(&kept, &bits, sizeof kept);
    return (double)kept;
}

/* The product of one panel: a (m, k) with rows `stride` bytes apart. */
typedef struct product {
    int kind;
    int64_t m, k, steps, stride;
    char *a, *tail, *panel;
    double *x, *w; /* (m, k) and (VT_PANEL_COLUMNS, k): what a and the panel are worth */
} product;

static product make_product(int kind, int64_t m, int64_t k) {
    const int64_t in_step = VT_STEP_BYTES / element[kind], group = 4 / element[kind];
    product p = {.kind = kind, .m = m, .k = k, .steps = k / in_step};
    p.stride = k * element[kind] + 2 * whole(0, 3);
    p.a = take((size_t)(m * p.stride));
    p.tail = k % in_step != 0 ? take((size_t)(m * VT_STEP_BYTES)) : NULL;
    const size_t bytes = (size_t)((p.steps + 1) * VT_PANEL_STEP_BYTES);
    p.panel = take(bytes);
    memset(p.panel, 0, bytes);
    p.x = take((size_t)(m * k) * sizeof(double));
    p.w = take((size_t)(VT_PANEL_COLUMNS * k) * sizeof(double));
    for (int64_t i = 0; i < m; i++) {
        if (p.tail != NULL) memset(p.tail + i * VT_STEP_BYTES, 0, VT_STEP_BYTES);
        for (int64_t q = 0; q < k; q++) {
            char *at = p.a + i * p.stride + q * element[kind];
            p.x[i * k + q] = put(at, kind, false);
            if (q < p.steps * in_step) continue;
            char *tail = p.tail + i * VT_STEP_BYTES + q % in_step * element[kind];
            memcpy(tail, at, (size_t)element[kind]);
        }
    }
    for (int64_t j = 0; j < VT_PANEL_COLUMNS; j++) {
        for (int64_t q = 0; q < k; q++) {
            char *at = p.panel + q / in_step * VT_PANEL_STEP_BYTES + j / 16 * VT_SQUARE_BYTES +
                       q % in_step / group * VT_STEP_BYTES + j % 16 * 4 + q % group * element[kind];
            p.w[j * k + q] = put(at, kind, true);
        }
    }
    return p;
}

static void drop_product(product *p) {
    void *const all[] = {p->a, p->tail, p->panel, p->x, p->w};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vt_free(all[i]);
}

static void run_kernel(void (*multiply)(const vt_panel_work *), const product *p, void *sums) {
    const size_t bytes = (size_t)(p->steps + 1) * VT_PANEL_STEP_BYTES;
    char *next = take(bytes); /* read by nobody but the cache */
    multiply(&(vt_panel_work){.a = p->a,
                              .stride = p->stride,
                              .tail = p->tail,
                              .rows = p->m,
                              .steps = p->steps,
                              .panel = p->panel,
                              .next = whole(0, 1) == 0 ? NULL : next,
                              .sums = sums});
    vt_free(next);
}

/* How far the sums are from those in double, relative to the sum of sizes. */
static double worst_error(const product *p, const void *sums) {
    double worst = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < VT_PANEL_COLUMNS; j++) {
            const int64_t at = i * VT_PANEL_COLUMNS + j;
            double sum = 0, size = 1e-30;
            for (int64_t q = 0; q < p->k; q++) {
                sum += p->x[i * p->k + q] * p->w[j * p->k + q];
                size += fabs(p->x[i * p->k + q] * p->w[j * p->k + q]);
            }
            const double found = p->kind == INT8 ? (double)((const int32_t *)sums)[at]
                                                 : (double)((const float *)sums)[at];
            worst = fmax(worst, fabs(found - sum) / size);
        }
    }
    return worst;
}

static void check_kernel(int kind, int64_t m, int64_t k) {
    static void (*const in_c[KINDS])(const vt_panel_work *) = {multiply_bf16, multiply_int8};
    const vt_panel_kernels *const own[KINDS] = {&vt_panels_bf16_amx, &vt_panels_int8_amx};
    product p = make_product(kind, m, k);
    const size_t bytes = (size_t)(m * VT_PANEL_COLUMNS) * 4;
    void *sums = take(bytes), *others = take(bytes);
    run_kernel(in_c[kind], &p, sums);
    const double worst = worst_error(&p, sums), most = kind == INT8 ? 0 : 1e-6;
    vt_check(worst <= most, "%s %lld x %lld: error %.3g", kind == INT8 ? "int8" : "bf16",
             (long long)m, (long long)k, worst);
    if (vt_cpu_has_amx() && own[kind]->multiply != NULL) {
        run_kernel(own[kind]->multiply, &p, others);
        vt_check(memcmp(sums, others, bytes) == 0, "%s %lld x %lld: not the processor's bits",
                 own[kind]->name, (long long)m, (long long)k);
    }
    vt_free(sums);
    vt_free(others);
    drop_product(&p);
}

static void test_kernels(void) {
    static const int64_t ms[] = {1, 15, 16, 17, 31, 32, 33, 48, 50, 100};
    static const int64_t ks[] = {1, 31, 32, 33, 64, 65, 192, 768, 800};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++) {
            for (int kind = 0; kind < KINDS; kind++) check_kernel(kind, ms[i], ks[j]);
        }
    }
}

/* ---------------------------------------------------------------- by columns */

/* A product of all columns, then of ranges of them. */
static void check_columns(vt_operands operands, int64_t m, int64_t n, int64_t k) {
    vt_error error = {VT_OK, ""};
    const bool bytes = operands == VT_OPERANDS_INT8 || operands == VT_OPERANDS_SCALED;
    const vt_matmul_shape shape = {.dtype = VT_F32,
                                   .operands = operands,
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .lda = k + 3,
                                   .ldb = k,
                                   .ldc = n + 5,
                                   .b_transposed = true,
                                   .bias = operands != VT_OPERANDS_INT8,
                                   .pack_b = true};
    vt_matmul *matmul;
    vt_check(vt_matmul_open(&matmul, &shape, &error) == VT_OK, "opens: %s", error.message);
    const size_t size = (size_t)(m * shape.ldc) * sizeof(float);
    float *a = take((size_t)(m * shape.lda) * 4), *b = take((size_t)(n * k) * 4);
    float *numbers = take((size_t)(2 * n) * sizeof(float)), *c = take(size), *d = take(size);
    for (int64_t i = 0; i < m * shape.lda; i++) a[i] = (float)draw('n');
    for (int64_t i = 0; i < n * k; i++) b[i] = (float)draw('n');
    for (int64_t i = 0; i < 2 * n; i++) numbers[i] = (float)draw('n');
    if (operands == VT_OPERANDS_BF16) {
        for (int64_t i = 0; i < m * shape.lda; i++) (void)put((char *)a + 2 * i, BF16, false);
    }
    for (int64_t i = 0; bytes && i < m * shape.lda; i++) ((uint8_t *)a)[i] = (uint8_t)whole(0, 255);
    for (int64_t i = 0; bytes && i < n * k; i++) ((int8_t *)b)[i] = (int8_t)whole(-127, 127);
    void *packed = take(vt_matmul_packed_bytes(matmul));
    void *scratch = take(vt_matmul_scratch_bytes(matmul));
    vt_check(
        vt_matmul_packed_bytes(matmul) == 0 || vt_matmul_pack(matmul, packed, b, &error) == VT_OK,
        "packs");
    const void *weight = vt_matmul_packed_bytes(matmul) == 0 ? (const void *)b : packed;
    memset(c, 0, size);
    memset(d, 0, size);
    vt_check(vt_matmul_run(matmul, c, a, weight, numbers, scratch, &error) == VT_OK, "runs");
    const int64_t step = vt_matmul_columns(matmul);
    vt_check(step == 0 || step == VT_PANEL_COLUMNS, "columns by %lld", (long long)step);
    for (int64_t first = 0, count; step != 0 && first < n; first += count) {
        count = step * whole(1, 3);
        const int64_t then = whole(0, 1) == 0 ? n : 0;
        if (count > n - first) count = n - first;
        vt_check(vt_matmul_run_columns(matmul, first, count, then, d, a, weight, numbers, scratch,
                                       &error) == VT_OK,
                 "runs columns");
    }
    vt_check(step == 0 || memcmp(c, d, size) == 0, "%s %lld x %lld x %lld: columns differ",
             vt_matmul_implementation(matmul), (long long)m, (long long)n, (long long)k);
    vt_matmul_close(matmul);
    void *const all[] = {a, b, numbers, c, d, packed, scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vt_free(all[i]);
}

static void test_columns(void) {
    static const int64_t ms[] = {1, 14, 50, 197}, ns[] = {1, 32, 100, 192}, ks[] = {5, 64, 200};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            for (int l = 0; l < 3; l++) {
                for (int o = 0; o < VT_OPERANDS_COUNT; o++) {
                    check_columns((vt_operands)o, ms[i], ns[j], ks[l]);
                }
            }
        }
    }
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 2;
    }
    test_kernels();
    test_columns();
    return vt_check_summary();
}
