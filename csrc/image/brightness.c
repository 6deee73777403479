/* Brightness: blending with black. */
#include "image/colour.h"
#include "image/operations.h"

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    float factor;
    VT_TRY(vt_factor(&factor, numbers, "brightness_factor", error));
    for (int64_t y = 0; y < in->height; y++) {
        vt_blend_even(vt_image_row(out, y), vt_image_row(in, y), in->width * in->channels,
                      in->sample, 0, factor);
    }
    return VT_OK;
}

const vt_image_op vt_image_op_brightness = {"brightness", "factor", NULL, run};
