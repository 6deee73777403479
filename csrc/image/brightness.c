/* Brightness: blending with black. */
#include "image/colour.h"
#include "image/operations.h"

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    float factor;
    VT_TRY(vt_factor(&factor, numbers, "brightness_factor", error));
    vt_blend_even(out, in, 0, factor);
    return VT_OK;
}

const vt_image_op vt_image_op_brightness = {"brightness", "factor", NULL, run};
