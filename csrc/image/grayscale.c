/* The grey of the image, in one channel or in several that are equal. */
#include "image/colour.h"
#include "image/geometry.h"
#include "image/operations.h"

static vt_status form(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)in;
    if (!(numbers.value[0] >= 1 && numbers.value[0] <= VT_IMAGE_CHANNELS)) {
        return vt_fail(error, VT_VALUE, "channels is %g, expected 1 to %d", numbers.value[0],
                       VT_IMAGE_CHANNELS);
    }
    out->channels = (int64_t)numbers.value[0];
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)numbers, (void)error;
    const int64_t bytes = (int64_t)vt_sample_size(in->sample);
    if (out->channels == 1) {
        for (int64_t y = 0; y < in->height; y++) {
            vt_grey_row(vt_image_row(out, y), in, y, 0, in->width);
        }
        return VT_OK;
    }
    float chunk[VT_IMAGE_CHUNK];
    for (int64_t y = 0; y < in->height; y++) {
        char *to = vt_image_row(out, y);
        for (int64_t x = 0; x < in->width; x += VT_IMAGE_CHUNK) {
            const int64_t n = in->width - x < VT_IMAGE_CHUNK ? in->width - x : VT_IMAGE_CHUNK;
            vt_grey_row(chunk, in, y, x, n);
            for (int64_t i = 0; i < n * out->channels; i++, to += bytes) {
                vt_copy_pixel(to, (const char *)chunk + i / out->channels * bytes, bytes);
            }
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_grayscale = {"grayscale", "channels", form, run};
