/* Samples at and between pixels, as Pillow's Image.transform finds them: in double, integers
 * without the fraction. */
#ifndef VT_IMAGE_SAMPLE_H
#define VT_IMAGE_SAMPLE_H

#include <math.h>

#include "image/image.h"

static inline double vt_sample_at(const vt_image *in, int64_t x, int64_t y, int64_t c) {
    const void *row = vt_image_row(in, y);
    const int64_t i = x * in->channels + c;
    switch (in->sample) {
        case VT_SAMPLE_U8: return ((const uint8_t *)row)[i];
        case VT_SAMPLE_U16: return ((const uint16_t *)row)[i];
        default: return (double)((const float *)row)[i];
    }
}

/* Floating point as it is; integers clamped, without fraction. */
static inline void vt_sample_put(void *pixel, const vt_image *image, int64_t c, double value) {
    const double white = vt_sample_white(image->sample);
    const double cut = value > 0 ? value < white ? value : white : 0;
    switch (image->sample) {
        case VT_SAMPLE_U8: ((uint8_t *)pixel)[c] = (uint8_t)cut; break;
        case VT_SAMPLE_U16: ((uint16_t *)pixel)[c] = (uint16_t)cut; break;
        default: ((float *)pixel)[c] = (float)value;
    }
}

/* Integers rounded, ties to even. */
static inline void vt_sample_put_rounded(void *pixel, const vt_image *image, int64_t c,
                                         double value) {
    vt_sample_put(pixel, image, c, image->sample == VT_SAMPLE_F32 ? value : rint(value));
}

/* Whether a point is in the image: (0, 0) is the upper left corner of its first pixel. */
static inline bool vt_is_inside(const vt_image *in, double x, double y) {
    return x >= 0 && x < (double)in->width && y >= 0 && y < (double)in->height;
}

/* The pixels around a point: their columns and rows, clamped to the image, and the distance of the
 * point from the second of four, or the first of two. */
typedef struct vt_around {
    int64_t x[4], y[4];
    double dx, dy;
} vt_around;

static inline int64_t vt_clip_index(int64_t i, int64_t size) {
    return i < 0 ? 0 : i < size ? i : size - 1;
}

static inline vt_around vt_pixels_around(const vt_image *in, double x, double y, int points) {
    x -= 0.5;
    y -= 0.5;
    const int64_t left = (int64_t)floor(x), top = (int64_t)floor(y), before = points / 2 - 1;
    vt_around a = {.dx = x - (double)left, .dy = y - (double)top};
    for (int i = 0; i < points; i++) {
        a.x[i] = vt_clip_index(left - before + i, in->width);
        a.y[i] = vt_clip_index(top - before + i, in->height);
    }
    return a;
}

static inline double vt_line(double a, double b, double d) { return a + (b - a) * d; }

static inline double vt_bilinear(const vt_image *in, const vt_around *a, int64_t c) {
    const double above = vt_line(vt_sample_at(in, a->x[0], a->y[0], c),
                                 vt_sample_at(in, a->x[1], a->y[0], c), a->dx);
    const double below = vt_line(vt_sample_at(in, a->x[0], a->y[1], c),
                                 vt_sample_at(in, a->x[1], a->y[1], c), a->dx);
    return vt_line(above, below, a->dy);
}

/* Through v[1] at d = 0 and v[2] at d = 1. */
static inline double vt_cubic(const double v[4], double d) {
    const double p1 = v[1], p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
    const double p4 = -v[0] + v[1] - v[2] + v[3];
    return p1 + d * (p2 + d * (p3 + d * p4));
}

static inline double vt_bicubic(const vt_image *in, const vt_around *a, int64_t c) {
    double rows[4];
    for (int j = 0; j < 4; j++) {
        double v[4];
        for (int i = 0; i < 4; i++) v[i] = vt_sample_at(in, a->x[i], a->y[j], c);
        rows[j] = vt_cubic(v, a->dx);
    }
    return vt_cubic(rows, a->dy);
}

#endif
