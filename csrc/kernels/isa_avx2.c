/* The kernels for AVX2, FMA and F16C; built with -mavx2 -mfma -mf16c. */
#include "kernels/tables.h"

#if defined(__AVX2__)

#include "kernels/simd_avx2.h"
#define VT_TABLE vt_kernels_avx2_f32
#include "kernels/simd.inc"

#else

const vt_kernels vt_kernels_avx2_f32 = {.dtype = VT_F32};

#endif
