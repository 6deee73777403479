/* The kernels in plain C. */
#include "image/plain.inc"
#include "image/down.inc"

static void plan_down_plain(void *plan, const vt_taps *taps) { (void)plan, (void)taps; }

const vt_image_kernels vt_image_kernels_ref = {
    .plan_across = plan_across_plain,
    .across = across_plain,
    .plan_down = plan_down_plain,
    .down = down_plain,
    .reverse = reverse_plain,
    .split = split_plain,
    .merge = merge_plain,
    .blend_even = blend_even,
    .blend = blend,
    .luma = luma,
    .turn_hue = turn_hue,
    .look_up = look_up_plain,
    .box_bytes = box_bytes_plain,
    .bilinear = bilinear_plain,
    .bicubic = bicubic_plain,
    .standardize = standardize_plain,
    .convolve = convolve_plain,
    VT_PLAIN_KERNELS,
};
