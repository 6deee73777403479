/* The kernels for AVX2 and FMA; built with -mavx2 -mfma. Products are never contracted. */
#include "image/tables.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "image/plain.inc"
#include "image/across_avx2.inc"
#include "image/down_avx2.inc"
#include "image/colour_avx2.inc"
#include "image/reverse_avx2.inc"
#include "image/luma_avx2.inc"
#include "image/hue_avx2.inc"
#include "image/blur_avx2.inc"
#include "image/box_avx2.inc"
#include "image/warp_avx2.inc"

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
    .turn_hue = turn_hue_avx2,
    .look_up = look_up_avx2,
    .box_bytes = box_bytes_avx2,
    .bilinear = bilinear_avx2,
    .bicubic = bicubic_avx2,
    .standardize = standardize_avx2,
    .convolve = convolve_avx2,
    VT_LOOPS,
};

#else

const vt_image_kernels vt_image_kernels_avx2 = {0};

#endif
