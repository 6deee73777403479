/* Every pixel from elsewhere, each by a displacement of its own. */
#ifndef VT_IMAGE_ELASTIC_H
#define VT_IMAGE_ELASTIC_H

#include "image/image.h"

/* out, of the form of `in`, from `field` (2, height, width): how far to the right, and how far
 * down, each pixel comes from. Beside the image there is `fill` (channels), between pixels what
 * bilinear interpolation finds or, without it, the nearest one. Whole numbers are rounded. Not a
 * number is beside the image. */
vt_status vt_image_displace(const vt_image *out, const vt_image *in, const float *field,
                            bool bilinear, const double *fill, vt_error *error);

#endif
