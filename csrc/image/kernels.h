/* The arithmetic on rows of samples: in plain C, and faster for each instruction set, with the same
 * results to the bit. Pure functions: they allocate nothing and cannot fail. */
#ifndef VT_IMAGE_KERNELS_H
#define VT_IMAGE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/slots.h"
#include "image/image.h"
#include "image/taps.h"

enum {
    VT_OVERRUN = 64,      /* bytes behind a row that `across` may read */
    VT_IMAGE_CHUNK = 512, /* pixels that an operation splits into planes at once */
    VT_NORMALS = 64       /* normal numbers that are drawn at once */
};

/* One of the 2^32 endless streams of random numbers of a key; number i of it depends on i alone. */
typedef struct vt_stream {
    uint32_t key[2], number;
} vt_stream;

/* 1 / x as the sum of two numbers. */
typedef struct vt_inverse {
    float high, low;
} vt_inverse;

/* How a byte becomes a float: (x / 255 - mean) / std, each step rounded. */
typedef struct vt_standard {
    vt_inverse white, std; /* of 255 and of the standard deviation */
    float mean;
    float table[256];
    bool exact; /* `standardize` may compute: the results are those in the table */
} vt_standard;

/* A box of 2 radius + 1 samples (near) and a part of the next two (far): their weights for
 * integers, with 24 fractional bits, and for floating point. */
typedef struct vt_box {
    int64_t radius;
    uint32_t near, far;
    double real_near, real_far;
} vt_box;

/* X(name, result, arguments); n counts pixels, or samples where there are no channels. */
#define VT_IMAGE_SLOTS(X) \
    /* The taps as `across` and `down` want them, in vt_plan_bytes(...) bytes. */ \
    X(plan_across, void, (void *plan, int64_t channels, const vt_taps *taps)) \
    /* Resized rows: out + r * stride (taps->size, channels) from in[r] (any, channels). */ \
    X(across, void, \
      (uint8_t *out, int64_t stride, const uint8_t *const *in, int64_t rows, int64_t channels, \
       const vt_taps *taps, const void *plan)) \
    X(plan_down, void, (void *plan, const vt_taps *taps)) \
    /* Output i of a column resize, for n samples of a row; `in` is the first row of its taps. */ \
    X(down, void, \
      (uint8_t *out, const uint8_t *in, int64_t stride, int64_t n, const vt_taps *taps, int64_t i, \
       const void *plan)) \
    /* n pixels of `bytes` bytes each, in reversed order. */ \
    X(reverse, void, (uint8_t *out, const uint8_t *in, int64_t n, int64_t bytes)) \
    /* Pixels of three channels to three planes, and back. */ \
    X(split, void, (uint8_t *const *planes, const uint8_t *in, int64_t n)) \
    X(merge, void, (uint8_t *out, const uint8_t *const *planes, int64_t n)) \
    /* base + factor (x - base), clamped to 0 and 255, without fraction. */ \
    X(blend_even, void, (uint8_t *out, const uint8_t *in, int64_t n, float base, float factor)) \
    X(blend, void, \
      (uint8_t *out, const uint8_t *base, const uint8_t *in, int64_t n, float factor)) \
    /* The luma of planes red, green and blue. */ \
    X(luma, void, (uint8_t *grey, const uint8_t *const *planes, int64_t n)) \
    /* n samples with their eight neighbours, (1 1 1, 1 5 1, 1 1 1) / 13, rounded. */ \
    X(smooth, void, \
      (uint8_t *out, const uint8_t *in, int64_t stride, int64_t channels, int64_t n)) \
    /* Planes red, green, blue with the hue turned by `steps` of 255. */ \
    X(turn_hue, void, (uint8_t *const *out, const uint8_t *const *in, int64_t n, int steps)) \
    X(look_up, void, (uint8_t *out, const uint8_t *in, int64_t n, const uint8_t *table)) \
    /* Bytes to floats, and floats from 0 to 255 rounded to bytes, ties to even. */ \
    X(to_float, void, (float *out, const uint8_t *in, int64_t n)) \
    X(to_bytes, void, (uint8_t *out, const float *in, int64_t n)) \
    /* n sums of weight[|k|] in[k][i] over k from -reach to reach. */ \
    X(convolve, void, \
      (float *out, const float *const *in, const float *weight, int64_t reach, int64_t n)) \
    /* Means over a box, down the n rows of `wide` samples each, without gaps between the rows. */ \
    /* `memory` has room for `wide` doubles. */ \
    X(box_bytes, void, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    X(box_words, void, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    X(box_reals, void, \
      (void *out, const void *in, int64_t n, int64_t wide, const vt_box *box, void *memory)) \
    /* n pixels from the points (x[i], y[i]); those from outside are left unchanged. Integers lose \
     * the fraction, or are rounded, ties to even. */ \
    X(bilinear, void, \
      (void *out, const vt_image *in, const double *x, const double *y, int64_t n, bool rounded)) \
    X(bicubic, void, (void *out, const vt_image *in, const double *x, const double *y, int64_t n)) \
    X(standardize, void, (float *out, const uint8_t *in, int64_t n, const vt_standard *standard)) \
    /* Numbers 64 group to 64 group + 63 of a stream: standard normal. */ \
    X(normals, void, (float out[VT_NORMALS], const vt_stream *stream, uint64_t group)) \
    /* sum + weight in; and such sums clamped to 0 and 255, without fraction. */ \
    X(add_weighted, void, (float *sum, const uint8_t *in, int64_t n, float weight)) \
    X(cut_bytes, void, (uint8_t *out, const float *in, int64_t n)) \
    /* share one + rest other; integers are rounded, ties to even. out may be `one`. */ \
    X(mix_reals, void, \
      (float *out, const float *one, const float *other, int64_t n, float share, float rest)) \
    X(mix_bytes, void, \
      (uint8_t *out, const uint8_t *one, const uint8_t *other, int64_t n, float share, \
       float rest)) \
    X(mix_words, void, \
      (uint16_t *out, const uint16_t *one, const uint16_t *other, int64_t n, float share, \
       float rest)) \
    X(to_bf16, void, (uint16_t *out, const float *in, int64_t n))

typedef struct vt_image_kernels {
    VT_IMAGE_SLOTS(VT_SLOT_MEMBER)
} vt_image_kernels;

enum { VT_IMAGE_SLOT_COUNT = 0 VT_IMAGE_SLOTS(VT_SLOT_COUNT) };

/* Enough for any table; of the last block there may be up to 15 outputs that do not exist. */
static inline size_t vt_plan_bytes(int64_t size, int64_t step) {
    return (size_t)(size + 15) * (size_t)(step / 4 * 96 + 64);
}

/* The table for the selected instruction set (base/cpu.h). Always complete. */
const vt_image_kernels *vt_image_kernels_now(void);

/* The table of one level, for tests that compare levels; NULL if the CPU lacks it. */
const vt_image_kernels *vt_image_kernels_level(int isa);

#endif
