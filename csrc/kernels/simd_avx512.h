/* Vectors of 16 floats: AVX-512 F and DQ. Arithmetic is written with the operators of C.
 * `k` is a number of lanes from the first on, LANES for a whole vector. */
#ifndef VT_KERNELS_SIMD_AVX512_H
#define VT_KERNELS_SIMD_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 vf;
enum { LANES = 16 };

static inline __mmask16 vf_lanes(int64_t k) { return (__mmask16)((1u << k) - 1u); }

/* k elements; the other lanes are 0 */
static inline vf vf_load(const float *p, int64_t k) {
    return k == LANES ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(vf_lanes(k), p);
}

static inline void vf_store(float *p, vf v, int64_t k) {
    if (k == LANES) {
        _mm512_storeu_ps(p, v);
    } else {
        _mm512_mask_storeu_ps(p, vf_lanes(k), v);
    }
}

/* The first k lanes of a, the others of b. */
static inline vf vf_first(vf a, vf b, int64_t k) {
    return k == LANES ? a : _mm512_mask_blend_ps(vf_lanes(k), b, a);
}

static inline vf vf_set(float value) { return _mm512_set1_ps(value); }

/* a * b + c and c - a * b, rounded once */
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }

/* If v is NaN, so is the result (the bound is a number). */
static inline vf vf_at_least(vf v, float bound) { return _mm512_max_ps(vf_set(bound), v); }
static inline vf vf_at_most(vf v, float bound) { return _mm512_min_ps(vf_set(bound), v); }

/* From `least` to `most`; NaN becomes `least`. */
static inline vf vf_between(vf v, vf least, vf most) {
    return _mm512_min_ps(_mm512_max_ps(v, least), most);
}

/* The first k lanes, rounded, plus `add`: from 0 to 255. */
static inline void vf_store_bytes(uint8_t *p, vf v, int32_t add, int64_t k) {
    const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(add));
    if (k == LANES) {
        _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(whole));
    } else {
        _mm512_mask_cvtepi32_storeu_epi8(p, vf_lanes(k), whole);
    }
}

static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }

static inline vf vf_abs(vf v) { return _mm512_andnot_ps(vf_set(-0.0f), v); }

/* a where v has its sign bit set, else b */
static inline vf vf_if_negative(vf v, vf a, vf b) {
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(v)), b, a);
}

/* k <= LANES / 2 elements, each of them twice; the other lanes are 0 */
static inline vf vf_load_twice(const float *p, int64_t k) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(vf_lanes(k), p));
}

/* Lanes 2 i and 2 i + 1 in each other's place. */
static inline vf vf_swapped(vf v) { return _mm512_permute_ps(v, 0xB1); }

/* -v in the even lanes, v in the odd ones. */
static inline vf vf_minus_plus(vf v) { return _mm512_mask_xor_ps(v, 0x5555, v, vf_set(-0.0f)); }

/* The lowest 9 bits of each lane become sign and exponent. */
static inline vf vf_bits_to_exponent(vf v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23));
}

/* The sum of all lanes, in one fixed order. */
static inline float vf_sum(vf v) { return _mm512_reduce_add_ps(v); }

/* The greatest lane. */
static inline float vf_top(vf v) { return _mm512_reduce_max_ps(v); }

/* Sums in double, LANES of them. */
typedef struct vd {
    __m512d low, high;
} vd;

static inline vd vd_zero(void) { return (vd){_mm512_setzero_pd(), _mm512_setzero_pd()}; }

static inline vd vd_add(vd a, vd b) { return (vd){a.low + b.low, a.high + b.high}; }

/* s + v * v */
static inline vd vd_add_square(vd s, vf v) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return (vd){_mm512_fmadd_pd(low, low, s.low), _mm512_fmadd_pd(high, high, s.high)};
}

static inline double vd_sum(vd s) { return _mm512_reduce_add_pd(s.low + s.high); }

#endif
