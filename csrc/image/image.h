/* What the operations on images share: their samples and rows. What callers see is in
 * vitc_image.h. */
#ifndef VT_IMAGE_IMAGE_H
#define VT_IMAGE_IMAGE_H

#include "vitc_image.h"

/* VT_VALUE unless the two have one size, number of channels and type. */
vt_status vt_image_check_alike(const vt_image *one, const vt_image *other, vt_error *error);

/* VT_VALUE unless the rectangle is within an image of this size. */
vt_status vt_image_check_box(const vt_rectangle *box, int64_t height, int64_t width,
                             vt_error *error);

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

/* The rows of `in` into those of `out`, which has the same form. */
void vt_image_copy(const vt_image *out, const vt_image *in);

#endif
