#include "image/colour.h"

vt_status vt_factor(float *factor, vt_numbers numbers, const char *name, vt_error *error) {
    enum { MOST = 1000000 };
    if (!(numbers.value[0] >= 0 && numbers.value[0] <= MOST)) {
        return vt_fail(error, VT_VALUE, "%s is %g, expected 0 to %d", name, numbers.value[0], MOST);
    }
    *factor = (float)numbers.value[0];
    return VT_OK;
}

static void luma_8(uint8_t *grey, const uint8_t *rgb, int64_t n) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    uint8_t planes[3][VT_IMAGE_CHUNK], *const to[3] = {planes[0], planes[1], planes[2]};
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        const int64_t some = n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK;
        kernels->split(to, rgb + 3 * i, some);
        kernels->luma(grey + i, (const uint8_t *const *)to, some);
    }
}

static float weighted(const void *row, int64_t first, const vt_image *in) {
    if (in->channels == 3) {
        return 0.299f * vt_read(row, first, in->sample) +
               0.587f * vt_read(row, first + 1, in->sample) +
               0.114f * vt_read(row, first + 2, in->sample);
    }
    float sum = 0;
    for (int64_t c = 0; c < in->channels; c++) sum += vt_read(row, first + c, in->sample);
    return sum / (float)in->channels;
}

void vt_grey_row(void *grey, const vt_image *in, int64_t y, int64_t x, int64_t n) {
    const char *row = vt_image_row(in, y);
    if (in->channels == 3 && in->sample == VT_SAMPLE_U8) {
        luma_8(grey, (const uint8_t *)row + 3 * x, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float value = weighted(row, (x + i) * in->channels, in);
        vt_write(grey, i, in->sample, in->sample == VT_SAMPLE_F32 ? value : value + 0.5f);
    }
}

static void blend_row(void *out, const void *in, int64_t n, vt_sample sample, float base,
                      float factor, const vt_image_kernels *kernels) {
    if (sample == VT_SAMPLE_U8) {
        kernels->blend_even(out, in, n, base, factor);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        vt_write(out, i, sample, base + factor * (vt_read(in, i, sample) - base));
    }
}

void vt_blend_even(const vt_image *out, const vt_image *in, float base, float factor) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    vt_image to = *out, from = *in;
    vt_image_flatten(&to, &from);
    for (int64_t y = 0; y < from.height; y++) {
        blend_row(vt_image_row(&to, y), vt_image_row(&from, y), from.width * from.channels,
                  from.sample, base, factor, kernels);
    }
}
