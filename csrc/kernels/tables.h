/* The sources of the tables, one per level (base/slots.h). Those of the instruction sets are all
 * NULL where the compiler does not build for x86-64. */
#ifndef VT_KERNELS_TABLES_H
#define VT_KERNELS_TABLES_H

#include "kernels/kernels.h"

extern const vt_kernels vt_kernels_ref_f32;
extern const vt_kernels vt_kernels_ref_f64;
extern const vt_kernels vt_kernels_avx2_f32;
extern const vt_kernels vt_kernels_avx512_f32;

#endif
