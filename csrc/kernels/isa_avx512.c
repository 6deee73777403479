/* The kernels for AVX-512 F, BW, DQ and VL; built with -mavx512f -mavx512bw -mavx512dq -mavx512vl.
 */
#include "kernels/tables.h"

#if defined(__AVX512F__)

#include "kernels/simd_avx512.h"
#define VT_TABLE vt_kernels_avx512_f32
#include "kernels/simd.inc"

#else

const vt_kernels vt_kernels_avx512_f32 = {.dtype = VT_F32};

#endif
