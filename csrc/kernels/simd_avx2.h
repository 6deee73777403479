/* Vectors of 8 floats: AVX2 and FMA. Arithmetic is written with the operators of C.
 * `k` is a number of lanes from the first on, LANES for a whole vector. */
#ifndef VT_KERNELS_SIMD_AVX2_H
#define VT_KERNELS_SIMD_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vf;
enum { LANES = 8 };

/* All bits of the first k lanes. */
static inline __m256i vf_lanes(int64_t k) {
    static const int32_t bits[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(bits + LANES - k));
}

/* k elements; the other lanes are 0 */
static inline vf vf_load(const float *p, int64_t k) {
    return k == LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vf_lanes(k));
}

static inline void vf_store(float *p, vf v, int64_t k) {
    if (k == LANES) {
        _mm256_storeu_ps(p, v);
    } else {
        _mm256_maskstore_ps(p, vf_lanes(k), v);
    }
}

/* The first k lanes of a, the others of b. */
static inline vf vf_first(vf a, vf b, int64_t k) {
    return k == LANES ? a : _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vf_lanes(k)));
}

static inline vf vf_set(float value) { return _mm256_set1_ps(value); }

/* a * b + c and c - a * b, rounded once */
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }

/* If v is NaN, so is the result (the bound is a number). */
static inline vf vf_at_least(vf v, float bound) { return _mm256_max_ps(vf_set(bound), v); }
static inline vf vf_at_most(vf v, float bound) { return _mm256_min_ps(vf_set(bound), v); }

/* From `least` to `most`; NaN becomes `least`. */
static inline vf vf_between(vf v, vf least, vf most) {
    return _mm256_min_ps(_mm256_max_ps(v, least), most);
}

/* The first k lanes, rounded, plus `add`: from 0 to 255. */
static inline void vf_store_bytes(uint8_t *p, vf v, int32_t add, int64_t k) {
    const __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(add));
    const __m128i low = _mm256_castsi256_si128(whole), high = _mm256_extracti128_si256(whole, 1);
    const __m128i words = _mm_packus_epi32(low, high), bytes = _mm_packus_epi16(words, words);
    memcpy(p, &bytes, (size_t)k);
}

static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }

static inline vf vf_abs(vf v) { return _mm256_andnot_ps(vf_set(-0.0f), v); }

/* a where v has its sign bit set, else b */
static inline vf vf_if_negative(vf v, vf a, vf b) { return _mm256_blendv_ps(b, a, v); }

/* k <= LANES / 2 elements, each of them twice; the other lanes are 0 */
static inline vf vf_load_twice(const float *p, int64_t k) {
    const __m128 half =
        2 * k == LANES ? _mm_loadu_ps(p) : _mm_maskload_ps(p, _mm256_castsi256_si128(vf_lanes(k)));
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(half), twice);
}

/* Lanes 2 i and 2 i + 1 in each other's place. */
static inline vf vf_swapped(vf v) { return _mm256_permute_ps(v, 0xB1); }

/* -v in the even lanes, v in the odd ones. */
static inline vf vf_minus_plus(vf v) {
    return _mm256_xor_ps(v, _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0));
}

/* The lowest 9 bits of each lane become sign and exponent. */
static inline vf vf_bits_to_exponent(vf v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23));
}

/* The sum of all lanes, in one fixed order. */
static inline float vf_sum(vf v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* The greatest lane. */
static inline float vf_top(vf v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* Sums in double, LANES of them. */
typedef struct vd {
    __m256d low, high;
} vd;

static inline vd vd_zero(void) { return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()}; }

static inline vd vd_add(vd a, vd b) { return (vd){a.low + b.low, a.high + b.high}; }

/* s + v * v */
static inline vd vd_add_square(vd s, vf v) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    return (vd){_mm256_fmadd_pd(low, low, s.low), _mm256_fmadd_pd(high, high, s.high)};
}

static inline double vd_sum(vd s) {
    const __m256d four = s.low + s.high;
    const __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

#endif
