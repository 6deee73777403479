/* The kernels for AVX-512 with VBMI and VNNI; built with these flags. Products are never
 * contracted. */
#include "image/kernels.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include "image/plain.inc"
#include "image/across_avx2.inc"
#include "image/colour_avx2.inc"
#include "image/hue_avx2.inc"
#include "image/colour_avx512.inc"
#include "image/across_avx512.inc"
#include "image/down_avx512.inc"
#include "image/blur_avx2.inc"
#include "image/box_avx2.inc"
#include "image/warp_avx2.inc"

const vt_image_kernels vt_image_kernels_avx512 = {
    .plan_across = plan_across_avx512,
    .across = across_avx512,
    .plan_down = plan_down_avx512,
    .down = down_avx512,
    .reverse = reverse_avx2,
    .split = split_avx512,
    .merge = merge_avx512,
    .blend_even = blend_even_avx512,
    .blend = blend_avx512,
    .luma = luma_avx2,
    .turn_hue = turn_hue_avx2,
    .look_up = look_up_avx512,
    .box_bytes = box_bytes_avx2,
    .bilinear = bilinear_avx2,
    .bicubic = bicubic_avx2,
    .standardize = standardize_avx512,
    .convolve = convolve_avx2,
    VT_PLAIN_KERNELS,
};

#else

const vt_image_kernels vt_image_kernels_avx512 = {0};

#endif
