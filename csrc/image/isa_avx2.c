/* The kernels for AVX2 and FMA; built with -mavx2 -mfma. Products are never contracted. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "image/kernels.h"
#include "image/sample.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "image/across.inc"
#include "image/across_avx2.inc"
#include "image/down.inc"
#include "image/down_avx2.inc"
#include "image/colour.inc"
#include "image/colour_avx2.inc"
#include "image/hue.inc"
#include "image/hue_avx2.inc"
#include "image/blur.inc"
#include "image/blur_avx2.inc"
#include "image/box.inc"
#include "image/box_avx2.inc"
#include "image/warp.inc"
#include "image/warp_avx2.inc"
#include "image/mix.inc"
#include "image/normal.inc"

const vt_image_kernels vt_image_kernels_avx2 = {
    .plan_across = plan_across_avx2,
    .across = across_avx2,
    .plan_down = plan_down_avx2,
    .down = down_avx2,
    .reverse = reverse_avx2,
    .split = split_avx2,
    .merge = merge_avx2,
    .blend_even = blend_even_avx2,
    .blend = blend_avx2,
    .luma = luma_avx2,
    .smooth = smooth,
    .turn_hue = turn_hue_avx2,
    .look_up = look_up_avx2,
    .box_bytes = box_bytes_avx2,
    .box_words = box_words,
    .box_reals = box_reals,
    .bilinear = bilinear_avx2,
    .bicubic = bicubic_avx2,
    .standardize = standardize_avx2,
    .to_bf16 = to_bf16,
    .to_float = to_float,
    .to_bytes = to_bytes,
    .convolve = convolve_avx2,
    .add_weighted = add_weighted,
    .cut_bytes = cut_bytes,
    .mix_reals = mix_reals,
    .mix_bytes = mix_bytes,
    .mix_words = mix_words,
    .normals = normals,
};

#else

const vt_image_kernels vt_image_kernels_avx2 = {0};

#endif
