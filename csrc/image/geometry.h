/* What operations that move pixels share. */
#ifndef VT_IMAGE_GEOMETRY_H
#define VT_IMAGE_GEOMETRY_H

#include <math.h>
#include <string.h>

#include "image/image.h"

/* A side of the result. */
static inline vt_status vt_side(int64_t *side, double value, const char *name, vt_error *error) {
    if (!(value >= 1 && value <= VT_IMAGE_SIDE)) {
        return vt_fail(error, VT_VALUE, "%s is %g, expected 1 to %d", name, value, VT_IMAGE_SIDE);
    }
    *side = (int64_t)value;
    return VT_OK;
}

/* memcpy of one pixel; for the usual sizes it is one instruction or two. */
static inline void vt_copy_pixel(char *to, const char *from, int64_t bytes) {
    switch (bytes) {
        case 1: *to = *from; break;
        case 2: memcpy(to, from, 2); break;
        case 3: memcpy(to, from, 2), to[2] = from[2]; break;
        case 4: memcpy(to, from, 4); break;
        default: memcpy(to, from, (size_t)bytes);
    }
}

#define VT_PIXEL_CASE(count, statement) \
    case count: { \
        enum { bytes = count }; \
        statement; \
        break; \
    }

/* `statement` with `bytes` as a constant where it is that of a usual pixel, for loops over pixels.
 */
#define VT_WITH_PIXEL_BYTES(count, statement) \
    switch (count) { \
        VT_PIXEL_CASE(1, statement) \
        VT_PIXEL_CASE(2, statement) \
        VT_PIXEL_CASE(3, statement) \
        VT_PIXEL_CASE(4, statement) \
        VT_PIXEL_CASE(6, statement) \
        VT_PIXEL_CASE(12, statement) \
        default: { \
            const int64_t bytes = (count); \
            statement; \
        } \
    }

/* The index of the pixel that a coordinate is in; -1 for negative ones. */
static inline int64_t vt_pixel_index(double x) { return x < 0 ? -1 : (int64_t)x; }

/* The index of position i in a row of n that is continued by mirroring at its first and last
 * element. */
static inline int64_t vt_mirror(int64_t i, int64_t n) {
    const int64_t period = n > 1 ? 2 * (n - 1) : 1, at = (i % period + period) % period;
    return at < n ? at : period - at;
}

/* The same, mirrored at the ends of the row: the first and the last element are repeated. */
static inline int64_t vt_mirror_edge(int64_t i, int64_t n) {
    const int64_t period = 2 * n, at = (i % period + period) % period;
    return at < n ? at : period - 1 - at;
}

/* out (width, height) from in (height, width), rows becoming columns; either may be upside down. */
void vt_image_transpose(const vt_image *out, const vt_image *in);

/* Nearest neighbours under x_in = a[0] x + a[2], y_in = a[4] y + a[5]. Pixels of the result that
 * come from outside the image are left unchanged. */
vt_status vt_scale_nearest(const vt_image *out, const vt_image *in, const double a[6],
                           vt_error *error);

/* One pixel from a number per channel, clamped to the image's samples and rounded towards zero. */
void vt_fill_pixel(void *pixel, const vt_image *image, const double *value);

/* The whole image with that pixel. */
void vt_image_fill(const vt_image *image, const void *pixel);

#endif
