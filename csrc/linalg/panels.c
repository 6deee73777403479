/* The engine of panels.h: which kernels there are, the packed layout, and the way through it. */
#include "linalg/panels.h"

#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "linalg/engine.h"

/* How one kind of operands lies in memory. */
typedef struct kind {
    const vt_panel_kernels *kernels;
    int64_t element; /* bytes of an element of a and of a packed b */
} kind;

static bool has_avx512(void) {
    return vt_isa_selected() >= VT_ISA_AVX512 && vt_isa_best() == VT_ISA_AVX512;
}

static kind kind_of(const vt_matmul_shape *s) {
    static const vt_panel_kernels none = {0};
    const bool amx = vt_cpu_has_amx();
    switch (s->operands) {
        case VT_OPERANDS_REAL: return (kind){has_avx512() ? &vt_panels_f32_avx512 : &none, 4};
        case VT_OPERANDS_BF16: return (kind){amx ? &vt_panels_bf16_amx : &none, 2};
        case VT_OPERANDS_INT8:
        case VT_OPERANDS_SCALED: return (kind){amx ? &vt_panels_int8_amx : &none, 1};
        case VT_OPERANDS_COUNT: break;
    }
    return (kind){&none, 0};
}

/* Elements of k in one step, and how many of them meet 4 bytes of a. */
static int64_t step_elements(kind f) { return VT_STEP_BYTES / f.element; }
static int64_t group(kind f) { return 4 / f.element; }

static int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

static int64_t panel_bytes(kind f, const vt_matmul_shape *s) {
    return ceil_div(s->k, step_elements(f)) * VT_PANEL_STEP_BYTES;
}

static int64_t all_panels_bytes(const vt_matmul_shape *s) {
    return ceil_div(s->n, VT_PANEL_COLUMNS) * panel_bytes(kind_of(s), s);
}

/* ---------------------------------------------------------------- packing */

/* Where element (p, j) of b is in the packed layout, in elements. */
static int64_t place(kind f, const vt_matmul_shape *s, int64_t p, int64_t j) {
    const int64_t step = step_elements(f), within = p % step, column = j % VT_PANEL_COLUMNS;
    const int64_t bytes = j / VT_PANEL_COLUMNS * panel_bytes(f, s) +
                          p / step * VT_PANEL_STEP_BYTES + column / 16 * VT_SQUARE_BYTES +
                          within / group(f) * VT_STEP_BYTES + column % 16 * 4;
    return bytes / f.element + within % group(f);
}

static vt_panel_kind source_kind(const vt_matmul_shape *s) {
    if (s->operands == VT_OPERANDS_REAL) return VT_PANEL_F32;
    if (s->operands != VT_OPERANDS_BF16) return VT_PANEL_INT8;
    return s->pack_b ? VT_PANEL_F32_TO_BF16 : VT_PANEL_BF16;
}

static void pack(const vt_matmul_shape *s, void *packed, const void *b) {
    const vt_panel_kind from = source_kind(s);
    const int64_t element = from == VT_PANEL_INT8 ? 1 : from == VT_PANEL_BF16 ? 2 : 4;
    const int64_t leading = s->ldb * element;
    vt_panels_pack(packed, &(vt_panel_source){.kind = from,
                                              .group = (int)group(kind_of(s)),
                                              .b = b,
                                              .k = s->k,
                                              .n = s->n,
                                              .down = s->b_transposed ? element : leading,
                                              .right = s->b_transposed ? leading : element,
                                              .transposed = s->b_transposed});
}

static vt_status pack_b(const vt_matmul *matmul, void *packed, const void *b, vt_error *error) {
    (void)error;
    pack(&matmul->shape, packed, b);
    return VT_OK;
}

static vt_status unpack_b(const vt_matmul *matmul, void *b, const void *packed, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const kind f = kind_of(s);
    const int64_t down = s->b_transposed ? 1 : s->ldb, right = s->b_transposed ? s->ldb : 1;
    (void)error;
    for (int64_t j = 0; j < s->n; j++) {
        for (int64_t p = 0; p < s->k; p++) {
            const int64_t to = p * down + j * right, from = place(f, s, p, j);
            switch (f.element) {
                case 4: ((float *)b)[to] = ((const float *)packed)[from]; break;
                case 2: ((float *)b)[to] = vt_widen(((const uint16_t *)packed)[from]); break;
                default: ((int8_t *)b)[to] = ((const int8_t *)packed)[from];
            }
        }
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- running */

/* The rows' last step, where k is not a number of steps. */
static void fill_tail(char *tail, const char *a, const vt_matmul_shape *s, kind f) {
    const int64_t steps = s->k / step_elements(f), left = s->k % step_elements(f);
    for (int64_t i = 0; i < s->m; i++) {
        char *row = tail + i * VT_STEP_BYTES;
        memset(row, 0, VT_STEP_BYTES);
        memcpy(row, a + i * s->lda * f.element + steps * VT_STEP_BYTES, (size_t)(left * f.element));
    }
}

static vt_status run_columns(const vt_matmul *matmul, int64_t first, int64_t count, int64_t then,
                             void *c, const void *a, const void *b, const void *bias, void *scratch,
                             vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const kind f = kind_of(s);
    const int64_t bytes = panel_bytes(f, s), left = s->k % step_elements(f);
    char *sums = scratch, *tail = sums + s->m * VT_PANEL_COLUMNS * 4;
    const float *scale = s->operands == VT_OPERANDS_SCALED ? bias : NULL;
    const float *numbers = scale != NULL ? scale + s->n : s->bias ? bias : NULL;
    (void)error;
    if (left != 0) fill_tail(tail, a, s, f);
    for (int64_t j = first; j < first + count; j += VT_PANEL_COLUMNS) {
        const int64_t after = j + VT_PANEL_COLUMNS < first + count ? j + VT_PANEL_COLUMNS : then;
        const char *panel = (const char *)b + j / VT_PANEL_COLUMNS * bytes;
        const char *next = (const char *)b + after / VT_PANEL_COLUMNS * bytes;
        f.kernels->multiply(&(vt_panel_work){.a = a,
                                             .stride = s->lda * f.element,
                                             .tail = left != 0 ? tail : NULL,
                                             .rows = s->m,
                                             .steps = s->k / step_elements(f),
                                             .panel = panel,
                                             .next = after < s->n ? next : NULL,
                                             .sums = sums});
        f.kernels->write(&(vt_panel_result){.sums = sums,
                                            .rows = s->m,
                                            .count = smaller(VT_PANEL_COLUMNS, s->n - j),
                                            .c = (char *)c + j * 4,
                                            .ldc = s->ldc,
                                            .scale = scale != NULL ? scale + j : NULL,
                                            .bias = numbers != NULL ? numbers + j : NULL});
    }
    return VT_OK;
}

/* A b that comes plain is packed first, into the front of the scratch. */
static vt_status run(const vt_matmul *matmul, void *c, const void *a, const void *b,
                     const void *bias, void *scratch, vt_error *error) {
    const int64_t n = matmul->shape.n;
    if (!matmul->shape.pack_b) {
        pack(&matmul->shape, scratch, b);
        b = scratch;
        scratch = (char *)scratch + all_panels_bytes(&matmul->shape);
    }
    return run_columns(matmul, 0, n, n, c, a, b, bias, scratch, error);
}

/* Weights; and other matrices of bfloat16, as attention has them, which are soon packed. */
static bool takes(const vt_matmul_shape *shape) {
    const bool worth_it = shape->pack_b || shape->operands == VT_OPERANDS_BF16;
    return worth_it && !shape->a_transposed && !shape->accumulate && shape->dtype == VT_F32 &&
           kind_of(shape).kernels->multiply != NULL;
}

static vt_status open(vt_matmul *matmul, bool *opened, vt_error *error) {
    const vt_matmul_shape *s = &matmul->shape;
    const kind f = kind_of(s);
    (void)error;
    matmul->implementation = f.kernels->name;
    matmul->scratch_bytes = vt_align((size_t)(s->m * (VT_PANEL_COLUMNS * 4 + VT_STEP_BYTES)));
    if (s->pack_b) {
        matmul->packed_bytes = (size_t)all_panels_bytes(s);
    } else {
        matmul->scratch_bytes += (size_t)all_panels_bytes(s);
    }
    *opened = true;
    return VT_OK;
}

const vt_engine vt_engine_panels = {.takes = takes,
                                    .open = open,
                                    .run = run,
                                    .run_columns = run_columns,
                                    .pack = pack_b,
                                    .unpack = unpack_b};
