/* The kernels of each level, as its source was built. The plain C ones are complete; those of an
 * instruction set have NULL where nothing is gained over the level below, and are all NULL where
 * the compiler does not build for x86-64. table.c lays them over each other. */
#ifndef VT_KERNELS_TABLES_H
#define VT_KERNELS_TABLES_H

#include "kernels/kernels.h"

extern const vt_kernels vt_kernels_ref_f32;
extern const vt_kernels vt_kernels_ref_f64;
extern const vt_kernels vt_kernels_avx2_f32;
extern const vt_kernels vt_kernels_avx512_f32;

#endif
