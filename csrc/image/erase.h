/* Rectangles of an array overwritten in place. */
#ifndef VT_IMAGE_ERASE_H
#define VT_IMAGE_ERASE_H

#include "image/image.h"

/* Values of (channels, height, width) in any order of the axes. */
typedef struct vt_planes {
    void *data;
    int64_t channels, height, width;
    int64_t next_channel, next_row, next_pixel; /* in samples */
    vt_sample sample;
} vt_planes;

typedef struct vt_rectangle {
    int64_t top, left, height, width;
} vt_rectangle;

/* A value becomes mean + sigma z, by channel; z is a standard normal number per value, or per
 * channel of each rectangle. */
typedef struct vt_filling {
    const float *mean, *sigma; /* (channels) */
    bool by_value;
    uint32_t key[2];
} vt_filling;

/* Integers are clamped to the range of their type and lose the fraction. The same key gives the
 * same values in any order of the axes. VT_VALUE for a rectangle that is not within the array,
 * before any is filled. */
vt_status vt_erase(const vt_planes *planes, const vt_rectangle *box, int64_t count,
                   const vt_filling *filling, vt_error *error);

#endif
