/* The last pass over an image: to planes of floats, standardised by channel. Flipping and the
 * mixing of two images happen on the way. */
#ifndef VT_IMAGE_WRITE_H
#define VT_IMAGE_WRITE_H

#include "image/image.h"

typedef struct vt_write_source {
    const vt_image *image;
    bool flip;   /* left and right */
    bool planar; /* its samples are (channels, height, width), planes `stride` bytes apart */
} vt_write_source;

/* Within its box, the result is share * one + (1 - share) * other, each product and the sum rounded
 * to float; outside of it, it is `one` alone. Rows top to bottom - 1, columns left to right - 1.
 */
typedef struct vt_write_mix {
    vt_write_source other; /* of the form of `one`; NULL: none */
    double share;
    int64_t top, left, bottom, right;
} vt_write_mix;

/* out (channels, height, width) = (x - mean) / std in float, of x / 255 where samples are 8 bits
 * wide; bf16: as the 16 bits of bfloat16. mean, std: (channels). VT_VALUE for a standard deviation
 * that is not above 0, another image of a different form and a box that is not within the image. */
vt_status vt_image_write(void *out, bool bf16, vt_write_source one, const float *mean,
                         const float *std, const vt_write_mix *mix, vt_error *error);

#endif
