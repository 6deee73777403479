/* The sources of the tables, one per level (base/slots.h). Those of the instruction sets are empty
 * where the compiler does not build for them. */
#ifndef VT_IMAGE_TABLES_H
#define VT_IMAGE_TABLES_H

#include "image/kernels.h"

extern const vt_image_kernels vt_image_kernels_ref;
extern const vt_image_kernels vt_image_kernels_avx2;
extern const vt_image_kernels vt_image_kernels_avx512;

#endif
