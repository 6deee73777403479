/* Images in C: the part of vitc.h that works on pixels. Numbers are Pillow's, to the pixel, for
 * 8-bit images; the sources of other formulas are named in csrc/image/.
 *
 * Everything runs on the calling thread, and calls on different results may run in parallel. No
 * function allocates its result, and results do not overlap inputs. */
#ifndef VT_VITC_IMAGE_H
#define VT_VITC_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* ---------------------------------------------------------------- images */

typedef enum vt_sample { VT_SAMPLE_U8, VT_SAMPLE_U16, VT_SAMPLE_F32, VT_SAMPLE_COUNT } vt_sample;

/* Pixels (height, width, channels); those of a row are contiguous. The memory is the caller's. */
typedef struct vt_image {
    void *data;
    int64_t height, width, channels;
    int64_t stride; /* bytes from a row to the next */
    vt_sample sample;
} vt_image;

enum {
    VT_IMAGE_SIDE = 1 << 20,     /* the most pixels of a side */
    VT_IMAGE_CHANNELS = 1 << 10, /* the most channels */
    VT_IMAGE_NUMBERS = 2048      /* the most arguments of an operation */
};

/* VT_VALUE unless the image has 1 to VT_IMAGE_SIDE pixels per side and a possible number of
 * channels. To be called before any of the functions below, with each of their images. */
vt_status vt_image_check(const vt_image *image, const char *name, vt_error *error);

/* A rectangle of pixels: the row and column of its upper left corner, and its size. */
typedef struct vt_rectangle {
    int64_t top, left, height, width;
} vt_rectangle;

/* A key of random numbers: two unsigned integers of 32 bits; VT_VALUE for others. */
vt_status vt_image_key(uint32_t key[2], const double *value, vt_error *error);

/* ---------------------------------------------------------------- operations by name */

/* The arguments of an operation after the image, in the order of its `arguments`. */
typedef struct vt_numbers {
    const double *value;
    int count;
} vt_numbers;

typedef struct vt_image_op {
    const char *name;
    /* Names, separated by spaces; "..." at the end means one number per channel. All numbers are
     * finite, and their count is that of the names. */
    const char *arguments;
    /* Sets what the result differs in from the input; NULL where it has the same form. */
    vt_status (*form)(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error);
    /* Fills the result. */
    vt_status (*run)(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error);
} vt_image_op;

/* The operation of this name; NULL if there is none. */
const vt_image_op *vt_image_find(const char *name);

/* VT_TYPE unless the count of numbers is that of the arguments of the operation. */
vt_status vt_image_check_numbers(const vt_image_op *op, const vt_image *in, vt_numbers numbers,
                                 vt_error *error);

/* ---------------------------------------------------------------- pixels from elsewhere */

/* Maps each sample of `in`, of an integer type, by a table of that type with an entry per level. */
void vt_image_look_up(const vt_image *out, const vt_image *in, const void *table);

/* out, of the form of `in`, from `field` (2, height, width): how far to the right, and how far
 * down, each pixel comes from. Points outside the image have the value `fill` (channels);
 * points between pixels are interpolated, bilinearly or to the nearest pixel. Integers are rounded.
 * A displacement that is NaN leads outside the image. */
vt_status vt_image_displace(const vt_image *out, const vt_image *in, const float *field,
                            bool bilinear, const double *fill, vt_error *error);

/* ---------------------------------------------------------------- several images */

/* out = sum of weight[i] in[i], in their order, each product and sum rounded to float; levels are
 * clamped to their range, and integers lose the fraction. All have the form of the first, else
 * VT_VALUE. count > 0. */
vt_status vt_image_mix(const vt_image *out, const vt_image *in, int count, const float *weight,
                       vt_error *error);

/* out = one + ratio (other - one), likewise. */
vt_status vt_image_blend(const vt_image *out, const vt_image *one, const vt_image *other,
                         float ratio, vt_error *error);

/* out = in times the factors (height, width) of its pixels; integers are rounded and clamped to
 * their range, floating point is not. */
vt_status vt_image_shade(const vt_image *out, const vt_image *in, const float *field,
                         vt_error *error);

/* Values (images, channels, height, width), C-contiguous. */
typedef struct vt_batch {
    void *data;
    int64_t images, channels, height, width;
    vt_sample sample;
} vt_batch;

/* What becomes of an image i: within box[i] it is lam[i] itself + (1 - lam[i]) the partner, each
 * step rounded to float, and integers rounded, ties to even; outside of the box it stays. (images)
 * each. */
typedef struct vt_partners {
    const int64_t *index;
    const double *lam;
    const vt_rectangle *box;
} vt_partners;

/* out has the form of `in`. VT_VALUE for partners that are not in the batch, lam that is not 0 to
 * 1, rectangles that are not within the image. */
vt_status vt_batch_mix(const vt_batch *out, const vt_batch *in, const vt_partners *partners,
                       vt_error *error);

/* ---------------------------------------------------------------- erasing */

/* Values of (channels, height, width) in any order of the axes. */
typedef struct vt_planes {
    void *data;
    int64_t channels, height, width;
    int64_t next_channel, next_row, next_pixel; /* in samples */
    vt_sample sample;
} vt_planes;

/* A value becomes mean + sigma z, by channel; z is a standard normal number per value, or per
 * channel of each rectangle. */
typedef struct vt_filling {
    const float *mean, *sigma; /* (channels) */
    bool by_value;
    uint32_t key[2];
} vt_filling;

/* Rectangles overwritten in place. Integers are clamped to the range of their type and lose the
 * fraction. The same key gives the same values in any order of the axes. VT_VALUE for a rectangle
 * that is not within the array, before any is filled. */
vt_status vt_erase(const vt_planes *planes, const vt_rectangle *box, int64_t count,
                   const vt_filling *filling, vt_error *error);

/* ---------------------------------------------------------------- planes for a model */

typedef struct vt_write_source {
    const vt_image *image;
    bool flip;   /* left and right */
    bool planar; /* its samples are (channels, height, width), planes `stride` bytes apart */
} vt_write_source;

/* Within its box, the result is share * one + (1 - share) * other, each product and the sum rounded
 * to float; outside of it, it is `one` alone. */
typedef struct vt_write_mix {
    vt_write_source other; /* of the form of `one`; its image NULL: none */
    double share;
    vt_rectangle box;
} vt_write_mix;

/* out (channels, height, width) = (x - mean) / std in float, of x / 255 where samples are 8 bits
 * wide; bf16: as the 16 bits of bfloat16. mean, std: (channels). VT_VALUE for a standard deviation
 * that is not above 0, another image of a different form and a box that is not within the image. */
vt_status vt_image_write(void *out, bool bf16, vt_write_source one, const float *mean,
                         const float *std, const vt_write_mix *mix, vt_error *error);

/* ---------------------------------------------------------------- what there is */

/* Slot number `index` of the table of kernels on pixels in use: its name, NULL behind the last; and
 * the level of the kernel that fills it ("ref", "avx2", "avx512"). */
const char *vt_image_slot_name(int index);
const char *vt_image_slot_level(int index);

#endif
