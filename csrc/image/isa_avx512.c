/* The kernels for AVX-512 with VBMI and VNNI; built with these flags. Products are never
 * contracted. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "image/kernels.h"
#include "image/sample.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include "image/across.inc"
#include "image/across_avx2.inc"
#include "image/colour.inc"
#include "image/colour_avx2.inc"
#include "image/hue.inc"
#include "image/hue_avx2.inc"
#include "image/mix.inc"
#include "image/normal.inc"
#include "image/colour_avx512.inc"
#include "image/across_avx512.inc"
#include "image/down_avx512.inc"
#include "image/blur.inc"
#include "image/blur_avx2.inc"
#include "image/box.inc"
#include "image/box_avx2.inc"
#include "image/warp.inc"
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
    .smooth = smooth,
    .turn_hue = turn_hue_avx2,
    .look_up = look_up_avx512,
    .box_bytes = box_bytes_avx2,
    .box_words = box_words,
    .box_reals = box_reals,
    .bilinear = bilinear_avx2,
    .bicubic = bicubic_avx2,
    .standardize = standardize_avx512,
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

const vt_image_kernels vt_image_kernels_avx512 = {0};

#endif
