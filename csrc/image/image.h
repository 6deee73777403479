/* An image, and the table of operations on images. Their numbers are Pillow's, to the pixel, for
 * 8-bit images; the sources of other formulas are named beside them. Operations never allocate
 * their result, and run on the calling thread. */
#ifndef VT_IMAGE_IMAGE_H
#define VT_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum vt_sample { VT_SAMPLE_U8, VT_SAMPLE_U16, VT_SAMPLE_F32, VT_SAMPLE_COUNT } vt_sample;

/* Pixels (height, width, channels); those of a row are contiguous. */
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
    /* Fills the result, which does not overlap the input. */
    vt_status (*run)(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error);
} vt_image_op;

/* The operation of this name; NULL if there is none. */
const vt_image_op *vt_image_find(const char *name);

/* VT_VALUE unless the image has 1 to VT_IMAGE_SIDE pixels per side and a possible number of
 * channels. */
vt_status vt_image_check(const vt_image *image, const char *name, vt_error *error);

/* VT_TYPE unless the count of numbers is that of the arguments of the operation. */
vt_status vt_image_check_numbers(const vt_image_op *op, const vt_image *in, vt_numbers numbers,
                                 vt_error *error);

/* VT_VALUE unless the two have one size, number of channels and type. */
vt_status vt_image_check_alike(const vt_image *one, const vt_image *other, vt_error *error);

/* VT_VALUE unless rows box[0] to box[2] - 1 and columns box[1] to box[3] - 1 are within an image.
 */
vt_status vt_image_check_box(const int64_t box[4], int64_t height, int64_t width, vt_error *error);

/* A key of random numbers: two unsigned integers of 32 bits; VT_VALUE for others. */
vt_status vt_image_key(uint32_t key[2], const double *value, vt_error *error);

static inline size_t vt_sample_size(vt_sample sample) {
    static const size_t size[VT_SAMPLE_COUNT] = {1, 2, 4};
    return size[sample];
}

static inline const char *vt_sample_name(vt_sample sample) {
    static const char *const name[VT_SAMPLE_COUNT] = {"uint8", "uint16", "float32"};
    return name[sample];
}

/* The value of full brightness. */
static inline double vt_sample_white(vt_sample sample) {
    static const double white[VT_SAMPLE_COUNT] = {255, 65535, 1};
    return white[sample];
}

/* A block of statements, compiled once for each type of samples: in it, `sample_t` is that type,
 * and the constants `white` and `is_whole` are its full brightness and whether it is an integer. */
#define VT_WITH_SAMPLE(sample, ...) \
    do { \
        switch (sample) { \
            case VT_SAMPLE_U8: VT_SAMPLE_CASE(uint8_t, 255, true, __VA_ARGS__) \
            case VT_SAMPLE_U16: VT_SAMPLE_CASE(uint16_t, 65535, true, __VA_ARGS__) \
            default: VT_SAMPLE_CASE(float, 1, false, __VA_ARGS__) \
        } \
    } while (0)

#define VT_SAMPLE_CASE(type, most, integer, ...) \
    { \
        typedef type sample_t; \
        enum { white = most, is_whole = integer }; \
        __VA_ARGS__ \
        break; \
    }

static inline void *vt_image_row(const vt_image *image, int64_t y) {
    return (char *)image->data + y * image->stride;
}

static inline int64_t vt_image_pixel_bytes(const vt_image *image) {
    return image->channels * (int64_t)vt_sample_size(image->sample);
}

static inline int64_t vt_image_row_bytes(const vt_image *image) {
    return image->width * vt_image_pixel_bytes(image);
}

/* Two images without gaps between their rows become one row each, for operations that treat all
 * samples alike. */
static inline void vt_image_flatten(vt_image *out, vt_image *in) {
    const int64_t bytes = vt_image_row_bytes(in);
    if (out->stride != bytes || in->stride != bytes) return;
    out->width = in->width *= in->height;
    out->height = in->height = 1;
}

/* Maps each sample of `in`, of an integer type, by a table of that type with an entry per level. */
void vt_image_look_up(const vt_image *out, const vt_image *in, const void *table);

/* The rows of `in` into those of `out`, which has the same form. */
void vt_image_copy(const vt_image *out, const vt_image *in);

#endif
