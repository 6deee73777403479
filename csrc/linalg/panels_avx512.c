/* The kernel on vectors of 16 floats: up to 14 rows by 32 columns of sums, which with two vectors
 * of b leave registers for one element of a. Built with -mavx512f. */
#include "linalg/panels.h"

#include "linalg/panels_write.inc"

#if defined(__AVX512F__)

#include <immintrin.h>
#include <stddef.h>

enum { MOST_ROWS = 14, STEP = VT_STEP_BYTES / 4, SQUARE = VT_SQUARE_BYTES / 4, PAIR = 2 * SQUARE };

/* sums += a step of `rows` rows; `rows` is a constant where this is compiled. */
static inline __attribute__((always_inline)) void step_of(__m512 sum[][2], const float *a,
                                                          int64_t stride, const float *panel,
                                                          int rows) {
#pragma GCC unroll 2
    for (int p = 0; p < STEP; p++) {
        const __m512 left = _mm512_load_ps(panel + p * STEP);
        const __m512 right = _mm512_load_ps(panel + SQUARE + p * STEP);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++) {
            const __m512 x = _mm512_set1_ps(a[i * stride + p]);
            sum[i][0] = _mm512_fmadd_ps(x, left, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(x, right, sum[i][1]);
        }
    }
}

static inline __attribute__((always_inline)) void block_of(const vt_panel_work *w, int64_t row,
                                                           vt_panel_ahead *next, int rows) {
    __m512 sum[MOST_ROWS][2];
    const float *a = (const float *)(const void *)(w->a + row * w->stride);
    const float *panel = (const float *)(const void *)w->panel;
    const int64_t stride = w->stride / 4;
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t s = 0; s < w->steps; s++) {
        step_of(sum, a + s * STEP, stride, panel + s * PAIR, rows);
        vt_panel_bring(next);
    }
    if (w->tail != NULL) {
        const float *tail = (const float *)(const void *)(w->tail + row * VT_STEP_BYTES);
        step_of(sum, tail, STEP, panel + w->steps * PAIR, rows);
    }
    float *out = (float *)w->sums + row * VT_PANEL_COLUMNS;
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        _mm512_store_ps(out + i * VT_PANEL_COLUMNS, sum[i][0]);
        _mm512_store_ps(out + i * VT_PANEL_COLUMNS + STEP, sum[i][1]);
    }
}

/* A function for each height. */
typedef void (*block_function)(const vt_panel_work *w, int64_t row, vt_panel_ahead *next);
#define BLOCK(ROWS) \
    static void block_##ROWS(const vt_panel_work *w, int64_t row, vt_panel_ahead *next) { \
        block_of(w, row, next, ROWS); \
    }
/* clang-format off */
BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7)
BLOCK(8) BLOCK(9) BLOCK(10) BLOCK(11) BLOCK(12) BLOCK(13) BLOCK(14)
static const block_function blocks[MOST_ROWS + 1] = {
        NULL,    block_1, block_2,  block_3,  block_4,  block_5,  block_6, block_7,
        block_8, block_9, block_10, block_11, block_12, block_13, block_14};
/* clang-format on */

/* Blocks of nearly equal height: the registers are as full as they can be. */
static void multiply(const vt_panel_work *w) {
    const int64_t count = (w->rows + MOST_ROWS - 1) / MOST_ROWS;
    vt_panel_ahead next = vt_panel_look_ahead(w, count);
    for (int64_t i = 0, row = 0; i < count; i++) {
        const int64_t rows = (w->rows - row + count - i - 1) / (count - i);
        blocks[rows](w, row, &next);
        row += rows;
    }
}

const vt_panel_kernels vt_panels_f32_avx512 = {"panels:avx512", multiply, write_float};

#else

const vt_panel_kernels vt_panels_f32_avx512 = {0};

#endif
