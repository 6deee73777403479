/* The kernels for AVX2, FMA and F16C (built with -mavx2 -mfma -mf16c): those with sums over a row
 * or transcendental functions by hand, the simple loops from the plain C for the compiler to
 * vectorise. */
#include "kernels/tables.h"

#if defined(__AVX512F__)

typedef float real;

#include "kernels/real.h"
#include "kernels/simd_avx512.h"

#include "kernels/simd_math.inc"
#include "kernels/simd_norm.inc"
#include "kernels/simd_softmax.inc"
#include "kernels/simd_gelu.inc"
#include "kernels/simd_sum_of_squares.inc"
#include "kernels/simd_quantize.inc"
#include "kernels/quantize.inc"
#include "kernels/scale_add.inc"
#include "kernels/column_sum.inc"
#include "kernels/adamw.inc"
#include "kernels/count_nonfinite.inc"

const vt_kernels vt_kernels_avx512_f32 = {
    .dtype = VT_F32,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .softmax_forward = softmax_forward,
    .softmax_backward = softmax_backward,
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .scale_add = scale_add,
    .column_sum = column_sum,
    .adamw = adamw,
    .quantize_rows = quantize_rows,
    .dequantize_rows = dequantize_rows,
    .to_bf16 = to_bf16,
    .sum_of_squares = sum_of_squares,
    .count_nonfinite = count_nonfinite,
};

#else

const vt_kernels vt_kernels_avx512_f32 = {.dtype = VT_F32};

#endif
