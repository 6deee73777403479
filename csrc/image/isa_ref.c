/* The kernels in plain C. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "image/kernels.h"
#include "image/sample.h"

#include "image/across.inc"
#include "image/down.inc"
#include "image/colour.inc"
#include "image/hue.inc"
#include "image/blur.inc"
#include "image/box.inc"
#include "image/warp.inc"
#include "image/mix.inc"
#include "image/normal.inc"

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
    .smooth = smooth,
    .turn_hue = turn_hue,
    .look_up = look_up_plain,
    .box_bytes = box_bytes_plain,
    .box_words = box_words,
    .box_reals = box_reals,
    .bilinear = bilinear_plain,
    .bicubic = bicubic_plain,
    .standardize = standardize_plain,
    .to_bf16 = to_bf16,
    .to_float = to_float,
    .to_bytes = to_bytes,
    .convolve = convolve_plain,
    .add_weighted = add_weighted,
    .cut_bytes = cut_bytes,
    .mix_reals = mix_reals,
    .mix_bytes = mix_bytes,
    .mix_words = mix_words,
    .normals = normals,
};
