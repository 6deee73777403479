/* Saturation: blending each pixel with its grey. An image of one channel is all grey already. */
#include "image/colour.h"
#include "image/operations.h"

static void saturate_8(uint8_t *out, const uint8_t *rgb, int64_t n, float factor) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    uint8_t planes[3][VT_IMAGE_CHUNK], grey[VT_IMAGE_CHUNK];
    uint8_t *const to[3] = {planes[0], planes[1], planes[2]};
    const uint8_t *const from[3] = {planes[0], planes[1], planes[2]};
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        const int64_t some = n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK;
        kernels->split(to, rgb + 3 * i, some);
        kernels->luma(grey, from, some);
        for (int p = 0; p < 3; p++) kernels->blend(planes[p], grey, planes[p], some, factor);
        kernels->merge(out + 3 * i, from, some);
    }
}

static void saturate(const vt_image *out, const vt_image *in, int64_t y, float factor) {
    const void *from = vt_image_row(in, y);
    void *to = vt_image_row(out, y);
    for (int64_t x = 0; x < in->width; x++) {
        float grey;
        vt_grey_row(&grey, in, y, x, 1);
        const float base = vt_read(&grey, 0, in->sample);
        for (int64_t i = x * in->channels; i < (x + 1) * in->channels; i++) {
            vt_write(to, i, in->sample, base + factor * (vt_read(from, i, in->sample) - base));
        }
    }
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    float factor;
    VT_TRY(vt_factor(&factor, numbers, "saturation_factor", error));
    if (in->channels == 1) {
        vt_image_copy(out, in);
        return VT_OK;
    }
    for (int64_t y = 0; y < in->height; y++) {
        if (in->channels == 3 && in->sample == VT_SAMPLE_U8) {
            saturate_8(vt_image_row(out, y), vt_image_row(in, y), in->width, factor);
        } else {
            saturate(out, in, y, factor);
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_saturation = {"saturation", "factor", NULL, run};
