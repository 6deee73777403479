/* Sums of images, each times its weight: levels are clamped to their range, and integers lose the
 * fraction; and batches whose images are mixed with each other. */
#ifndef VT_IMAGE_MIX_H
#define VT_IMAGE_MIX_H

#include "image/image.h"

/* out = sum of weight[i] in[i], in their order, each product and sum rounded to float. All have the
 * form of the first, else VT_VALUE. count > 0. */
vt_status vt_image_mix(const vt_image *out, const vt_image *in, int count, const float *weight,
                       vt_error *error);

/* out = one + ratio (other - one). */
vt_status vt_image_blend(const vt_image *out, const vt_image *one, const vt_image *other,
                         float ratio, vt_error *error);

/* out = in times the factors (height, width) of its pixels; integers are rounded and clamped to
 * their range, floating point is not. */
vt_status vt_image_shade(const vt_image *out, const vt_image *in, const float *field,
                         vt_error *error);

/* Values (images, channels, height, width), C-contiguous. */
typedef struct vt_batch {
    void *data;
    int64_t images, channels, height, width;
    vt_sample sample;
} vt_batch;

/* What becomes of an image i: within rows box[0] to box[2] - 1 and columns box[1] to box[3] - 1 it
 * is lam itself + (1 - lam) the partner, each step rounded to float, and integers rounded, ties to
 * even; outside of the box it stays. (images) each. */
typedef struct vt_partners {
    const int64_t *index;
    const double *lam;
    const int64_t (*box)[4];
} vt_partners;

/* out has the form of `in` and does not overlap it. VT_VALUE for partners that are not in the
 * batch, lam that is not 0 to 1, rectangles that are not within the image. */
vt_status vt_batch_mix(const vt_batch *out, const vt_batch *in, const vt_partners *partners,
                       vt_error *error);

#endif
