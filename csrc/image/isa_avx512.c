/* The kernels for AVX-512 with VBMI and VNNI; built with these flags. Products are never
 * contracted. The other kernels for AVX2 are not faster when they are built for AVX-512. */
#include "image/tables.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include "image/loops.inc"
#include "image/across.inc"
#include "image/colour.inc"
#include "image/across_avx2.inc"
#include "image/colour_avx2.inc"
#include "image/colour_avx512.inc"
#include "image/across_avx512.inc"
#include "image/down_avx512.inc"

const vt_image_kernels vt_image_kernels_avx512 = {
    .plan_across = plan_across_avx512,
    .across = across_avx512,
    .plan_down = plan_down_avx512,
    .down = down_avx512,
    .split = split_avx512,
    .merge = merge_avx512,
    .blend_even = blend_even_avx512,
    .blend = blend_avx512,
    .look_up = look_up_avx512,
    .standardize = standardize_avx512,
    VT_LOOPS,
};

#else

const vt_image_kernels vt_image_kernels_avx512 = {0};

#endif
