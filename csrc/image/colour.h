/* What the operations on colours share. */
#ifndef VT_IMAGE_COLOUR_H
#define VT_IMAGE_COLOUR_H

#include <string.h>

#include "image/image.h"
#include "image/kernels.h"

static inline float vt_read(const void *row, int64_t i, vt_sample sample) {
    switch (sample) {
        case VT_SAMPLE_U8: return ((const uint8_t *)row)[i];
        case VT_SAMPLE_U16: return ((const uint16_t *)row)[i];
        default: return ((const float *)row)[i];
    }
}

/* Clamped to 0 and full brightness; integers lose the fraction. */
static inline void vt_write(void *row, int64_t i, vt_sample sample, float value) {
    const float white = (float)vt_sample_white(sample);
    value = value > 0 ? value < white ? value : white : 0;
    switch (sample) {
        case VT_SAMPLE_U8: ((uint8_t *)row)[i] = (uint8_t)value; break;
        case VT_SAMPLE_U16: ((uint16_t *)row)[i] = (uint16_t)value; break;
        default: ((float *)row)[i] = value;
    }
}

/* The factor of an operation: VT_VALUE unless it is 0 to 1e6. */
vt_status vt_factor(float *factor, vt_numbers numbers, const char *name, vt_error *error);

/* The grey of `n` pixels from x on: the luma of three channels, else their mean. In the samples
 * of the image, without fraction for integers. */
void vt_grey_row(void *grey, const vt_image *in, int64_t y, int64_t x, int64_t n);

/* out = base + factor (in - base), with one base for all samples. */
void vt_blend_even(const vt_image *out, const vt_image *in, float base, float factor);

#endif
