/* Every pixel from elsewhere, each by its own displacement. */
#ifndef VT_IMAGE_ELASTIC_H
#define VT_IMAGE_ELASTIC_H

#include "image/image.h"

/* out, of the form of `in`, from `field` (2, height, width): how far to the right, and how far
 * down, each pixel comes from. Points outside the image have the value `fill` (channels);
 * points between pixels are interpolated, bilinearly or to the nearest pixel. Integers are rounded.
 * A displacement that is NaN leads outside the image. */
vt_status vt_image_displace(const vt_image *out, const vt_image *in, const float *field,
                            bool bilinear, const double *fill, vt_error *error);

#endif
