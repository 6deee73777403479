/* The arithmetic on rows of samples, once in plain C and once per instruction set, with the
 * same results to the bit. Pure functions: no memory, no errors. */
#ifndef VT_IMAGE_KERNELS_H
#define VT_IMAGE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "image/taps.h"

enum {
    VT_OVERRUN = 64,      /* bytes behind a row that `across` may read */
    VT_IMAGE_CHUNK = 512, /* pixels that an operation splits into planes at once */
    VT_NORMALS = 64       /* normal numbers that are drawn at once */

};

/* One of 2^32 endless rows of random numbers that a key has; number i is a function of i alone. */
typedef struct vt_stream {
    uint32_t key[2], number;
} vt_stream;

/* 1 / x as the sum of two numbers. */
typedef struct vt_inverse {
    float high, low;
} vt_inverse;

/* How a byte becomes a real number: (x / 255 - mean) / std in float, each step rounded. */
typedef struct vt_standard {
    vt_inverse white, std; /* of 255 and of the standard deviation */
    float mean;
    float table[256];
    bool exact; /* `standardize` computes just what is in the table, without looking there */
} vt_standard;

/* A box of 2 radius + 1 samples and a part of the two beyond. Weights of the former and of the
 * latter: of whole numbers with 24 bits behind the point, and of real ones. */
typedef struct vt_box {
    int64_t radius;
    uint32_t near, far;
    double real_near, real_far;
} vt_box;

/* X(name, arguments); n counts pixels, or samples where there are no channels. */
#define VT_IMAGE_KERNELS(X) \
    /* The taps as `across` and `down` want them, in vt_plan_bytes(...) bytes. */ \
    X(plan_across, (void *plan, int64_t channels, const vt_taps *taps)) \
    /* Resized rows: out + r * stride (taps->size, channels) from in[r] (any, channels). */ \
    X(across, (uint8_t *out, int64_t stride, const uint8_t *const *in, int64_t rows, \
               int64_t channels, const vt_taps *taps, const void *plan)) \
    X(plan_down, (void *plan, const vt_taps *taps)) \
    /* Output i of a column resize, for n samples of a row; `in` is the first row of its taps. */ \
    X(down, (uint8_t *out, const uint8_t *in, int64_t stride, int64_t n, const vt_taps *taps, \
             int64_t i, const void *plan)) \
    /* n pixels of so many bytes each, in reversed order. */ \
    X(reverse, (uint8_t *out, const uint8_t *in, int64_t n, int64_t bytes)) \
    /* Pixels of three channels to three planes, and back. */ \
    X(split, (uint8_t *const *planes, const uint8_t *in, int64_t n)) \
    X(merge, (uint8_t *out, const uint8_t *const *planes, int64_t n)) \
    /* base + factor (x - base), without its fraction, at most 0 to 255. */ \
    X(blend_even, (uint8_t *out, const uint8_t *in, int64_t n, float base, float factor)) \
    X(blend, (uint8_t *out, const uint8_t *base, const uint8_t *in, int64_t n, float factor)) \
    /* The luma of planes red, green and blue. */ \
    X(luma, (uint8_t *grey, const uint8_t *const *planes, int64_t n)) \
    /* n samples with their eight neighbours, (1 1 1, 1 5 1, 1 1 1) / 13, rounded. */ \
    X(smooth, (uint8_t *out, const uint8_t *in, int64_t stride, int64_t channels, int64_t n)) \
    /* Planes red, green, blue with the hue turned by `steps` of 255. */ \
    X(turn_hue, (uint8_t *const *out, const uint8_t *const *in, int64_t n, int steps)) \
    X(look_up, (uint8_t *out, const uint8_t *in, int64_t n, const uint8_t *table)) \
    /* Bytes to real numbers, and those from 0 to 255 rounded back, halves to the even number. */ \
    X(to_float, (float *out, const uint8_t *in, int64_t n)) \
    X(to_bytes, (uint8_t *out, const float *in, int64_t n)) \
    /* n sums of weight[|k|] in[k][i] over k from -reach to reach. */ \
    X(convolve, \
      (float *out, const float *const *in, const float *weight, int64_t reach, int64_t n)) \
    /* Means over a box, n down, of each of `wide` samples side by side, there being no others. */ \
    /* `memory` has room for as many doubles. */ \
    X(box_bytes, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    X(box_words, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    X(box_reals, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    /* n pixels from the places (x[i], y[i]); those outside are left alone. Whole numbers lose \
     * their fraction, or are rounded, halves to the even number. */ \
    X(bilinear, \
      (void *out, const vt_image *in, const double *x, const double *y, int64_t n, bool rounded)) \
    X(bicubic, (void *out, const vt_image *in, const double *x, const double *y, int64_t n)) \
    X(standardize, (float *out, const uint8_t *in, int64_t n, const vt_standard *standard)) \
    /* Numbers 64 group to 64 group + 63 of a stream: standard normal. */ \
    X(normals, (float out[VT_NORMALS], const vt_stream *stream, uint64_t group)) \
    /* sum + weight in; and the sums without fraction, at most 0 to 255. */ \
    X(add_weighted, (float *sum, const uint8_t *in, int64_t n, float weight)) \
    X(cut_bytes, (uint8_t *out, const float *in, int64_t n)) \
    /* share one + rest other; whole numbers are rounded, halves to even ones. out may be one. */ \
    X(mix_reals, \
      (float *out, const float *one, const float *other, int64_t n, float share, float rest)) \
    X(mix_bytes, (uint8_t *out, const uint8_t *one, const uint8_t *other, int64_t n, float share, \
                  float rest)) \
    X(mix_words, (uint16_t *out, const uint16_t *one, const uint16_t *other, int64_t n, \
                  float share, float rest)) \
    X(to_bf16, (uint16_t *out, const float *in, int64_t n))

typedef struct vt_image_kernels {
#define VT_DECLARE(name, arguments) void(*name) arguments;
    VT_IMAGE_KERNELS(VT_DECLARE)
#undef VT_DECLARE
} vt_image_kernels;

/* Enough for any table; of the last block there may be up to 15 outputs that do not exist. */
static inline size_t vt_plan_bytes(int64_t size, int64_t step) {
    return (size_t)(size + 15) * (size_t)(step / 4 * 96 + 64);
}

/* Those of the instruction set in use. */
const vt_image_kernels *vt_image_kernels_now(void);

/* Its name: that of AVX-512 needs VBMI and VNNI, and so may be below that of other kernels. */
const char *vt_image_kernels_level(void);

/* The tables; the vector ones are empty where the compiler has none. */
extern const vt_image_kernels vt_image_kernels_ref, vt_image_kernels_avx2, vt_image_kernels_avx512;

#endif
