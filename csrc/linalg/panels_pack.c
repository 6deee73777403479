/* b into panels, a square at a time: 16 columns of one step. Built with -mavx512f -mavx512bw. */
#include "linalg/panels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>

enum { SIDE = 16 };

static inline int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

/* Of the first `count` lanes out of 16. */
static inline __mmask16 lanes(int64_t count) {
    return (__mmask16)((1u << (count < 0 ? 0 : smaller(count, SIDE))) - 1u);
}

/* Round to nearest, ties to even; a NaN stays one. In the lower halves of the lanes. */
static inline __m512i round_to_bf16(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
}

/* ---------------------------------------------------------------- elements side by side */

/* Up to 16 elements in a row of b: each in a lane of its own, as it is packed; else zero. */
static inline __m512i load_row(const vt_panel_source *s, const char *from, int64_t count) {
    const __mmask16 mask = lanes(count);
    switch (s->kind) {
        case VT_PANEL_F32: return _mm512_maskz_loadu_epi32(mask, from);
        case VT_PANEL_F32_TO_BF16: return round_to_bf16(_mm512_maskz_loadu_ps(mask, from));
        case VT_PANEL_BF16: return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
        case VT_PANEL_INT8: break;
    }
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, from));
}

/* A row of the square from rows of b: element g of each group comes from row g. */
static inline __m512i gather_row(const vt_panel_source *s, const char *from, int64_t rows,
                                 int64_t cols) {
    const int group = s->group, bits = 32 / group;
    __m512i all = load_row(s, from, rows > 0 ? cols : 0);
    for (int g = 1; g < group && g < rows; g++) {
        const __m512i one = load_row(s, from + g * s->down, cols);
        all = _mm512_or_si512(all, _mm512_sll_epi32(one, _mm_cvtsi32_si128(g * bits)));
    }
    return all;
}

/* ---------------------------------------------------------------- elements below one another */

/* A column of b, `count` elements of it: 64 bytes as they are packed, the rest zero. */
static inline __m512i load_column(const vt_panel_source *s, const char *from, int64_t count) {
    switch (s->kind) {
        case VT_PANEL_F32: return _mm512_maskz_loadu_epi32(lanes(count), from);
        case VT_PANEL_F32_TO_BF16: {
            const __m512 low = _mm512_maskz_loadu_ps(lanes(count), from);
            const __m512 high = _mm512_maskz_loadu_ps(lanes(count - SIDE), from + VT_STEP_BYTES);
            const __m256i first = _mm512_cvtepi32_epi16(round_to_bf16(low));
            const __m256i second = _mm512_cvtepi32_epi16(round_to_bf16(high));
            return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
        }
        case VT_PANEL_BF16: {
            const __mmask32 mask = count >= 32 ? ~0u : (1u << (count < 0 ? 0 : count)) - 1u;
            return _mm512_maskz_loadu_epi16(mask, from);
        }
        case VT_PANEL_INT8: break;
    }
    const __mmask64 mask =
        count >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (count < 0 ? 0 : count)) - 1;
    return _mm512_maskz_loadu_epi8(mask, from);
}

/* x[i] lane j becomes x[j] lane i. */
static inline void transpose(__m512i x[SIDE]) {
    __m512i y[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    for (int i = 0; i < 4; i++) { /* lane quarters: 0 and 2, 1 and 3 of two quads */
        y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xDD);
        y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xDD);
        x[i + 4] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88);
        x[i + 12] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xDD);
    }
}

/* ---------------------------------------------------------------- all squares */

/* rows, cols: those of b from here on. */
static void pack_square(char *out, const vt_panel_source *s, const char *from, int64_t rows,
                        int64_t cols) {
    __m512i x[SIDE];
    if (s->transposed) {
        for (int j = 0; j < SIDE; j++)
            x[j] = load_column(s, from + j * s->right, j < cols ? rows : 0);
        transpose(x);
    } else {
        const int64_t below = s->group * s->down;
        for (int p = 0; p < SIDE; p++)
            x[p] = gather_row(s, from + p * below, rows - p * s->group, cols);
    }
    for (int p = 0; p < SIDE; p++) _mm512_store_si512(out + p * VT_STEP_BYTES, x[p]);
}

void vt_panels_pack(void *packed, const vt_panel_source *s) {
    const int64_t step = (int64_t)SIDE * s->group;
    char *out = packed;
    for (int64_t j = 0; j < s->n; j += 2 * SIDE) {
        for (int64_t p = 0; p < s->k; p += step) {
            for (int64_t half = j; half < j + 2 * SIDE; half += SIDE, out += VT_SQUARE_BYTES) {
                const char *from = (const char *)s->b + p * s->down + half * s->right;
                pack_square(out, s, half < s->n ? from : s->b, half < s->n ? s->k - p : 0,
                            s->n - half);
            }
        }
    }
}

#else

void vt_panels_pack(void *packed, const vt_panel_source *source) { (void)packed, (void)source; }

#endif
