/* Sharpness: blending with the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, rounded for
 * integers. The frame of one pixel is not smoothed, so it stays as it is. */
#include "base/scratch.h"
#include "image/colour.h"
#include "image/operations.h"

static void sharpen_wide(const vt_image *out, const vt_image *in, int64_t y, float factor) {
    const void *above = vt_image_row(in, y - 1), *here = vt_image_row(in, y);
    const void *below = vt_image_row(in, y + 1);
    void *to = vt_image_row(out, y);
    const int64_t n = in->channels;
    const float half = in->sample == VT_SAMPLE_F32 ? 0 : 0.5f;
    for (int64_t i = n; i < (in->width - 1) * n; i++) {
        float sum = 4 * vt_read(here, i, in->sample), smooth;
        for (int64_t k = i - n; k <= i + n; k += n) {
            sum += vt_read(above, k, in->sample) + vt_read(here, k, in->sample) +
                   vt_read(below, k, in->sample);
        }
        vt_write(&smooth, 0, in->sample, sum / 13 + half);
        const float base = vt_read(&smooth, 0, in->sample);
        vt_write(to, i, in->sample, base + factor * (vt_read(here, i, in->sample) - base));
    }
}

static void sharpen_8(const vt_image *out, const vt_image *in, int64_t y, float factor,
                      uint8_t *smooth) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    const int64_t n = in->channels, inner = (in->width - 2) * n;
    const uint8_t *here = vt_image_row(in, y);
    kernels->smooth(smooth, here + n, in->stride, n, inner);
    kernels->blend((uint8_t *)vt_image_row(out, y) + n, smooth, here + n, inner, factor);
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    float factor;
    VT_TRY(vt_factor(&factor, numbers, "sharpness_factor", error));
    uint8_t *smooth;
    VT_TRY(vt_scratch((void **)&smooth, (size_t)(in->width * in->channels), error));
    vt_image_copy(out, in);
    for (int64_t y = 1; in->width > 2 && y < in->height - 1; y++) {
        if (in->sample == VT_SAMPLE_U8) {
            sharpen_8(out, in, y, factor, smooth);
        } else {
            sharpen_wide(out, in, y, factor);
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_sharpness = {"sharpness", "factor", NULL, run};
