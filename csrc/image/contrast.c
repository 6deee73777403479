/* Contrast: blending with the mean grey of the image, rounded for integers. */
#include <math.h>

#include "image/colour.h"
#include "image/operations.h"

static double sum_of(const void *row, int64_t n, vt_sample sample) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)vt_read(row, i, sample);
    return sum;
}

static uint64_t sum_of_bytes(const uint8_t *row, int64_t n) {
    uint32_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += row[i];
    return sum;
}

static double row_sum(const vt_image *in, int64_t y) {
    float chunk[VT_IMAGE_CHUNK];
    double sum = 0;
    for (int64_t x = 0; x < in->width; x += VT_IMAGE_CHUNK) {
        const int64_t n = in->width - x < VT_IMAGE_CHUNK ? in->width - x : VT_IMAGE_CHUNK;
        vt_grey_row(chunk, in, y, x, n);
        sum += in->sample == VT_SAMPLE_U8 ? (double)sum_of_bytes((const uint8_t *)(void *)chunk, n)
                                          : sum_of(chunk, n, in->sample);
    }
    return sum;
}

static float mean_grey(const vt_image *in) {
    double sum = 0;
    for (int64_t y = 0; y < in->height; y++) sum += row_sum(in, y);
    const double mean = sum / (double)(in->height * in->width);
    return (float)(in->sample == VT_SAMPLE_F32 ? mean : floor(mean + 0.5));
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    float factor;
    VT_TRY(vt_factor(&factor, numbers, "contrast_factor", error));
    vt_blend_even(out, in, mean_grey(in), factor);
    return VT_OK;
}

const vt_image_op vt_image_op_contrast = {"contrast", "factor", NULL, run};
