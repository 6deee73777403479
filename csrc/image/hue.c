/* The hue, turned. 8 bits through Pillow's HSV in bytes; more bits in floating point, as
 * torchvision does it on tensors. An image of one channel has no hue. */
#include <math.h>

#include "image/colour.h"
#include "image/operations.h"

static void turn_8(uint8_t *out, const uint8_t *rgb, int64_t n, int steps) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    uint8_t in_planes[3][VT_IMAGE_CHUNK], out_planes[3][VT_IMAGE_CHUNK];
    uint8_t *const split[3] = {in_planes[0], in_planes[1], in_planes[2]};
    uint8_t *const turned[3] = {out_planes[0], out_planes[1], out_planes[2]};
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        const int64_t some = n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK;
        kernels->split(split, rgb + 3 * i, some);
        kernels->turn_hue(turned, (const uint8_t *const *)split, some, steps);
        kernels->merge(out + 3 * i, (const uint8_t *const *)turned, some);
    }
}

/* The hue of (r, g, b) in turns, from 0 to 1. */
static double hue_of(const double rgb[3], double most, double least) {
    const double range = most - least, r = rgb[0], g = rgb[1], b = rgb[2];
    if (range <= 0) return 0;
    const double sixths = r == most   ? (g - b) / range
                          : g == most ? 2 + (b - r) / range
                                      : 4 + (r - g) / range;
    return sixths / 6 - floor(sixths / 6);
}

/* One channel of a colour of this hue: the distance from the channel's own hue decides. */
static double channel_at(double hue, double own, double most, double least) {
    double away = fabs(hue - own);
    away = away > 0.5 ? 1 - away : away;
    const double share = 2 - 6 * away;
    return least + (most - least) * (share < 0 ? 0 : share > 1 ? 1 : share);
}

static void turn_wide(void *out, const void *in, int64_t n, vt_sample sample, double turn) {
    for (int64_t i = 0; i < 3 * n; i += 3) {
        double rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = (double)vt_read(in, i + c, sample);
        const double most = fmax(rgb[0], fmax(rgb[1], rgb[2]));
        const double least = fmin(rgb[0], fmin(rgb[1], rgb[2]));
        const double turned = hue_of(rgb, most, least) + turn;
        const double half = sample == VT_SAMPLE_F32 ? 0 : 0.5;
        for (int c = 0; c < 3; c++) {
            const double value = channel_at(turned - floor(turned), c / 3.0, most, least);
            vt_write(out, i + c, sample, (float)(value + half));
        }
    }
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const double turn = numbers.value[0];
    if (!(turn >= -0.5 && turn <= 0.5)) {
        return vt_fail(error, VT_VALUE, "hue_factor is %g, expected -0.5 to 0.5", turn);
    }
    if (in->channels == 1) {
        vt_image_copy(out, in);
        return VT_OK;
    }
    if (in->channels != 3) {
        return vt_fail(error, VT_VALUE, "an image of %lld channels has no hue, expected 1 or 3",
                       (long long)in->channels);
    }
    for (int64_t y = 0; y < in->height; y++) {
        if (in->sample == VT_SAMPLE_U8) {
            turn_8(vt_image_row(out, y), vt_image_row(in, y), in->width, (int)(turn * 255));
        } else {
            turn_wide(vt_image_row(out, y), vt_image_row(in, y), in->width, in->sample, turn);
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_hue = {"hue", "factor", NULL, run};
