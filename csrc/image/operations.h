/* The operations: one per file, but for histogram.c, levels.c and warp.c, which hold several. */
#ifndef VT_IMAGE_OPERATIONS_H
#define VT_IMAGE_OPERATIONS_H

#include "image/image.h"

/* clang-format off */
#define VT_IMAGE_OPERATIONS(X)                                                                     \
    X(resize) X(flip) X(rot90) X(pad) X(affine) X(perspective)                                     \
    X(brightness) X(contrast) X(saturation) X(hue) X(grayscale) X(sharpness)                       \
    X(invert) X(solarize) X(solarize_add) X(posterize) X(gamma) X(equalize) X(autocontrast)\
    X(box_blur) X(gaussian_blur) X(noise)
/* clang-format on */

#define VT_DECLARE_OP(name) extern const vt_image_op vt_image_op_##name;
VT_IMAGE_OPERATIONS(VT_DECLARE_OP)
#undef VT_DECLARE_OP

#endif
